//! Starting this very program again under another name, in a pid namespace of its own: std's `Command`
//! makes no namespaces.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use crate::process::{
    self, Lineage, Side, StringArray, clone3, close_on_exec_from, execve, exit_now, namespace,
};

const OWN: &CStr = c"/proc/self/exe";
/// What the child ends with if it cannot become the program, as of a shell.
const NOT_EXECUTED: i32 = 127;

/// A process that was started.
#[derive(Debug)]
pub struct Spawned {
    /// To be reaped by who started it.
    pub pid: Pid,
    /// Readable when it has ended.
    pub pidfd: OwnedFd,
}

/// Starts this program as `name` (its `argv[0]`, and only word), as the first process of a new pid
/// namespace, with `stdin` for its standard input, nothing for its output, `stderr` for its errors, this
/// environment (`NAME=VALUE`) and no other descriptor. It is killed when the calling *thread* ends.
///
/// # Errors
/// As [`clone3`], and of open(2) for /dev/null. A program that cannot be executed ends with status 127.
pub fn own_program(
    name: &CStr,
    stdin: BorrowedFd<'_>,
    stderr: Option<BorrowedFd<'_>>,
    environment: Vec<CString>,
) -> Result<Spawned, Errno> {
    let words = StringArray::new(vec![CString::from(name)]);
    let environment = StringArray::new(environment);
    let null = rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())?;
    let stderr = stderr.unwrap_or(null.as_fd());
    // SAFETY: the caller may have other threads, whose locks the child would see locked for ever; it
    // takes none and allocates nothing: it makes system calls and becomes a program, or ends.
    let side = unsafe { clone3(namespace::PID, None, Lineage::Child) }?;
    match side {
        Side::Parent { child, pidfd } => Ok(Spawned { pid: child, pidfd }),
        Side::Child => {
            let _ = become_program(stdin, null.as_fd(), stderr, &words, &environment);
            exit_now(NOT_EXECUTED)
        }
    }
}

fn become_program(
    stdin: BorrowedFd<'_>,
    stdout: BorrowedFd<'_>,
    stderr: BorrowedFd<'_>,
    words: &StringArray,
    environment: &StringArray,
) -> Result<(), Errno> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))?;
    process::install_stdio(stdin, stdout, stderr)?;
    close_on_exec_from(3)?;
    crate::signal::reset_for_exec();
    Err(execve(OWN, words, environment))
}
