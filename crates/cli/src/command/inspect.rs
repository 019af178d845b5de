//! `gamut inspect`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Print everything about containers and images, as JSON
#[derive(Debug, clap::Args)]
pub struct Args {
    /// A Go template for each of them, or json
    #[arg(short, long, value_name = "FORMAT")]
    pub format: Option<String>,

    /// With the sizes of containers
    #[arg(short, long)]
    pub size: bool,

    /// Only objects of this type
    #[arg(long = "type", value_enum, value_name = "TYPE")]
    pub kind: Option<ObjectKind>,

    /// Names or ids
    #[arg(value_name = "NAME", required = true)]
    pub names: Vec<String>,
}

/// What `--type` can name.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ObjectKind {
    Container,
    Image,
}

/// Carries it out.
pub fn run(_args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    Err(Failure::NotBuilt("inspect"))
}
