//! `gamut wait`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::several;

/// Wait until containers end, and print their exit statuses
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Names or ids
    #[arg(value_name = "CONTAINER", required = true)]
    pub containers: Vec<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    several::each(&args.containers, |name| {
        let exit = engine.wait(name).map_err(Failure::engine)?;
        Ok(Some(exit.code.to_string()))
    })
}
