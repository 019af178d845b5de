//! `exec`: a further process in a container, from a process document.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gamut_plan::launch::{LaunchPlan, Terminal};
use oci_spec::runtime::Process;
use rustix::fs::{Mode, OFlags};

use super::create::{Console, check_console, own_streams, send, write_pid_file};
use super::error::OciError;
use super::record::Status;
use super::{Known, Runtime, bundle, check, supervisor};
use crate::cgroup::Below;
use crate::launch::exec::{self, JoinError, Joining};
use crate::launch::prepare::{self, step_failed};
use crate::launch::program::Life;
use crate::launch::{Started, manner, terminal, users};
use crate::limits;

/// How a further process is to be made.
#[derive(Debug, Clone)]
pub struct Exec {
    pub process: Process,
    pub console: Console,
    pub pid_file: Option<PathBuf>,
    /// Takes a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    pub preserved_fds: u32,
    /// Groups below the container's own; where none is named, it is that itself.
    pub cgroup: Vec<Below>,
    /// Whether a paused container is no obstacle.
    pub paused: Paused,
}

/// Whether a process may be added to a container that is paused; it begins when that goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paused {
    Refused,
    Ignored,
}

/// A process that was added.
#[derive(Debug)]
pub struct Executed {
    pub pid: i32,
    /// The terminal's master, for [`Console::Caller`].
    pub terminal: Option<OwnedFd>,
    pub warnings: Vec<String>,
    pidfd: OwnedFd,
}

impl Executed {
    /// Readable when the process has ended.
    #[must_use]
    pub fn pidfd(&self) -> &OwnedFd {
        &self.pidfd
    }
}

/// A process document, and what of it was passed over.
///
/// # Errors
/// What is wrong with it.
pub fn read_process(path: &Path) -> Result<(Process, Vec<String>), OciError> {
    bundle::process(path)
}

impl Runtime {
    /// Adds a process to a container.
    ///
    /// # Errors
    /// A container that does not run, or why the program could not be run.
    pub fn exec(&self, known: &Known, options: &Exec) -> Result<Executed, OciError> {
        match (known.status(), options.paused) {
            (Status::Created | Status::Running, _) | (Status::Paused, Paused::Ignored) => {}
            (status, _) => {
                return Err(OciError::State {
                    act: "exec in",
                    status,
                });
            }
        }
        check_console(&options.console, options.process.terminal())?;
        check::check_process(&options.process).map_err(|reason| OciError::Config {
            path: "process".into(),
            reason,
        })?;
        let init = known.init()?;
        let record = &known.record;
        let mut spec = record.spec.clone();
        spec.set_process(Some(options.process.clone()));
        let plan = bundle::plan(&record.id, spec, &record.cgroup, self.cache());
        let cgroup = match known.cgroup() {
            Err(OciError::NoGroup(_)) if options.cgroup.is_empty() => None,
            found => Some(
                found?
                    .descended(&options.cgroup)
                    .map_err(OciError::Cgroup)?,
            ),
        };
        let (mut program, master) = program(&plan, &init)?;
        program.manner = std::mem::take(&mut program.manner).anywhere();
        program.life = Life::ItsOwn;
        program.preserved = options.preserved_fds;
        self.tell_of(&program);
        self.mark("program prepared");
        let cpus = program.manner.begins_on();
        let wanted = limits::of(&plan);
        let joining = Joining {
            place: exec::Place::Container,
            init: init.pidfd.as_fd(),
            namespaces: exec::joined(&plan),
            // In a mount namespace of its own, that is the root there.
            root: match check::own_mounts(&plan.spec) {
                true => None,
                false => Some(root_of(&init)?),
            },
            cgroup: cgroup.as_ref(),
            beside: Some(init.pid),
            follows: false,
            limits: &wanted,
            listener: &|pid, listener| {
                let mut asking = record.clone();
                asking.pid = pid.as_raw_nonzero().get();
                // Without a supervisor what asks for one gets ENOSYS.
                let _ = supervisor::give(&asking, Status::Running, &listener);
            },
        };
        let started = exec::join(&joining, &program).map_err(|error| match error {
            JoinError::Start(error) => error,
            JoinError::Child(failure) => {
                let args = options.process.args().as_deref().unwrap_or_default();
                let error = manner::explain(&plan.spec, &options.process, failure);
                error.unwrap_or_else(|| exec::explain(args, failure))
            }
        })?;
        self.mark("container joined, program executed");
        let pid = started.pid.as_raw_nonzero().get();
        if let (Some(tell), Some(cpus)) = (&self.tell, cpus) {
            // Headed as runc's, whose debug log is searched for it.
            tell(&format!("nsexec[{pid}]: affinity: {cpus:#x}"));
        }
        let terminal = match (&options.console, master) {
            (Console::Socket(path), Some(master)) => {
                send(path, b"/dev/ptmx", master.as_fd())?;
                None
            }
            (_, master) => master,
        };
        if let Some(path) = &options.pidfd_socket {
            send(path, b"pidfd", started.pidfd.as_fd())?;
        }
        write_pid_file(options.pid_file.as_deref(), pid)?;
        Ok(Executed {
            pid,
            terminal,
            warnings: wanted.warnings,
            pidfd: started.pidfd,
        })
    }
}

fn root_of(init: &Started) -> Result<OwnedFd, OciError> {
    let path = format!("/proc/{}/root", init.pid.as_raw_nonzero());
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|errno| step_failed("open the container's root", errno).into())
}

fn program(
    plan: &LaunchPlan,
    init: &Started,
) -> Result<(crate::launch::program::Program, Option<OwnedFd>), OciError> {
    let root = root_of(init)?;
    let identity = users::resolve(root.as_fd(), &plan.user)?;
    let pair = match plan.streams.terminal {
        Terminal::None => None,
        Terminal::Pty { rows, columns } => {
            let devpts = terminal::devpts_below(root.as_fd())?;
            let pair = terminal::open(devpts.as_fd(), rows, columns)?;
            terminal::plain_lines(&pair.master)?;
            Some(pair)
        }
    };
    let (master, slave) = pair.map_or((None, None), |pair| (Some(pair.master), Some(pair.slave)));
    let streams = prepare::streams(own_streams(), slave.as_ref())?;
    let program = prepare::program(plan, streams, &identity, slave.is_some())?;
    Ok((program, master))
}
