//! A process's connections, as the host sees them: numbers for the guest, descriptors for the monitor, and
//! what stays here.

use std::os::fd::OwnedFd;

use gamut_plan::cell::{CellError, CellFds, Exit, StartError};
use gamut_plan::frame::Frames;
use gamut_plan::guest::{FIRST_STREAM_PORT, GuestExit, GuestStreams};
use rustix::io::Errno;

use super::Monitor;
use super::control::{failed_call, sockets};

/// Hands out port numbers; each serves once.
#[derive(Debug)]
pub(super) struct Streams {
    next: u32,
}

impl Default for Streams {
    fn default() -> Self {
        Streams {
            next: FIRST_STREAM_PORT,
        }
    }
}

/// A process in the guest.
#[derive(Debug)]
pub(super) struct Process {
    /// Its last word comes here.
    pub(super) status: OwnedFd,
    pub(super) terminal: Option<OwnedFd>,
    frames: Frames,
}

/// What is told of a process whose machine ended before it: SIGKILL.
const WITH_ITS_MACHINE: GuestExit = GuestExit {
    exit: Exit {
        code: 128 + gamut_plan::signal::KILL,
        signal: Some(gamut_plan::signal::KILL),
    },
    oom_killed: false,
};

fn gone(error: CellError) -> StartError {
    StartError::Step {
        step: "give the machine a stream".into(),
        reason: error.to_string(),
        hint: None,
    }
}

impl Streams {
    /// Puts the streams of a process to be behind ports.
    pub(super) fn open(
        &mut self,
        monitor: &dyn Monitor,
        fds: CellFds,
        terminal: bool,
    ) -> Result<(GuestStreams, Process), StartError> {
        let mut give = |descriptor: OwnedFd| {
            let port = self.next;
            self.next = port.wrapping_add(1).max(FIRST_STREAM_PORT);
            monitor
                .stream(port, descriptor)
                .map(|()| port)
                .map_err(gone)
        };
        let (status, theirs) = sockets()?;
        gamut_sys::socket::set_nonblocking(&status)
            .map_err(|errno| failed_call("make a socket pair", errno))?;
        let mut ports = GuestStreams {
            status: give(theirs)?,
            stdin: None,
            stdout: None,
            stderr: None,
            terminal: None,
        };
        let mut process = Process {
            status,
            terminal: None,
            frames: Frames::default(),
        };
        if terminal {
            let (ours, theirs) = sockets()?;
            process.terminal = Some(ours);
            ports.terminal = Some(give(theirs)?);
        } else {
            ports.stdin = fds.stdin.map(&mut give).transpose()?;
            ports.stdout = fds.stdout.map(&mut give).transpose()?;
            ports.stderr = fds.stderr.map(&mut give).transpose()?;
        }
        Ok((ports, process))
    }
}

impl Process {
    /// How it ended; `None` while it runs.
    pub(super) fn end(&mut self) -> Option<GuestExit> {
        let mut buffer = [0; 256];
        loop {
            match self.frames.take() {
                Ok(Some(exit)) => return Some(exit),
                Ok(None) => {}
                Err(_) => return Some(WITH_ITS_MACHINE),
            }
            match rustix::io::read(&self.status, &mut buffer) {
                Ok(0) => return Some(WITH_ITS_MACHINE),
                Ok(length) => self.frames.push(&buffer[..length]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return None,
                Err(_) => return Some(WITH_ITS_MACHINE),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamut_plan::frame;

    fn process() -> (Process, OwnedFd) {
        let (status, theirs) = sockets().unwrap();
        gamut_sys::socket::set_nonblocking(&status).unwrap();
        let process = Process {
            status,
            terminal: None,
            frames: Frames::default(),
        };
        (process, theirs)
    }

    #[test]
    fn an_end_comes_whole() {
        let told = GuestExit {
            exit: Exit {
                code: 3,
                signal: None,
            },
            oom_killed: true,
        };
        let frame = frame::encode(&told).unwrap();
        let (mut process, theirs) = process();
        for byte in &frame {
            assert_eq!(process.end(), None);
            rustix::io::write(&theirs, &[*byte]).unwrap();
        }
        assert_eq!(process.end(), Some(told));
    }

    #[test]
    fn a_machine_that_goes_takes_its_processes_along() {
        let (mut process, theirs) = process();
        rustix::io::write(&theirs, &[9, 0]).unwrap();
        drop(theirs);
        assert_eq!(process.end(), Some(WITH_ITS_MACHINE));
        assert_eq!(WITH_ITS_MACHINE.exit.code, 137);
    }
}
