//! Datagrams: one connected socket for each visitor, so that answers find their way back.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, SocketType};

use super::connect_there;
use crate::slots::{LISTENER, Name, Slots};

/// With more, the one that has been silent the longest is forgotten.
const FLOWS: usize = 256;
/// A visitor who has been silent for so long is forgotten when another comes.
const IDLE: Duration = Duration::from_secs(90);
/// Datagrams taken from one socket in one go.
const DATAGRAMS: usize = 64;

/// All visitors of one port.
#[derive(Debug)]
pub(super) struct Flows {
    listener: OwnedFd,
    target: SocketAddr,
    slots: Slots<Flow>,
    /// Whose flow is where; at most [`FLOWS`].
    names: Vec<(SocketAddr, Name)>,
}

#[derive(Debug)]
struct Flow {
    visitor: SocketAddr,
    socket: OwnedFd,
    last: Instant,
}

impl Flows {
    pub(super) fn new(listener: OwnedFd, target: SocketAddr) -> Flows {
        Flows {
            listener,
            target,
            slots: Slots::new(),
            names: Vec::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn on_event(&mut self, epoll: &OwnedFd, token: u64, scratch: &mut [u8]) {
        match token {
            LISTENER => self.there(epoll, scratch),
            token => self.back(Name::of(token).0, scratch),
        }
    }

    /// From visitors to the container. What cannot be sent is lost, as datagrams may be.
    fn there(&mut self, epoll: &OwnedFd, scratch: &mut [u8]) {
        for _ in 0..DATAGRAMS {
            let received = rustix::net::recvfrom(&self.listener, &mut *scratch, RecvFlags::empty());
            let (length, visitor) = match received {
                Ok((length, _, Some(from))) => match SocketAddr::try_from(from) {
                    Ok(visitor) => (length, visitor),
                    Err(_) => continue,
                },
                Ok(_) | Err(Errno::INTR) => continue,
                // Nothing more, or an error of an earlier answer that this call reports.
                Err(_) => return,
            };
            let Some(flow) = self.flow_of(epoll, visitor) else {
                continue;
            };
            flow.last = Instant::now();
            let _ = rustix::net::send(&flow.socket, &scratch[..length], SendFlags::NOSIGNAL);
        }
    }

    /// From the container to a visitor.
    fn back(&mut self, name: Name, scratch: &mut [u8]) {
        let Some(flow) = self.slots.get_mut(name) else {
            return;
        };
        for _ in 0..DATAGRAMS {
            match rustix::net::recv(&flow.socket, &mut *scratch, RecvFlags::empty()) {
                Ok((length, _)) => {
                    flow.last = Instant::now();
                    let answer = &scratch[..length];
                    let (flags, to) = (SendFlags::NOSIGNAL, &flow.visitor);
                    let _ = rustix::net::sendto(&self.listener, answer, flags, to);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return,
                // Nobody listens in the container. The next datagram tries again.
                Err(_) => return self.forget(name),
            }
        }
    }

    /// The visitor's flow, made if there is none.
    fn flow_of(&mut self, epoll: &OwnedFd, visitor: SocketAddr) -> Option<&mut Flow> {
        let known = self.names.iter().find(|(one, _)| *one == visitor);
        if let Some(&(_, name)) = known {
            return self.slots.get_mut(name);
        }
        self.make_room();
        let socket = connect_there(self.target, SocketType::DGRAM).ok()?;
        let data = EventData::new_u64(self.slots.next().token(0));
        epoll::add(epoll, &socket, data, EventFlags::IN).ok()?;
        let name = self.slots.insert(Flow {
            visitor,
            socket,
            last: Instant::now(),
        });
        self.names.push((visitor, name));
        self.slots.get_mut(name)
    }

    fn make_room(&mut self) {
        let mut idle = Vec::new();
        let mut oldest: Option<(Instant, Name)> = None;
        for &(_, name) in &self.names {
            let Some(flow) = self.slots.get_mut(name) else {
                continue;
            };
            if flow.last.elapsed() > IDLE {
                idle.push(name);
            }
            if oldest.is_none_or(|(last, _)| flow.last < last) {
                oldest = Some((flow.last, name));
            }
        }
        for name in idle {
            self.forget(name);
        }
        if let Some((_, name)) = oldest
            && self.slots.len() >= FLOWS
        {
            self.forget(name);
        }
    }

    fn forget(&mut self, name: Name) {
        if let Some(flow) = self.slots.remove(name) {
            self.names.retain(|(visitor, _)| *visitor != flow.visitor);
        }
    }
}
