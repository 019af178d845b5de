//! Hooks: programs that somebody else wants to be run at points of a container's life. Each gets
//! the container's state on its standard input. Runtime specification, "POSIX-platform Hooks".

use std::ffi::CString;
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_sys::process::StringArray;
use oci_spec::runtime::{Hook, Hooks};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Signal, WaitId, WaitIdOptions};

use super::error::OciError;
use crate::launch::Started;
use crate::launch::exec::{JoinError, Joining, join};
use crate::launch::manner::Manner;
use crate::launch::prepare::{c_string, c_strings, step_failed};
use crate::launch::privileges;
use crate::launch::program::{Life, Program};
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
    Host,
    /// In these namespaces of this process, with its root.
    Container {
        init: &'a Started,
        namespaces: u64,
    },
}

/// Runs the hooks of a stage in order; the first that fails ends it.
pub(super) fn run(
    stage: Stage,
    hooks: &[Hook],
    place: &Place<'_>,
    state: &[u8],
) -> Result<(), OciError> {
    for (index, hook) in hooks.iter().enumerate() {
        run_one(hook, place, state).map_err(|reason| OciError::Hook {
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
    let init;
    let joining = match place {
        Place::Host => {
            init = own_process().map_err(|e| said(&e))?;
            Joining {
                init: init.as_fd(),
                namespaces: 0,
                root: None,
                cgroup: None,
                beside: None,
                limits: &ProcessLimits::default(),
                listener: &|_, _| (),
            }
        }
        Place::Container { init, namespaces } => Joining {
            init: init.pidfd.as_fd(),
            namespaces: *namespaces,
            root: Some(root_of(init).map_err(|e| said(&e))?),
            cgroup: None,
            beside: None,
            limits: &ProcessLimits::default(),
            listener: &|_, _| (),
        },
    };
    let program = program(hook, input.into()).map_err(|e| said(&e))?;
    let started = join(&joining, &program).map_err(|error| match error {
        JoinError::Child(failure) => said(&crate::launch::exec::explain(
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

fn own_process() -> rustix::io::Result<OwnedFd> {
    let flags = rustix::process::PidfdFlags::empty();
    rustix::process::pidfd_open(rustix::process::getpid(), flags)
}

/// The root of the container's process: the host's until it has entered its own.
fn root_of(init: &Started) -> rustix::io::Result<OwnedFd> {
    let path = format!("/proc/{}/root", init.pid.as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

fn program(hook: &Hook, input: OwnedFd) -> Result<Program, StartError> {
    let path = c_string(path_bytes(hook.path()))?;
    let args: Vec<CString> = match hook.args().as_deref() {
        Some(args) if !args.is_empty() => c_strings(Some(args))?,
        _ => vec![path.clone()],
    };
    let output = |fd: BorrowedFd<'_>| {
        rustix::io::fcntl_dupfd_cloexec(fd, 3).map_err(|e| step_failed("copy a descriptor", e))
    };
    Ok(Program {
        stdin: input,
        stdout: output(rustix::stdio::stdout())?,
        stderr: output(rustix::stdio::stderr())?,
        terminal: false,
        cwd: c"/".to_owned(),
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
        candidates: vec![path],
        args: StringArray::new(args),
        env: StringArray::new(c_strings(hook.env().as_deref())?),
    })
}

fn path_bytes(path: &Path) -> &[u8] {
    std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str())
}

/// Waits for the end of a hook; one that takes longer than `timeout_s` is killed.
fn wait(started: &Started, timeout_s: Option<i64>) -> Result<(), String> {
    let mut waited_for = [PollFd::new(&started.pidfd, PollFlags::IN)];
    let timeout = timeout_s
        .filter(|s| *s > 0)
        .map(|tv_sec| Timespec { tv_sec, tv_nsec: 0 });
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
            (None, signal) => Err(format!("it was killed by signal {}", signal.unwrap_or(0))),
        },
        Ok(None) => Ok(()),
        Err(errno) => Err(std::io::Error::from(errno).to_string()),
    }
}
