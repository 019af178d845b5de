//! `gamut oci delete`.

use gamut_container::oci::{Force, OciError};

use super::{Context, Done, SUCCESS};

/// Remove what is left of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Kill it first if it runs; one that is not there is no error
    #[arg(short, long)]
    force: bool,

    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let force = if args.force { Force::Yes } else { Force::No };
    let container = match context.runtime.container(&args.id) {
        Err(OciError::NotFound(_)) if args.force => {
            context.runtime.forget(&args.id)?;
            return SUCCESS;
        }
        other => other?,
    };
    context.log.warn(&container.delete(force)?);
    SUCCESS
}
