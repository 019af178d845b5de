//! A process in the foreground: its terminal is shown on ours, our signals go to it, and its
//! status becomes ours.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use gamut_sys::signal;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;
use rustix::process::{WaitId, WaitIdOptions};

use super::{Done, OciFailure};
use crate::terminal::{self, RawMode};

/// What is in the foreground.
pub(super) struct Process<'a> {
    pub(super) pidfd: &'a OwnedFd,
    pub(super) terminal: Option<OwnedFd>,
}

/// signal(7), on every architecture that gamut is built for.
const WINCH: i32 = 28;

/// HUP, INT, QUIT, USR1, USR2, TERM, CONT.
const FORWARDED: [i32; 8] = [1, 2, 3, 10, 12, 15, 18, WINCH];

/// Waits for the end of the process, which is a child of this one.
pub(super) fn follow(process: Process<'_>) -> Done {
    let failed = |errno: Errno| OciFailure::Output(errno.into());
    let signals = signal::descriptor(&FORWARDED).map_err(failed)?;
    let stdin = std::io::stdin();
    let raw = match &process.terminal {
        Some(_) if terminal::is_terminal(&stdin) => RawMode::enter(&stdin).ok(),
        _ => None,
    };
    if let Some(terminal) = &process.terminal {
        resize(terminal.as_fd());
    }
    let mut input = process.terminal.is_some();
    let mut output = process.terminal.is_some();
    loop {
        // One that is not waited for must not be in the set: the end of its other side is told unasked.
        let idle = || PollFd::new(process.pidfd, PollFlags::empty());
        let master = process.terminal.as_ref().filter(|_| output);
        let mut fds = [
            PollFd::new(process.pidfd, PollFlags::IN),
            PollFd::new(&signals, PollFlags::IN),
            master.map_or_else(idle, |master| PollFd::new(master, PollFlags::IN)),
            if input {
                PollFd::new(&stdin, PollFlags::IN)
            } else {
                idle()
            },
        ];
        rustix::io::retry_on_intr(|| rustix::event::poll(&mut fds, None)).map_err(failed)?;
        let ready = fds.each_ref().map(|fd| !fd.revents().is_empty());
        let [ended, signalled, said, typed] = ready;
        if signalled {
            for number in signal::drain(&signals).map_err(failed)? {
                forward(number, &process);
            }
        }
        if let Some(terminal) = &process.terminal {
            if said && output {
                output = copy(terminal.as_fd(), rustix::stdio::stdout());
            }
            if typed && input {
                input = copy(stdin.as_fd(), terminal.as_fd());
            }
        }
        // What it wrote last is shown first.
        if ended && (!output || !said) {
            break;
        }
    }
    drop(raw);
    status_of(process.pidfd)
}

fn forward(number: i32, process: &Process<'_>) {
    if number == WINCH {
        if let Some(terminal) = &process.terminal {
            resize(terminal.as_fd());
        }
    } else if let Some(named) = signal::from_number(number) {
        let _ = rustix::process::pidfd_send_signal(process.pidfd, named);
    }
}

fn resize(terminal: BorrowedFd<'_>) {
    if let Ok(size) = rustix::termios::tcgetwinsize(rustix::stdio::stdin()) {
        let _ = rustix::termios::tcsetwinsize(terminal, size);
    }
}

/// Whether there may be more to copy: the end of a terminal is an error of reading it.
fn copy(from: BorrowedFd<'_>, to: BorrowedFd<'_>) -> bool {
    let mut buffer = [0; 16 << 10];
    match rustix::io::read(from, &mut buffer) {
        Ok(0) => false,
        Ok(length) => {
            let mut rest = &buffer[..length];
            while !rest.is_empty() {
                match rustix::io::write(to, rest) {
                    Ok(written) => rest = &rest[written..],
                    Err(Errno::INTR | Errno::AGAIN) => {}
                    Err(_) => return false,
                }
            }
            true
        }
        Err(Errno::INTR | Errno::AGAIN) => true,
        Err(_) => false,
    }
}

/// Its status as a shell has it.
fn status_of(pidfd: &OwnedFd) -> Done {
    let waited = rustix::io::retry_on_intr(|| {
        rustix::process::waitid(WaitId::PidFd(pidfd.as_fd()), WaitIdOptions::EXITED)
    });
    let status = waited.map_err(|errno| OciFailure::Output(errno.into()))?;
    let code = status.as_ref().and_then(|s| s.exit_status());
    let signal = status.as_ref().and_then(|s| s.terminating_signal());
    let code = code.or(signal.map(|n| 128 + n)).unwrap_or(255);
    Ok(ExitCode::from(u8::try_from(code).unwrap_or(255)))
}
