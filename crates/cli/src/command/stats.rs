//! `gamut stats`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

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

    /// Names or ids
    #[arg(value_name = "CONTAINER")]
    pub containers: Vec<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("stats"))
}
