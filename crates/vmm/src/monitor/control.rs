//! The monitor's socket, and what came over it: commands that wait, and streams for the guest to connect
//! to.

use std::collections::{HashMap, VecDeque};
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use gamut_spec::fault::{Fault, Kind};
use gamut_sys::socket;
use gamut_virtio::vsock::Peer;
use rustix::event::{PollFd, PollFlags};
use rustix::io::Errno;

use crate::wire::{Answer, Command, Disk, MAX_PACKET_BYTES, MachineConfig};

/// The most streams that may wait for their guest.
const STREAMS_MAX: usize = 4096;

/// A handle to the socket; clones are the same one.
#[derive(Debug, Clone)]
pub struct Control(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    socket: OwnedFd,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    streams: HashMap<u32, OwnedFd>,
    waiting: VecDeque<(Command, Vec<OwnedFd>)>,
    is_over: bool,
    buffer: Vec<u8>,
}

impl AsFd for Control {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.socket.as_fd()
    }
}

impl Control {
    /// # Errors
    /// It is no descriptor that can be set to not block.
    pub fn new(socket: OwnedFd) -> Result<Self, Errno> {
        socket::set_nonblocking(&socket)?;
        let state = State {
            buffer: vec![0; MAX_PACKET_BYTES],
            ..State::default()
        };
        Ok(Self(Arc::new(Shared {
            socket,
            state: Mutex::new(state),
        })))
    }

    fn state(&self) -> MutexGuard<'_, State> {
        let state = self.0.state.lock();
        state.unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for the first command; `None` if the other side goes without one, or says something else.
    #[must_use]
    pub fn boot(&self) -> Option<(Box<MachineConfig>, Vec<OwnedFd>)> {
        loop {
            let mut fds = [PollFd::new(&self.0.socket, PollFlags::IN)];
            match rustix::event::poll(&mut fds, None) {
                Ok(_) | Err(Errno::INTR) => {}
                Err(_) => return None,
            }
            let is_over = self.drain();
            match self.state().waiting.pop_front() {
                Some((Command::Boot(config), descriptors)) => return Some((config, descriptors)),
                None if !is_over => {}
                _ => return None,
            }
        }
    }

    /// Takes all that has come; `true` when there will be no more.
    pub fn drain(&self) -> bool {
        self.state().drain(self.as_fd())
    }

    /// The next command but streams.
    #[must_use]
    pub fn next(&self) -> Option<Command> {
        Some(self.state().waiting.pop_front()?.0)
    }

    /// Says it. The other side waits for each answer before it asks again, so there is room; and one that
    /// is gone is seen by the next [`Control::drain`].
    pub fn answer(&self, answer: &Answer) {
        if let Ok(bytes) = serde_json::to_vec(answer) {
            let _ = socket::send(self.as_fd(), &[&bytes], &[]);
        }
    }
}

impl State {
    fn drain(&mut self, socket: BorrowedFd<'_>) -> bool {
        while !self.is_over {
            let (length, descriptors) = match socket::receive(socket, &mut self.buffer) {
                Ok((0, _)) => {
                    self.is_over = true;
                    break;
                }
                Ok(received) => received,
                Err(Errno::AGAIN) => break,
                // Longer than any packet.
                Err(Errno::MSGSIZE) => continue,
                Err(_) => {
                    self.is_over = true;
                    break;
                }
            };
            match serde_json::from_slice(&self.buffer[..length]) {
                Ok(Command::Stream { port }) => {
                    if self.streams.len() < STREAMS_MAX {
                        self.streams
                            .extend(descriptors.into_iter().next().map(|fd| (port, fd)));
                    }
                }
                Ok(command) => self.waiting.push_back((command, descriptors)),
                // Our own other half says nothing else.
                Err(_) => self.is_over = true,
            }
        }
        self.is_over
    }
}

/// What the guest's connections are joined with: each stream once. A guest that has been told of a stream
/// connects to it before the loop comes round, so what waits in the socket is taken first.
impl Peer for Control {
    fn connect(&mut self, port: u32) -> Option<OwnedFd> {
        let mut state = self.state();
        if !state.streams.contains_key(&port) {
            state.drain(self.as_fd());
        }
        state.streams.remove(&port)
    }
}

/// The descriptors of a machine, by what they are for.
#[derive(Debug)]
pub struct Parts {
    pub kernel: File,
    pub initramfs: File,
    /// Where the serial port's output goes.
    pub serial: OwnedFd,
    /// With each disk's files.
    pub disks: Vec<(Disk, Vec<File>)>,
    pub tap: Option<OwnedFd>,
    /// Connected to the server of the share.
    pub share: Option<OwnedFd>,
}

/// The descriptors are not what the configuration says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{given} descriptors came with a machine of {expected}")]
pub struct PartsError {
    given: usize,
    expected: usize,
}

impl Fault for PartsError {
    fn kind(&self) -> Kind {
        Kind::Bug
    }
}

impl Parts {
    /// In the order that [`Command::Boot`] has.
    ///
    /// # Errors
    /// There are more or fewer.
    pub fn sort(config: &MachineConfig, descriptors: Vec<OwnedFd>) -> Result<Self, PartsError> {
        let files = config.disks.iter().map(|disk| disk.files as usize);
        let others = usize::from(config.network.is_some()) + usize::from(config.share.is_some());
        let expected = 3 + files.fold(others, usize::saturating_add);
        let wrong = PartsError {
            given: descriptors.len(),
            expected,
        };
        if descriptors.len() != expected {
            return Err(wrong);
        }
        // There are as many as are taken.
        let mut rest = descriptors.into_iter();
        let mut take = || rest.next().ok_or(wrong);
        Ok(Self {
            kernel: take()?.into(),
            initramfs: take()?.into(),
            serial: take()?,
            disks: config
                .disks
                .iter()
                .map(|disk| {
                    let files = (0..disk.files).map(|_| take().map(File::from));
                    Ok((disk.clone(), files.collect::<Result<_, _>>()?))
                })
                .collect::<Result<_, _>>()?,
            tap: config.network.map(|_| take()).transpose()?,
            share: config.share.as_ref().map(|_| take()).transpose()?,
        })
    }
}
