//! `gamut rename`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Give a container another name
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    pub container: String,

    /// What it is to be called
    #[arg(value_name = "NEW_NAME")]
    pub name: String,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let name = args.name.strip_prefix('/').unwrap_or(&args.name);
    engine
        .rename(&args.container, name)
        .map_err(Failure::engine)?;
    Ok(ExitCode::SUCCESS)
}
