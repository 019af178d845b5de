//! `gamut kill`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_signal;
use crate::error::Failure;
use gamut_plan::request::Signal;

/// Send a signal to running containers
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", value_parser = parse_signal, default_value = "KILL")]
    pub signal: Signal,

    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("kill"))
}
