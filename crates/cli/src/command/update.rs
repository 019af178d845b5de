//! `gamut update`.

use std::process::ExitCode;

use crate::args::Context;
use crate::error::Failure;
use crate::several;
use crate::which;
use crate::workload::LimitArgs;

/// Change the limits of containers
///
/// Of those that run at once; others have them when they start. What is not named stays.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub limits: LimitArgs,

    /// The one made last
    #[arg(short, long, conflicts_with = "containers", help_heading = "Options")]
    pub latest: bool,

    /// Names or ids
    #[arg(value_name = "CONTAINER", required_unless_present = "latest")]
    pub containers: Vec<String>,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    if let Some(flag) = args.limits.unchangeable() {
        return Err(Failure::Unsupported { flag });
    }
    let changes = args.limits.changes();
    let mut engine = context.engine()?;
    let mut names = args.containers;
    if args.latest {
        names.push(which::latest(&mut engine)?);
    }
    several::each(&names, |name| {
        engine.update(name, &changes).map_err(Failure::engine)?;
        Ok(Some(name.to_owned()))
    })
}
