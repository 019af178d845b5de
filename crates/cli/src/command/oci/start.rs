//! `gamut oci start`.

use super::{Context, Done, SUCCESS};

/// Run the program of a made container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    context.runtime.container(&args.id)?.start()?;
    SUCCESS
}
