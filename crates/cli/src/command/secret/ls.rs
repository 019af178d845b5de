//! `gamut secret ls`.

use std::io;
use std::process::ExitCode;

use gamut_engine::record;
use gamut_engine::secrets::{DRIVER, Secret};

use crate::args::Context;
use crate::convert::{Filter, Filters, parse_filter};
use crate::error::Failure;
use crate::format::{ListFormat, Row};
use crate::human;

/// List secrets
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those with KEY=VALUE: id, label, name
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Without the heading
    #[arg(short, long)]
    pub noheading: bool,

    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,
}

const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.CreatedAt}}\t{{.UpdatedAt}}";
const QUIET: &str = "{{.ID}}";
const TITLES: [(&str, &str); 6] = [
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("CreatedAt", "CREATED"),
    ("UpdatedAt", "UPDATED"),
    ("Labels", "LABELS"),
];

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = match (&args.format, args.quiet, args.noheading) {
        (None, true, _) => Some(QUIET),
        (None, false, true) => Some(TABLE),
        (format, ..) => format.as_deref(),
    };
    let format = ListFormat::parse(format, TABLE, &TITLES)?;
    let filters = Filters::new(&args.filters, &["id", "label", "name"]).map_err(Failure::engine)?;
    let mut secrets = context.engine()?.secrets().map_err(Failure::engine)?;
    secrets.retain(|secret| {
        filters.any("id", |id| secret.id.starts_with(id))
            && filters.any("name", |name| secret.name.contains(name))
            && filters.labels(&secret.labels)
    });
    let rows: Vec<_> = secrets.iter().map(row).collect();
    format.write(&rows, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn row(secret: &Secret) -> Row {
    let labels = secret.labels.iter();
    let labels: Vec<String> = labels
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    let ns = |ns: u64| i64::try_from(ns).unwrap_or(i64::MAX);
    let since = human::ago(ns(secret.created_ns), ns(record::now_ns()));
    Row::new(
        [
            ("ID", secret.id.clone()),
            ("Name", secret.name.clone()),
            ("Driver", DRIVER.to_owned()),
            ("CreatedAt", since.clone()),
            // One that is replaced is a new one.
            ("UpdatedAt", since),
            ("Labels", labels.join(",")),
        ],
        secret.labels.clone(),
    )
}
