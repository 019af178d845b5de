//! `gamut doctor`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Show what this host can do
///
/// Each isolation level, and why it is not there; each kernel feature that is missing, and
/// what to do about it.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// text or json
    #[arg(long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("doctor"))
}
