//! `gamut oci kill`.

use gamut_container::oci::Reach;

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
    // 0 only asks whether there is somebody: kill(2).
    let number = match args.signal.as_str() {
        "0" => 0,
        text => parse_signal(text)
            .map(|signal| i32::from(signal.0))
            .map_err(|_| OciFailure::Argument(format!("unknown signal {text:?}")))?,
    };
    let reach = if args.all { Reach::All } else { Reach::First };
    context.runtime.container(&args.id)?.kill(number, reach)?;
    SUCCESS
}
