//! Copying between containerd's FIFOs and the containers' pipes and terminals: one table of pumps, run by
//! the shim's one loop. A pump waits for one of its two ends at a time, so a reader that is slow stops its
//! writer as a pipe does, and nothing piles up here.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rustix::event::epoll;
use rustix::io::Errno;

/// Marks the epoll data of a pump.
pub const TOKEN: u64 = 1 << 63;

/// Which way bytes go, seen from the container.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flow {
    /// Ends with the process.
    Input,
    /// Ends when the last writer has closed.
    Output,
}

/// A pair of ends, both non-blocking.
#[derive(Debug)]
pub struct Pump {
    pub flow: Flow,
    pub from: OwnedFd,
    pub to: OwnedFd,
}

#[derive(Debug)]
struct Running {
    /// The process whose stream this is.
    owner: u64,
    pump: Pump,
    /// Read and not yet written; while there is something, the pump waits for `to`.
    pending: Vec<u8>,
}

/// All pumps of the shim.
#[derive(Debug)]
pub struct Pumps {
    epoll: Arc<OwnedFd>,
    table: Mutex<Table>,
    /// A pump has ended.
    ended: Condvar,
}

#[derive(Debug, Default)]
struct Table {
    last: u64,
    running: HashMap<u64, Running>,
}

enum Step {
    /// Wait for the same end again.
    Again,
    /// Wait for the other end from now on.
    Turn,
    Done,
}

impl Pumps {
    /// `epoll` is the loop's; it calls [`Pumps::ready`] for events whose data has [`TOKEN`].
    #[must_use]
    pub fn new(epoll: Arc<OwnedFd>) -> Pumps {
        Pumps {
            epoll,
            table: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Starts a pump for the process `owner`.
    ///
    /// # Errors
    /// `ENOMEM`, `ENOSPC` of epoll_ctl(2).
    pub fn add(&self, owner: u64, pump: Pump) -> Result<(), Errno> {
        let mut table = self.lock();
        table.last += 1;
        let id = table.last;
        self.listen(pump.from.as_fd(), id, epoll::EventFlags::IN)?;
        let running = Running {
            owner,
            pump,
            pending: Vec::new(),
        };
        table.running.insert(id, running);
        Ok(())
    }

    fn listen(&self, fd: BorrowedFd<'_>, id: u64, on: epoll::EventFlags) -> Result<(), Errno> {
        epoll::add(&*self.epoll, fd, epoll::EventData::new_u64(id | TOKEN), on)
    }

    /// Moves what can be moved of the pump behind an event.
    pub fn ready(&self, token: u64) {
        let id = token & !TOKEN;
        let mut table = self.lock();
        let Some(running) = table.running.get_mut(&id) else {
            return;
        };
        let waited_for_room = !running.pending.is_empty();
        let done = match running.step() {
            Step::Again => false,
            Step::Done => true,
            Step::Turn => {
                let (old, new, on) = if waited_for_room {
                    let Pump { from, to, .. } = &running.pump;
                    (to, from, epoll::EventFlags::IN)
                } else {
                    let Pump { from, to, .. } = &running.pump;
                    (from, to, epoll::EventFlags::OUT)
                };
                let _ = epoll::delete(&*self.epoll, old);
                self.listen(new.as_fd(), id, on).is_err()
            }
        };
        if done && let Some(running) = table.running.remove(&id) {
            self.forget(&running);
        }
    }

    /// Explicitly, because a duplicate of an end (a terminal's) would keep its registration.
    fn forget(&self, running: &Running) {
        let end = if running.pending.is_empty() {
            &running.pump.from
        } else {
            &running.pump.to
        };
        let _ = epoll::delete(&*self.epoll, end);
        self.ended.notify_all();
    }

    /// Ends the pumps of a process: those of one direction, or all.
    pub fn stop(&self, owner: u64, flow: Option<Flow>) {
        let mut table = self.lock();
        let stopped: Vec<Running> = table
            .running
            .extract_if(|_, running| {
                running.owner == owner && flow.is_none_or(|flow| running.pump.flow == flow)
            })
            .map(|(_, running)| running)
            .collect();
        for running in &stopped {
            self.forget(running);
        }
    }

    /// Waits until the process's output is through, or `limit` is over.
    pub fn drain(&self, owner: u64, limit: Duration) {
        let deadline = Instant::now() + limit;
        let mut table = self.lock();
        let flows = |running: &Running| running.owner == owner && running.pump.flow == Flow::Output;
        while table.running.values().any(flows) {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            table = self
                .ended
                .wait_timeout(table, left)
                .unwrap_or_else(PoisonError::into_inner)
                .0;
        }
    }

    /// Whether nothing is being copied.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.lock().running.values().all(|r| r.pending.is_empty())
    }
}

impl Running {
    fn step(&mut self) -> Step {
        if !self.pending.is_empty() {
            let pending = std::mem::take(&mut self.pending);
            return match self.write(&pending) {
                Err(step) => step,
                Ok([]) => Step::Turn,
                Ok(rest) => {
                    self.pending = rest.to_vec();
                    Step::Again
                }
            };
        }
        let mut buffer = [0u8; 16 << 10];
        let count = match rustix::io::read(&self.pump.from, &mut buffer) {
            Ok(0) => return Step::Done,
            Ok(count) => count,
            Err(Errno::AGAIN | Errno::INTR) => return Step::Again,
            // EIO: a terminal without anybody at the other side.
            Err(_) => return Step::Done,
        };
        match self.write(&buffer[..count]) {
            Err(step) => step,
            Ok([]) => Step::Again,
            Ok(rest) => {
                self.pending = rest.to_vec();
                Step::Turn
            }
        }
    }

    /// Writes, and gives what had no room.
    fn write<'a>(&self, mut bytes: &'a [u8]) -> Result<&'a [u8], Step> {
        while !bytes.is_empty() {
            match rustix::io::write(&self.pump.to, bytes) {
                Ok(count) => bytes = &bytes[count..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                // A full disk under a log file must not stop the container.
                Err(_) if self.pump.flow == Flow::Output => return Ok(&[]),
                Err(_) => return Err(Step::Done),
            }
        }
        Ok(bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::pipe::{PipeFlags, pipe_with};

    fn pipe() -> (OwnedFd, OwnedFd) {
        pipe_with(PipeFlags::CLOEXEC | PipeFlags::NONBLOCK).unwrap()
    }

    /// Runs events until there are none.
    fn turn(pumps: &Pumps) {
        let now = rustix::event::Timespec::default();
        loop {
            let mut events = Vec::with_capacity(4);
            epoll::wait(
                &*pumps.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&now),
            )
            .unwrap();
            if events.is_empty() {
                return;
            }
            for event in &events {
                let data = event.data;
                pumps.ready(data.u64());
            }
        }
    }

    fn pumps() -> Pumps {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).unwrap();
        Pumps::new(Arc::new(epoll))
    }

    #[test]
    fn a_reader_that_rests_stops_the_pump_and_loses_nothing() {
        let pumps = pumps();
        let (from, writer) = pipe();
        let (reader, to) = pipe();
        let flow = Flow::Output;
        pumps.add(1, Pump { flow, from, to }).unwrap();
        let block = [7u8; 4096];
        let (mut given, mut taken) = (0, 0);
        for _ in 0..8 {
            while let Ok(count) = rustix::io::write(&writer, &block) {
                given += count;
            }
            turn(&pumps);
        }
        assert!(given > 100_000, "both pipes took what they hold: {given}");
        assert!(!pumps.is_idle());
        drop(writer);
        let mut buffer = [0u8; 4096];
        loop {
            match rustix::io::read(&reader, &mut buffer) {
                Ok(0) => break,
                Ok(count) => taken += count,
                Err(Errno::AGAIN) => turn(&pumps),
                Err(error) => panic!("{error}"),
            }
        }
        assert_eq!(given, taken);
        pumps.drain(1, Duration::ZERO);
        assert!(pumps.lock().running.is_empty());
    }

    #[test]
    fn a_stopped_input_closes_the_containers_end() {
        let pumps = pumps();
        let (from, _writer) = pipe();
        let (reader, to) = pipe();
        let flow = Flow::Input;
        pumps.add(1, Pump { flow, from, to }).unwrap();
        pumps.stop(2, None);
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Err(Errno::AGAIN));
        pumps.stop(1, Some(Flow::Input));
        assert_eq!(rustix::io::read(&reader, &mut [0; 1]), Ok(0));
    }
}
