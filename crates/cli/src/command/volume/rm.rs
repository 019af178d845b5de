//! `gamut volume rm`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::several;
use gamut_spec::{Fault, Kind};

/// Remove volumes with what is in them
///
/// A volume that a container uses stays, be it running or not.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// All that no container uses
    #[arg(short, long, conflicts_with = "volumes")]
    pub all: bool,

    /// That there is none of the name is no failure
    #[arg(short, long)]
    pub force: bool,

    /// Their names
    #[arg(value_name = "VOLUME", required_unless_present = "all")]
    pub volumes: Vec<String>,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let mut names = args.volumes.clone();
    if args.all {
        let all = engine.volumes().map_err(Failure::engine)?;
        let unused = all.into_iter().filter(|volume| volume.users.is_empty());
        names.extend(unused.map(|volume| volume.name));
    }
    several::each(&names, |name| match engine.remove_volume(name) {
        Ok(()) => Ok(Some(name.to_owned())),
        Err(error) if args.force && error.kind() == Kind::NotFound => Ok(Some(name.to_owned())),
        Err(error) => Err(Failure::engine(error)),
    })
}
