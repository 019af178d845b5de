//! `gamut kernel build`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use gamut_engine::kernel::build::{BuildEvent, BuildOptions, FRAGMENT};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::args::Context;
use crate::error::Failure;
use crate::progress::{ProgressArgs, Style};

/// Build a kernel for guests
///
/// From the distribution's source (its package linux-source), or the one that `--source` names, with what
/// guests need and nothing else. It takes a compiler, make, flex, bison, bc and libelf's headers, some
/// minutes, and 2 GB of disk meanwhile; prints the kernel's id. What was built of the same source, options
/// and compiler is not built again.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A tree of Linux, not configured, or an archive of one
    #[arg(long, value_name = "PATH")]
    pub source: Option<PathBuf>,

    /// A file with more options, in the form of a kernel's .config
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,

    /// What to call it, instead of its release
    #[arg(long, value_name = "NAME")]
    pub name: Option<String>,

    /// How many compilers run at once, instead of one for each processor
    #[arg(short, long, value_name = "N")]
    pub jobs: Option<u32>,

    /// Use it for guests for which none is named
    #[arg(long = "use")]
    pub used: bool,

    /// Print the options that it would be built with, and why, and build nothing
    #[arg(long)]
    pub print_config: bool,

    #[command(flatten)]
    pub progress: ProgressArgs,
}

/// Lines of progress where it is not drawn: one for so many files.
const FILES_A_LINE: u32 = 500;

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut output = io::stdout();
    if args.print_config {
        output
            .write_all(FRAGMENT.as_bytes())
            .map_err(Failure::Output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let engine = context.engine()?;
    let options = BuildOptions {
        source: args.source,
        config: args.config,
        name: args.name,
        jobs: args.jobs,
    };
    let mut shown = Shown::of(args.progress.style());
    let built = engine.build_kernel(&options, &mut |event| shown.show(&event));
    shown.end();
    let kept = built.map_err(Failure::engine)?.kept;
    if args.used {
        engine.use_kernel(Some(&kept.id)).map_err(Failure::engine)?;
    }
    writeln!(output, "{}", kept.id).map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}

/// How far the build is, on standard error.
enum Shown {
    Quiet,
    Lines,
    Bar(ProgressBar),
    Json,
}

impl Shown {
    fn of(style: Style) -> Self {
        match style {
            Style::Quiet => Self::Quiet,
            Style::Lines => Self::Lines,
            Style::Json => Self::Json,
            Style::Bars => {
                let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
                let plain = ProgressStyle::with_template("{spinner} {msg} [{elapsed}]");
                bar.set_style(plain.unwrap_or_else(|_| ProgressStyle::default_spinner()));
                bar.enable_steady_tick(Duration::from_millis(200));
                Self::Bar(bar)
            }
        }
    }

    fn show(&mut self, event: &BuildEvent) {
        match self {
            Self::Quiet => {}
            Self::Lines => match event {
                BuildEvent::Compiled(files) if files % FILES_A_LINE != 0 => {}
                event => drop(writeln!(io::stderr(), "{}", words(event))),
            },
            Self::Bar(bar) => match event {
                BuildEvent::Note(_) => bar.println(words(event)),
                event => bar.set_message(words(event)),
            },
            // A reader that is gone is no reason to stop.
            Self::Json => drop(writeln!(
                io::stdout(),
                "{}",
                serde_json::json!({ "status": words(event) })
            )),
        }
    }

    fn end(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn words(event: &BuildEvent) -> String {
    match event {
        BuildEvent::Step(step) => step.clone(),
        BuildEvent::Compiled(files) => format!("compiling: {files} files"),
        BuildEvent::Note(note) => format!("note: {note}"),
    }
}
