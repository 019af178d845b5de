//! `gamut rm`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Remove containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Kill a running container first
    #[arg(short, long)]
    pub force: bool,

    /// Remove its anonymous volumes, too
    #[arg(short, long)]
    pub volumes: bool,

    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("rm"))
}
