//! `gamut oci run`: create, start, and, in the foreground, wait and delete.

use gamut_container::oci::Force;

use super::foreground::{self, Process};
use super::{BundleArgs, Context, Done, SUCCESS, console_of_caller};

/// Make a container and run its program
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    bundle: BundleArgs,

    /// Do not wait for the program's end
    #[arg(short, long)]
    detach: bool,

    /// Keep what is left of the container when the program has ended
    #[arg(long)]
    keep: bool,

    /// A name that no other container here has
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Done {
    let without_socket = console_of_caller(args.detach);
    let options = args.bundle.options(without_socket, context);
    let mut created = context.runtime.create(&args.id, &options)?;
    context
        .log
        .debug(&format!("created, process {}", created.pid));
    context.log.warn(&created.warnings);
    let container = context.runtime.container(&args.id)?;
    let terminal = created.terminal.take();
    let pidfd = container.pidfd()?;
    if let Err(error) = container.start() {
        let _ = container.delete(Force::Yes);
        return Err(error.into());
    }
    context.trace.borrow_mut().mark("started");
    if args.detach {
        return SUCCESS;
    }
    let status = foreground::follow(Process {
        pidfd: &pidfd,
        terminal,
    });
    if !args.keep {
        context.log.warn(&container.delete(Force::Yes)?);
    }
    status
}
