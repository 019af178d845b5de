//! The agent's loop: what it is asked, and what the workload's processes do meanwhile.
//!
//! As the first process it would have to wait for orphans; but a workload is in a pid namespace of its own,
//! whose first process gets them.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use base64::Engine;
use gamut_container::Container;
use gamut_plan::cell::{Cell, CellError, CellFds, Connect, Freezer, MAIN, ProcessId, StartError};
use gamut_plan::frame::{self, Frames};
use gamut_plan::guest::{
    CONTROL_PORT, GuestExit, GuestReply, GuestRequest, GuestSetup, GuestStreams, Hello, VERSION,
};
use gamut_plan::launch::{ExecPlan, LaunchPlan};
use rustix::event::epoll::{Event, EventFlags};
use rustix::io::Errno;
use rustix::termios::Winsize;
use rustix::time::ClockId;

use crate::error::{AgentError, refused};
use crate::files::Task;
use crate::machine::Machine;
use crate::poll::{Poll, Source};
use crate::process::{Connections, Ended, Process};
use crate::pump::{BUFFER_BYTES, Ending, Pump, State};

/// How long a process's end waits for the host to take its output: whoever does not read must not keep
/// a dead workload.
const DELIVERY_PATIENCE_NS: u64 = 10_000_000_000;

/// The first number of a task; the workload has fewer processes than come before.
const FIRST_TASK: ProcessId = 1 << 31;

/// The whole process.
pub struct Agent<'m> {
    machine: &'m dyn Machine,
    poll: Poll,
    control: OwnedFd,
    frames: Frames,
    container: Option<Container>,
    /// Processes that are the agent's own, by numbers of their own.
    tasks: BTreeMap<ProcessId, Task>,
    next_task: ProcessId,
    processes: BTreeMap<ProcessId, Process>,
    pumps: BTreeMap<u32, Pump>,
    next_pump: u32,
    buffer: Vec<u8>,
    done: bool,
}

impl std::fmt::Debug for Agent<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Agent")
            .field("processes", &self.processes)
            .field("pumps", &self.pumps)
            .finish_non_exhaustive()
    }
}

/// The network is the machine's, and stands.
struct Connected;

impl Connect for Connected {
    fn connect(&mut self, _netns: std::os::fd::BorrowedFd<'_>) -> Result<(), StartError> {
        Ok(())
    }
}

fn call(act: &'static str) -> impl Fn(Errno) -> AgentError {
    move |errno| AgentError::Call { act, errno }
}

fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

impl<'m> Agent<'m> {
    /// Connects to the host and says hello.
    ///
    /// # Errors
    /// [`AgentError`]: nobody is there, or the kernel refuses what an agent needs.
    pub fn new(machine: &'m dyn Machine) -> Result<Self, AgentError> {
        let port = CONTROL_PORT;
        let dialed = machine.dial(port);
        let control = dialed.map_err(|errno| AgentError::Dial { port, errno })?;
        let poll = Poll::new().map_err(call("make an epoll set"))?;
        let watched = poll.watch(&control, Source::Control, EventFlags::IN);
        watched.map_err(call("wait for the host"))?;
        let agent = Agent {
            machine,
            poll,
            control,
            frames: Frames::default(),
            container: None,
            tasks: BTreeMap::new(),
            next_task: FIRST_TASK,
            processes: BTreeMap::new(),
            pumps: BTreeMap::new(),
            next_pump: 0,
            buffer: vec![0; BUFFER_BYTES],
            done: false,
        };
        let uptime = rustix::time::clock_gettime(ClockId::Boottime);
        agent.say(&Hello {
            version: VERSION,
            kernel: rustix::system::uname().release().to_string_lossy().into(),
            up_ns: uptime.tv_sec as u64 * 1_000_000_000 + uptime.tv_nsec as u64,
        })?;
        Ok(agent)
    }

    /// Does what it is asked until it is asked to end, or the host is gone.
    ///
    /// # Errors
    /// [`AgentError`]: the host makes no sense, or epoll fails.
    pub fn run(&mut self) -> Result<(), AgentError> {
        let mut events: Vec<Event> = Vec::with_capacity(64);
        while !self.done {
            let due = self.processes.values().filter_map(|p| p.ended.as_ref());
            let due = due.map(|ended| ended.until_ns).min();
            let timeout_ns = due.map(|at| at.saturating_sub(now_ns()));
            let waited = self.poll.wait(&mut events, timeout_ns);
            waited.map_err(call("wait for the host"))?;
            for event in &events {
                match Source::of(event) {
                    Some(Source::Control) => self.on_control()?,
                    Some(Source::Process(id)) => self.on_end(id),
                    Some(Source::Pump(id, side)) => {
                        if let Some(pump) = self.pumps.get_mut(&id) {
                            pump.on_event(&self.poll, side, event.flags, &mut self.buffer);
                        }
                    }
                    None => {}
                }
            }
            self.tell_ends();
        }
        Ok(())
    }

    fn say<T: serde::Serialize>(&self, message: &T) -> Result<(), AgentError> {
        let bytes = frame::encode(message)?;
        let mut rest = bytes.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(&self.control, rest) {
                Ok(length) => rest = &rest[length..],
                Err(Errno::INTR) => {}
                Err(errno) => return Err(call("answer the host")(errno)),
            }
        }
        Ok(())
    }

    fn on_control(&mut self) -> Result<(), AgentError> {
        match rustix::io::read(&self.control, &mut self.buffer[..]) {
            // Nobody will say it any more, so it ends as if it had been said.
            Ok(0) | Err(Errno::CONNRESET) => drop(self.shut_down()),
            Ok(length) => self.frames.push(&self.buffer[..length]),
            Err(Errno::INTR | Errno::AGAIN) => {}
            Err(errno) => return Err(call("hear the host")(errno)),
        }
        while let Some(request) = self.frames.take::<GuestRequest>()? {
            let reply = self.answer(request);
            self.say(&reply)?;
        }
        Ok(())
    }

    fn answer(&mut self, request: GuestRequest) -> GuestReply {
        let done = |result: Result<(), CellError>| match result {
            Ok(()) => GuestReply::Done,
            Err(error) => GuestReply::Failed(error),
        };
        match request {
            GuestRequest::Setup(setup) => done(self.set_up(&setup)),
            GuestRequest::Start { plan, streams } => started(self.start(&plan, &streams)),
            GuestRequest::Exec { plan, streams } => started(self.exec(&plan, &streams)),
            GuestRequest::Signal { process, signal } => done(self.signal(process, signal)),
            GuestRequest::Resize {
                process,
                rows,
                columns,
            } => done(self.resize(process, rows, columns)),
            GuestRequest::Stats => match self.cell().and_then(Container::stats) {
                Ok(stats) => GuestReply::Stats(Box::new(stats)),
                Err(error) => GuestReply::Failed(error),
            },
            GuestRequest::Update(limits) => done(self.cell().and_then(|cell| cell.update(&limits))),
            GuestRequest::Freeze => done(self.cell().and_then(Freezer::freeze)),
            GuestRequest::Thaw => done(self.cell().and_then(Freezer::thaw)),
            GuestRequest::Shutdown => done(self.shut_down()),
        }
    }

    fn cell(&self) -> Result<&Container, CellError> {
        self.container.as_ref().ok_or(CellError::NoProcess)
    }

    /// Time and entropy first: nothing of a user's runs before they are right.
    fn set_up(&mut self, setup: &GuestSetup) -> Result<(), CellError> {
        let engine = base64::engine::general_purpose::STANDARD;
        let entropy = engine.decode(&setup.entropy);
        let entropy = entropy.map_err(|_| refused("read the entropy", Errno::INVAL))?;
        self.machine.set_clock(setup.time_ns)?;
        self.machine.add_entropy(&entropy)?;
        for mount in &setup.mounts {
            self.machine.mount(mount)?;
        }
        self.machine.connect(setup.network.as_ref())
    }

    fn start(
        &mut self,
        plan: &LaunchPlan,
        streams: &GuestStreams,
    ) -> Result<(ProcessId, Vec<String>), StartError> {
        if self.container.is_some() {
            return Err(StartError::Conflict {
                message: "this machine has a workload".into(),
                hint: None,
            });
        }
        for directory in [&plan.files.directory, &plan.files.cache] {
            std::fs::create_dir_all(directory).map_err(|error| StartError::Step {
                step: format!("make {}", directory.display()),
                reason: error.to_string(),
                hint: None,
            })?;
        }
        for layer in &plan.root.lower {
            // One of the share's may be a mount of the host's, which becomes one here when it is opened, and
            // which overlayfs refuses before.
            let _ = std::fs::File::open(layer);
        }
        let (connections, fds) = Connections::open(self.machine, streams)?;
        let cell = Container::start(plan, fds, &mut Connected)?;
        let warnings = cell.warnings();
        self.container = Some(cell);
        self.admit(MAIN, connections)?;
        Ok((MAIN, warnings))
    }

    fn exec(
        &mut self,
        plan: &ExecPlan,
        streams: &GuestStreams,
    ) -> Result<(ProcessId, Vec<String>), StartError> {
        let Some(cell) = &mut self.container else {
            return Err(StartError::Conflict {
                message: "nothing runs in this machine".into(),
                hint: None,
            });
        };
        let (connections, fds): (_, CellFds) = Connections::open(self.machine, streams)?;
        let id = match &plan.task {
            None => cell.exec(plan, fds)?,
            Some(task) => {
                let id = self.next_task;
                self.next_task += 1;
                let task = Task::begin(task, cell.pid(MAIN), fds)?;
                self.tasks.insert(id, task);
                id
            }
        };
        self.admit(id, connections)?;
        Ok((id, Vec::new()))
    }

    /// A process that runs: joins its streams to the host's, and waits for its end.
    fn admit(&mut self, id: ProcessId, connections: Connections) -> Result<(), StartError> {
        let joined = self.join(id, connections);
        joined.map_err(|errno| StartError::Step {
            step: "join the streams".into(),
            reason: std::io::Error::from(errno).to_string(),
            hint: None,
        })
    }

    fn join(&mut self, id: ProcessId, connections: Connections) -> Result<(), Errno> {
        let copy = |fd: &OwnedFd| rustix::io::fcntl_dupfd_cloexec(fd, 3);
        let cell = self.container.as_mut().ok_or(Errno::CHILD)?;
        let master = cell.take_terminal(id);
        let task = self.tasks.get(&id).map(Task::end);
        if let Some(fd) = task.or(cell.exit_fd(id)) {
            self.poll.watch(fd, Source::Process(id), EventFlags::IN)?;
        }
        let mut outputs = Vec::new();
        let mut terminal = None;
        if let (Some(master), Some(connection)) = (master, connections.terminal) {
            self.pump(copy(&connection)?, copy(&master)?, Ending::Close)?;
            let output = self.pump(master, connection, Ending::HalfClose)?;
            (terminal, outputs) = (Some(output), vec![output]);
        }
        if let Some((pipe, connection)) = connections.stdin {
            self.pump(connection, pipe, Ending::Close)?;
        }
        for (pipe, connection) in connections.outputs {
            outputs.push(self.pump(pipe, connection, Ending::Delivered)?);
        }
        let process = Process {
            status: connections.status,
            outputs,
            terminal,
            ended: None,
        };
        self.processes.insert(id, process);
        Ok(())
    }

    fn pump(&mut self, from: OwnedFd, to: OwnedFd, ending: Ending) -> Result<u32, Errno> {
        self.next_pump += 1;
        let id = self.next_pump;
        let mut pump = Pump::new(id, from, to, ending)?;
        pump.advance(&self.poll, &mut self.buffer);
        self.pumps.insert(id, pump);
        Ok(id)
    }

    fn signal(&self, process: ProcessId, signal: i32) -> Result<(), CellError> {
        match self.tasks.get(&process) {
            Some(task) => {
                let sent = task.signal(signal);
                sent.map_err(|errno| refused("send the signal", errno))
            }
            None => self.cell()?.signal(process, signal),
        }
    }

    fn resize(&self, process: ProcessId, rows: u16, columns: u16) -> Result<(), CellError> {
        let process = self.processes.get(&process).ok_or(CellError::NoProcess)?;
        let pump = process.terminal.and_then(|id| self.pumps.get(&id));
        let Some(master) = pump.and_then(Pump::from) else {
            return Ok(());
        };
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        rustix::termios::tcsetwinsize(master, size)
            .map_err(|errno| refused("set the terminal's size", errno))
    }

    /// A process has ended: what it has written goes before its exit.
    fn on_end(&mut self, id: ProcessId) {
        if let Some(task) = self.tasks.get_mut(&id) {
            let Some(exit) = task.try_wait() else { return };
            self.poll.forget(task.end());
            self.tasks.remove(&id);
            let oom_killed = false;
            return self.deliver(id, GuestExit { exit, oom_killed });
        }
        let Some(cell) = &mut self.container else {
            return;
        };
        if let Some(fd) = cell.exit_fd(id) {
            self.poll.forget(fd);
        }
        match cell.try_wait(id) {
            Ok(Some(exit)) => {
                let oom_killed = cell.oom_killed();
                self.deliver(id, GuestExit { exit, oom_killed });
            }
            Ok(None) => {
                if let Some(fd) = cell.exit_fd(id) {
                    let _ = self.poll.watch(fd, Source::Process(id), EventFlags::IN);
                }
            }
            // It was told already.
            Err(_) => {}
        }
    }

    /// Sends what it has written last.
    fn deliver(&mut self, id: ProcessId, exit: GuestExit) {
        let Some(process) = self.processes.get_mut(&id) else {
            return;
        };
        process.ended = Some(Ended {
            exit,
            until_ns: now_ns() + DELIVERY_PATIENCE_NS,
        });
        for output in process.outputs.clone() {
            if let Some(pump) = self.pumps.get_mut(&output) {
                pump.advance(&self.poll, &mut self.buffer);
            }
        }
    }

    /// Tells of the ended processes whose output has arrived. One that somebody else in the workload holds
    /// open has no end: there it is enough that nothing is on its way.
    fn tell_ends(&mut self) {
        self.pumps.retain(|_, pump| pump.state != State::Done);
        let now = now_ns();
        let arrived = |process: &Process| {
            let mut pumps = process.outputs.iter().filter_map(|id| self.pumps.get(id));
            pumps.all(|pump| pump.state == State::Idle)
        };
        let told: Vec<(ProcessId, GuestExit)> = self
            .processes
            .iter()
            .filter_map(|(id, process)| {
                let ended = process.ended.as_ref()?;
                (arrived(process) || ended.until_ns <= now).then_some((*id, ended.exit))
            })
            .collect();
        for (id, exit) in told {
            if let Some(process) = self.processes.remove(&id) {
                process.tell(exit);
            }
        }
    }

    fn shut_down(&mut self) -> Result<(), CellError> {
        self.done = true;
        let destroyed = match &mut self.container {
            Some(cell) => cell.destroy(),
            None => Ok(()),
        };
        self.machine.sync();
        destroyed
    }
}

fn started(result: Result<(ProcessId, Vec<String>), StartError>) -> GuestReply {
    match result {
        Ok((process, warnings)) => GuestReply::Started { process, warnings },
        Err(error) => GuestReply::StartFailed(error),
    }
}
