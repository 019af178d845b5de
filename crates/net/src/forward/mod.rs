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

use crate::home;
use gamut_spec::{Fault, Kind};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType};

use crate::ports::Reserved;
use crate::publish::{Binding, Protocol};
use crate::slots::LISTENER;

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

/// As [`connect`], from where networks are made.
fn connect_there(target: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
    let made = home::there(|| connect(target, kind));
    made.map_err(|_| Errno::NETUNREACH)?
}

/// A non-blocking socket on its way to `target`: connected, or about to be.
pub(crate) fn connect(target: SocketAddr, kind: SocketType) -> Result<OwnedFd, Errno> {
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
