//! Starting a process in namespaces of its own: preparation in the keeper, the child between
//! clone and exec, and what the two tell each other.
//!
//! The keeper clones early and goes on in parallel: while the child builds its mounts, the keeper
//! writes id maps, makes its control groups and connects its network; the child waits for the
//! word before it enters the groups and gives its privileges away.

pub(crate) mod alone;
pub(crate) mod bind;
pub(crate) mod cgroupfs;
pub(crate) mod child;
mod copy_up;
pub(crate) mod devices;
mod elsewhere;
pub(crate) mod exec;
pub(crate) mod files;
pub(crate) mod idmap;
pub(crate) mod manner;
pub(crate) mod mapper;
mod mount_options;
pub(crate) mod mounts;
pub(crate) mod operations;
pub(crate) mod overlay;
pub(crate) mod prepare;
pub(crate) mod privileges;
pub(crate) mod program;
mod remount;
pub(crate) mod root;
pub(crate) mod step;
pub(crate) mod still;
pub(crate) mod subordinate;
pub(crate) mod target;
pub(crate) mod terminal;
pub(crate) mod through;
mod time;
pub(crate) mod users;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use exec::JoinError;
use gamut_plan::cell::{Connect, StartError};
use gamut_plan::launch::LaunchPlan;
use gamut_sys::process::{self, namespace};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use crate::group::{Group, cgroup_failed};
use crate::limits::{self, ProcessLimits};
use child::{Child, Given, UserNamespace};
use operations::Later;
use prepare::{Prepared, errno_of, step_failed};
use step::{Failure, Phase, PhaseMark, Step};
use through::Through;

/// A process that was started, by pid and by a descriptor that cannot mean another one.
#[derive(Debug)]
pub(crate) struct Started {
    pub(crate) pid: Pid,
    pub(crate) pidfd: OwnedFd,
}

/// A clone that is killed and reaped unless the start is seen through to its end.
pub(crate) struct Half {
    started: Option<Started>,
}

impl Half {
    pub(crate) fn new(pid: Pid, pidfd: OwnedFd) -> Self {
        Half {
            started: Some(Started { pid, pidfd }),
        }
    }

    pub(crate) fn finish(mut self) -> Option<Started> {
        self.started.take()
    }
}

impl Drop for Half {
    fn drop(&mut self) {
        if let Some(Started { pid, pidfd }) = &self.started {
            let _ = rustix::process::pidfd_send_signal(pidfd, Signal::KILL);
            let _ = rustix::process::waitpid(Some(*pid), WaitOptions::empty());
        }
    }
}

/// Clones the child and sees it through to the user's program.
pub(crate) fn start(
    plan: &LaunchPlan,
    prepared: &Prepared,
    group: &mut Group<'_>,
    connect: &mut dyn Connect,
    limits: &ProcessLimits,
) -> Result<Started, StartError> {
    let (ours, theirs) =
        gamut_sys::socket::pair().map_err(|e| step_failed("make a socket pair", e))?;
    let home = time::enter(plan)?;
    let cloned = through::clone(prepared, group.for_clone()?);
    if let Ok(Through::Child(joined)) = cloned {
        drop(ours);
        let failure = prepared.child.run(theirs.as_fd(), joined);
        let _ = rustix::io::write(&theirs, &failure.to_bytes());
        process::exit_now(125);
    }
    let (pid, pidfd) = match cloned {
        Ok(Through::Parent(pid, pidfd)) => (pid, pidfd),
        Ok(Through::Child(_)) => return Err(step_failed("clone", Errno::INVAL)),
        Err(JoinError::Start(error)) => return Err(error),
        Err(JoinError::Child(failure)) if failure.step == Step::Clone => {
            return Err(clone_failed(failure.errno));
        }
        Err(JoinError::Child(failure)) => return Err(explain(&prepared.child, plan, failure)),
    };
    let half = Half::new(pid, pidfd);
    drop(theirs);
    if let Some(home) = home {
        // What else this process starts is not the container's. Who prepares a container from within its
        // user namespace has no way back, and starts nothing else.
        let _ = process::join(home.as_fd(), namespace::TIME);
    }
    let accompanied = accompany(plan, prepared, pid, group, connect, limits, ours.as_fd());
    // A child that failed closes its end, and the keeper stumbles over that: the child's own
    // reason is the better one.
    if accompanied.is_err() {
        drop_go(&ours);
    }
    let mut tell = |heard: Heard| {
        let mark = match heard {
            Heard::Phase(mark) => mark,
            // The keeper is no supervisor: what asks for one gets ENOSYS.
            Heard::Listener(_) => return After::GoOn,
            Heard::Map(tree, index) => return answer(&prepared.child, ours.as_fd(), &tree, index),
        };
        connect.mark(mark.phase.words(), mark.at_ns);
        match mark.phase {
            // Its exec is for another process to see.
            Phase::AwaitsStart => After::Stop,
            _ => After::GoOn,
        }
    };
    match (read_failure(ours.as_fd(), &mut tell)?, accompanied) {
        (Some(failure), Ok(())) => Err(explain(&prepared.child, plan, failure)),
        (Some(failure), Err(_)) if failure.step != Step::Wait => {
            Err(explain(&prepared.child, plan, failure))
        }
        (_, Err(error)) => Err(error),
        (None, Ok(())) => half
            .finish()
            .ok_or_else(|| step_failed("clone", Errno::CHILD)),
    }
}

/// Maps the owners of a tree, for a child that may not, and says how that went.
fn answer(child: &Child, socket: BorrowedFd<'_>, tree: &OwnedFd, index: u16) -> After {
    let mut ops = child.ops.iter().chain(&child.late_ops);
    let op = ops.nth(usize::from(index)).ok_or(Errno::INVAL);
    let done = op.and_then(|op| op.map(tree.as_fd()));
    let errno = done.map_or_else(Errno::raw_os_error, |()| 0);
    let _ = rustix::io::write(socket, &errno.to_ne_bytes());
    After::GoOn
}

/// Tells the child that there will be no word to go on: it ends, and says so.
fn drop_go(socket: &OwnedFd) {
    let _ = rustix::net::shutdown(socket, rustix::net::Shutdown::Write);
}

/// What the keeper does while the child mounts.
fn accompany(
    plan: &LaunchPlan,
    prepared: &Prepared,
    pid: Pid,
    group: &mut Group<'_>,
    connect: &mut dyn Connect,
    limits: &ProcessLimits,
    child: BorrowedFd<'_>,
) -> Result<(), StartError> {
    if prepared.child.user_namespace == UserNamespace::New {
        let maps = plan.spec.linux().as_ref().and_then(idmap::Maps::of);
        let maps = maps.ok_or_else(|| step_failed("find the id maps of the plan", Errno::INVAL))?;
        maps.write(pid)?;
        go(child)?;
    }
    limits::apply(limits, pid)?;
    connect.born(pid.as_raw_nonzero().get())?;
    connect.mark("keeper: process cloned, limits set", now_ns());
    if prepare::own_network(plan) {
        match &prepared.netns {
            Some(ahead) => connect.connect(ahead.as_fd())?,
            None => connect.connect(network_of(pid)?.as_fd())?,
        }
        connect.mark("keeper: network connected", now_ns());
    }
    let cgroup = group.make(pid)?;
    let tasks = match cgroup {
        Some(cgroup) => cgroup.attach_files().map_err(|e| cgroup_failed(&e))?,
        None => Vec::new(),
    };
    let hooks = prepared.child.has_hooks();
    if let (true, Some(cgroup)) = (hooks, cgroup) {
        // They find the process in its groups.
        cgroup.attach(pid).map_err(|e| cgroup_failed(&e))?;
    }
    let trees: Result<Vec<_>, _> = prepared.later.iter().map(Later::make).collect();
    let trees = trees?;
    connect.mark("keeper: cgroup made", now_ns());
    Given::send(child, &tasks, &trees)
        .map_err(|e| step_failed("wake the container's process", e))?;
    if hooks {
        match read_until(&prepared.child, child, Phase::AwaitsHooks)? {
            Some(failure) => return Err(explain(&prepared.child, plan, failure)),
            None => connect.mounted(pid.as_raw_nonzero().get())?,
        }
        go(child)?;
    }
    Ok(())
}

fn network_of(pid: Pid) -> Result<OwnedFd, StartError> {
    let path = format!("/proc/{}/ns/net", pid.as_raw_nonzero());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| step_failed("open the network namespace", e))
}

pub(crate) fn go(child: BorrowedFd<'_>) -> Result<(), StartError> {
    gamut_sys::socket::send(child, &[b"g"], &[])
        .map_err(|e| step_failed("wake the container's process", e))
}

/// Nanoseconds on the monotonic clock.
pub(crate) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Waits until the child has come to `phase`; else what kept it from that.
fn read_until(
    prepared: &Child,
    child: BorrowedFd<'_>,
    phase: Phase,
) -> Result<Option<Failure>, StartError> {
    let mut reached = false;
    let failure = read_failure(child, &mut |heard| match heard {
        Heard::Map(tree, index) => answer(prepared, child, &tree, index),
        Heard::Phase(mark) if mark.phase == phase => {
            reached = true;
            After::Stop
        }
        Heard::Phase(_) | Heard::Listener(_) => After::GoOn,
    })?;
    match (failure, reached) {
        (None, false) => Err(step_failed(
            "hear from the container's process",
            Errno::PIPE,
        )),
        (failure, _) => Ok(failure),
    }
}

/// Whether there is more to hear of a child after a phase.
pub(crate) enum After {
    GoOn,
    Stop,
}

/// What a child says before its last word.
pub(crate) enum Heard {
    Phase(PhaseMark),
    /// Of a filter that asks a supervisor.
    Listener(OwnedFd),
    /// A tree whose owners the child may not map, and the operation that it is of.
    Map(OwnedFd, u16),
}

/// The child's last word: `None` when exec closed its end. What it says before goes to `heard`.
pub(crate) fn read_failure(
    child: BorrowedFd<'_>,
    heard: &mut dyn FnMut(Heard) -> After,
) -> Result<Option<Failure>, StartError> {
    let mut buffer = [0u8; 32];
    loop {
        let mut descriptor = None;
        let received =
            gamut_sys::socket::receive_each(child, &mut buffer, |fd| descriptor = Some(fd));
        let length = match received {
            // It ended with words of ours unread; that is told once, before its own last word.
            Err(Errno::CONNRESET) => continue,
            other => {
                other.map_err(|errno| step_failed("hear from the container's process", errno))?
            }
        };
        let packet = &buffer[..length];
        let after = if let Some(descriptor) = descriptor {
            heard(match packet {
                [mapper::MAP, low, high] => {
                    Heard::Map(descriptor, u16::from_ne_bytes([*low, *high]))
                }
                _ => Heard::Listener(descriptor),
            })
        } else if let Ok(bytes) = <[u8; PhaseMark::BYTES]>::try_from(packet) {
            let mark = PhaseMark::from_bytes(bytes).map(Heard::Phase);
            mark.map_or(After::GoOn, &mut *heard)
        } else {
            return Ok(<[u8; Failure::BYTES]>::try_from(packet)
                .ok()
                .and_then(Failure::from_bytes));
        };
        if matches!(after, After::Stop) {
            return Ok(None);
        }
    }
}

fn clone_failed(errno: Errno) -> StartError {
    let hint = match errno {
        Errno::NOSPC => Some("the limit in /proc/sys/user/max_*_namespaces is reached"),
        Errno::AGAIN => Some("the limit on processes is reached"),
        Errno::PERM => Some("gamut needs root here"),
        // clone(2), CLONE_INTO_CGROUP.
        Errno::ACCESS => Some(
            "without privileges a process can be put only into a cgroup of the subtree that the \
             caller is in: call it from within the delegated one",
        ),
        _ => None,
    };
    StartError::Step {
        step: "create the namespaces".into(),
        reason: std::io::Error::from(errno).to_string(),
        hint: hint.map(Into::into),
    }
}

/// Puts a child's failure into words.
fn explain(child: &Child, plan: &LaunchPlan, failure: Failure) -> StartError {
    let Failure { step, index, errno } = failure;
    let process = plan.spec.process().as_ref();
    if let Some(error) = process.and_then(|process| manner::explain(&plan.spec, process, failure)) {
        return error;
    }
    let reason = match (step, errno) {
        // runc's words for what `target::for_mount` refuses.
        (Step::MountTarget, Errno::LOOP) => {
            "it must be mounted on ordinary directory, and a link is there".to_owned()
        }
        _ => std::io::Error::from(errno).to_string(),
    };
    let at = usize::from(index);
    let object = match step {
        Step::Mount | Step::MountTarget | Step::Device => prepare::op_target(child, index),
        Step::Mask => child
            .masked_paths
            .get(at)
            .map_or_else(String::new, |p| p.to_string_lossy().into_owned()),
        Step::ReadOnlyPath => child
            .readonly_paths
            .get(at)
            .map_or_else(String::new, |p| p.to_string_lossy().into_owned()),
        Step::Sysctl => child
            .sysctls
            .get(at)
            .map_or_else(String::new, |(p, _)| p.to_string_lossy().into_owned()),
        Step::JoinNamespace => {
            let kind = child.join.get(at).map_or(namespace::PID, |(_, kind)| *kind);
            format!("({})", prepare::kind_name(kind))
        }
        _ => String::new(),
    };
    match step {
        Step::Exec if is_directory(child, at) => StartError::ProgramNotRunnable {
            program: prepare::process(plan)
                .ok()
                .and_then(|p| p.args().clone())
                .unwrap_or_default()
                .remove(0),
            reason: "is a directory".into(),
        },
        Step::Exec | Step::Interpreter | Step::WorkingDirectory => {
            let args = prepare::process(plan)
                .ok()
                .and_then(|p| p.args().clone())
                .unwrap_or_default();
            program_failed(&args, failure)
        }
        _ => StartError::Step {
            step: format!("{} {object}", step.words()).trim_end().to_owned(),
            reason,
            hint: hint(child, failure).map(Into::into),
        },
    }
}

fn hint(child: &Child, failure: Failure) -> Option<&'static str> {
    match (failure.step, failure.errno) {
        (Step::Sysctl, _) => Some("only sysctls of the container's own namespaces can be set"),
        (Step::Mount, Errno::PERM) if child.user_namespace != UserNamespace::Callers => Some(
            "in a user namespace proc needs a pid namespace of its own and sysfs a network \
             namespace: bind the host's /proc or /sys else, as `gamut oci spec --rootless` does",
        ),
        _ => identity_hint(failure),
    }
}

fn identity_hint(failure: Failure) -> Option<&'static str> {
    match (failure.step, failure.errno) {
        (Step::User | Step::Groups, Errno::INVAL) => {
            Some("the id must be mapped in the container's user namespace")
        }
        (Step::Groups, Errno::PERM) => {
            Some("in a user namespace without ranges of ids groups cannot be set")
        }
        _ => None,
    }
}

/// Whether the candidate that could not be run is a directory: execve(2) calls it a permission.
fn is_directory(child: &Child, index: usize) -> bool {
    let Some(candidate) = child.program.candidates.get(index) else {
        return false;
    };
    let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::DIRECTORY;
    rustix::fs::openat2(
        &child.root,
        candidate.as_c_str(),
        flags,
        Mode::empty(),
        child::IN_ROOT,
    )
    .is_ok()
}

/// Docker's words for a program that could not be run; `exit.rs` of the doors knows 126 and 127.
pub(crate) fn program_failed(args: &[String], failure: Failure) -> StartError {
    let program = args.first().cloned().unwrap_or_default();
    let reason = std::io::Error::from(failure.errno);
    if failure.step == Step::WorkingDirectory {
        return StartError::Request {
            message: format!("cannot use the working directory: {reason}"),
            hint: Some("the user must be allowed to enter it".into()),
        };
    }
    let reason = words(&reason);
    if failure.step == Step::Interpreter {
        return StartError::InterpreterNotFound { program };
    }
    match failure.errno {
        Errno::NOENT | Errno::NOTDIR if program.contains('/') => StartError::ProgramNotFound {
            program,
            reason: "no such file or directory".into(),
        },
        Errno::NOENT | Errno::NOTDIR => StartError::ProgramNotFound {
            program,
            reason: "executable file not found in $PATH".into(),
        },
        Errno::NOEXEC => StartError::ProgramNotRunnable {
            program,
            reason: "exec format error".into(),
        },
        Errno::NOMEM => StartError::Step {
            step: format!("execute \"{program}\""),
            reason,
            hint: Some("the memory limit is below what the program needs to start".into()),
        },
        _ => StartError::ProgramNotRunnable { program, reason },
    }
}

/// An error's text without the number that Rust appends, in lower case as Docker has it.
fn words(error: &std::io::Error) -> String {
    let text = error.to_string();
    let text = text.split(" (os error").next().unwrap_or(&text);
    text.to_lowercase()
}

/// For messages about descriptors of our own.
pub(crate) fn io_failed(step: &str, error: &std::io::Error) -> StartError {
    step_failed(step, errno_of(error))
}
