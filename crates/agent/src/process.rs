//! A process's connections to the host, and what is left to do when it has ended.

use std::os::fd::OwnedFd;

use gamut_plan::cell::{CellFds, StartError};
use gamut_plan::frame;
use gamut_plan::guest::{GuestExit, GuestStreams};
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use crate::machine::Machine;

/// What a process's connections are made of, before it runs.
pub(crate) struct Connections {
    pub(crate) status: OwnedFd,
    pub(crate) terminal: Option<OwnedFd>,
    /// Our end of its standard input, and where that comes from.
    pub(crate) stdin: Option<(OwnedFd, OwnedFd)>,
    /// Our ends of its outputs, and where those go to.
    pub(crate) outputs: Vec<(OwnedFd, OwnedFd)>,
}

fn failed(step: &str, errno: Errno) -> StartError {
    StartError::Step {
        step: step.into(),
        reason: std::io::Error::from(errno).to_string(),
        hint: None,
    }
}

impl Connections {
    /// Connects to every port, and makes the pipes: programs open /dev/stdout, which a socket is not.
    pub(crate) fn open(
        machine: &dyn Machine,
        ports: &GuestStreams,
    ) -> Result<(Connections, CellFds), StartError> {
        let dial = |port: u32| {
            let connected = machine.dial(port);
            connected.map_err(|errno| failed(&format!("reach the host at port {port}"), errno))
        };
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(|errno| failed("make a pipe", errno));
        let mut fds = CellFds::default();
        let mut connections = Connections {
            status: dial(ports.status)?,
            terminal: ports.terminal.map(dial).transpose()?,
            stdin: None,
            outputs: Vec::new(),
        };
        if let Some(port) = ports.stdin {
            let (read, write) = pipe()?;
            fds.stdin = Some(read);
            connections.stdin = Some((write, dial(port)?));
        }
        for (port, end) in [
            (ports.stdout, &mut fds.stdout),
            (ports.stderr, &mut fds.stderr),
        ] {
            let Some(port) = port else { continue };
            let (read, write) = pipe()?;
            *end = Some(write);
            connections.outputs.push((read, dial(port)?));
        }
        Ok((connections, fds))
    }
}

/// A process of the workload.
#[derive(Debug)]
pub(crate) struct Process {
    pub(crate) status: OwnedFd,
    /// The pumps of its outputs.
    pub(crate) outputs: Vec<u32>,
    /// The pump that reads its terminal.
    pub(crate) terminal: Option<u32>,
    pub(crate) ended: Option<Ended>,
}

/// A process that has ended, and whose output is still on its way.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Ended {
    pub(crate) exit: GuestExit,
    /// When it is told in any case, on the monotonic clock.
    pub(crate) until_ns: u64,
}

impl Process {
    /// The last word.
    pub(crate) fn tell(&self, exit: GuestExit) {
        let Ok(bytes) = frame::encode(&exit) else {
            return;
        };
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(&self.status, rest) {
                Ok(length) => rest = &rest[length..],
                Err(Errno::INTR) => {}
                // Nobody listens: then the machine is about to go.
                Err(_) => return,
            }
        }
    }
}
