//! `gamut network exists`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use gamut_spec::{Fault, Kind};

/// Tell by the exit status whether there is a network: 0 or 1
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    pub network: String,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    match engine.network(&args.network) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == Kind::NotFound => Ok(ExitCode::FAILURE),
        Err(error) => Err(Failure::engine(error)),
    }
}
