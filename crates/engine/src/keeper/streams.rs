//! The workload's standard streams, as the keeper holds them.

use std::collections::VecDeque;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_plan::cell::CellFds;
use gamut_plan::launch::{Stdin, StreamsPlan, Terminal};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::pipe::{PipeFlags, pipe_with};

use super::events::{Keeper, Source};

/// Past this much unread input a client has to wait.
const INPUT_BYTES: usize = 64 * 1024;

/// The keeper's ends.
#[derive(Debug, Default)]
pub(super) struct Streams {
    /// Standard output and standard error, or a terminal's master and nothing.
    pub(super) outputs: [Option<OwnedFd>; 2],
    /// `None`: closed, or the terminal's master serves.
    input: Option<OwnedFd>,
    pub(super) has_terminal: bool,
    once: bool,
    pending: VecDeque<u8>,
    end_after_pending: bool,
    /// Reading is stopped because a client does not keep up.
    pub(super) held: bool,
}

impl Streams {
    /// The keeper's ends and the workload's. With a terminal there is none yet: the cell makes it.
    pub(super) fn make(plan: &StreamsPlan) -> Result<(Streams, CellFds), Errno> {
        let mut ours = Streams {
            once: plan.stdin == Stdin::OpenOnce,
            ..Streams::default()
        };
        let mut theirs = CellFds::default();
        if plan.terminal != Terminal::None {
            ours.has_terminal = true;
            return Ok((ours, theirs));
        }
        if plan.stdin != Stdin::Closed {
            let (read, write) = pipe_with(PipeFlags::CLOEXEC)?;
            gamut_sys::socket::set_nonblocking(&write)?;
            theirs.stdin = Some(read);
            ours.input = Some(write);
        }
        let (stdout, stdout_end) = pipe_with(PipeFlags::CLOEXEC)?;
        let (stderr, stderr_end) = pipe_with(PipeFlags::CLOEXEC)?;
        gamut_sys::socket::set_nonblocking(&stdout)?;
        gamut_sys::socket::set_nonblocking(&stderr)?;
        ours.outputs = [Some(stdout), Some(stderr)];
        theirs.stdout = Some(stdout_end);
        theirs.stderr = Some(stderr_end);
        Ok((ours, theirs))
    }

    /// Takes the terminal that the cell made.
    pub(super) fn adopt(&mut self, master: Option<OwnedFd>) -> Result<(), Errno> {
        if let Some(master) = master {
            gamut_sys::socket::set_nonblocking(&master)?;
            self.outputs[0] = Some(master);
        }
        Ok(())
    }

    pub(super) fn terminal(&self) -> Option<&OwnedFd> {
        self.outputs[0].as_ref().filter(|_| self.has_terminal)
    }

    fn input(&self) -> Option<BorrowedFd<'_>> {
        if self.has_terminal {
            self.outputs[0].as_ref().map(AsFd::as_fd)
        } else {
            self.input.as_ref().map(AsFd::as_fd)
        }
    }

    /// Writes what waits; `true` if some is left.
    fn write_pending(&mut self) -> bool {
        while !self.pending.is_empty() {
            let written = {
                let Some(input) = self.input() else { break };
                rustix::io::write(input, self.pending.as_slices().0)
            };
            match written {
                Ok(length) => drop(self.pending.drain(..length)),
                Err(Errno::AGAIN) => return true,
                Err(Errno::INTR) => {}
                Err(_) => break,
            }
        }
        // Sent, or nobody reads any more.
        self.pending.clear();
        if self.end_after_pending && !self.has_terminal {
            self.input = None;
        }
        false
    }
}

impl Keeper {
    pub(super) fn input_is_full(&self) -> bool {
        self.workload
            .as_ref()
            .is_some_and(|w| w.streams.pending.len() >= INPUT_BYTES)
    }

    pub(super) fn give_input(&mut self, id: u32, bytes: &[u8]) {
        if !self.connections.get(&id).is_some_and(|c| c.gives_input) {
            return;
        }
        if let Some(workload) = &mut self.workload {
            workload.streams.pending.extend(bytes);
        }
        self.push_input();
    }

    pub(super) fn end_input(&mut self, id: u32) {
        let gives = match self.connections.get_mut(&id) {
            Some(connection) => std::mem::take(&mut connection.gives_input),
            None => false,
        };
        if gives {
            if let Some(workload) = &mut self.workload {
                workload.streams.end_after_pending = true;
            }
            self.push_input();
        }
    }

    /// A client that gave input is gone: the workload's input ends with it if it was to be open
    /// once only.
    pub(super) fn input_client_left(&mut self) {
        if let Some(workload) = &mut self.workload
            && workload.streams.once
        {
            workload.streams.end_after_pending = true;
            self.push_input();
        }
    }

    fn push_input(&mut self) {
        let Some(workload) = &mut self.workload else {
            return;
        };
        let waits = workload.streams.write_pending();
        let terminal = workload.streams.has_terminal;
        if let Some(input) = workload.streams.input() {
            let result = match (terminal, waits) {
                // One descriptor serves both ways.
                (true, true) => {
                    self.poll
                        .watch(input, Source::Output(0), EventFlags::IN | EventFlags::OUT)
                }
                (true, false) => self.poll.watch(input, Source::Output(0), EventFlags::IN),
                (false, true) => self.poll.watch(input, Source::Input, EventFlags::OUT),
                (false, false) => {
                    self.poll.forget(input);
                    Ok(())
                }
            };
            let _ = result;
        }
        if !waits {
            let ids: Vec<u32> = self
                .connections
                .iter()
                .filter(|(_, c)| c.gives_input)
                .map(|(id, _)| *id)
                .collect();
            for id in ids {
                self.watch_connection(id);
            }
        }
    }

    pub(super) fn on_input_writable(&mut self) {
        self.push_input();
    }
}
