//! `gamut network rm`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::several;
use gamut_spec::{Fault, Kind};

/// Remove networks
///
/// A network that a container has a place on stays, be it running or not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// That there is none of the name is no failure
    #[arg(short, long)]
    pub force: bool,

    /// Names or ids
    #[arg(value_name = "NETWORK", required = true)]
    pub networks: Vec<String>,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    several::each(&args.networks, |name| match engine.remove_network(name) {
        Ok(_) => Ok(Some(name.to_owned())),
        Err(error) if args.force && error.kind() == Kind::NotFound => Ok(None),
        Err(error) => Err(Failure::engine(error)),
    })
}
