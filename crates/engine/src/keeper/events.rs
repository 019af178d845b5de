//! The keeper's loop: what it waits for, and whom it calls.

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::process::ExitCode;

use gamut_plan::cell::Cell;
use gamut_plan::launch::{LaunchPlan, RootPlan};
use gamut_plan::wire::Mark;
use gamut_plan::{ProcessId, Status};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::event::{Timespec, epoll::CreateFlags};
use rustix::io::Errno;

use super::connection::Connection;
use super::egress::Egress;
use super::exit::Leaving;
use super::health::Checks;
use super::launch::Cells;
use super::log::Log;
use super::naming::Naming;
use super::network::{Ahead, Ports};
use super::restarting::Resting;
use super::streams::Streams;
use crate::dirs::Container;

/// What a descriptor in the epoll set belongs to; packed into the 64 bits that epoll keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Source {
    Listener,
    Connection(u32),
    /// Standard output, standard error, or a terminal's master.
    Output(u8),
    /// The writing end of standard input.
    Input,
    Process(ProcessId),
    Forwarder(u32),
    /// The keeper was told to end.
    Signals,
    /// Questions for names, and answers to them.
    Resolver,
    /// The output of a health check.
    Probe,
    /// Who is told each line of output.
    Herald,
    /// What the workload was kept from.
    Denials,
}

impl Source {
    fn to_data(self) -> EventData {
        let (kind, number) = match self {
            Source::Listener => (0u64, 0u32),
            Source::Connection(id) => (1, id),
            Source::Output(stream) => (2, u32::from(stream)),
            Source::Input => (3, 0),
            Source::Process(id) => (4, id),
            Source::Forwarder(index) => (5, index),
            Source::Signals => (6, 0),
            Source::Resolver => (7, 0),
            Source::Probe => (8, 0),
            Source::Herald => (9, 0),
            Source::Denials => (10, 0),
        };
        EventData::new_u64(kind << 32 | u64::from(number))
    }

    fn from_data(data: EventData) -> Option<Source> {
        let raw = data.u64();
        let number = (raw & 0xffff_ffff) as u32;
        match raw >> 32 {
            0 => Some(Source::Listener),
            1 => Some(Source::Connection(number)),
            2 => Some(Source::Output(number as u8)),
            3 => Some(Source::Input),
            4 => Some(Source::Process(number)),
            5 => Some(Source::Forwarder(number)),
            6 => Some(Source::Signals),
            7 => Some(Source::Resolver),
            8 => Some(Source::Probe),
            9 => Some(Source::Herald),
            10 => Some(Source::Denials),
            _ => None,
        }
    }
}

/// The epoll set.
#[derive(Debug)]
pub(super) struct Poll(OwnedFd);

impl Poll {
    fn new() -> Result<Self, Errno> {
        epoll::create(CreateFlags::CLOEXEC).map(Poll)
    }

    /// Waits for `flags` on `fd`, in place of what was waited for before.
    pub(super) fn watch(
        &self,
        fd: impl AsFd,
        source: Source,
        flags: EventFlags,
    ) -> Result<(), Errno> {
        match epoll::add(&self.0, fd.as_fd(), source.to_data(), flags) {
            Err(Errno::EXIST) => epoll::modify(&self.0, fd.as_fd(), source.to_data(), flags),
            other => other,
        }
    }

    /// Stops waiting; one that was not waited for is fine.
    pub(super) fn forget(&self, fd: impl AsFd) {
        let _ = epoll::delete(&self.0, fd.as_fd());
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// A running workload.
pub(super) struct Workload {
    pub(super) plan: LaunchPlan,
    pub(super) cell: Box<dyn Cell>,
    pub(super) streams: Streams,
    pub(super) log: Log,
    pub(super) ports: Ports,
    pub(super) naming: Naming,
    pub(super) egress: Egress,
    /// `None`: nobody asks how it is.
    pub(super) checks: Option<Checks>,
    pub(super) status: Status,
    pub(super) dirs: Container,
    /// Held for as long as this keeper lives: who can take it knows that the keeper is dead.
    pub(super) lock: OwnedFd,
    pub(super) listener: OwnedFd,
}

/// A stop under way: when to kill, and who waits for the end.
#[derive(Debug, Default)]
pub(super) struct Stopping {
    pub(super) kill_at_ns: Option<u64>,
    /// Somebody wants it stopped.
    pub(super) was_asked: bool,
    /// Somebody has ended it, by a stop or by a signal that does.
    pub(super) by_hand: bool,
    /// It is to be started again, whatever its policy says.
    pub(super) to_restart: bool,
}

/// How long nothing must happen after a start before the keeper makes itself small.
const REST_AFTER_NS: u64 = 1_000_000_000;

/// The whole process.
pub(super) struct Keeper {
    pub(super) poll: Poll,
    pub(super) cells: Cells,
    pub(super) connections: BTreeMap<u32, Connection>,
    pub(super) next_connection: u32,
    pub(super) workload: Option<Workload>,
    /// What the workload leaves, until who started it has forgotten it.
    pub(super) leaving: Option<Leaving>,
    /// What has ended and will be started again.
    pub(super) resting: Option<Resting>,
    /// How long that took the last time.
    pub(super) waited_ns: u64,
    pub(super) stopping: Stopping,
    /// The pod that may have come to its end with the workload, and where that is.
    pub(super) pod: Option<(String, Container)>,
    pub(super) trace: Vec<Mark>,
    pub(super) ahead: Option<Ahead>,
    pub(super) root: Option<(RootPlan, OwnedFd)>,
    /// Only to be held, for as long as there is a workload.
    pub(super) held: Vec<OwnedFd>,
    /// The plan of the start that is about to come.
    pub(super) plan: Option<Box<LaunchPlan>>,
    pub(super) done: bool,
    /// Yields the signals that ask this process to end.
    pub(super) signals: Option<OwnedFd>,
    /// Room for a packet.
    pub(super) packet: Vec<u8>,
    /// The keeper has let go of what the start needed.
    rested: bool,
}

/// Nanoseconds on the monotonic clock, which all processes of the host share.
pub(super) fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl Keeper {
    pub(super) fn new(first: OwnedFd, cells: Cells) -> Result<Self, Errno> {
        let mut keeper = Keeper {
            poll: Poll::new()?,
            cells,
            connections: BTreeMap::new(),
            next_connection: 0,
            workload: None,
            leaving: None,
            resting: None,
            waited_ns: 0,
            stopping: Stopping::default(),
            pod: None,
            trace: Vec::new(),
            ahead: None,
            root: None,
            held: Vec::new(),
            plan: None,
            done: false,
            signals: None,
            packet: Vec::new(),
            rested: false,
        };
        keeper.mark("keeper: up");
        keeper.admit(first)?;
        Ok(keeper)
    }

    pub(super) fn mark(&mut self, phase: &str) {
        self.trace.push(Mark {
            phase: phase.to_owned(),
            at_ns: now_ns(),
        });
    }

    /// Loops until the workload has ended, or never came to be and nobody is left to ask for it.
    pub(super) fn run(&mut self) -> ExitCode {
        let mut events = Vec::with_capacity(16);
        while !self.done {
            events.clear();
            let timeout = self.timeout();
            let waited = epoll::wait(
                self.poll.as_fd(),
                rustix::buffer::spare_capacity(&mut events),
                timeout.as_ref(),
            );
            match waited {
                Ok(0) if self.workload.is_some() && !self.rested => {
                    self.rested = true;
                    self.packet = Vec::new();
                    let workload = self.workload.as_mut();
                    if let Some(resolver) = workload.and_then(|w| w.naming.resolver()) {
                        resolver.rest();
                    }
                    gamut_sys::process::rest(self.poll.as_fd(), self.timeout().as_ref());
                }
                Ok(_) => self.rested = false,
                Err(Errno::INTR) => {}
                Err(_) => return ExitCode::FAILURE,
            }
            self.kill_when_due();
            self.leave_when_due();
            self.restart_when_due();
            self.check_when_due();
            for event in &events {
                let (data, flags) = (event.data, event.flags);
                if let Some(source) = Source::from_data(data) {
                    self.on_event(source, flags);
                }
            }
            let is_idle = self.workload.is_none() && self.resting.is_none();
            if is_idle && self.connections.is_empty() {
                break;
            }
        }
        ExitCode::SUCCESS
    }

    /// Until what is due: a kill, an end without its client, a rest; `None`: for ever.
    fn timeout(&self) -> Option<Timespec> {
        let due = [
            self.stopping.kill_at_ns,
            self.leaving_until_ns(),
            self.restart_due_ns(),
            self.check_due_ns(),
        ];
        let due = due.into_iter().flatten();
        let rest = (self.workload.is_some() && !self.rested).then_some(REST_AFTER_NS);
        due.map(|at| at.saturating_sub(now_ns()))
            .chain(rest)
            .min()
            .map(duration)
    }

    fn on_event(&mut self, source: Source, flags: EventFlags) {
        match source {
            Source::Listener => self.accept(),
            Source::Connection(id) => self.on_connection(id, flags),
            Source::Output(stream) => self.on_output(stream),
            Source::Input => self.on_input_writable(),
            Source::Process(id) => self.on_process_end(id),
            Source::Signals => self.stop_in_order(),
            Source::Probe => self.on_probe_output(flags),
            Source::Herald => self.on_herald(),
            Source::Resolver => {
                if let Some(workload) = &mut self.workload
                    && let Some(resolver) = workload.naming.resolver()
                {
                    resolver.on_ready();
                    if resolver.gate().is_some() {
                        workload.tell_denials();
                    }
                }
            }
            Source::Denials => {
                if let Some(workload) = &mut self.workload {
                    workload.tell_denials();
                }
            }
            Source::Forwarder(index) => {
                if let Some(workload) = &mut self.workload {
                    workload.ports.on_ready(index);
                }
            }
        }
    }
}

fn duration(ns: u64) -> Timespec {
    Timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_survive_epoll() {
        for source in [
            Source::Listener,
            Source::Connection(u32::MAX),
            Source::Output(2),
            Source::Input,
            Source::Process(7),
            Source::Forwarder(3),
            Source::Signals,
            Source::Resolver,
            Source::Probe,
            Source::Herald,
            Source::Denials,
        ] {
            assert_eq!(Source::from_data(source.to_data()), Some(source));
        }
    }
}
