//! [`Microvm`]: a machine of its own around a workload, as a [`Cell`]. It talks to two others: the agent in
//! the guest, which carries the plan out ([`gamut_plan::guest`]), and the monitor, which is the machine.
//!
//! Who makes the monitor, and locks it in, is no business of this room: a [`Spawn`] does. Everything that
//! the guest is asked has a limit of time, because a keeper has one thread; a guest that misses it counts as
//! dead, and so does one whose monitor has ended. Then every process has ended, as by SIGKILL.
//!
//! [`translate`] makes the guest's plan of the host's, [`control`] asks the agent, [`streams`] joins
//! processes with the host, [`remote`] is a monitor in another process.

mod control;
mod remote;
mod streams;
mod translate;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_plan::cell::{
    Cell, CellError, CellFds, Connect, Exit, Freezer, Limits, Resizer, StartError,
};
use gamut_plan::guest::{GuestReply, GuestRequest};
use gamut_plan::host::{HostFacts, Missing};
use gamut_plan::launch::{ExecPlan, LaunchPlan, Terminal};
use gamut_plan::{MAIN, ProcessId, Stats};

use control::{BOOT, Control, REQUEST, START};
use streams::{Process, Streams};

pub use remote::Remote;
pub use translate::{Export, Guest, translate};

/// A machine's monitor, as its cell sees it.
pub trait Monitor {
    /// The guest's next connection to `port` is this descriptor's.
    ///
    /// # Errors
    /// The monitor is gone.
    fn stream(&self, port: u32, descriptor: OwnedFd) -> Result<(), CellError>;

    /// Its process, for `ps` and `inspect`.
    fn pid(&self) -> i32;

    /// Ends the machine, whatever it does, and waits until nothing of it is left. Idempotent.
    ///
    /// # Errors
    /// Names what is left.
    fn end(&mut self) -> Result<(), CellError>;

    /// How it has ended, if it has, and what the guest's kernel has last said; for messages.
    fn last_words(&self) -> Option<String>;

    /// What the user should know about it.
    fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}

/// How a machine comes to be.
pub trait Spawn {
    type Monitor: Monitor;

    /// What this host lacks for it; empty: ready.
    fn probe(host: &HostFacts) -> Vec<Missing>;

    /// Starts the machine of a plan. `guest` says what it finds in it: the files of
    /// [`gamut_plan::launch::MachinePlan::images`] as partitions in their order, of a disk with the serial
    /// number [`gamut_plan::guest::ROOT_SERIAL`]; the exports as a share with the tag
    /// [`gamut_plan::guest::SHARE_TAG`]; the TAP device of `connect`. The guest's first connection to
    /// [`gamut_plan::guest::CONTROL_PORT`] is `control`.
    ///
    /// # Errors
    /// Names the step; nothing is left behind.
    fn spawn(
        plan: &LaunchPlan,
        guest: &Guest,
        control: OwnedFd,
        connect: &mut dyn Connect,
    ) -> Result<Self::Monitor, StartError>;
}

/// A running machine with a workload.
#[derive(Debug)]
pub struct Microvm<S: Spawn> {
    monitor: S::Monitor,
    control: RefCell<Control>,
    streams: Streams,
    processes: BTreeMap<ProcessId, Process>,
    oom_killed: bool,
    warnings: Vec<String>,
}

impl<S: Spawn> Microvm<S> {
    /// Everything after the monitor is there; whoever called ends that if it fails.
    fn launch(
        monitor: &S::Monitor,
        control: &mut Control,
        streams: &mut Streams,
        plan: &LaunchPlan,
        guest: Guest,
        fds: CellFds,
        connect: &mut dyn Connect,
    ) -> Result<(Process, Vec<String>), StartError> {
        control.hello(BOOT)?;
        connect.mark("keeper: the machine has booted", control::now_ns());
        let setup = GuestRequest::Setup(Box::new(guest.setup()?));
        match control.ask(&setup, START).map_err(|dead| dead.at_start())? {
            GuestReply::Done => {}
            GuestReply::Failed(error) => return Err(control::failed_setup(error)),
            _ => return Err(control.nonsense().at_start()),
        }
        connect.mark("keeper: the machine is set up", control::now_ns());
        let terminal = plan.streams.terminal != Terminal::None;
        let (ports, process) = streams.open(monitor, fds, terminal)?;
        let request = GuestRequest::Start {
            plan: Box::new(guest.plan),
            streams: ports,
        };
        match control
            .ask(&request, START)
            .map_err(|dead| dead.at_start())?
        {
            GuestReply::Started {
                process: MAIN,
                warnings,
            } => Ok((process, warnings)),
            GuestReply::StartFailed(error) => Err(error),
            _ => Err(control.nonsense().at_start()),
        }
    }

    fn ask(&self, request: &GuestRequest) -> Result<GuestReply, CellError> {
        let asked = self.control.borrow_mut().ask(request, REQUEST);
        asked.map_err(|dead| dead.now())
    }

    fn done(&self, request: &GuestRequest) -> Result<(), CellError> {
        match self.ask(request)? {
            GuestReply::Done => Ok(()),
            GuestReply::Failed(error) => Err(error),
            _ => Err(self.control.borrow_mut().nonsense().now()),
        }
    }

    fn process(&self, id: ProcessId) -> Result<&Process, CellError> {
        self.processes.get(&id).ok_or(CellError::NoProcess)
    }
}

impl<S: Spawn> Cell for Microvm<S> {
    fn probe(host: &HostFacts) -> Vec<Missing> {
        S::probe(host)
    }

    fn start(
        plan: &LaunchPlan,
        fds: CellFds,
        connect: &mut dyn Connect,
    ) -> Result<Self, StartError> {
        let guest = translate(plan)?;
        let (mut control, theirs) = Control::pair()?;
        let mut monitor = S::spawn(plan, &guest, theirs, connect)?;
        connect.mark("keeper: the machine begins", control::now_ns());
        let mut streams = Streams::default();
        let launched = Self::launch(
            &monitor,
            &mut control,
            &mut streams,
            plan,
            guest,
            fds,
            connect,
        );
        match launched {
            Ok((process, of_guest)) => Ok(Microvm {
                warnings: [monitor.warnings(), of_guest].concat(),
                monitor,
                control: RefCell::new(control),
                streams,
                processes: BTreeMap::from([(MAIN, process)]),
                oom_killed: false,
            }),
            Err(error) => {
                let words = monitor.last_words().filter(|_| control.is_dead());
                let _ = control.shut_down();
                let _ = monitor.end();
                Err(control::with_last_words(error, words))
            }
        }
    }

    fn exec(&mut self, plan: &ExecPlan, fds: CellFds) -> Result<ProcessId, StartError> {
        let terminal = plan.terminal.is_some();
        let (ports, process) = self.streams.open(&self.monitor, fds, terminal)?;
        let request = GuestRequest::Exec {
            plan: Box::new(plan.clone()),
            streams: ports,
        };
        let control = self.control.get_mut();
        match control
            .ask(&request, START)
            .map_err(|dead| dead.at_start())?
        {
            GuestReply::Started { process: id, .. } => {
                self.processes.insert(id, process);
                Ok(id)
            }
            GuestReply::StartFailed(error) => Err(error),
            _ => Err(control.nonsense().at_start()),
        }
    }

    /// The machine's, for all of them: what runs in it has no number here.
    fn pid(&self, of: ProcessId) -> i32 {
        match of {
            MAIN => self.monitor.pid(),
            _ => 0,
        }
    }

    fn take_terminal(&mut self, of: ProcessId) -> Option<OwnedFd> {
        self.processes.get_mut(&of)?.terminal.take()
    }

    fn exit_fd(&self, of: ProcessId) -> Option<BorrowedFd<'_>> {
        self.processes
            .get(&of)
            .map(|process| process.status.as_fd())
    }

    fn try_wait(&mut self, of: ProcessId) -> Result<Option<Exit>, CellError> {
        let process = self.processes.get_mut(&of).ok_or(CellError::NoProcess)?;
        let Some(end) = process.end() else {
            return Ok(None);
        };
        self.processes.remove(&of);
        self.oom_killed |= end.oom_killed;
        Ok(Some(end.exit))
    }

    fn signal(&self, to: ProcessId, signal: i32) -> Result<(), CellError> {
        self.process(to)?;
        let process = to;
        self.done(&GuestRequest::Signal { process, signal })
    }

    fn stats(&self) -> Result<Stats, CellError> {
        match self.ask(&GuestRequest::Stats)? {
            GuestReply::Stats(stats) => Ok(*stats),
            GuestReply::Failed(error) => Err(error),
            _ => Err(self.control.borrow_mut().nonsense().now()),
        }
    }

    fn update(&self, limits: &Limits) -> Result<(), CellError> {
        self.done(&GuestRequest::Update(Box::new(limits.clone())))
    }

    fn oom_killed(&self) -> bool {
        self.oom_killed
    }

    fn destroy(&mut self) -> Result<(), CellError> {
        self.processes.clear();
        // What it cannot write back any more is lost, as with any machine that loses its power.
        let _ = self.control.get_mut().shut_down();
        self.monitor.end()
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn freezer(&self) -> Option<&dyn Freezer> {
        Some(self)
    }

    fn resizer(&self) -> Option<&dyn Resizer> {
        Some(self)
    }
}

/// The workload's processes stand still, and not the machine: it still answers.
impl<S: Spawn> Freezer for Microvm<S> {
    fn freeze(&self) -> Result<(), CellError> {
        self.done(&GuestRequest::Freeze)
    }

    fn thaw(&self) -> Result<(), CellError> {
        self.done(&GuestRequest::Thaw)
    }
}

impl<S: Spawn> Resizer for Microvm<S> {
    fn resize(&self, process: ProcessId, rows: u16, columns: u16) -> Result<(), CellError> {
        self.process(process)?;
        self.done(&GuestRequest::Resize {
            process,
            rows,
            columns,
        })
    }
}

impl<S: Spawn> Drop for Microvm<S> {
    /// A keeper that ends takes its machine along.
    fn drop(&mut self) {
        let _ = self.monitor.end();
    }
}
