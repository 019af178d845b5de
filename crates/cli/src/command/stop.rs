//! `gamut stop`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::{parse_signal, parse_stop_timeout};
use crate::error::Failure;
use crate::several;
use gamut_engine::client::{Client, ClientError};
use gamut_engine::dirs::Container;
use gamut_plan::request::{Signal, StopTimeout};

use crate::which::{self, Missing, Which};

/// Stop running containers
///
/// The stop signal comes first; who has not ended when the time is over is killed.
#[derive(Debug, clap::Args)]
#[command(mut_arg("all", |all| all.short('a')))]
pub struct Args {
    /// Signal to send first
    #[arg(short, long, value_name = "SIGNAL", value_parser = parse_signal)]
    pub signal: Option<Signal>,

    /// Seconds to wait before killing; -1 waits for ever
    #[arg(short, long = "timeout", visible_alias = "time", value_name = "SECONDS", value_parser = parse_stop_timeout, allow_hyphen_values = true)]
    pub timeout: Option<StopTimeout>,

    /// Pass over what is not there
    #[arg(short, long)]
    pub ignore: bool,

    #[command(flatten)]
    pub which: Which,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    let signal = args.signal.map(|signal| i32::from(signal.0));
    let mut engine = context.engine()?;
    let missing = Missing::of(args.ignore);
    let names = args.which.names(&mut engine, missing, which::is_live)?;
    let found: Vec<_> = names
        .iter()
        .map(|name| {
            let view = engine.container(name).map_err(Failure::engine)?;
            Ok(engine.container_dirs(&view.row.id))
        })
        .collect();
    // At once: each may take its whole timeout.
    std::thread::scope(|scope| {
        let stop = |dirs: Container| {
            Client::connect(&dirs).and_then(|mut keeper| keeper.stop(signal, args.timeout))
        };
        let stops: Vec<Result<_, Failure>> = found
            .into_iter()
            .map(|found| found.map(|dirs| scope.spawn(move || stop(dirs))))
            .collect();
        let mut stops = stops.into_iter();
        several::each(&names, |name| {
            let Some(stop) = stops.next() else {
                return Ok(None);
            };
            match stop?.join() {
                Ok(Ok(_) | Err(ClientError::NotRunning | ClientError::Gone)) => {
                    Ok(Some(name.to_owned()))
                }
                Ok(Err(error)) => Err(Failure::engine(error)),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    })
}
