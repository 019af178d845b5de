//! Hooks: programs that somebody else wants to be run at points of a container's life. Each gets
//! the container's state on its standard input. Runtime specification, "POSIX-platform Hooks".

use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;
use gamut_sys::process::{StringArray, namespace};
use oci_spec::runtime::{Hook, Hooks};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::error::OciError;
use super::record::State;
use crate::cgroup::Cgroup;
use crate::launch::exec::{self, JoinError, Joining, join, joined};
use crate::launch::manner::Manner;
use crate::launch::prepare::{self, c_string, c_strings, step_failed};
use crate::launch::program::{Capabilities, Life, Program, RunsAs};
use crate::launch::{Started, privileges, users};
use crate::limits::ProcessLimits;

/// When a hook is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stage {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Stage {
    pub(super) const ALL: [Stage; 6] = [
        Stage::Prestart,
        Stage::CreateRuntime,
        Stage::CreateContainer,
        Stage::StartContainer,
        Stage::Poststart,
        Stage::Poststop,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Stage::Prestart => "prestart",
            Stage::CreateRuntime => "createRuntime",
            Stage::CreateContainer => "createContainer",
            Stage::StartContainer => "startContainer",
            Stage::Poststart => "poststart",
            Stage::Poststop => "poststop",
        }
    }

    pub(super) fn of(self, hooks: Option<&Hooks>) -> &[Hook] {
        let Some(hooks) = hooks else { return &[] };
        #[allow(
            deprecated,
            reason = "prestart hooks are in use, and the specification has them"
        )]
        let list = match self {
            Stage::Prestart => hooks.prestart(),
            Stage::CreateRuntime => hooks.create_runtime(),
            Stage::CreateContainer => hooks.create_container(),
            Stage::StartContainer => hooks.start_container(),
            Stage::Poststart => hooks.poststart(),
            Stage::Poststop => hooks.poststop(),
        };
        list.as_deref().unwrap_or_default()
    }
}

/// Where a hook runs.
pub(super) enum Place<'a> {
    /// Beside this process; in the host's root if no directory is given.
    Host { directory: Option<&'a Path> },
    /// In these namespaces of the container's process, which still has the host's root; in the
    /// container's root, which is mounted there at its place on the host.
    Creation {
        init: &'a Started,
        namespaces: u64,
        directory: &'a Path,
    },
    /// As the container's own program, and below its filter.
    Container {
        init: &'a Started,
        cgroup: Option<&'a Cgroup>,
        plan: &'a LaunchPlan,
    },
}

/// Runs the hooks of a stage in order; the first that fails ends it.
pub(super) fn run(
    stage: Stage,
    hooks: &[Hook],
    place: &Place<'_>,
    state: &State<'_>,
) -> Result<(), OciError> {
    if hooks.is_empty() {
        return Ok(());
    }
    let state = serde_json::to_vec(state).unwrap_or_default();
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, place, &state).map_err(|reason| OciError::Hook {
            stage: stage.name(),
            index,
            path: hook.path().clone(),
            reason,
        })?;
    }
    Ok(())
}

fn run_one(hook: &Hook, place: &Place<'_>, state: &[u8]) -> Result<(), String> {
    let said = |error: &dyn std::fmt::Display| error.to_string();
    let (input, mut writer) = std::io::pipe().map_err(|e| said(&e))?;
    let own;
    let init = match place {
        Place::Host { .. } => {
            own = own_process().map_err(|e| said(&e))?;
            &own
        }
        Place::Creation { init, .. } | Place::Container { init, .. } => *init,
    };
    let namespaces = match place {
        Place::Host { .. } => 0,
        Place::Creation { namespaces, .. } => *namespaces,
        Place::Container { plan, .. } => joined(plan),
    };
    let joining = Joining {
        place: match place {
            Place::Host { .. } => exec::Place::Host,
            _ => exec::Place::Container,
        },
        init: init.pidfd.as_fd(),
        namespaces,
        root: match place {
            Place::Host { .. } => None,
            _ => Some(root_of(init).map_err(|e| said(&e))?),
        },
        cgroup: match place {
            Place::Container { cgroup, .. } => *cgroup,
            _ => None,
        },
        beside: None,
        follows: false,
        limits: &ProcessLimits::default(),
        // Nobody answers for a hook: what asks a supervisor gets ENOSYS.
        listener: &|_, _| (),
    };
    let program = match place {
        Place::Host { directory } => {
            let directory = directory.unwrap_or(Path::new("/"));
            program(hook, input.into(), directory, RunsAs::Caller)
        }
        Place::Creation { directory, .. } => {
            let program = program(hook, input.into(), directory, RunsAs::User);
            program.map(|program| match namespaces & namespace::USER {
                0 => program,
                // Root there has them all, whoever this process is.
                _ => Program {
                    capabilities: Capabilities::all_of(u64::MAX),
                    ..program
                },
            })
        }
        Place::Container { plan, .. } => {
            let root = joining.root.as_ref().map(AsFd::as_fd);
            program_of_container(hook, input.into(), plan, root)
        }
    };
    let program = program.map_err(|e| said(&e))?;
    let started = join(&joining, &program).map_err(|error| match error {
        JoinError::Child(failure) => said(&exec::explain(
            &[hook.path().to_string_lossy().into_owned()],
            failure,
        )),
        JoinError::Start(error) => said(&error),
    })?;
    drop(program);
    // One that does not read its state closes it.
    let _ = writer.write_all(state);
    drop(writer);
    wait(&started, hook.timeout())
}

fn own_process() -> rustix::io::Result<Started> {
    let flags = rustix::process::PidfdFlags::empty();
    let pid = rustix::process::getpid();
    let pidfd = rustix::process::pidfd_open(pid, flags)?;
    Ok(Started { pid, pidfd })
}

/// The root of the container's process: the host's until it has entered its own.
fn root_of(init: &Started) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/{}/root", init.pid.as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn output() -> Result<(OwnedFd, OwnedFd), StartError> {
    let copy = |fd: BorrowedFd<'_>| {
        rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|e| step_failed("copy a descriptor", e))
    };
    Ok((
        copy(rustix::stdio::stdout())?,
        copy(rustix::stdio::stderr())?,
    ))
}

/// A hook's words; its path is the first if it gives none.
fn words(hook: &Hook) -> Vec<String> {
    match hook.args().as_deref() {
        Some(args) if !args.is_empty() => args.to_vec(),
        _ => vec![hook.path().to_string_lossy().into_owned()],
    }
}

fn program(
    hook: &Hook,
    stdin: OwnedFd,
    directory: &Path,
    runs_as: RunsAs,
) -> Result<Program, StartError> {
    let (stdout, stderr) = output()?;
    Ok(Program {
        stdin,
        stdout,
        stderr,
        terminal: false,
        cwd: c_string(path_bytes(directory))?,
        runs_as,
        uid: 0,
        gid: 0,
        groups: Vec::new(),
        capabilities: privileges::everything()?,
        no_new_privileges: false,
        seccomp: None,
        umask: 0o022,
        manner: Manner::default(),
        life: Life::WithParent,
        preserved: 0,
        candidates: vec![c_string(path_bytes(hook.path()))?],
        args: StringArray::new(c_strings(Some(&words(hook)))?),
        env: StringArray::new(c_strings(hook.env().as_deref())?),
    })
}

/// A hook as the container's process would run it, by whom runc has it run: with its identity, its
/// privileges and its filter, and with its variables where the hook has none of its own.
fn program_of_container(
    hook: &Hook,
    stdin: OwnedFd,
    plan: &LaunchPlan,
    root: Option<BorrowedFd<'_>>,
) -> Result<Program, StartError> {
    let mut plan = plan.clone();
    if let Some(process) = plan.spec.process_mut() {
        process.set_args(Some(words(hook)));
        process.set_terminal(Some(false));
        process.set_cwd("/".into());
        if let Some(env) = hook.env() {
            process.set_env(Some(env.clone()));
        }
    }
    let root = root.unwrap_or(rustix::fs::CWD);
    let identity = users::resolve(root, &plan.user)?;
    let (stdout, stderr) = output()?;
    let program = prepare::program(&plan, (stdin, stdout, stderr), &identity, false)?;
    let given = hook.env().as_deref();
    Ok(Program {
        manner: Manner::default(),
        candidates: vec![c_string(path_bytes(hook.path()))?],
        env: match given {
            Some(env) => StringArray::new(c_strings(Some(env))?),
            None => program.env,
        },
        ..program
    })
}

fn path_bytes(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

/// What a filter kills with; signal(7), on every architecture that gamut is built for.
const SIGSYS: i32 = 31;

/// Waits for the end of a hook; one that takes longer than `timeout_s` is killed.
fn wait(started: &Started, timeout_s: Option<i64>) -> Result<(), String> {
    let mut waited_for = [PollFd::new(&started.pidfd, PollFlags::IN)];
    let timeout = timeout_s.map(|tv_sec| Timespec { tv_sec, tv_nsec: 0 });
    let ready =
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut waited_for, timeout.as_ref()));
    let late = matches!(ready, Ok(0));
    if late {
        let _ = rustix::process::pidfd_send_signal(&started.pidfd, Signal::KILL);
    }
    let id = WaitId::PidFd(started.pidfd.as_fd());
    let status = rustix::process::waitid(id, WaitIdOptions::EXITED);
    if late {
        return Err(format!("it took longer than {} s", timeout_s.unwrap_or(0)));
    }
    match status {
        Ok(Some(status)) => match (status.exit_status(), status.terminating_signal()) {
            (Some(0), _) => Ok(()),
            (Some(code), _) => Err(format!("it exited with status {code}")),
            (None, Some(SIGSYS)) => Err("it was killed for a bad system call".into()),
            (None, signal) => Err(format!("it was killed by signal {}", signal.unwrap_or(0))),
        },
        Ok(None) => Ok(()),
        Err(errno) => Err(std::io::Error::from(errno).to_string()),
    }
}
