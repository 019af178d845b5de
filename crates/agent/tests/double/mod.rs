//! A machine's double: how it is started, [`monitor`] and [`machine`].

pub(crate) mod machine;
pub(crate) mod monitor;

use std::io::{PipeReader, Read};
use std::os::fd::{AsFd, OwnedFd};
use std::process::{Command, Stdio};

use gamut_plan::cell::{CellError, Connect, StartError};
use gamut_plan::guest::CONTROL_PORT;
use gamut_plan::host::{HostFacts, Missing};
use gamut_plan::launch::LaunchPlan;
use gamut_vmm::cell::{Guest, Monitor, Remote, Spawn};
use gamut_vmm::wire;
use rustix::process::{Pid, PidfdFlags};

/// First words that make this program another one.
pub(crate) const MONITOR: &str = "--be-the-monitor";
pub(crate) const MACHINE: &str = "--be-the-machine";

#[derive(Debug)]
pub(crate) struct Double;

fn failed(step: &str, reason: impl ToString) -> StartError {
    StartError::Step {
        step: step.into(),
        reason: reason.to_string(),
        hint: None,
    }
}

impl Spawn for Double {
    type Monitor = WithMachine;

    fn probe(host: &HostFacts) -> Vec<Missing> {
        <gamut_container::Container as gamut_plan::Cell>::probe(host)
    }

    fn spawn(
        _plan: &LaunchPlan,
        guest: &Guest,
        control: OwnedFd,
        connect: &mut dyn Connect,
    ) -> Result<WithMachine, StartError> {
        let _tap = connect.tap()?;
        let (ours, theirs) = gamut_sys::socket::pair().map_err(|e| failed("make sockets", e))?;
        // The guest may be there at once.
        let registration = wire::Command::Stream { port: CONTROL_PORT };
        let packet = serde_json::to_vec(&registration).map_err(|e| failed("write", e))?;
        gamut_sys::socket::send(ours.as_fd(), &[&packet], &[control.as_fd()])
            .map_err(|e| failed("register the control connection", e))?;
        let (alive, kept) = std::io::pipe().map_err(|e| failed("make a pipe", e))?;
        let mut command = Command::new("/proc/self/exe");
        command
            .arg(MONITOR)
            .stdin(Stdio::from(theirs))
            .stdout(Stdio::from(kept));
        for export in &guest.exports {
            command.arg(&export.name).arg(&export.source);
        }
        let child = command.spawn().map_err(|e| failed("start a monitor", e))?;
        let pid = Pid::from_child(&child);
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty());
        let pidfd = pidfd.map_err(|e| failed("open the monitor", e))?;
        let monitor = Remote::new(pid, pidfd, ours, None);
        Ok(WithMachine { monitor, alive })
    }
}

/// A monitor whose machine is a process beside it.
#[derive(Debug)]
pub(crate) struct WithMachine {
    monitor: Remote,
    /// Ends with the machine.
    alive: PipeReader,
}

impl Monitor for WithMachine {
    fn stream(&self, port: u32, descriptor: OwnedFd) -> Result<(), CellError> {
        self.monitor.stream(port, descriptor)
    }

    fn pid(&self) -> i32 {
        self.monitor.pid()
    }

    fn end(&mut self) -> Result<(), CellError> {
        self.monitor.end()?;
        let _ = self.alive.read(&mut [0]);
        Ok(())
    }

    fn last_words(&self) -> Option<String> {
        None
    }
}
