//! `gamut pod start`.

use std::process::ExitCode;

use gamut_engine::Engine;

use super::which::WhichPodsOrFiles;
use crate::args::Context;
use crate::command;
use crate::error::Failure;
use crate::several;
use crate::which::Missing;

/// Start pods
///
/// The infra container first, then those that share its namespaces; what runs stays as it is.
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub which: WhichPodsOrFiles,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let names = args.which.names(&mut engine, Missing::Error)?;
    several::each(&names, |name| {
        start(&mut engine, name)?;
        Ok(Some(name.to_owned()))
    })
}

/// Starts all of a pod; one that cannot be started does not keep the others from it.
pub(super) fn start(engine: &mut Engine, named: &str) -> Result<(), Failure> {
    let pod = engine.pod(named).map_err(Failure::engine)?;
    let mut failure: Option<Failure> = None;
    for one in pod.infra().into_iter().chain(pod.members()) {
        if let Err(error) = command::start::start(engine, &one.row.id)
            && let Some(earlier) = failure.replace(error)
        {
            earlier.say();
        }
    }
    match failure {
        Some(failure) => Err(failure),
        None => {
            engine.tell_of_pod(&pod.row, "start");
            Ok(())
        }
    }
}
