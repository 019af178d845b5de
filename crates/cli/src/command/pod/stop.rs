//! `gamut pod stop`.

use std::process::ExitCode;

use gamut_engine::Engine;
use gamut_engine::client::{Client, ClientError};
use gamut_engine::pods::PodView;
use gamut_plan::request::StopTimeout;

use super::which::WhichPodsOrFiles;
use crate::args::Context;
use crate::convert::parse_stop_timeout;
use crate::error::Failure;
use crate::several;
use crate::which::{Missing, is_live};

/// Stop pods
///
/// The infra container last: until then the others have their network.
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Seconds to wait before killing; -1 waits for ever
    #[arg(short, long, visible_alias = "timeout", value_name = "SECONDS", value_parser = parse_stop_timeout, allow_hyphen_values = true)]
    pub time: Option<StopTimeout>,

    /// Only those in which nothing but the infra container runs
    #[arg(long)]
    pub if_idle: bool,

    /// Pass over what is not there
    #[arg(short, long)]
    pub ignore: bool,

    #[command(flatten)]
    pub which: WhichPodsOrFiles,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let mut engine = context.engine()?;
    let names = args.which.names(&mut engine, Missing::of(args.ignore))?;
    several::each(&names, |name| {
        let pod = engine.pod(name).map_err(Failure::engine)?;
        if args.if_idle && pod.members().any(is_live) {
            return Ok(None);
        }
        stop(&engine, &pod, args.time)?;
        Ok(Some(name.to_owned()))
    })
}

/// Stops all of a pod.
pub(super) fn stop(
    engine: &Engine,
    pod: &PodView,
    timeout: Option<StopTimeout>,
) -> Result<(), Failure> {
    // At once: each may take its whole timeout.
    std::thread::scope(|scope| {
        let dirs = pod.members().map(|one| engine.container_dirs(&one.row.id));
        let stops: Vec<_> = dirs
            .map(|dirs| {
                scope.spawn(move || {
                    Client::connect(&dirs).and_then(|mut keeper| keeper.stop(None, timeout))
                })
            })
            .collect();
        for stop in stops {
            match stop.join() {
                Ok(Ok(_) | Err(ClientError::NotRunning | ClientError::Gone)) => {}
                Ok(Err(error)) => return Err(Failure::engine(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        Ok(())
    })?;
    if let Some(infra) = pod.infra() {
        engine
            .stop(&infra.row.id, None, timeout)
            .map_err(Failure::engine)?;
    }
    engine.tell_of_pod(&pod.row, "stop");
    Ok(())
}
