//! `gamut pod kill`.

use std::process::ExitCode;

use gamut_engine::client::ClientError;

use super::which::WhichPods;
use crate::args::Context;
use crate::convert::parse_signal;
use crate::error::Failure;
use crate::several;
use crate::which::is_live;

/// Send a signal to the containers of pods that run
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Signal to send
    #[arg(short, long, value_name = "SIGNAL", default_value = "KILL")]
    pub signal: String,

    #[command(flatten)]
    pub which: WhichPods,
}

/// Carries it out.
pub fn run(args: &Args, context: &Context) -> Result<ExitCode, Failure> {
    let signal = parse_signal(&args.signal).map_err(Failure::engine)?;
    let mut engine = context.engine()?;
    let names = args.which.names(&mut engine)?;
    several::each(&names, |name| {
        let pod = engine.pod(name).map_err(Failure::engine)?;
        // The infra container last: it may be the first process of the others.
        for one in pod.members().chain(pod.infra()).filter(|one| is_live(one)) {
            let sent = engine
                .connect(&one.row.id)
                .and_then(|mut keeper| keeper.signal(i32::from(signal.0)));
            match sent {
                Ok(()) | Err(ClientError::NotRunning | ClientError::Gone) => {}
                Err(error) => return Err(Failure::engine(error)),
            }
        }
        engine.tell_of_pod(&pod.row, "kill");
        Ok(Some(pod.row.id))
    })
}
