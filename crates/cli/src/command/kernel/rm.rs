//! `gamut kernel rm`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::several;

/// Remove kernels that are kept for guests
///
/// Guests that run keep theirs until they end.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(value_name = "KERNEL", required = true)]
    pub kernels: Vec<String>,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let engine = context.engine()?;
    several::each(&args.kernels, |wanted| {
        let removed = engine.remove_kernel(wanted).map_err(Failure::engine)?;
        Ok(Some(removed.id))
    })
}
