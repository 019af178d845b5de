//! `gamut info`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Show the engine's state and what this host offers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Go template, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("info"))
}
