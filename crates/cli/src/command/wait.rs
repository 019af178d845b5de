//! `gamut wait`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Wait until containers end, and print their exit statuses
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("wait"))
}
