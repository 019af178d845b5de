//! `gamut oci checkpoint` and `gamut oci restore`.

use super::{Done, OciFailure};

/// Save the state of a running container (needs CRIU; not there yet)
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

/// Bring a container back from a saved state (needs CRIU; not there yet)
#[derive(Debug, clap::Args)]
pub(super) struct RestoreArgs {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: &Args) -> Done {
    Err(OciFailure::Argument(format!(
        "cannot checkpoint `{}`: not supported yet",
        args.id
    )))
}

pub(super) fn restore(args: &RestoreArgs) -> Done {
    Err(OciFailure::Argument(format!(
        "cannot restore `{}`: not supported yet",
        args.id
    )))
}
