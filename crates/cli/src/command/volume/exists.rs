//! `gamut volume exists`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;

/// Say by the exit status whether there is a volume
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Its name
    #[arg(value_name = "VOLUME")]
    pub name: String,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    Ok(match context.engine()?.volume(&args.name) {
        Ok(_) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    })
}
