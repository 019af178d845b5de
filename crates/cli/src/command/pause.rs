//! `gamut pause` and `gamut unpause`.

use std::process::ExitCode;

use gamut_engine::client::{Client, ClientError};
use gamut_engine::{EngineError, View};
use gamut_plan::Phase;

use crate::args::Context;
use crate::error::Failure;
use crate::several;
use crate::which::{Missing, Which};

/// Halt all processes of containers
#[derive(Debug, clap::Args)]
#[command(mut_arg("all", |all| all.short('a')))]
pub struct Args {
    #[command(flatten)]
    pub which: Which,
}

/// Let halted containers go on
#[derive(Debug, clap::Args)]
#[command(mut_arg("all", |all| all.short('a')))]
pub struct UnpauseArgs {
    #[command(flatten)]
    pub which: Which,
}

/// Carries out `pause`.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    each(&args.which, context, Phase::Running, Client::pause)
}

/// Carries out `unpause`.
pub fn resume(args: UnpauseArgs, context: &Context) -> Result<ExitCode, Failure> {
    each(&args.which, context, Phase::Paused, Client::resume)
}

fn each(
    which: &Which,
    context: &Context,
    from: Phase,
    act: impl Fn(&mut Client) -> Result<(), ClientError>,
) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let meant = |view: &View| view.status.phase == from;
    let names = which.names(&mut engine, Missing::Error, meant)?;
    several::each(&names, |name| {
        let view = engine.container(name).map_err(Failure::engine)?;
        let done = engine
            .connect(&view.row.id)
            .and_then(|mut keeper| act(&mut keeper));
        match done {
            Ok(()) => Ok(Some(name.to_owned())),
            Err(ClientError::NotRunning | ClientError::Gone) => {
                Err(Failure::engine(EngineError::NotRunning {
                    name: view.row.name,
                }))
            }
            Err(error) => Err(Failure::engine(error)),
        }
    })
}
