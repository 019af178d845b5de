//! `gamut stats`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use crate::args::Context;
use crate::error::Failure;
use crate::format::ListFormat;
use crate::terminal;
use crate::view::{Width, stats};
use crate::which;
use gamut_engine::{Engine, View};
use gamut_plan::{Phase, Stats};
use gamut_spec::{Fault, Kind};

/// Show what containers use
///
/// Without names: all that run.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Once, not again and again
    #[arg(long)]
    pub no_stream: bool,

    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,

    /// Seconds between two looks
    #[arg(short, long, value_name = "SECONDS", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..))]
    pub interval: u64,

    /// Leave what was shown before on the screen
    #[arg(long)]
    pub no_reset: bool,

    /// The one made last
    #[arg(short, long, conflicts_with_all = ["all", "containers"])]
    pub latest: bool,

    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// How long CPU use is measured before something is shown.
const FIRST_MEASURE: Duration = Duration::from_millis(250);
/// Clears the screen and goes to its top (ECMA-48: ED, CUP).
const CLEAR: &str = "\x1b[2J\x1b[H";

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = ListFormat::parse(args.format.as_deref(), stats::TABLE, &stats::TITLES)?;
    let mut engine = context.engine()?;
    let manner = Manner {
        format,
        width: match args.no_trunc {
            true => Width::Full,
            false => Width::Cut,
        },
        interval: (!args.no_stream).then(|| Duration::from_secs(args.interval)),
        no_reset: args.no_reset,
    };
    watch(&mut engine, &manner, |engine| selected(&args, engine))
}

/// How often something is shown, and how.
pub(super) struct Manner {
    pub(super) format: ListFormat,
    pub(super) width: Width,
    /// `None`: once.
    pub(super) interval: Option<Duration>,
    pub(super) no_reset: bool,
}

/// Shows what those that `selected` gives use.
pub(super) fn watch(
    engine: &mut Engine,
    manner: &Manner,
    selected: impl Fn(&mut Engine) -> Result<Vec<View>, Failure>,
) -> Result<ExitCode, Failure> {
    let clears = !(manner.interval.is_none() || manner.no_reset)
        && matches!(manner.format, ListFormat::Table { .. })
        && terminal::is_terminal(io::stdout());
    let host_memory_bytes = host_memory_bytes();
    let mut before = {
        let views = selected(engine)?;
        readings(engine, &views)
    };
    std::thread::sleep(FIRST_MEASURE);
    loop {
        let views = match selected(engine) {
            Ok(views) => views,
            // What was watched has been removed meanwhile.
            Err(failure) if failure.kind() == Kind::NotFound => return Ok(ExitCode::SUCCESS),
            Err(failure) => return Err(failure),
        };
        let now = readings(engine, &views);
        let rows: Vec<_> = views
            .iter()
            .map(|view| {
                let line = stats::Line {
                    id: &view.row.id,
                    name: &view.row.name,
                    pod: view.row.pod.as_ref().map(|pod| pod.id.as_str()),
                    before: before.get(&view.row.id),
                    now: now.get(&view.row.id),
                    host_memory_bytes,
                };
                line.row(manner.width)
            })
            .collect();
        let mut text = Vec::new();
        if clears {
            text.extend_from_slice(CLEAR.as_bytes());
        }
        manner.format.write(&rows, &mut text)?;
        let mut output = io::stdout().lock();
        output
            .write_all(&text)
            .and_then(|()| output.flush())
            .map_err(Failure::Output)?;
        let Some(interval) = manner.interval else {
            return Ok(ExitCode::SUCCESS);
        };
        before = now;
        std::thread::sleep(interval);
    }
}

/// The containers that are named, else those that run, else, with `--all`, all.
fn selected(args: &Args, engine: &mut Engine) -> Result<Vec<View>, Failure> {
    if args.latest {
        let id = which::latest(engine)?;
        return Ok(vec![engine.container(&id).map_err(Failure::engine)?]);
    }
    if !args.containers.is_empty() {
        return args
            .containers
            .iter()
            .map(|name| engine.container(name).map_err(Failure::engine))
            .collect();
    }
    let mut views = engine.containers().map_err(Failure::engine)?;
    views.retain(|view| args.all || matches!(view.status.phase, Phase::Running | Phase::Paused));
    Ok(views)
}

/// By id; one that does not run has none.
fn readings(engine: &Engine, views: &[View]) -> BTreeMap<String, Stats> {
    let asked: Vec<_> = views
        .iter()
        .filter_map(|view| {
            let mut keeper = engine.connect(&view.row.id).ok()?;
            keeper.ask_stats().ok()?;
            Some((view.row.id.clone(), keeper))
        })
        .collect();
    asked
        .into_iter()
        .filter_map(|(id, mut keeper)| Some((id, keeper.stats().ok()?)))
        .collect()
}

fn host_memory_bytes() -> u64 {
    let info = rustix::system::sysinfo();
    info.totalram.saturating_mul(u64::from(info.mem_unit))
}
