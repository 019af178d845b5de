//! A copy of this process that goes on by itself: fork(2), where it begins, and what it is called.

use std::ffi::CStr;

use rustix::io::Errno;
use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_getcpu, sched_setaffinity};

use crate::mount::last_errno;

/// Which side of a [`fork`] the caller is on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Forked {
    Parent,
    Child,
}

/// Makes a copy of this process, which goes on from here too; fork(2).
///
/// # Errors
/// `EBUSY`: this process has several threads, of which the copy would have one; `EAGAIN`, `ENOMEM`.
pub fn fork() -> Result<Forked, Errno> {
    // A directory for each thread, beside `.` and `..` (proc_pid_task(5)).
    if rustix::fs::stat(c"/proc/self/task")?.st_nlink != 3 {
        return Err(Errno::BUSY);
    }
    // SAFETY: what makes fork unsafe is locks that other threads hold in the copied memory; there
    // is one thread, which was counted just now and is here, so it has started no other since.
    match unsafe { libc::fork() } {
        -1 => Err(last_errno()),
        0 => Ok(Forked::Child),
        child => {
            if let Some(child) = Pid::from_raw(child) {
                begin_elsewhere(child);
            }
            Ok(Forked::Parent)
        }
    }
}

/// Parts a parent and its new child, so that both run at once: `moved` goes to another processor
/// than this one. Most kernels do that by themselves; one that packs its tasks leaves the child
/// waiting for milliseconds. Afterwards it may run wherever it might before.
fn part(moved: Option<Pid>) {
    let Ok(cpus) = sched_getaffinity(None) else {
        return;
    };
    let mut others = cpus;
    others.unset(sched_getcpu());
    if others.count() == 0 || sched_setaffinity(moved, &others).is_err() {
        return;
    }
    // All there will ever be, which its cpuset limits, also one that grows: the processors of today
    // would be a limit for good. It is right only if there was none.
    let mut all = CpuSet::new();
    (0..CpuSet::MAX_CPU).for_each(|cpu| all.set(cpu));
    let _ = sched_setaffinity(moved, &all);
    if sched_getaffinity(moved) != Ok(cpus) {
        let _ = sched_setaffinity(moved, &cpus);
    }
}

/// For a parent in a hurry: its child begins elsewhere.
fn begin_elsewhere(child: Pid) {
    part(Some(child));
}

/// For a parent whose child is in a hurry: it begins here, at once, and the parent goes on elsewhere.
pub(crate) fn make_way() {
    part(None);
}

// SAFETY: glibc and musl both have this variable, of this type (program_invocation_name(3)).
unsafe extern "C" {
    /// The first argument of this process where the kernel has put it.
    static program_invocation_name: *mut libc::c_char;
}

/// Replaces the command line that others see of this process (proc_pid_cmdline(5)) by one word.
/// From now on that word is all that `std::env::args` finds, too.
///
/// # Errors
/// `E2BIG`: it is longer than the present command line; what proc(5) says.
pub fn set_command_line(word: &CStr) -> Result<(), Errno> {
    let present = std::fs::read("/proc/self/cmdline")
        .map_err(|e| Errno::from_io_error(&e).unwrap_or(Errno::IO))?;
    let word = word.to_bytes_with_nul();
    if present.len() < word.len() {
        return Err(Errno::TOOBIG);
    }
    // SAFETY: the C library has set this at its start, to a string that is never freed.
    let start = unsafe { program_invocation_name };
    let first = present.split(|byte| *byte == 0).next().unwrap_or_default();
    // SAFETY: as above; a NUL ends it.
    if unsafe { CStr::from_ptr(start) }.to_bytes() != first {
        return Err(Errno::INVAL);
    }
    // SAFETY: the kernel lays the arguments out one behind the other in this process's own stack
    // (execve(2)), as many bytes as `cmdline` has, from the first argument on, which `start` was
    // compared with. Nothing in this house keeps a reference into them: `std::env::args` copies.
    let area = unsafe { std::slice::from_raw_parts_mut(start.cast::<u8>(), present.len()) };
    let (front, rest) = area.split_at_mut(word.len());
    front.copy_from_slice(word);
    rest.fill(0);
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The harness runs this in a thread of its own.
    #[test]
    fn a_process_with_threads_is_not_forked() {
        assert_eq!(fork(), Err(Errno::BUSY));
    }

    #[test]
    fn a_child_may_run_wherever_its_parent_may() {
        let mut child = std::process::Command::new("/bin/sleep")
            .arg("10")
            .spawn()
            .unwrap();
        let pid = Pid::from_child(&child);
        let home = sched_getaffinity(None).unwrap();
        begin_elsewhere(pid);
        assert_eq!(sched_getaffinity(Some(pid)), Ok(home));
        // A limit of the parent's is the child's too.
        let mut some = home;
        if home.count() > 2 {
            some.unset(sched_getcpu());
        }
        sched_setaffinity(None, &some).unwrap();
        begin_elsewhere(pid);
        assert_eq!(sched_getaffinity(Some(pid)), Ok(some));
        child.kill().unwrap();
        child.wait().unwrap();
    }

    #[test]
    fn a_command_line_that_is_too_short_stays() {
        let before = std::fs::read("/proc/self/cmdline").unwrap();
        let long = std::ffi::CString::new(vec![b'x'; before.len()]).unwrap();
        assert_eq!(set_command_line(&long), Err(Errno::TOOBIG));
        assert_eq!(std::fs::read("/proc/self/cmdline").unwrap(), before);
    }
}
