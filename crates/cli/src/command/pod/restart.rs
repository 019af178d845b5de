//! `gamut pod restart`.

use std::process::ExitCode;

use super::which::WhichPods;
use super::{start, stop};
use crate::args::Context;
use crate::error::Failure;
use crate::several;

/// Stop pods and start them again
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub which: WhichPods,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let names = args.which.names(&mut engine)?;
    several::each(&names, |name| {
        let pod = engine.pod(name).map_err(Failure::engine)?;
        stop::stop(&engine, &pod, None)?;
        start::start(&mut engine, &pod.row.id)?;
        Ok(Some(pod.row.id))
    })
}
