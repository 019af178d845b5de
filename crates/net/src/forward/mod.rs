//! Forwarding in user space, for what the kernel cannot lead to a container: connections to `::1`,
//! which leave the loopback by no route, and to an address family that the container lacks. The
//! visitor's address is lost on the way.
//!
//! Made for an event loop of one thread: a [`Forwarder`] is one descriptor to wait on, and never
//! waits itself. Its sockets and buffers are bounded; while nobody visits it holds three
//! descriptors and no buffer.

mod tcp;
mod udp;

use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_spec::{Fault, Kind};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::ports::Reserved;
use crate::publish::{Binding, Protocol};

/// The event that stands for the socket that visitors come to.
const LISTENER: u64 = u64::MAX;
/// Events taken in one go.
const EVENTS: usize = 64;
/// The room for one reading: a datagram of any length, a good piece of a stream.
const SCRATCH_BYTES: usize = 64 * 1024;

/// A port held by [`crate::ports::reserve`] and the address behind it.
#[derive(Debug)]
pub struct Forwarder {
    binding: Binding,
    epoll: OwnedFd,
    scratch: Vec<u8>,
    by: By,
}

#[derive(Debug)]
enum By {
    Tcp(tcp::Connections),
    Udp(udp::Flows),
}

impl Forwarder {
    /// Forwards what arrives at the held port to `target`: the container's address and port.
    pub fn new(reserved: Reserved, target: SocketAddr) -> Result<Forwarder, ForwardError> {
        let binding = reserved.binding;
        let fail = |source| ForwardError { binding, source };
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).map_err(fail)?;
        epoll::add(
            &epoll,
            &reserved,
            EventData::new_u64(LISTENER),
            EventFlags::IN,
        )
        .map_err(fail)?;
        let socket = reserved.into_socket();
        let by = match binding.protocol {
            Protocol::Tcp => By::Tcp(tcp::Connections::new(socket, target).map_err(fail)?),
            Protocol::Udp => By::Udp(udp::Flows::new(socket, target)),
        };
        Ok(Forwarder {
            binding,
            epoll,
            scratch: Vec::new(),
            by,
        })
    }

    /// The port it serves.
    pub fn binding(&self) -> Binding {
        self.binding
    }

    /// Does what can be done at once; to be called whenever the descriptor is readable. What fails
    /// for one visitor ends that visit only.
    pub fn on_ready(&mut self) -> Result<(), ForwardError> {
        let mut events = [const {
            epoll::Event {
                flags: EventFlags::empty(),
                data: EventData::new_u64(0),
            }
        }; EVENTS];
        let immediately = rustix::event::Timespec::default();
        let count = match epoll::wait(&self.epoll, &mut events[..], Some(&immediately)) {
            Ok(count) => count,
            Err(Errno::INTR) => return Ok(()),
            Err(source) => {
                let binding = self.binding;
                return Err(ForwardError { binding, source });
            }
        };
        self.scratch.resize(SCRATCH_BYTES, 0);
        for event in &events[..count] {
            let (token, flags) = (event.data.u64(), event.flags);
            match &mut self.by {
                By::Tcp(by) => by.on_event(&self.epoll, token, flags, &mut self.scratch),
                By::Udp(by) => by.on_event(&self.epoll, token, &mut self.scratch),
            }
        }
        if self.visits() == 0 {
            self.scratch = Vec::new();
        }
        Ok(())
    }

    /// How many connections, or UDP visitors, there are.
    pub fn visits(&self) -> usize {
        match &self.by {
            By::Tcp(by) => by.len(),
            By::Udp(by) => by.len(),
        }
    }
}

impl AsFd for Forwarder {
    /// An epoll descriptor: readable when [`Forwarder::on_ready`] has something to do.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }
}

/// A forwarder could not be made or waited on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("cannot forward {binding}: {source}")]
pub struct ForwardError {
    binding: Binding,
    source: Errno,
}

impl Fault for ForwardError {
    fn kind(&self) -> Kind {
        Kind::Unavailable
    }
}

/// A non-blocking socket on its way to `target`: connected, or about to be.
fn connect(target: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let family = match target {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, kind, flags, None)?;
    match rustix::net::connect(&socket, &target) {
        Ok(()) | Err(Errno::INPROGRESS) => Ok(socket),
        Err(errno) => Err(errno),
    }
}

/// Places for things that events name: an index, and a generation that tells a thing from one that
/// had the place before it.
#[derive(Debug)]
struct Slots<T> {
    all: Vec<(u32, Option<T>)>,
    free: Vec<u32>,
}

impl<T> Slots<T> {
    fn new() -> Slots<T> {
        Slots {
            all: Vec::new(),
            free: Vec::new(),
        }
    }

    fn len(&self) -> usize {
        self.all.len() - self.free.len()
    }

    /// The name under which the next [`Slots::insert`] puts its thing.
    fn next(&self) -> Name {
        let index = match self.free.last() {
            Some(&index) => index,
            None => self.all.len() as u32,
        };
        let generation = self.all.get(index as usize).map_or(0, |slot| slot.0);
        Name { index, generation }
    }

    fn insert(&mut self, thing: T) -> Name {
        let name = self.next();
        match self.free.pop() {
            Some(index) => self.all[index as usize].1 = Some(thing),
            None => self.all.push((0, Some(thing))),
        }
        name
    }

    fn get_mut(&mut self, name: Name) -> Option<&mut T> {
        let (generation, thing) = self.all.get_mut(name.index as usize)?;
        thing.as_mut().filter(|_| *generation == name.generation)
    }

    fn remove(&mut self, name: Name) -> Option<T> {
        let (generation, thing) = self.all.get_mut(name.index as usize)?;
        if *generation != name.generation {
            return None;
        }
        let thing = thing.take()?;
        *generation = generation.wrapping_add(1) & GENERATION_MASK;
        self.free.push(name.index);
        Some(thing)
    }
}

/// Keeps every token apart from [`LISTENER`].
const GENERATION_MASK: u32 = 0x3fff_ffff;

/// One place at one time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Name {
    index: u32,
    generation: u32,
}

impl Name {
    /// As an event's data, with one bit to spare.
    fn token(self, side: u64) -> u64 {
        u64::from(self.generation) << 33 | u64::from(self.index) << 1 | side
    }

    fn of(token: u64) -> (Name, u64) {
        let name = Name {
            index: (token >> 1) as u32,
            generation: (token >> 33) as u32,
        };
        (name, token & 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_taken_again_is_another_name() {
        let mut slots = Slots::new();
        let first = slots.insert("a");
        assert_eq!(slots.len(), 1);
        assert_eq!(slots.remove(first), Some("a"));
        assert_eq!(slots.remove(first), None);
        let second = slots.insert("b");
        assert_ne!(first, second);
        assert_eq!(slots.get_mut(first), None);
        assert_eq!(slots.get_mut(second), Some(&mut "b"));
        let name = Name {
            index: u32::MAX,
            generation: GENERATION_MASK,
        };
        for side in [0, 1] {
            assert_eq!(Name::of(name.token(side)), (name, side));
            assert_ne!(name.token(side), LISTENER);
        }
    }
}
