//! `gamut pod pause` and `gamut pod unpause`.

use std::process::ExitCode;

use gamut_engine::client::{Client, ClientError};
use gamut_plan::Phase;

use super::which::WhichPods;
use crate::args::Context;
use crate::error::Failure;
use crate::several;

/// Halt all processes of pods
#[derive(Debug, clap::Args)]
pub struct Args {
    #[command(flatten)]
    pub which: WhichPods,
}

/// Let halted pods go on
#[derive(Debug, clap::Args)]
pub struct UnpauseArgs {
    #[command(flatten)]
    pub which: WhichPods,
}

/// Carries out `pod pause`.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    each(
        &args.which,
        context,
        ("pause", Phase::Running),
        Client::pause,
    )
}

/// Carries out `pod unpause`.
pub fn resume(args: &UnpauseArgs, context: &Context) -> Result<ExitCode, Failure> {
    each(
        &args.which,
        context,
        ("unpause", Phase::Paused),
        Client::resume,
    )
}

/// Does it to each container in the phase `from`; of one that is in the other there is nothing to be done.
fn each(
    which: &WhichPods,
    context: &Context,
    (action, from): (&str, Phase),
    act: impl Fn(&mut Client) -> Result<(), ClientError>,
) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let names = which.names(&mut engine)?;
    several::each(&names, |name| {
        let pod = engine.pod(name).map_err(Failure::engine)?;
        for one in pod.containers.iter().filter(|one| one.status.phase == from) {
            let done = engine
                .connect(&one.row.id)
                .and_then(|mut keeper| act(&mut keeper));
            match done {
                Ok(()) | Err(ClientError::NotRunning | ClientError::Gone) => {}
                Err(error) => return Err(Failure::engine(error)),
            }
        }
        engine.tell_of_pod(&pod.row, action);
        Ok(Some(pod.row.id))
    })
}
