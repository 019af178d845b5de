//! `gamut port`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_expose;
use crate::error::Failure;
use gamut_plan::request::Expose;

/// Print where a container's ports are published
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    pub container: String,

    /// Only this port of the container
    #[arg(value_name = "PORT[/PROTOCOL]", value_parser = parse_expose)]
    pub port: Option<Expose>,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("port"))
}
