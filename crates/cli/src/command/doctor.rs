//! `gamut doctor`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::format::ObjectFormat;
use crate::{table, terminal};
use gamut_engine::doctor::{self, Area, Report, State};
use gamut_plan::Level;
use gamut_plan::host::Weight;

/// Show what this host can do
///
/// Each isolation level, and why it is not there; each kernel feature that is missing, and
/// what to do about it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// text, json or a Go template
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    // Whose store cannot be opened has other things to be told.
    let engine = context.engine().ok();
    let tried = engine.and_then(|engine| {
        let storage = engine.examine_storage().ok()?;
        Some((storage, engine.image_extras().ok()?))
    });
    let report = doctor::examine(tried.as_ref());
    let mut output = io::stdout().lock();
    match args.format.as_deref().filter(|format| *format != "text") {
        Some(format) => ObjectFormat::parse(Some(format))?.write(&report, &mut output)?,
        None => {
            let marks = match terminal::is_terminal(&output) {
                true => Marks::SIGNS,
                false => Marks::WORDS,
            };
            output
                .write_all(text(&report, &marks).as_bytes())
                .map_err(Failure::Output)?;
        }
    }
    Ok(match report.is_ready(Level::Container) {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    })
}

/// How a state is shown.
struct Marks {
    yes: &'static str,
    no: &'static str,
    unknown: &'static str,
}

impl Marks {
    const SIGNS: Self = Self {
        yes: "✓",
        no: "✗",
        unknown: "?",
    };
    const WORDS: Self = Self {
        yes: "yes",
        no: "no",
        unknown: "?",
    };

    fn of(&self, state: State) -> &'static str {
        match state {
            State::Yes => self.yes,
            State::No => self.no,
            State::Unknown => self.unknown,
        }
    }
}

fn text(report: &Report, marks: &Marks) -> String {
    let mut text = format!(
        "Linux {} on {}, as user {}\n\nIsolation levels\n",
        report.host.kernel, report.host.machine, report.host.uid
    );
    for level in &report.levels {
        let mark = marks.of(State::from(level.ready));
        text.push_str(&format!("  {mark:<4} {}\n", level.level));
        for missing in &level.missing {
            let weight = match missing.weight {
                Weight::Fatal => "needs",
                Weight::Partial => "goes without",
            };
            text.push_str(&format!(
                "         {weight} {}: {}\n",
                missing.what, missing.remedy
            ));
        }
        for prospect in &level.prospects {
            text.push_str(&format!("         {prospect}\n"));
        }
    }
    for area in Area::ALL {
        text.push_str(&format!("\n{}\n", area.title()));
        for feature in report.features.iter().filter(|f| f.area == area) {
            let mark = marks.of(feature.state);
            text.push_str(&format!(
                "  {mark:<4} {:<26} {}\n",
                feature.name,
                table::visible(&feature.detail)
            ));
            if let Some(remedy) = &feature.remedy {
                text.push_str(&format!("       {:<26} -> {remedy}\n", ""));
            }
        }
    }
    text
}
