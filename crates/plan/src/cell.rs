//! The contract of one way to isolate a workload.
//!
//! Everything here is called from the keeper, which has one thread and one epoll loop: nothing
//! but `start`, `exec` and `destroy` may block, and those only for the length of a start.

use std::os::fd::{BorrowedFd, OwnedFd};

use gamut_spec::{Fault, Kind};
use oci_spec::runtime::LinuxResources;
use serde::{Deserialize, Serialize};

use crate::host::{HostFacts, Missing};
use crate::launch::{ExecPlan, LaunchPlan};
use crate::stats::Stats;

/// Names a process of a workload: 0 is the main one, others count up as they are made.
pub type ProcessId = u32;

/// The workload's main process.
pub const MAIN: ProcessId = 0;

/// The limits that `update` may change while the workload runs.
pub type Limits = LinuxResources;

/// The standard streams of a process to be; `None` is /dev/null. With a terminal all are `None`:
/// the cell makes the terminal and hands its master out.
#[derive(Debug, Default)]
pub struct CellFds {
    pub stdin: Option<OwnedFd>,
    pub stdout: Option<OwnedFd>,
    pub stderr: Option<OwnedFd>,
}

/// Connects a workload that is being started; called when its network namespace exists, while the
/// cell goes on with its other work.
pub trait Connect {
    /// # Errors
    /// Anything that keeps the workload from being reached; the start fails with it.
    fn connect(&mut self, netns: BorrowedFd<'_>) -> Result<(), StartError>;

    /// For a machine in place of [`Connect::connect`]: the other end of a TAP device on the workload's
    /// network. `None`: it has no network.
    ///
    /// # Errors
    /// As [`Connect::connect`].
    fn tap(&mut self) -> Result<Option<OwnedFd>, StartError> {
        Ok(None)
    }

    /// A network namespace that was made ahead: a workload on the host's ids that is to have its
    /// own gets this one, and `connect` is called with it.
    fn namespace(&self) -> Option<BorrowedFd<'_>> {
        None
    }

    /// The root of the plan, mounted ahead: a workload on the host's ids gets this one.
    fn root(&mut self) -> Option<OwnedFd> {
        None
    }

    /// The workload's first process is there, in namespaces of its own, and waits for its cell.
    ///
    /// # Errors
    /// Anything that is to end the start.
    fn born(&mut self, _pid: i32) -> Result<(), StartError> {
        Ok(())
    }

    /// The workload's mounts are made and its root is not entered yet. Called only where the start
    /// was asked to wait there, with the process that is to become the workload.
    ///
    /// # Errors
    /// Anything that is to end the start.
    fn mounted(&mut self, _pid: i32) -> Result<(), StartError> {
        Ok(())
    }

    /// A phase of the start was over at `at_ns` on the monotonic clock; told in no order.
    fn mark(&mut self, _phase: &str, _at_ns: u64) {}
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Exit {
    /// 0–255; 128 + n for a death by signal n.
    pub code: i32,
    pub signal: Option<i32>,
}

/// One way to isolate a workload. Implemented by `container`; later by `sandbox` and `vmm`.
pub trait Cell {
    /// What this host lacks for this level; empty: ready.
    fn probe(host: &HostFacts) -> Vec<Missing>
    where
        Self: Sized;

    /// Starts the workload; when it returns the main process runs the user's program.
    ///
    /// # Errors
    /// Names the step that failed; nothing is left behind.
    fn start(
        plan: &LaunchPlan,
        fds: CellFds,
        connect: &mut dyn Connect,
    ) -> Result<Self, StartError>
    where
        Self: Sized;

    /// Starts a further process; returns when it runs the program.
    ///
    /// # Errors
    /// As `start`.
    fn exec(&mut self, plan: &ExecPlan, fds: CellFds) -> Result<ProcessId, StartError>;

    /// The host's process id, for `ps` and `inspect`; 0 if this level has none.
    fn pid(&self, of: ProcessId) -> i32;

    /// The master side of a process's terminal, or a stream socket that leads to one, to be taken once.
    fn take_terminal(&mut self, of: ProcessId) -> Option<OwnedFd>;

    /// A descriptor that turns readable when the process has ended.
    fn exit_fd(&self, of: ProcessId) -> Option<BorrowedFd<'_>>;

    /// How the process ended, and forgets it; `None` while it runs.
    ///
    /// # Errors
    /// [`CellError::NoProcess`] for one that never was, or was already told of.
    fn try_wait(&mut self, of: ProcessId) -> Result<Option<Exit>, CellError>;

    /// # Errors
    /// [`CellError::NoProcess`] when it has ended.
    fn signal(&self, to: ProcessId, signal: i32) -> Result<(), CellError>;

    /// # Errors
    /// When the counters cannot be read.
    fn stats(&self) -> Result<Stats, CellError>;

    /// # Errors
    /// When the host refuses a limit; the others are applied.
    fn update(&self, limits: &Limits) -> Result<(), CellError>;

    /// Whether the OOM killer has taken a process of this workload.
    fn oom_killed(&self) -> bool;

    /// Ends every process and removes what the cell made. May be called on a half-dead cell.
    ///
    /// # Errors
    /// Names what could not be removed.
    fn destroy(&mut self) -> Result<(), CellError>;

    /// What the user should know: limits that were clamped, controllers that are missing.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }

    /// Pause and resume, where the level can.
    fn freezer(&self) -> Option<&dyn Freezer> {
        None
    }

    /// Sizes of terminals, where what [`Cell::take_terminal`] gives is no terminal but a stream to one; else
    /// whoever has that sets them.
    fn resizer(&self) -> Option<&dyn Resizer> {
        None
    }
}

/// Terminals that are elsewhere.
pub trait Resizer {
    /// Rows and columns; a process without a terminal is fine.
    ///
    /// # Errors
    /// [`CellError::NoProcess`], or that the terminal cannot be reached.
    fn resize(&self, process: ProcessId, rows: u16, columns: u16) -> Result<(), CellError>;
}

/// Stopping all processes of a workload where they stand, and letting them go on.
pub trait Freezer {
    /// # Errors
    /// When the host refuses.
    fn freeze(&self) -> Result<(), CellError>;
    /// # Errors
    /// When the host refuses.
    fn thaw(&self) -> Result<(), CellError>;
}

/// A start that failed: at which step, on what, and the kernel's reason.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum StartError {
    /// The program is not in the image: exit code 127.
    #[error("exec: \"{program}\": {reason}")]
    ProgramNotFound { program: String, reason: String },
    /// The program is there, and what is to run it is not: exit code 127.
    #[error("exec {program}: no such file or directory")]
    InterpreterNotFound { program: String },
    /// The program is there and cannot be run: exit code 126.
    #[error("exec: \"{program}\": {reason}")]
    ProgramNotRunnable { program: String, reason: String },
    /// The user, group or directory that was asked for is not in the image.
    #[error("{message}")]
    Request {
        message: String,
        hint: Option<String>,
    },
    /// What was asked for is in somebody's hands already.
    #[error("{message}")]
    Conflict {
        message: String,
        hint: Option<String>,
    },
    /// The host refused a step.
    #[error("cannot {step}: {reason}")]
    Step {
        step: String,
        reason: String,
        hint: Option<String>,
    },
}

impl Fault for StartError {
    fn kind(&self) -> Kind {
        match self {
            StartError::ProgramNotFound { .. } | StartError::InterpreterNotFound { .. } => {
                Kind::NotFound
            }
            StartError::ProgramNotRunnable { .. } => Kind::Denied,
            StartError::Request { .. } => Kind::Invalid,
            StartError::Conflict { .. } => Kind::Conflict,
            StartError::Step { .. } => Kind::HostLacks,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            StartError::ProgramNotFound { program, .. } => Some(format!(
                "the image has no such program; look with `gamut run --rm -it IMAGE sh`, or check the spelling of `{program}`"
            )),
            StartError::InterpreterNotFound { program } => Some(format!(
                "`{program}` is there; the interpreter that its first line names, or the loader that it is linked for, is not in the image"
            )),
            StartError::ProgramNotRunnable { .. } => {
                Some("a program must be a file with the x bit, built for this machine".into())
            }
            StartError::Request { hint, .. }
            | StartError::Conflict { hint, .. }
            | StartError::Step { hint, .. } => hint.clone(),
        }
    }
}

/// An operation on a started cell that failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum CellError {
    #[error("no such process in the container")]
    NoProcess,
    #[error("cannot {act}: {reason}")]
    Refused {
        act: String,
        reason: String,
        hint: Option<String>,
    },
}

impl Fault for CellError {
    fn kind(&self) -> Kind {
        match self {
            CellError::NoProcess => Kind::NotFound,
            CellError::Refused { .. } => Kind::HostLacks,
        }
    }
    fn hint(&self) -> Option<String> {
        match self {
            CellError::NoProcess => None,
            CellError::Refused { hint, .. } => hint.clone(),
        }
    }
}
