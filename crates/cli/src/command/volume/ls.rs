//! `gamut volume ls`.

use std::io;
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{ArgumentError, Filter, Filters, parse_filter};
use crate::error::Failure;
use crate::format::ListFormat;
use crate::view::volumes as view;
use gamut_engine::volumes::{DRIVER, Volume};

/// List volumes
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those with KEY=VALUE: dangling, driver, label, name, opt, scope
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Without the heading
    #[arg(short, long)]
    pub noheading: bool,

    /// Only names
    #[arg(short, long)]
    pub quiet: bool,
}

const FILTERS: [&str; 6] = ["dangling", "driver", "label", "name", "opt", "scope"];

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = match (&args.format, args.quiet, args.noheading) {
        (None, true, _) => Some(view::QUIET),
        (None, false, true) => Some(view::TABLE),
        (format, ..) => format.as_deref(),
    };
    let format = ListFormat::parse(format, view::TABLE, &view::TITLES)?;
    let filters = Filters::new(&args.filters, &FILTERS).map_err(Failure::engine)?;
    for value in filters.values("dangling") {
        if !matches!(value.as_str(), "true" | "1" | "false" | "0") {
            let text = format!("dangling={value}");
            return Err(Failure::engine(ArgumentError::Filter { text }));
        }
    }
    let volumes = context.engine()?.volumes().map_err(Failure::engine)?;
    let volumes = volumes.iter().filter(|volume| takes(&filters, volume));
    let rows: Vec<_> = volumes.map(view::row).collect();
    format.write(&rows, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn takes(filters: &Filters, volume: &Volume) -> bool {
    let is_dangling = volume.users.is_empty();
    filters.any("dangling", |value| {
        matches!(value, "true" | "1") == is_dangling
    }) && filters.any("driver", |value| value == DRIVER)
        && filters.any("name", |value| volume.name.contains(value))
        && filters.any("scope", |value| value == "local")
        && filters.any("opt", |wanted| match wanted.split_once('=') {
            Some((key, value)) => volume.options.get(key).is_some_and(|is| is == value),
            None => volume.options.contains_key(wanted),
        })
        && filters.labels(&volume.labels)
}
