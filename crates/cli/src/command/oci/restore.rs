//! `gamut oci restore`: a container out of a saved state; in the foreground, wait and delete.

use std::path::PathBuf;

use gamut_container::oci::{Force, Restore};

use super::checkpoint::ImageArgs;
use super::foreground::{self, Process};
use super::{Context, Done, SUCCESS, console, console_of_caller};

/// Bring a container back from a saved state, by CRIU
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    images: ImageArgs,

    /// A socket that takes the terminal's master
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,

    /// The bundle's directory; the current one if none is given
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    bundle: PathBuf,

    /// Do not wait for the program's end
    #[arg(short, long)]
    detach: bool,

    /// Write the first process's id to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Taken and not used: the first process is a child of this command
    #[arg(long)]
    no_subreaper: bool,

    /// Taken and not used: CRIU changes the root by pivot_root(2)
    #[arg(long)]
    no_pivot: bool,

    /// Have another security profile: apparmor:NAME or selinux:LABEL
    #[arg(long, value_name = "KIND:NAME")]
    lsm_profile: Option<String>,

    /// Have another SELinux context for mounts
    #[arg(long, value_name = "CONTEXT")]
    lsm_mount_context: Option<String>,

    /// A name that no other container here has
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: Args, context: &Context<'_>) -> Done {
    let without_socket = console_of_caller(args.detach);
    let wanted = Restore {
        images: args.images.images(),
        bundle: args.bundle,
        console: console(args.console_socket.as_deref(), without_socket),
        pid_file: args.pid_file,
        cgroups: context.cgroups,
        lsm_profile: args.lsm_profile.filter(|profile| !profile.is_empty()),
        lsm_mount_context: args.lsm_mount_context.filter(|context| !context.is_empty()),
    };
    let mut restored = context.runtime.restore(&args.id, &wanted)?;
    context
        .log
        .debug(&format!("restored, process {}", restored.pid));
    context.log.warn(&restored.warnings);
    if args.detach {
        return SUCCESS;
    }
    let container = context.runtime.container(&args.id)?;
    let terminal = restored.terminal.take();
    let status = foreground::follow(Process {
        pidfd: &restored.pidfd,
        terminal,
    });
    context.log.warn(&container.delete(Force::Yes)?);
    status
}
