//! `gamut logout`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Forget the password of a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The registry; Docker Hub by default
    pub server: Option<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("logout"))
}
