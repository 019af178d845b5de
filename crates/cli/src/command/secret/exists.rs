//! `gamut secret exists`.

use std::process::ExitCode;

use gamut_spec::{Fault, Kind};

use crate::args::Context;
use crate::error::Failure;

/// Say by the exit status whether there is a secret: 0 or 1
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    pub secret: String,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    match context.engine()?.secret(&args.secret) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == Kind::NotFound => Ok(ExitCode::FAILURE),
        Err(error) => Err(Failure::engine(error)),
    }
}
