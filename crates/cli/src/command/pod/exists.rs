//! `gamut pod exists`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use gamut_spec::{Fault, Kind};

/// Tell by the exit status whether a pod exists: 0 if so, 1 if not
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Name or id
    pub pod: String,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    match context.engine()?.pod_id(&args.pod) {
        Ok(_) => Ok(ExitCode::SUCCESS),
        Err(error) if error.kind() == Kind::NotFound => Ok(ExitCode::FAILURE),
        Err(error) => Err(Failure::engine(error)),
    }
}
