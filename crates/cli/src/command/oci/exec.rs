//! `gamut oci exec`.

use std::path::PathBuf;
use std::process::ExitCode;

use gamut_container::oci::{Exec, Known, OciError, Paused, read_process};
use oci_spec::runtime::{Capability, LinuxCapabilities, Process};

use super::foreground::{self, Process as Foreground};
use super::{Context, Done, OciFailure, SUCCESS, console, console_of_caller, listening};

/// Run a further process in a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// A socket that takes the terminal's master
    #[arg(long, value_name = "SOCKET")]
    console_socket: Option<PathBuf>,

    /// Directory to run in
    #[arg(long, value_name = "DIR")]
    cwd: Option<PathBuf>,

    /// Set a variable
    #[arg(short, long, value_name = "NAME=VALUE")]
    env: Vec<String>,

    /// Give a terminal
    #[arg(short, long)]
    tty: bool,

    /// User and group, by number
    #[arg(short, long, value_name = "UID[:GID]")]
    user: Option<String>,

    /// Further groups, by number
    #[arg(short = 'g', long, value_name = "GID")]
    additional_gids: Vec<u32>,

    /// Take the whole process from this file
    #[arg(short, long, value_name = "FILE")]
    process: Option<PathBuf>,

    /// Do not wait for the process's end
    #[arg(short, long)]
    detach: bool,

    /// A socket that takes a descriptor of the process
    #[arg(long, value_name = "SOCKET")]
    pidfd_socket: Option<PathBuf>,

    /// Write the process's id to this file
    #[arg(long, value_name = "FILE")]
    pid_file: Option<PathBuf>,

    /// Gain nothing by setuid programs
    #[arg(long)]
    no_new_privs: bool,

    /// Add a capability to all sets
    #[arg(short, long, value_name = "CAP")]
    cap: Vec<String>,

    /// How many more descriptors than the standard streams the process inherits
    #[arg(long, value_name = "N", default_value_t = 0)]
    preserve_fds: u32,

    /// A control group below the container's own, in these hierarchies or in all
    #[arg(long, value_name = "[CONTROLLER[,CONTROLLER...]:]PATH")]
    cgroup: Vec<String>,

    /// Add the process even to a paused container
    #[arg(long)]
    ignore_paused: bool,

    /// AppArmor profile
    #[arg(long, value_name = "NAME")]
    apparmor: Option<String>,

    /// SELinux label
    #[arg(long, value_name = "LABEL")]
    process_label: Option<String>,

    /// The container, and the command with its arguments
    #[arg(value_name = "CONTAINER [COMMAND [ARG...]]", required = true, num_args = 1.., trailing_var_arg = true)]
    container_and_command: Vec<String>,
}

/// What fails before there is a process has runc's status, which no program's is likely to be.
pub(super) fn run(args: Args, context: &Context<'_>) -> Done {
    match execute(&args, context) {
        Err(failure) => {
            context.log.fail(&failure);
            Ok(ExitCode::from(255))
        }
        done => done,
    }
}

fn execute(args: &Args, context: &Context<'_>) -> Done {
    let [id, command @ ..] = args.container_and_command.as_slice() else {
        return Err(OciFailure::Usage("no container is given"));
    };
    let container = context.runtime.container(id)?;
    let (process, warnings) = match &args.process {
        Some(path) => read_process(path)?,
        None => {
            let mut unknown = Vec::new();
            let process = described(args, command, &container, &mut unknown)?;
            (process, unknown)
        }
    };
    context.log.warn(&warnings);
    let without_socket = console_of_caller(args.detach);
    let below: Result<_, _> = args.cgroup.iter().map(|text| text.parse()).collect();
    let options = Exec {
        process,
        console: console(args.console_socket.as_deref(), without_socket),
        pid_file: args.pid_file.clone(),
        pidfd_socket: args.pidfd_socket.clone(),
        preserved_fds: args.preserve_fds.saturating_add(listening()),
        cgroup: below.map_err(OciError::Cgroup)?,
        paused: if args.ignore_paused {
            Paused::Ignored
        } else {
            Paused::Refused
        },
    };
    let mut executed = context.runtime.exec(&container, &options)?;
    context
        .log
        .debug(&format!("executed, process {}", executed.pid));
    context.log.warn(&executed.warnings);
    if args.detach {
        return SUCCESS;
    }
    let terminal = executed.terminal.take();
    foreground::follow(Foreground {
        pidfd: executed.pidfd(),
        terminal,
    })
}

/// The container's own process with what the flags say.
fn described(
    args: &Args,
    command: &[String],
    container: &Known,
    unknown: &mut Vec<String>,
) -> Result<Process, OciFailure> {
    let wrong = |text: String| OciFailure::Argument(text);
    let base = container.record.spec.process().clone();
    let mut process = base.ok_or(OciError::NotRunning(container.record.id.clone()))?;
    if command.is_empty() {
        return Err(OciFailure::Usage("no command is given"));
    }
    process.set_args(Some(command.to_vec()));
    process.set_terminal(Some(args.tty));
    if let Some(cwd) = &args.cwd {
        process.set_cwd(cwd.clone());
    }
    if args.no_new_privs {
        process.set_no_new_privileges(Some(true));
    }
    if args.apparmor.is_some() {
        process.set_apparmor_profile(args.apparmor.clone());
    }
    if args.process_label.is_some() {
        process.set_selinux_label(args.process_label.clone());
    }
    let mut env = process.env().clone().unwrap_or_default();
    env.extend(args.env.iter().cloned());
    process.set_env(Some(env));
    if let Some(text) = &args.user {
        let mut numbers = text.splitn(2, ':').map(|part| {
            part.parse::<u32>()
                .map_err(|_| wrong(format!("`{text}` is not UID or UID:GID")))
        });
        let mut user = process.user().clone();
        if let Some(uid) = numbers.next() {
            user.set_uid(uid?);
        }
        if let Some(gid) = numbers.next() {
            user.set_gid(gid?);
        }
        process.set_user(user);
    }
    if !args.additional_gids.is_empty() {
        let mut user = process.user().clone();
        let mut groups = user.additional_gids().clone().unwrap_or_default();
        groups.extend(&args.additional_gids);
        user.set_additional_gids(Some(groups));
        process.set_user(user);
    }
    if !args.cap.is_empty() {
        let sets = process.capabilities().clone().unwrap_or_default();
        process.set_capabilities(Some(with(sets, &args.cap, unknown)));
    }
    Ok(process)
}

/// The sets with more in them; one that is not known is told and passed over, as in a configuration.
fn with(
    mut sets: LinuxCapabilities,
    added: &[String],
    unknown: &mut Vec<String>,
) -> LinuxCapabilities {
    for name in added {
        let full = serde_json::Value::from(format!("CAP_{}", name.trim_start_matches("CAP_")));
        let Ok(one) = serde_json::from_value::<Capability>(full) else {
            unknown.push(format!(
                "the capability {name} is unknown here and left out"
            ));
            continue;
        };
        let plus = |set: &Option<std::collections::HashSet<Capability>>| {
            let mut set = set.clone().unwrap_or_default();
            set.insert(one);
            Some(set)
        };
        sets.set_bounding(plus(sets.bounding()));
        sets.set_effective(plus(sets.effective()));
        sets.set_permitted(plus(sets.permitted()));
        // One is ambient only if it is inheritable, too: capabilities(7).
        let inheritable = sets.inheritable().as_ref();
        if inheritable.is_some_and(|set| set.contains(&one)) {
            sets.set_ambient(plus(sets.ambient()));
        }
    }
    sets
}
