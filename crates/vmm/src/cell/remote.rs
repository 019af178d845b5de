//! [`Remote`]: a monitor in a process of its own, spoken to by [`crate::wire`].

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_plan::cell::CellError;
use rustix::fs::FileType;
use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use super::Monitor;
use crate::monitor::{EXIT_RESET, EXIT_TRIPLE_FAULT};
use crate::wire::Command;

/// How much of a console is told.
const LAST_WORDS_BYTES: u64 = 2048;
/// How many lines of it.
const LAST_WORDS_LINES: usize = 4;

/// A child of this process that is a monitor.
#[derive(Debug)]
pub struct Remote {
    pid: Pid,
    pidfd: OwnedFd,
    socket: OwnedFd,
    /// What the guest's console is written to: a file, or the other end of a pipe that does not block.
    console: Option<OwnedFd>,
    has_ended: bool,
}

impl Remote {
    /// `socket` is our end of its standard input. A `console` that is a file is read with offsets: its position
    /// is the monitor's.
    #[must_use]
    pub fn new(pid: Pid, pidfd: OwnedFd, socket: OwnedFd, console: Option<OwnedFd>) -> Self {
        Remote {
            pid,
            pidfd,
            socket,
            console,
            has_ended: false,
        }
    }

    /// How the monitor has ended, if it has; it can be waited for later.
    fn end_of_process(&self) -> Option<String> {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::PidFd(self.pidfd.as_fd()), options);
        let status = status.ok().flatten()?;
        Some(match (status.exit_status(), status.terminating_signal()) {
            (Some(code), _) if code == i32::from(EXIT_RESET) => "it has reset itself".to_owned(),
            (Some(code), _) if code == i32::from(EXIT_TRIPLE_FAULT) => {
                "it has met a triple fault".to_owned()
            }
            (Some(code), _) => format!("its monitor has ended with status {code}"),
            (None, Some(signal)) => format!("its monitor was killed by signal {signal}"),
            (None, None) => return None,
        })
    }

    /// For what it is told beyond what a cell needs.
    #[must_use]
    pub fn socket(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The end of what a pipe has in it, or a file.
fn read_last(console: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
    let stat = rustix::fs::fstat(console)?;
    let mut text = Vec::new();
    let mut piece = [0; LAST_WORDS_BYTES as usize];
    if FileType::from_raw_mode(stat.st_mode) == FileType::Fifo {
        while let Ok(length @ 1..) =
            rustix::io::retry_on_intr(|| rustix::io::read(console, &mut piece))
        {
            text.extend_from_slice(&piece[..length]);
            let surplus = text.len().saturating_sub(piece.len());
            text.drain(..surplus);
        }
    } else {
        let size = u64::try_from(stat.st_size).unwrap_or(0);
        let offset = size.saturating_sub(LAST_WORDS_BYTES);
        let length = rustix::io::pread(console, &mut piece, offset)?;
        text.extend_from_slice(&piece[..length]);
    }
    Ok(text)
}

fn last_lines(text: &str) -> Option<String> {
    let lines: Vec<&str> = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(LAST_WORDS_LINES)..];
    (!last.is_empty()).then(|| last.join(" | "))
}

fn refused(act: &str, errno: Errno) -> CellError {
    CellError::Refused {
        act: act.into(),
        reason: std::io::Error::from(errno).to_string(),
        hint: None,
    }
}

impl Monitor for Remote {
    fn stream(&self, port: u32, descriptor: OwnedFd) -> Result<(), CellError> {
        let failed = |errno| refused("tell the monitor", errno);
        let packet = serde_json::to_vec(&Command::Stream { port });
        let packet = packet.map_err(|_| failed(Errno::INVAL))?;
        let (socket, descriptors) = (self.socket.as_fd(), [descriptor.as_fd()]);
        // A monitor whose socket is full has not read for hundreds of streams: nobody waits for that.
        let patience = gamut_sys::socket::Patience::Now;
        gamut_sys::socket::send_with(socket, &[&packet], &descriptors, patience).map_err(failed)
    }

    fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    fn end(&mut self) -> Result<(), CellError> {
        if self.has_ended {
            return Ok(());
        }
        let failed = |errno| refused("end the machine", errno);
        match rustix::process::pidfd_send_signal(&self.pidfd, Signal::KILL) {
            Ok(()) | Err(Errno::SRCH) => {}
            Err(errno) => return Err(failed(errno)),
        }
        let waited = rustix::io::retry_on_intr(|| {
            let own = WaitId::PidFd(self.pidfd.as_fd());
            rustix::process::waitid(own, WaitIdOptions::EXITED)
        });
        match waited {
            Ok(_) | Err(Errno::CHILD) => {}
            Err(errno) => return Err(failed(errno)),
        }
        self.has_ended = true;
        Ok(())
    }

    fn last_words(&self) -> Option<String> {
        let said = self.console.as_ref().and_then(|console| {
            let text = read_last(console.as_fd()).ok()?;
            last_lines(&String::from_utf8_lossy(&text))
        });
        let said = said.map(|said| format!("its console says: {said}"));
        let words: Vec<String> = self.end_of_process().into_iter().chain(said).collect();
        (!words.is_empty()).then(|| words.join("; "))
    }
}
