//! `gamut oci kill`.

use gamut_container::oci::{OciError, Reach, Status};

use super::{Context, Done, OciFailure, SUCCESS};
use crate::convert::parse_signal;

/// Send a signal to a container's first process
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// To all of its processes
    #[arg(short, long)]
    all: bool,

    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,

    /// Signal to send, by name or number
    #[arg(value_name = "SIGNAL", default_value = "SIGTERM")]
    signal: String,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let signal = parse_signal(&args.signal)
        .map_err(|_| OciFailure::Argument(format!("unknown signal {:?}", args.signal)))?;
    let container = context.runtime.container(&args.id)?;
    let number = i32::from(signal.0);
    match args.all {
        true => container.kill(number, Reach::All)?,
        false if container.status() == Status::Stopped => {
            return Err(OciError::NotRunning(args.id.clone()).into());
        }
        false => container.kill(number, Reach::First)?,
    }
    SUCCESS
}
