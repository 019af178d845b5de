//! `gamut pod ps`.

use std::io;
use std::process::ExitCode;

use gamut_engine::pods::PodView;
use gamut_engine::record;

use crate::args::Context;
use crate::convert::{ArgumentError, Filter, Filters, parse_filter};
use crate::error::Failure;
use crate::format::{ListFormat, ObjectFormat};
use crate::pattern;
use crate::view::{Width, pods as view};

/// List pods
#[derive(Debug, clap::Args)]
pub struct Args {
    /// With the ids of their containers
    #[arg(long)]
    pub ctr_ids: bool,

    /// With the names of their containers
    #[arg(long)]
    pub ctr_names: bool,

    /// With the states of their containers
    #[arg(long)]
    pub ctr_status: bool,

    /// Only those with KEY=VALUE: ctr-ids, ctr-names, ctr-number, ctr-status, id, label, name, network,
    /// status
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// The one made last
    #[arg(short, long)]
    pub latest: bool,

    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,

    /// Without the heading
    #[arg(short, long)]
    pub noheading: bool,

    /// With the namespaces that are shared
    #[arg(long)]
    pub ns: bool,

    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,

    /// By what they are sorted
    #[arg(long, value_enum, default_value = "created", value_name = "KEY")]
    pub sort: Sort,
}

/// `--sort`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Sort {
    /// The latest first
    Created,
    Id,
    Name,
    /// The fewest containers first
    Number,
    Status,
}

const FILTERS: [&str; 9] = [
    "ctr-ids",
    "ctr-names",
    "ctr-number",
    "ctr-status",
    "id",
    "label",
    "name",
    "network",
    "status",
];

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let filters = Filters::new(&args.filters, &FILTERS).map_err(Failure::engine)?;
    for value in filters.values("ctr-number") {
        if value.parse::<usize>().is_err() {
            let text = format!("ctr-number={value}");
            return Err(Failure::engine(ArgumentError::Filter { text }));
        }
    }
    let mut engine = context.engine()?;
    // What a killed command left behind is cleared away by whoever looks next.
    let _ = engine.repair();
    let mut pods = engine.pods().map_err(Failure::engine)?;
    if args.latest {
        pods.truncate(1);
    }
    pods.retain(|pod| takes(&filters, pod));
    match args.sort {
        Sort::Created => {}
        Sort::Id => pods.sort_by(|a, b| a.row.id.cmp(&b.row.id)),
        Sort::Name => pods.sort_by(|a, b| a.row.name.cmp(&b.row.name)),
        Sort::Number => pods.sort_by_key(|pod| pod.containers.len()),
        Sort::Status => pods.sort_by_key(|pod| pod.state().word()),
    }
    let mut output = io::stdout().lock();
    if args.format.as_deref() == Some("json") {
        let objects: Vec<_> = pods.iter().map(view::Object::of).collect();
        ObjectFormat::Pretty.write_list(&objects, &mut output)?;
        return Ok(ExitCode::SUCCESS);
    }
    let table = table(args);
    let format = match (&args.format, args.quiet, args.noheading) {
        (None, true, _) => Some(view::QUIET),
        (None, false, true) => Some(table.as_str()),
        (format, ..) => format.as_deref(),
    };
    let format = ListFormat::parse(format, &table, &view::TITLES)?;
    let width = match args.no_trunc {
        true => Width::Full,
        false => Width::Cut,
    };
    let now_ns = i64::try_from(record::now_ns()).unwrap_or(i64::MAX);
    let rows: Vec<_> = pods
        .iter()
        .map(|pod| view::row(pod, now_ns, width))
        .collect();
    format.write(&rows, &mut output)?;
    Ok(ExitCode::SUCCESS)
}

fn table(args: &Args) -> String {
    let mut table = view::TABLE.to_owned();
    let columns = [
        (args.ns, view::NAMESPACES_COLUMN),
        (args.ctr_ids, view::IDS_COLUMN),
        (args.ctr_names, view::NAMES_COLUMN),
        (args.ctr_status, view::STATES_COLUMN),
    ];
    let given = columns.into_iter().filter(|(is_given, _)| *is_given);
    for (_, column) in given {
        table.push_str(column);
    }
    // How many there are is of no use beside them.
    if args.ctr_ids || args.ctr_names || args.ctr_status {
        return table;
    }
    table + view::COUNT_COLUMN
}

fn takes(filters: &Filters, pod: &PodView) -> bool {
    let containers = &pod.containers;
    filters.any("id", |value| pod.row.id.starts_with(value))
        && filters.any("name", |value| pattern::name(value, &pod.row.name))
        && filters.any("status", |value| {
            pod.state().word().eq_ignore_ascii_case(value)
        })
        && filters.labels(&pod.row.labels)
        && filters.any("ctr-ids", |value| {
            containers.iter().any(|one| one.row.id.starts_with(value))
        })
        && filters.any("ctr-names", |value| {
            containers
                .iter()
                .any(|one| pattern::name(value, &one.row.name))
        })
        && filters.any("ctr-number", |value| {
            value
                .parse::<usize>()
                .is_ok_and(|number| number == containers.len())
        })
        && filters.any("ctr-status", |value| {
            containers
                .iter()
                .any(|one| crate::listing::life(one).word() == value)
        })
        && filters.any("network", |value| {
            view::networks(pod).iter().any(|network| network == value)
        })
}
