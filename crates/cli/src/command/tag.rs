//! `gamut tag`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Give an image another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The image, by name or id
    #[arg(value_name = "SOURCE")]
    pub source: String,

    /// Its further name, as [HOST/]NAME[:TAG]
    #[arg(value_name = "TARGET")]
    pub target: String,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("tag"))
}
