//! `gamut start`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{DetachKeys, parse_detach_keys};
use crate::error::Failure;

/// Start stopped containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Attach to output and pass signals on
    #[arg(short, long)]
    pub attach: bool,

    /// Attach to standard input
    #[arg(short, long)]
    pub interactive: bool,

    /// Keys that let go of the container
    #[arg(long, value_name = "KEYS", value_parser = parse_detach_keys)]
    pub detach_keys: Option<DetachKeys>,

    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("start"))
}
