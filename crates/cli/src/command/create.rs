//! `gamut create`.

use std::process::ExitCode;

use crate::args::Context;
use crate::command::run::AttachArgs;
use crate::error::Failure;
use crate::workload::{Surroundings, WorkloadArgs};

/// Make a container without starting it
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "gamut create [OPTIONS] IMAGE [COMMAND] [ARG...]"
)]
pub struct Args {
    #[command(flatten)]
    pub attach: AttachArgs,
    #[command(flatten)]
    pub workload: WorkloadArgs,
}

/// Carries it out.
pub fn run(args: Args, _context: &Context) -> Result<ExitCode, Failure> {
    let _request = args.workload.request(&Surroundings::of_process())?;
    Err(Failure::NotBuilt("create"))
}
