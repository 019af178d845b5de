//! `gamut ps`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{Filter, parse_filter};
use crate::error::Failure;

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
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("ps"))
}
