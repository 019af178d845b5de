//! A clone by way of another process: one that enters namespaces which this process cannot enter and
//! come back from, makes the process there as its own sibling, and is gone.
//!
//! Who has entered a user namespace has left the one above for good, and what that one owned is out
//! of reach from then on. So the order is the stepping stone's: what is to be joined from outside,
//! the user namespace, the rest. pid and user namespaces (pid_namespaces(7), user_namespaces(7)).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_plan::cell::StartError;
use gamut_sys::process::{self, Lineage, Side, namespace};
use gamut_sys::socket;
use rustix::io::Errno;
use rustix::process::{DumpableBehavior, Pid, WaitOptions};

use super::exec::JoinError;
use super::prepare::{Prepared, step_failed};
use super::step::{At, Failure, Step};

/// Which side of [`clone_through`] the caller is on.
pub(crate) enum Through {
    Parent(Pid, OwnedFd),
    /// In the new process: which namespaces were joined on the way.
    Child(u64),
}

/// Makes the child; in a user or pid namespace that is there, by way of another process.
pub(super) fn clone(
    prepared: &Prepared,
    into: Option<BorrowedFd<'_>>,
) -> Result<Through, JoinError> {
    let pid = prepared.pid_namespace.as_ref();
    if !prepared.goes_through() {
        if let Some(pid) = pid {
            process::join(pid.as_fd(), namespace::PID)
                .map_err(|e| step_failed("join the pid namespace", e))?;
        }
        // SAFETY: the keeper has one thread (its `main` starts none, and says so), and so has an OCI
        // runtime, and each test that starts a cell.
        let side = unsafe { process::clone3(prepared.namespaces, into, prepared.lineage) };
        let failed = |errno| JoinError::Child(Failure::new(Step::Clone, errno));
        return Ok(match side.map_err(failed)? {
            Side::Parent { child, pidfd } => Through::Parent(child, pidfd),
            Side::Child => Through::Child(0),
        });
    }
    let pid = pid.map(|fd| (fd.as_fd(), namespace::PID));
    // Who is in a cgroup namespace puts no process into a group from outside of it (cgroups(7),
    // "nsdelegate"): that one is joined by the child.
    let others = prepared.child.join.iter();
    let others = others.filter(|(_, kind)| *kind != namespace::CGROUP);
    let all = others.map(|(fd, kind)| (fd.as_fd(), *kind)).chain(pid);
    let user = prepared.user_namespace.as_ref().map(AsFd::as_fd);
    clone_through(&|| enter(all.clone(), user), prepared.namespaces, into)
}

/// Clones into new namespaces of a process that has `enter`ed others, which gives their kinds. The
/// new process is this one's child.
///
/// # Errors
/// What kept the stepping stone from entering, or from cloning.
pub(crate) fn clone_through(
    enter: &dyn Fn() -> Result<u64, Failure>,
    namespaces: u64,
    into: Option<BorrowedFd<'_>>,
) -> Result<Through, JoinError> {
    let (ours, theirs) = socket::pair().map_err(|e| step_failed("make a socket pair", e))?;
    // SAFETY: this process has one thread; see `super::start`.
    let stone = unsafe { process::clone3(0, None, Lineage::Child) };
    let stone = match stone.map_err(|e| step_failed("start a process", e))? {
        Side::Parent { child, .. } => child,
        Side::Child => {
            let made = enter().and_then(|joined| {
                // SAFETY: the stepping stone is a copy with one thread, too.
                let side = unsafe { process::clone3(namespaces, into, Lineage::Sibling) };
                side.map(|side| (side, joined)).at(Step::Clone)
            });
            let told = match made {
                Ok((Side::Child, joined)) => return Ok(Through::Child(joined)),
                Ok((Side::Parent { child, pidfd }, _)) => {
                    let pid = child.as_raw_nonzero().get().to_ne_bytes();
                    socket::send(theirs.as_fd(), &[&pid], &[pidfd.as_fd()])
                }
                Err(failure) => socket::send(theirs.as_fd(), &[&failure.to_bytes()], &[]),
            };
            process::exit_now(i32::from(told.is_err()));
        }
    };
    drop(theirs);
    let heard = hear(ours.as_fd());
    let _ =
        rustix::io::retry_on_intr(|| rustix::process::waitpid(Some(stone), WaitOptions::empty()));
    heard
}

fn hear(stone: BorrowedFd<'_>) -> Result<Through, JoinError> {
    let lost = |errno| -> StartError { step_failed("start a process in the namespaces", errno) };
    let mut buffer = [0u8; Failure::BYTES];
    let mut pidfd = None;
    let length = socket::receive_each(stone, &mut buffer, |fd| pidfd = Some(fd)).map_err(lost)?;
    if let Some(failure) = (length == Failure::BYTES)
        .then(|| Failure::from_bytes(buffer))
        .flatten()
    {
        return Err(JoinError::Child(failure));
    }
    let [a, b, c, d, ..] = buffer;
    match (
        length,
        Pid::from_raw(i32::from_ne_bytes([a, b, c, d])),
        pidfd,
    ) {
        (4, Some(pid), Some(pidfd)) => Ok(Through::Parent(pid, pidfd)),
        _ => Err(lost(Errno::PIPE).into()),
    }
}

/// Joins the namespaces of `join` and then `user`, with those left of `join` that only somebody in
/// there may. `user`: `None` for one that is made with the process, to which none of `join` belongs.
pub(crate) fn enter<'a>(
    join: impl Iterator<Item = (BorrowedFd<'a>, u64)> + Clone,
    user: Option<BorrowedFd<'_>>,
) -> Result<u64, Failure> {
    let mut joined = 0;
    if let Some(user) = user {
        shut()?;
        joined |= join_each(join.clone(), joined, Foreign::PassedOver)?;
        process::join(user, namespace::USER).at(Step::JoinNamespace)?;
    }
    Ok(joined | join_each(join, joined, Foreign::Refused)?)
}

/// What becomes of a namespace that another user namespace owns.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Foreign {
    PassedOver,
    Refused,
}

fn join_each<'a>(
    join: impl Iterator<Item = (BorrowedFd<'a>, u64)>,
    but: u64,
    foreign: Foreign,
) -> Result<u64, Failure> {
    let mut joined = 0;
    for (index, (fd, kind)) in join.enumerate().filter(|(_, (_, kind))| but & kind == 0) {
        match process::join(fd, kind) {
            Ok(()) => joined |= kind,
            Err(Errno::PERM) if foreign == Foreign::PassedOver => {}
            Err(errno) => return Err(errno).at_index(Step::JoinNamespace, index),
        }
    }
    Ok(joined)
}

/// For who enters a user namespace that others are in: nobody there may look into this process, or
/// reach its descriptors (CVE-2016-9962).
pub(crate) fn shut() -> Result<(), Failure> {
    rustix::process::set_dumpable_behavior(DumpableBehavior::NotDumpable).at(Step::DeathSignal)
}
