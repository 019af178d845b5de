//! The host's side: all connections, those that come from the peer's listener and those that the guest asks
//! the peer for.

use std::collections::{HashMap, VecDeque};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;

use super::HOST_CID;
use super::connection::{BUFFER_BYTES, Connection, Next, Over};
use super::end::End;
use super::packet::{HEADER_BYTES, Header, REQUEST, RST, STREAM};
use super::peer::Peer;
use crate::chain::Buffers;
use crate::memory::Memory;

/// The most connections at a time; Firecracker's number.
pub(super) const CONNECTIONS_MAX: usize = 1023;
/// How many refusals may wait for the guest's buffers, before its packets have to wait.
const REFUSALS_MAX: usize = 256;
/// The first port that the host's end of a connection gets; Firecracker's number.
const FIRST_PORT: u32 = 1 << 30;
/// The listener's mark in the epoll set; connections count from 1.
const LISTENER: u64 = 0;

#[derive(Debug)]
pub(super) struct Host {
    guest_cid: u64,
    peer: Box<dyn Peer>,
    epoll: OwnedFd,
    connections: HashMap<u64, Connection>,
    /// By the host's port and the guest's.
    by_ports: HashMap<(u32, u32), u64>,
    /// Those that may have something to tell.
    ready: VecDeque<u64>,
    /// Resets that are due, for connections that are not there (any more).
    refusals: VecDeque<Header>,
    last_id: u64,
    last_port: u32,
    pub(super) opened: u64,
    pub(super) refused: u64,
}

impl Host {
    pub(super) fn new(guest_cid: u64, peer: Box<dyn Peer>) -> Result<Self, Errno> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        if let Some(listener) = peer.listener() {
            rustix::io::ioctl_fionbio(listener, true)?;
            let flags = EventFlags::IN | EventFlags::ET;
            epoll::add(&epoll, listener, EventData::new_u64(LISTENER), flags)?;
        }
        Ok(Self {
            guest_cid,
            peer,
            epoll,
            connections: HashMap::new(),
            by_ports: HashMap::new(),
            ready: VecDeque::new(),
            refusals: VecDeque::new(),
            last_id: LISTENER,
            last_port: FIRST_PORT - 1,
            opened: 0,
            refused: 0,
        })
    }

    /// Readable when [`Host::wake`] has something to do.
    pub(super) fn events(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    pub(super) fn connections(&self) -> usize {
        self.connections.len()
    }

    /// The guest has begun anew. Its connections end, the listener stays.
    pub(super) fn clear(&mut self) {
        self.connections.clear();
        self.by_ports.clear();
        self.ready.clear();
        self.refusals.clear();
    }

    /// Whether another packet of the guest's may be taken: whatever it says can be answered.
    pub(super) fn has_room(&self) -> bool {
        self.refusals.len() < REFUSALS_MAX
    }

    /// Looks at all descriptors to which something happened.
    pub(super) fn wake(&mut self) {
        const EVENTS: usize = 64;
        let zero = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        loop {
            let mut events = Vec::with_capacity(EVENTS);
            let room = rustix::buffer::spare_capacity(&mut events);
            match epoll::wait(&self.epoll, room, Some(&zero)) {
                Ok(_) => {}
                Err(Errno::INTR) => continue,
                Err(_) => return,
            }
            for event in &events {
                let flags = event.flags;
                match event.data.u64() {
                    LISTENER => self.accept(),
                    id => self.wake_connection(id, flags),
                }
            }
            if events.len() < EVENTS {
                return;
            }
        }
    }

    fn accept(&mut self) {
        while let Some(Ok((stream, _))) = self.peer.listener().map(UnixListener::accept) {
            // Whoever is one too many is closed at once.
            let is_full = self.connections.len() >= CONNECTIONS_MAX;
            match End::new(stream.into()) {
                // What it has said already is an event of its own.
                Ok(end) if !is_full => drop(self.add(Connection::accepted(end))),
                _ => self.refused += 1,
            }
        }
    }

    fn add(&mut self, connection: Connection) -> Option<u64> {
        self.last_id += 1;
        let data = EventData::new_u64(self.last_id);
        let end = &connection.end;
        match epoll::add(&self.epoll, end, data, end.interest()) {
            // A file can always be read and written.
            Ok(()) | Err(Errno::PERM) => {}
            Err(_) => return None,
        }
        self.connections.insert(self.last_id, connection);
        Some(self.last_id)
    }

    fn wake_connection(&mut self, id: u64, events: EventFlags) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        if connection.is_greeting() {
            return match connection.greeting() {
                Ok(Some(port)) => self.request(id, port),
                Ok(None) if !events.contains(EventFlags::HUP) => {}
                _ => drop(self.connections.remove(&id)),
            };
        }
        match connection.wake(events) {
            Ok(()) => self.enqueue(id),
            Err(Over) => self.close(id),
        }
    }

    fn request(&mut self, id: u64, peer_port: u32) {
        // There are fewer connections than ports, so this ends.
        let local_port = loop {
            self.last_port = self.last_port.wrapping_add(1).max(FIRST_PORT);
            if !self.by_ports.contains_key(&(self.last_port, peer_port)) {
                break self.last_port;
            }
        };
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.request(local_port, peer_port);
            self.by_ports.insert((local_port, peer_port), id);
            self.enqueue(id);
        }
    }

    fn enqueue(&mut self, id: u64) {
        let connection = self.connections.get_mut(&id);
        if let Some(connection) = connection.filter(|connection| !connection.is_queued) {
            connection.is_queued = true;
            self.ready.push_back(id);
        }
    }

    /// The connection ends on both sides.
    fn close(&mut self, id: u64) {
        let Some(connection) = self.forget(id) else {
            return;
        };
        self.refusals.push_back(Header {
            source_port: connection.local_port,
            destination_port: connection.peer_port,
            kind: STREAM,
            ..Header::default()
        });
    }

    fn forget(&mut self, id: u64) -> Option<Connection> {
        let connection = self.connections.remove(&id)?;
        let ports = (connection.local_port, connection.peer_port);
        if !connection.is_greeting() {
            self.by_ports.remove(&ports);
        }
        Some(connection)
    }

    /// A packet from the guest, with what follows its header.
    pub(super) fn receive(&mut self, memory: &Memory, header: &Header, mut data: Buffers) {
        if (header.source_cid, header.destination_cid) != (self.guest_cid, HOST_CID) {
            self.refused += 1;
            return;
        }
        let fits = data.len() >= u64::from(header.length);
        let data = data.split_front(header.length.into());
        let ports = (header.destination_port, header.source_port);
        let id = self.by_ports.get(&ports).copied();
        match (header.operation, id) {
            (RST, Some(id)) => drop(self.forget(id)),
            (RST, None) => {}
            (REQUEST, None) if header.kind == STREAM => self.connect(header),
            (_, Some(id)) if header.kind == STREAM && fits => {
                let Some(connection) = self.connections.get_mut(&id) else {
                    return;
                };
                match connection.receive(memory, header, data) {
                    Ok(()) => self.enqueue(id),
                    Err(Over) => self.close(id),
                }
            }
            (_, Some(id)) => self.close(id),
            (_, None) => self.refuse(header),
        }
    }

    /// The guest wants to reach a port of the host's.
    fn connect(&mut self, request: &Header) {
        let is_full = self.connections.len() >= CONNECTIONS_MAX;
        let end = (!is_full).then(|| self.peer.connect(request.destination_port));
        let id = end
            .flatten()
            .and_then(|end| End::new(end).ok())
            .and_then(|end| self.add(Connection::requested(end, request)));
        let Some(id) = id else {
            return self.refuse(request);
        };
        let ports = (request.destination_port, request.source_port);
        self.by_ports.insert(ports, id);
        self.opened += 1;
        self.enqueue(id);
    }

    fn refuse(&mut self, header: &Header) {
        self.refused += 1;
        self.refusals.push_back(Header {
            source_port: header.destination_port,
            destination_port: header.source_port,
            kind: header.kind,
            ..Header::default()
        });
    }

    /// The next packet for the guest, written to `into`, which has room for a header and more; its length.
    pub(super) fn next(&mut self, memory: &Memory, into: &Buffers) -> Option<u32> {
        loop {
            let (header, mut front) = self.next_header(memory, into)?;
            let header = Header {
                source_cid: HOST_CID,
                destination_cid: self.guest_cid,
                ..header
            };
            // The room was checked before.
            if front.write(memory, &header.to_bytes()).is_ok() {
                return Some(HEADER_BYTES as u32 + header.length);
            }
        }
    }

    fn next_header(&mut self, memory: &Memory, into: &Buffers) -> Option<(Header, Buffers)> {
        let mut data = into.clone();
        let front = data.split_front(HEADER_BYTES as u64);
        loop {
            if let Some(refusal) = self.refusals.pop_front() {
                let operation = RST;
                return Some((
                    Header {
                        operation,
                        ..refusal
                    },
                    front,
                ));
            }
            let id = self.ready.pop_front()?;
            let Some(connection) = self.connections.get_mut(&id) else {
                continue;
            };
            connection.is_queued = false;
            match connection.next(memory, &data) {
                Next::Packet {
                    operation,
                    flags,
                    length,
                } => {
                    if operation == REQUEST {
                        self.opened += 1;
                    }
                    let header = Header {
                        source_port: connection.local_port,
                        destination_port: connection.peer_port,
                        length,
                        kind: STREAM,
                        operation,
                        flags,
                        buffer_bytes: BUFFER_BYTES,
                        forwarded: connection.tell_credit(),
                        ..Header::default()
                    };
                    // Behind the others, so that all get their turn.
                    self.enqueue(id);
                    return Some((header, front));
                }
                Next::Nothing => {}
                Next::Over => self.close(id),
            }
        }
    }
}
