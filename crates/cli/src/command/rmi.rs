//! `gamut rmi`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Remove images
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Also remove an image that has other names or stopped containers
    #[arg(short, long)]
    pub force: bool,

    /// Accepted for Docker's sake: there are no untagged parents
    #[arg(long)]
    pub no_prune: bool,

    /// Names or ids
    #[arg(value_name = "IMAGE", required = true)]
    pub images: Vec<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("rmi"))
}
