//! `gamut volume prune`.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;

use crate::args::Context;
use crate::confirm::confirmed;
use crate::convert::{Filter, Filters, parse_filter};
use crate::error::Failure;
use crate::human;

/// Remove volumes that no container uses
///
/// Those that nobody named; all of them with --all.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Those with names, too
    #[arg(short, long)]
    pub all: bool,

    /// Do not ask
    #[arg(short, long)]
    pub force: bool,

    /// Only those with KEY=VALUE: all, label, label!
    #[arg(long = "filter", value_name = "FILTER", value_parser = parse_filter)]
    pub filters: Vec<Filter>,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let known = ["all", "label", "label!"];
    let filters = Filters::new(&args.filters, &known).map_err(Failure::engine)?;
    let is_asked = |value: &String| matches!(value.as_str(), "true" | "1");
    let all = args.all || filters.values("all").iter().any(is_asked);
    let what = match all {
        true => "all volumes not used by at least one container",
        false => "anonymous volumes not used by at least one container",
    };
    let warning = format!("WARNING! This will remove {what}.\nAre you sure you want to continue?");
    if !args.force && !confirmed(&warning)? {
        return Ok(ExitCode::FAILURE);
    }
    let mut engine = context.engine()?;
    let usage = engine.disk_usage().map_err(Failure::engine)?;
    let sizes: BTreeMap<&str, u64> = usage
        .volumes
        .iter()
        .map(|volume| (volume.name.as_str(), volume.bytes))
        .collect();
    let removed = engine.prune_named_volumes(|volume| {
        (all || volume.is_anonymous())
            && filters.labels(&volume.labels)
            && filters.unlabelled(&volume.labels)
    });
    let removed = removed.map_err(Failure::engine)?;
    let bytes = removed
        .iter()
        .filter_map(|name| sizes.get(name.as_str()))
        .sum();
    let mut text = String::new();
    if !removed.is_empty() {
        text = format!("Deleted Volumes:\n{}\n\n", removed.join("\n"));
    }
    text.push_str(&format!(
        "Total reclaimed space: {}\n",
        human::decimal_size(bytes)
    ));
    io::stdout()
        .write_all(text.as_bytes())
        .map_err(Failure::Output)?;
    Ok(ExitCode::SUCCESS)
}
