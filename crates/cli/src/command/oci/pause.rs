//! `gamut oci pause`.

use gamut_container::oci::{OciError, Status};

use super::{Context, Done, SUCCESS};

/// Stop all processes of a container where they are
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let container = context.runtime.container(&args.id)?;
    match container.status() {
        Status::Running | Status::Created => {}
        status => {
            return Err(OciError::State {
                act: "pause",
                status,
            }
            .into());
        }
    }
    container.cgroup()?.freeze().map_err(OciError::Cgroup)?;
    SUCCESS
}
