//! `gamut kill`.

use std::process::ExitCode;

use crate::args::Context;
use crate::convert::parse_signal;
use crate::error::Failure;
use crate::several;
use gamut_engine::EngineError;
use gamut_engine::client::ClientError;

use crate::which::{self, Missing, Which};

/// Send a signal to running containers
#[derive(Debug, clap::Args)]
#[command(mut_arg("all", |all| all.short('a')))]
pub struct Args {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: String,

    #[command(flatten)]
    pub which: Which,
}

/// Carries it out.
pub fn run(args: Args, context: &Context) -> Result<ExitCode, Failure> {
    // Not clap's business: Docker's status for a wrong signal is 1.
    let signal = parse_signal(&args.signal).map_err(Failure::engine)?;
    let mut engine = context.engine()?;
    let names = args
        .which
        .names(&mut engine, Missing::Error, which::is_live)?;
    several::each(&names, |name| {
        let view = engine.container(name).map_err(Failure::engine)?;
        let sent = engine
            .connect(&view.row.id)
            .and_then(|mut keeper| keeper.signal(i32::from(signal.0)));
        match sent {
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
