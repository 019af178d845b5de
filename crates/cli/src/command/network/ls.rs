//! `gamut network ls`.

use std::io;
use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{ArgumentError, Filter, Filters, parse_filter};
use crate::error::Failure;
use crate::format::ListFormat;
use crate::pattern;
use crate::view::{Width, networks as view};
use gamut_engine::Engine;
use gamut_engine::network::list::NetworkView;

/// List networks
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Only those with KEY=VALUE: dangling, driver, id, label, name, scope, type
    #[arg(short, long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,

    /// table, json, a Go template, or `table TEMPLATE`
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// Do not shorten ids
    #[arg(long)]
    pub no_trunc: bool,

    /// Only ids
    #[arg(short, long)]
    pub quiet: bool,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let format = match (&args.format, args.quiet) {
        (None, true) => Some(view::QUIET),
        (format, _) => format.as_deref(),
    };
    let format = ListFormat::parse(format, view::TABLE, &view::TITLES)?;
    let known = ["dangling", "driver", "id", "label", "name", "scope", "type"];
    let filters = Filters::new(&args.filters, &known).map_err(Failure::engine)?;
    check(&filters)?;
    let mut engine = context.engine()?;
    let width = match args.no_trunc {
        true => Width::Full,
        false => Width::Cut,
    };
    let mut rows = Vec::new();
    for network in engine.networks().map_err(Failure::engine)? {
        if takes(&filters, &network) && is_as_used(&engine, &filters, &network)? {
            rows.push(view::row(&network, width));
        }
    }
    format.write(&rows, &mut io::stdout().lock())?;
    Ok(ExitCode::SUCCESS)
}

fn check(filters: &Filters) -> Result<(), Failure> {
    let known: [(&str, &[&str]); 2] = [
        ("type", &["builtin", "custom"]),
        ("dangling", &["true", "1", "false", "0"]),
    ];
    for (key, words) in known {
        for value in filters.values(key) {
            if !words.contains(&value.as_str()) {
                let text = format!("{key}={value}");
                return Err(Failure::engine(ArgumentError::Filter { text }));
            }
        }
    }
    Ok(())
}

fn takes(filters: &Filters, network: &NetworkView) -> bool {
    let kind = match network.is_predefined() {
        true => "builtin",
        false => "custom",
    };
    filters.any("driver", |value| network.driver == value)
        && filters.any("id", |value| network.id.starts_with(value))
        && filters.any("name", |value| pattern::name(value, &network.name))
        && filters.any("scope", |value| value == "local")
        && filters.any("type", |value| value == kind)
        && filters.labels(&network.labels())
}

/// `dangling`: whether no container has a place on it.
fn is_as_used(engine: &Engine, filters: &Filters, network: &NetworkView) -> Result<bool, Failure> {
    let values = filters.values("dangling");
    let (Some(row), false) = (&network.row, values.is_empty()) else {
        return Ok(values.is_empty());
    };
    let members = engine.members(row).map_err(Failure::engine)?;
    let is_dangling = members.is_empty() && !network.is_predefined();
    let wants = |value: &str| matches!(value, "true" | "1") == is_dangling;
    Ok(filters.any("dangling", wants))
}
