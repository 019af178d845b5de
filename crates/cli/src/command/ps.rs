//! `gamut ps`.

use std::collections::BTreeMap;
use std::io;
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{Filter, Filters, parse_filter};
use crate::error::Failure;
use crate::format::ListFormat;
use crate::listing::{Selection, line};
use crate::view::Width;
use crate::view::containers::{self, Line};
use crate::view::ports::Port;
use gamut_engine::pods::is_infra;
use gamut_engine::summary::Summary;
use gamut_engine::{Engine, View, record};
use gamut_plan::Phase;
use gamut_plan::launch::NetworkPlan;

/// List containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also those that do not run
    #[arg(short, long)]
    pub all: bool,

    /// Only those with KEY=VALUE: id, name, label, status, exited, ancestor, pod and more
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

    /// With the pods that they are in
    #[arg(short, long)]
    pub pod: bool,

    /// With sizes
    #[arg(short, long)]
    pub size: bool,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let filters = Filters::new(&args.filters, &containers::FILTERS).map_err(Failure::engine)?;
    let mut engine = context.engine()?;
    // What a killed command left behind is cleared away by whoever looks next.
    let views = match engine.repair() {
        Ok(repaired) => repaired.containers,
        Err(_) => engine.containers().map_err(Failure::engine)?,
    };
    let selection = Selection::new(&engine, &views, &filters)?;
    let last = match (args.last, args.latest) {
        (Some(count), _) => usize::try_from(count).ok().filter(|count| *count > 0),
        (None, true) => Some(1),
        (None, false) => None,
    };
    let everything = args.all || last.is_some() || !filters.values("status").is_empty();
    let sized = args.size || args.format.as_deref().is_some_and(|f| f.contains(".Size"));
    let of_pods = ports_of_pods(&engine, &views);
    let mut lines = Vec::new();
    for view in views {
        if last.is_some_and(|count| lines.len() == count) {
            break;
        }
        let shown = everything
            || matches!(
                view.status.phase,
                Phase::Running | Phase::Paused | Phase::Restarting
            );
        if !shown {
            continue;
        }
        let summary = engine.summary(&view);
        let mut line = line(&view, &summary);
        if let (Some(pod), Some(NetworkPlan::Container(_))) = (&view.row.pod, &summary.network)
            && view.status.is_live()
        {
            line.ports = of_pods.get(&pod.id).cloned().unwrap_or_default();
        }
        if selection.takes(&view, &summary, &line) {
            if sized {
                line.size_bytes = Some(sizes(&engine, &view, &summary));
            }
            lines.push(line);
        }
    }
    print(&args, &lines)
}

/// Podman's: a pod's ports are those of each container that shares its network.
fn ports_of_pods(engine: &Engine, views: &[View]) -> BTreeMap<String, Vec<Port>> {
    let held = views.iter().filter(|view| is_infra(view));
    let ports = held.filter_map(|infra| {
        let pod = infra.row.pod.as_ref()?;
        let ports = line(infra, &engine.summary(infra)).ports;
        Some((pod.id.clone(), ports))
    });
    ports.collect()
}

fn print(args: &Args, lines: &[Line]) -> Result<ExitCode, Failure> {
    let mut table = containers::TABLE.to_owned();
    if args.size {
        table.push_str(containers::SIZE_COLUMN);
    }
    if args.pod {
        table.push_str(containers::POD_COLUMNS);
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
fn sizes(engine: &Engine, view: &View, summary: &Summary) -> (u64, u64) {
    // One that is being removed has nothing any more.
    let own = engine.changes_bytes(&view.row.id).unwrap_or(0);
    let image = summary.image.as_ref().map_or(0, |image| image.size_bytes);
    (own, own + image)
}
