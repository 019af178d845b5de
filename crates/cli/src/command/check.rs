//! `gamut image verify` and `gamut system check`.

use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::command::rmi::familiar;
use crate::error::Failure;
use crate::format::{ListFormat, Row};
use gamut_engine::Engine;
use gamut_engine::images::ImageView;
use gamut_engine::verify::{Finding, Part, Verdict};
use gamut_spec::{Fault, Kind};

/// Read images again and hold them against their digests
///
/// Every manifest, configuration and layer. A layer's archive is put together again, and what comes out
/// of it held against what is there; that takes room for a second copy of one layer. A layer that was
/// pulled by an early version, without a record of its archive, is unproven. The exit status is 1 if
/// something is damaged or missing.
#[derive(Debug, clap::Args)]
pub struct ImageArgs {
    /// Only what is damaged or missing
    #[arg(short, long)]
    pub quiet: bool,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Names or ids; all images if there is none
    #[arg(value_name = "IMAGE")]
    pub images: Vec<String>,
}

/// Check all images, and what the database speaks of
///
/// Every manifest, configuration and layer is read again. The exit status is 1 if something is damaged
/// or missing.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Take what is damaged away, so that the next pull fetches it; what a running container needs stays
    #[arg(short, long)]
    pub repair: bool,

    /// Only what is damaged or missing
    #[arg(short, long)]
    pub quiet: bool,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

const TABLE: &str = "{{.Kind}}\t{{.Name}}\t{{.State}}\t{{.Images}}";
const TITLES: [(&str, &str); 5] = [
    ("Kind", "KIND"),
    ("Name", "NAME"),
    ("Digest", "DIGEST"),
    ("State", "STATE"),
    ("Images", "IMAGES"),
];

/// Carries out `image verify`.
pub fn images(args: &ImageArgs, context: &Context) -> Result<ExitCode, Failure> {
    let engine = context.engine()?;
    let views = match args.images.as_slice() {
        [] => engine.images().map_err(Failure::engine)?,
        names => names
            .iter()
            .map(|name| {
                engine
                    .find_image(name)
                    .and_then(|image| engine.view_of(image))
            })
            .collect::<Result<_, _>>()
            .map_err(Failure::engine)?,
    };
    let format = ListFormat::parse(args.format.as_deref(), TABLE, &TITLES)?;
    let findings = engine.verify(&views).map_err(Failure::engine)?;
    show(&engine, &findings, args.quiet, &format)?;
    match findings.iter().any(Finding::is_bad) {
        true => Err(damaged(&engine, &findings)),
        false => Ok(ExitCode::SUCCESS),
    }
}

/// Carries out `system check`.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let views = engine.images().map_err(Failure::engine)?;
    let format = ListFormat::parse(args.format.as_deref(), TABLE, &TITLES)?;
    let findings = engine.verify(&views).map_err(Failure::engine)?;
    show(&engine, &findings, args.quiet, &format)?;
    if !findings.iter().any(Finding::is_bad) {
        return Ok(ExitCode::SUCCESS);
    }
    if args.repair {
        let removed = engine.remove_damaged(&findings).map_err(Failure::engine)?;
        for part in &removed {
            let (kind, digest) = named(part);
            let _ = writeln!(io::stderr(), "removed the {kind} {digest}");
        }
    }
    Err(damaged(&engine, &findings))
}

fn show(
    engine: &Engine,
    findings: &[Finding],
    quiet: bool,
    format: &ListFormat,
) -> Result<(), Failure> {
    let shown = findings.iter().filter(|finding| finding.is_bad() || !quiet);
    let rows: Vec<Row> = shown.map(|finding| row(engine, finding)).collect();
    if !(quiet && rows.is_empty()) {
        format.write(&rows, &mut io::stdout().lock())?;
    }
    Ok(())
}

fn named(part: &Part) -> (&'static str, String) {
    match part {
        Part::Layer(digest) => ("layer", digest.to_string()),
        Part::Blob(digest) => ("blob", digest.to_string()),
    }
}

fn row(engine: &Engine, finding: &Finding) -> Row {
    let (kind, digest) = named(&finding.part);
    let state = match &finding.verdict {
        Verdict::Sound => "sound".to_owned(),
        Verdict::Unproven => "unproven".to_owned(),
        Verdict::Missing => "missing".to_owned(),
        Verdict::Damaged(why) => format!("damaged: {why}"),
    };
    Row::new(
        [
            ("Kind", kind.to_owned()),
            ("Name", crate::human::short_id(&digest).to_owned()),
            ("Digest", digest),
            ("State", state),
            ("Images", names(engine, finding).join(", ")),
        ],
        std::collections::BTreeMap::new(),
    )
}

/// What people call the images that have it.
fn names(engine: &Engine, finding: &Finding) -> Vec<String> {
    let name = |view: ImageView| match view.tags.first().or(view.digests.first()) {
        Some(name) => familiar(name),
        None => view.image.id.short(),
    };
    finding
        .images
        .iter()
        .map(|image| match engine.view_of(image.clone()) {
            Ok(view) => name(view),
            Err(_) => image.id.short(),
        })
        .collect()
}

fn damaged(engine: &Engine, findings: &[Finding]) -> Failure {
    let mut images: Vec<String> = findings
        .iter()
        .filter(|finding| finding.is_bad())
        .flat_map(|finding| names(engine, finding))
        .collect();
    images.sort();
    images.dedup();
    Failure::engine(Damaged { images })
}

/// Images cannot be relied on.
#[derive(Debug, thiserror::Error)]
#[error("damaged: {}", images.join(", "))]
struct Damaged {
    images: Vec<String>,
}

impl Fault for Damaged {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }

    fn hint(&self) -> Option<String> {
        let names = self.images.join(" ");
        Some(format!(
            "`gamut system check --repair` takes what is damaged away; then `gamut pull {names}`"
        ))
    }
}
