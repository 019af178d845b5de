//! `gamut oci resume`.

use gamut_container::oci::{OciError, Status};

use super::{Context, Done, SUCCESS};

/// Let the processes of a paused container go on
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let container = context.runtime.container(&args.id)?;
    match container.status() {
        Status::Paused => {}
        status => {
            return Err(OciError::State {
                act: "resume",
                status,
            }
            .into());
        }
    }
    container.cgroup()?.thaw().map_err(OciError::Cgroup)?;
    SUCCESS
}
