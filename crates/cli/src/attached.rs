//! The user's terminal or pipes, joined to a workload through its keeper: output, input, window
//! size, signals, and the keys that let go.
//!
//! One loop that never waits on one side while the other could go on: a filter that neither reads
//! nor is read from must not stop `producer | gamut run -i … | consumer`.

use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use gamut_engine::client::{Client, ClientError, Event};
use gamut_plan::cell::Exit;
use gamut_plan::wire::{Reply, stream};
use gamut_sys::signal;
use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::Errno;

use crate::convert::DetachKeys;
use crate::detach::{DetachScanner, Scan};
use crate::error::Failure;
use crate::terminal;

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Exited(Exit),
    /// The user let go; the workload goes on.
    Detached,
}

/// What is joined.
#[derive(Debug, Clone, Copy)]
pub struct Joint<'a> {
    pub stdin: bool,
    pub stdout: bool,
    pub stderr: bool,
    /// The workload has a terminal.
    pub tty: bool,
    pub signals: SignalsTo,
    pub detach_keys: Option<&'a DetachKeys>,
}

/// Where the signals go that this process gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SignalsTo {
    Workload,
    /// They do to this process what they usually do.
    Nobody,
}

const SIGHUP: i32 = 1;
const SIGINT: i32 = 2;
const SIGQUIT: i32 = 3;
const SIGUSR1: i32 = 10;
const SIGUSR2: i32 = 12;
const SIGTERM: i32 = 15;
const SIGCONT: i32 = 18;
const SIGWINCH: i32 = 28;

/// What is passed on; SIGCHLD, SIGPIPE and the stop signals are this process's own.
const PASSED_ON: [i32; 7] = [SIGHUP, SIGINT, SIGQUIT, SIGUSR1, SIGUSR2, SIGTERM, SIGCONT];

/// A descriptor that yields the signals this process takes care of from now on. Before a workload
/// is started, so that none is lost in between.
///
/// # Errors
/// [`Failure::Terminal`].
pub fn watch_signals(joint: &Joint<'_>) -> Result<OwnedFd, Failure> {
    let mut signals = Vec::new();
    if joint.signals == SignalsTo::Workload {
        signals.extend(PASSED_ON);
    }
    if joint.tty {
        signals.push(SIGWINCH);
    }
    signal::descriptor(&signals).map_err(|e| Failure::Terminal(e.into()))
}

struct Loop<'a> {
    client: &'a mut Client,
    joint: Joint<'a>,
    scanner: Option<DetachScanner>,
    /// Input that the keeper did not take yet.
    pending: Vec<u8>,
    input_open: bool,
    detached: bool,
}

/// Runs until the workload ends or the user lets go.
///
/// # Errors
/// The keeper died, or the user's own streams failed.
pub fn run(client: &mut Client, joint: Joint<'_>, signals: &OwnedFd) -> Result<Ending, Failure> {
    let stdin = std::io::stdin();
    let raw = joint.tty && joint.stdin && terminal::is_terminal(&stdin);
    let _raw = if raw {
        Some(terminal::RawMode::enter(&stdin).map_err(Failure::Terminal)?)
    } else {
        None
    };
    let scanner = joint
        .detach_keys
        .filter(|_| joint.tty && joint.stdin)
        .map(DetachScanner::new);
    let mut state = Loop {
        client,
        joint,
        scanner,
        pending: Vec::new(),
        input_open: joint.stdin,
        detached: false,
    };
    if joint.tty {
        state.tell_size();
    }
    loop {
        while state.client.has_early() {
            if let Some(ending) = state.on_event()? {
                return Ok(ending);
            }
        }
        let ready = state.wait(signals)?;
        if ready.signals {
            state.on_signals(signals)?;
        }
        if ready.events
            && let Some(ending) = state.on_event()?
        {
            return Ok(ending);
        }
        if ready.room {
            state.push_pending()?;
        }
        if ready.input {
            state.read_input()?;
        }
        if state.detached {
            return Ok(Ending::Detached);
        }
    }
}

/// What can go on without waiting.
#[derive(Debug, Default)]
struct Ready {
    events: bool,
    signals: bool,
    room: bool,
    input: bool,
}

impl Loop<'_> {
    fn wait(&self, signals: &OwnedFd) -> Result<Ready, Failure> {
        let stdin = std::io::stdin();
        let socket_flags = if self.pending.is_empty() {
            PollFlags::IN
        } else {
            PollFlags::IN | PollFlags::OUT
        };
        let mut fds = vec![
            PollFd::from_borrowed_fd(self.client.as_fd(), socket_flags),
            PollFd::new(signals, PollFlags::IN),
        ];
        if self.input_open && self.pending.is_empty() {
            fds.push(PollFd::new(&stdin, PollFlags::IN));
        }
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(Errno::INTR) => return Ok(Ready::default()),
            Err(errno) => return Err(Failure::Terminal(errno.into())),
        }
        let any = |at: usize, flags: PollFlags| {
            fds.get(at).is_some_and(|fd| fd.revents().intersects(flags))
        };
        let end = PollFlags::HUP | PollFlags::ERR;
        Ok(Ready {
            events: any(0, PollFlags::IN | end),
            signals: any(1, PollFlags::IN),
            room: any(0, PollFlags::OUT),
            input: any(2, PollFlags::IN | end),
        })
    }

    fn on_event(&mut self) -> Result<Option<Ending>, Failure> {
        match self.client.event().map_err(Failure::engine)? {
            Event::Stdout(bytes) if self.joint.stdout => {
                write_all(&mut std::io::stdout().lock(), &bytes)?
            }
            Event::Stderr(bytes) if self.joint.stderr => {
                write_all(&mut std::io::stderr().lock(), &bytes)?
            }
            Event::Stdout(_) | Event::Stderr(_) => {}
            Event::Reply(Reply::Exited { exit }) => return Ok(Some(Ending::Exited(exit))),
            Event::Reply(_) => {}
            Event::End => return Err(Failure::engine(ClientError::Gone)),
        }
        Ok(None)
    }

    fn on_signals(&mut self, signals: &OwnedFd) -> Result<(), Failure> {
        for number in signal::drain(signals).map_err(|e| Failure::Terminal(e.into()))? {
            if number == SIGWINCH {
                self.tell_size();
            } else {
                // A workload that has just ended cannot be signalled; its end is on the way.
                let _ = self.client.send_signal(number);
            }
        }
        Ok(())
    }

    fn tell_size(&self) {
        let size = terminal::window_size(std::io::stdout())
            .or_else(|| terminal::window_size(std::io::stdin()));
        if let Some(size) = size {
            let _ = self.client.send_resize(size.rows, size.columns);
        }
    }

    fn read_input(&mut self) -> Result<(), Failure> {
        let mut buffer = vec![0u8; stream::MAX_BYTES];
        let length = match rustix::io::read(std::io::stdin(), &mut buffer) {
            Ok(length) => length,
            Err(Errno::INTR | Errno::AGAIN) => return Ok(()),
            // A terminal that was hung up, or standard input that cannot be read: its end.
            Err(_) => 0,
        };
        if length == 0 {
            self.input_open = false;
            if let Some(scanner) = &mut self.scanner {
                self.pending.extend(scanner.finish());
            }
            if self.pending.is_empty() {
                self.end_input();
            }
            return self.push_pending();
        }
        match &mut self.scanner {
            None => self.pending.extend_from_slice(&buffer[..length]),
            Some(scanner) => match scanner.scan(&buffer[..length]) {
                Scan::Pass(bytes) => self.pending.extend(bytes),
                Scan::Detach(bytes) => {
                    self.pending.extend(bytes);
                    self.detached = true;
                }
            },
        }
        self.push_pending()
    }

    fn push_pending(&mut self) -> Result<(), Failure> {
        while !self.pending.is_empty() {
            let length = self.pending.len().min(stream::MAX_BYTES);
            match self.client.try_send_input(&self.pending[..length]) {
                Ok(true) => drop(self.pending.drain(..length)),
                Ok(false) => return Ok(()),
                // Its last words are still to be read.
                Err(ClientError::Gone) => {
                    self.pending.clear();
                    self.input_open = false;
                    return Ok(());
                }
                Err(error) => return Err(Failure::engine(error)),
            }
        }
        if !self.input_open && self.joint.stdin {
            self.end_input();
        }
        Ok(())
    }

    fn end_input(&mut self) {
        self.joint.stdin = false;
        let _ = self.client.end_input();
    }
}

/// Writes through; what is read from a workload is nobody's to keep.
pub(crate) fn write_all(out: &mut impl Write, bytes: &[u8]) -> Result<(), Failure> {
    out.write_all(bytes)
        .and_then(|()| out.flush())
        .map_err(Failure::Output)
}
