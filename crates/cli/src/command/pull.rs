//! `gamut pull`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_platform;
use crate::error::Failure;
use gamut_plan::request::Platform;

/// Pull an image from a registry
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Platform of the image, such as linux/arm64
    #[arg(long, value_parser = parse_platform)]
    pub platform: Option<Platform>,

    /// Print nothing but the image's name
    #[arg(short, long)]
    pub quiet: bool,

    /// The image, as [HOST/]NAME[:TAG|@DIGEST]
    pub image: String,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("pull"))
}
