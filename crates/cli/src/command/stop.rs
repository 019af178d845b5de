//! `gamut stop`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{parse_signal, parse_stop_timeout};
use crate::error::Failure;
use gamut_plan::request::{Signal, StopTimeout};

/// Stop running containers
///
/// The stop signal comes first; who has not ended when the time is over is killed.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Signal to send first
    #[arg(short, long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub signal: Option<Signal>,

    /// Seconds to wait before killing; -1 waits for ever
    #[arg(short, long = "timeout", alias = "time", value_name = "SECONDS", value_parser = parse_stop_timeout, allow_hyphen_values = true)]
    pub timeout: Option<StopTimeout>,

    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("stop"))
}
