//! `gamut ps`.

use std::io;
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{Filter, Filters, parse_filter};
use crate::error::Failure;
use crate::format::ListFormat;
use crate::listing::{Selection, line};
use crate::view::Width;
use crate::view::containers::{self, Line};
use gamut_engine::details::Details;
use gamut_engine::{Engine, View, record};
use gamut_plan::Phase;

/// List containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,

    /// Only those with KEY=VALUE: id, name, label, status, exited, ancestor and more
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// The last ones made, in any state
    #[arg(short = 'n', long, value_name = "COUNT", allow_hyphen_values = true)]
    pub last: Option<i64>,

    /// The last one made, in any state
    #[arg(short, long)]
    pub latest: bool,

    /// Do not shorten ids and texts
    #[arg(long)]
    pub no_trunc: bool,

    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,

    /// With sizes
    #[arg(short, long)]
    pub size: bool,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let filters = Filters::new(&args.filters, &containers::FILTERS).map_err(Failure::engine)?;
    let mut engine = context.engine()?;
    // What a killed command left behind is cleared away by whoever looks next.
    let _ = engine.repair();
    let views = engine.containers().map_err(Failure::engine)?;
    let selection = Selection::new(&engine, &views, &filters)?;
    let last = match (args.last, args.latest) {
        (Some(count), _) => usize::try_from(count).ok().filter(|count| *count > 0),
        (None, true) => Some(1),
        (None, false) => None,
    };
    let everything = args.all || last.is_some() || !filters.values("status").is_empty();
    let sized = args.size || args.format.as_deref().is_some_and(|f| f.contains(".Size"));
    let mut lines = Vec::new();
    for view in views {
        if last.is_some_and(|count| lines.len() == count) {
            break;
        }
        let shown = everything || matches!(view.status.phase, Phase::Running | Phase::Paused);
        if !shown {
            continue;
        }
        let details = engine.details(&view);
        let mut line = line(&view, &details);
        if selection.takes(&view, &details, &line) {
            if sized {
                line.size_bytes = Some(sizes(&engine, &view, &details));
            }
            lines.push(line);
        }
    }
    print(&args, &lines)
}

fn print(args: &Args, lines: &[Line]) -> Result<ExitCode, Failure> {
    let mut table = containers::TABLE.to_owned();
    if args.size {
        table.push_str(containers::SIZE_COLUMN);
    }
    let format = match (&args.format, args.quiet) {
        (None, true) => Some(containers::QUIET),
        (format, _) => format.as_deref(),
    };
    let format = ListFormat::parse(format, &table, &containers::TITLES)?;
    let width = match args.no_trunc {
        true => Width::Full,
        false => Width::Cut,
    };
    let now_ns = i64::try_from(record::now_ns()).unwrap_or(i64::MAX);
    let rows: Vec<_> = lines.iter().map(|line| line.row(now_ns, width)).collect();
    format.write(&rows, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

/// Bytes of the container's own changes, and with its image.
fn sizes(engine: &Engine, view: &View, details: &Details) -> (u64, u64) {
    // One that is being removed has nothing any more.
    let own = engine.changes_bytes(&view.row.id).unwrap_or(0);
    let image = details.image.as_ref().map_or(0, |image| image.size_bytes);
    (own, own + image)
}
