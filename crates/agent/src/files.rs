//! What the agent does with the workload's files ([`FileTask`]): in a process of its own, which is this program with
//! a task for its first word and the workload's root as descriptor 3.

use std::ffi::{OsStr, OsString};
use std::io::Write;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use gamut_plan::cell::{CellFds, Exit, StartError};
use gamut_plan::guest::{FileAnswer, FileTask, Into};
use gamut_spec::{Fault, Kind};
use gamut_store::extract::{ExtractError, Owner, extract_tar};
use gamut_store::place::{Follow, Place, PlaceError};
use gamut_store::tar::{self, IdMap, TarError};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, PidfdFlags};

/// Where the process has the workload's root.
const ROOT: &str = "/proc/self/fd/3";

/// A task that is being done.
#[derive(Debug)]
pub(crate) struct Task {
    child: Child,
    end: OwnedFd,
}

impl Task {
    /// In the root of the process `pid`.
    pub(crate) fn begin(task: &FileTask, pid: i32, fds: CellFds) -> Result<Self, StartError> {
        let failed = |error: std::io::Error| StartError::Step {
            step: "begin to copy".into(),
            reason: error.to_string(),
            hint: None,
        };
        let root = root(&format!("/proc/{pid}/root")).map_err(|errno| failed(errno.into()))?;
        let task = serde_json::to_string(task).map_err(|error| failed(error.into()))?;
        let stream = |fd: Option<OwnedFd>| fd.map_or_else(Stdio::null, Stdio::from);
        let mut command = Command::new("/proc/self/exe");
        command.arg(task).env_clear().stdin(stream(fds.stdin));
        command
            .stdout(stream(fds.stdout))
            .stderr(stream(fds.stderr));
        gamut_sys::command::pass_on(&mut command, &[root]).map_err(|errno| failed(errno.into()))?;
        let child = command.spawn().map_err(failed)?;
        let pid = Pid::from_child(&child);
        let end = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        let end = end.map_err(|errno| failed(errno.into()))?;
        Ok(Self { child, end })
    }

    /// Readable when it has ended.
    pub(crate) fn end(&self) -> BorrowedFd<'_> {
        self.end.as_fd()
    }

    /// How it ended; `None` while it runs.
    pub(crate) fn try_wait(&mut self) -> Option<Exit> {
        let status = self.child.try_wait().ok()??;
        let code = status.code().unwrap_or(255);
        Some(Exit { code, signal: None })
    }

    pub(crate) fn signal(&self, signal: i32) -> Result<(), rustix::io::Errno> {
        let signal = rustix::process::Signal::from_named_raw(signal);
        let signal = signal.ok_or(rustix::io::Errno::INVAL)?;
        rustix::process::pidfd_send_signal(&self.end, signal)
    }
}

fn root(path: &str) -> Result<OwnedFd, rustix::io::Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
}

/// Does the task; `false`: it failed, as was said.
#[must_use]
pub fn run(task: &str) -> bool {
    let task = serde_json::from_str(task).map_err(TaskError::from);
    let answer = task
        .and_then(|task| carry_out(&task))
        .unwrap_or_else(|error| {
            let (kind, hint) = error.fault();
            let message = error.to_string();
            FileAnswer::Failed {
                kind,
                message,
                hint,
            }
        });
    let text = serde_json::to_vec(&answer).unwrap_or_default();
    // Whoever does not hear it sees the end.
    let _ = std::io::stderr().write_all(&text);
    !matches!(answer, FileAnswer::Failed { .. })
}

/// Why a task was not done.
#[derive(Debug, thiserror::Error)]
enum TaskError {
    #[error("the agent is asked what it does not understand")]
    Nonsense(#[from] serde_json::Error),
    #[error(transparent)]
    Place(#[from] PlaceError),
    #[error(transparent)]
    Tar(#[from] TarError),
    #[error(transparent)]
    Extract(#[from] ExtractError),
}

impl TaskError {
    fn fault(&self) -> (Kind, Option<String>) {
        let of = |fault: &dyn Fault| (fault.kind(), fault.hint());
        match self {
            Self::Nonsense(_) => (Kind::Bug, None),
            Self::Place(error) => of(error),
            Self::Tar(error) => of(error),
            Self::Extract(error) => of(error),
        }
    }
}

fn carry_out(task: &FileTask) -> Result<FileAnswer, TaskError> {
    let root = root(ROOT).map_err(|errno| PlaceError::Open {
        path: "/".to_owned(),
        errno,
    })?;
    let path = |bytes| Path::new(OsStr::from_bytes(bytes));
    let done = |warnings| Ok(FileAnswer::Done { warnings });
    match task {
        FileTask::Source { path: at, follow } => {
            Ok(found(Place::source(&root, path(at), followed(*follow))?))
        }
        FileTask::Target { path: at } => Ok(found(Place::target(&root, path(at))?)),
        FileTask::Pack {
            path: at,
            follow,
            renamed,
        } => {
            let source = Place::source(&root, path(at), followed(*follow))?;
            let (directory, renamed) = (source.parent.as_fd(), OsStr::from_bytes(renamed));
            let out = std::io::stdout().lock();
            let mut out = tar::copy(directory, &source.name, renamed, &IdMap::default(), out)?;
            out.flush().map_err(TarError::Write)?;
            done(Vec::new())
        }
        FileTask::Unpack {
            path: at,
            into,
            owner,
        } => {
            let target = Place::target(&root, path(at))?;
            let into = match into {
                Into::It => target.open()?,
                Into::ItsParent => target.parent,
            };
            let owner = owner.map_or(Owner::AsSaid, |(uid, gid)| Owner::Fixed(uid, gid));
            let warnings = extract_tar(std::io::stdin(), into.as_fd(), owner, &IdMap::default())?;
            let warnings = warnings.kept.into_iter();
            done(warnings.map(|kept| (kept.entry, kept.what)).collect())
        }
    }
}

fn followed(follow: bool) -> Follow {
    if follow { Follow::Yes } else { Follow::No }
}

fn found(place: Place) -> FileAnswer {
    let bytes = |name: &OsString| name.as_bytes().to_vec();
    FileAnswer::Found {
        is_there: place.found.is_some(),
        is_directory: place.is_directory(),
        name: bytes(&place.name),
        called: bytes(&place.called),
    }
}
