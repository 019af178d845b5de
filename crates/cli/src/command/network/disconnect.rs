//! `gamut network disconnect`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use gamut_spec::{Fault, Kind};

/// Disconnect a container from a network, be it running or not
#[derive(Debug, clap::Args)]
pub struct Args {
    /// That there is none of the names is no failure
    #[arg(short, long)]
    pub force: bool,

    /// Name or id of the network
    pub network: String,

    /// Name or id of the container
    pub container: String,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    match engine.leave_network(&args.container, &args.network) {
        Ok(()) => Ok(ExitCode::SUCCESS),
        Err(error) if args.force && error.kind() == Kind::NotFound => Ok(ExitCode::SUCCESS),
        Err(error) => Err(Failure::engine(error)),
    }
}
