//! `gamut images`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{Filter, parse_filter};
use crate::error::Failure;

/// List images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Accepted for Docker's sake: there are no intermediate images
    #[arg(short, long)]
    pub all: bool,

    /// With digests
    #[arg(long)]
    pub digests: bool,

    /// Only those with KEY=VALUE: reference, dangling, label, before, since, until
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

    /// Only images of this repository, or this one
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub repository: Option<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("images"))
}
