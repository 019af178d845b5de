//! Streams: accept, connect, copy both ways, pass each end on by itself.

use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags, Shutdown, SocketFlags, SocketType, sockopt};

use super::connect_there;
use crate::slots::{LISTENER, Name, Slots};

/// With more, visitors wait in the socket's queue. Each takes two descriptors, and a process has
/// 1024 by default.
const CONNECTIONS: usize = 256;
/// How much one direction copies before the others have their turn.
const TURN_BYTES: usize = 512 * 1024;
/// Visitors taken in one go.
const ACCEPTS: usize = 64;

const CLIENT: usize = 0;
const TARGET: usize = 1;

/// All connections of one port.
#[derive(Debug)]
pub(super) struct Connections {
    listener: OwnedFd,
    target: SocketAddr,
    slots: Slots<Connection>,
    /// Whether the listener is not being waited on, because there are too many connections.
    paused: bool,
    /// Given up when descriptors run out, so that the visitor can at least be sent away; else the
    /// listener would stay readable for ever.
    spare: Option<OwnedFd>,
}

#[derive(Debug)]
struct Connection {
    ends: [End; 2],
    connected: bool,
}

#[derive(Debug)]
struct End {
    socket: OwnedFd,
    /// Read from the other end, not yet taken by this one; at most one reading.
    pending: Vec<u8>,
    /// It will send no more.
    finished: bool,
    /// It has been told that the other sends no more.
    told: bool,
}

/// What came of a turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Turn {
    /// Nothing can be done until the kernel says so.
    Wait,
    /// There is more to do.
    More,
    /// This direction has ended.
    End,
}

impl Connections {
    pub(super) fn new(listener: OwnedFd, target: SocketAddr) -> Result<Connections, Errno> {
        let spare = rustix::io::fcntl_dupfd_cloexec(&listener, 0)?;
        Ok(Connections {
            listener,
            target,
            slots: Slots::new(),
            paused: false,
            spare: Some(spare),
        })
    }

    pub(super) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(super) fn on_event(
        &mut self,
        epoll: &OwnedFd,
        token: u64,
        flags: EventFlags,
        scratch: &mut [u8],
    ) {
        if token == LISTENER {
            return self.accept(epoll);
        }
        let (name, side) = Name::of(token);
        let Some(connection) = self.slots.get_mut(name) else {
            return;
        };
        match connection.proceed(side as usize, flags, scratch) {
            Ok(Turn::Wait) => {}
            // Waiting anew makes the kernel tell again what is ready.
            Ok(Turn::More) => {
                let socket = &connection.ends[side as usize].socket;
                if epoll::modify(epoll, socket, EventData::new_u64(token), BOTH_WAYS).is_err() {
                    self.close(epoll, name);
                }
            }
            Ok(Turn::End) => self.close(epoll, name),
            Err(_) => {
                connection.abort();
                self.close(epoll, name);
            }
        }
    }

    fn accept(&mut self, epoll: &OwnedFd) {
        for _ in 0..ACCEPTS {
            if self.slots.len() >= CONNECTIONS {
                self.paused = epoll::delete(epoll, &self.listener).is_ok();
                return;
            }
            let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
            match rustix::net::accept_with(&self.listener, flags) {
                Ok(client) => self.open(epoll, client),
                Err(Errno::MFILE | Errno::NFILE) => return self.turn_away(),
                // Gone again, or none left; whatever else it is, the next event tells.
                Err(Errno::CONNABORTED | Errno::INTR) => {}
                Err(_) => return,
            }
        }
    }

    /// Closes one visitor's connection by means of the spare descriptor.
    fn turn_away(&mut self) {
        drop(self.spare.take());
        drop(rustix::net::accept_with(
            &self.listener,
            SocketFlags::CLOEXEC,
        ));
        self.spare = rustix::io::fcntl_dupfd_cloexec(&self.listener, 0).ok();
    }

    /// Begins to connect; a failure closes the visitor's connection.
    fn open(&mut self, epoll: &OwnedFd, client: OwnedFd) {
        let Ok(target) = connect_there(self.target, SocketType::STREAM) else {
            return reset(&client);
        };
        for socket in [&client, &target] {
            // Small pieces are passed on as they come. Not vital.
            let _ = sockopt::set_tcp_nodelay(socket, true);
        }
        let name = self.slots.next();
        for (socket, side) in [(&client, CLIENT), (&target, TARGET)] {
            let data = EventData::new_u64(name.token(side as u64));
            if epoll::add(epoll, socket, data, BOTH_WAYS).is_err() {
                return reset(&client);
            }
        }
        self.slots.insert(Connection {
            ends: [End::new(client), End::new(target)],
            connected: false,
        });
    }

    fn close(&mut self, epoll: &OwnedFd, name: Name) {
        // Closing the sockets ends the waiting on them.
        drop(self.slots.remove(name));
        if self.paused {
            let data = EventData::new_u64(LISTENER);
            self.paused = epoll::add(epoll, &self.listener, data, EventFlags::IN).is_err();
        }
    }
}

/// Told once, when something becomes possible: reading, writing, or neither any more.
const BOTH_WAYS: EventFlags = EventFlags::IN.union(EventFlags::OUT).union(EventFlags::ET);

impl Connection {
    /// Does what can be done, both ways.
    fn proceed(
        &mut self,
        side: usize,
        flags: EventFlags,
        scratch: &mut [u8],
    ) -> Result<Turn, Errno> {
        if flags.contains(EventFlags::ERR) {
            return Err(sockopt::socket_error(&self.ends[side].socket)?
                .err()
                .unwrap_or(Errno::CONNRESET));
        }
        self.connected |= side == TARGET && flags.contains(EventFlags::OUT);
        if !self.connected {
            return Ok(Turn::Wait);
        }
        let [client, target] = &mut self.ends;
        let there = copy(client, target, scratch)?;
        let back = copy(target, client, scratch)?;
        Ok(match (there, back) {
            (Turn::End, Turn::End) => Turn::End,
            (Turn::More, _) | (_, Turn::More) => Turn::More,
            _ => Turn::Wait,
        })
    }

    /// Makes both ends see that the connection broke.
    fn abort(&self) {
        self.ends.iter().for_each(|end| reset(&end.socket));
    }
}

impl End {
    fn new(socket: OwnedFd) -> End {
        End {
            socket,
            pending: Vec::new(),
            finished: false,
            told: false,
        }
    }
}

/// Copies from one end to the other until one of them has enough.
fn copy(from: &mut End, to: &mut End, scratch: &mut [u8]) -> Result<Turn, Errno> {
    let mut copied = 0;
    while copied < TURN_BYTES {
        if !to.pending.is_empty() {
            let sent = send(&to.socket, &to.pending)?;
            if sent < to.pending.len() {
                to.pending.drain(..sent);
                return Ok(Turn::Wait);
            }
            to.pending = Vec::new();
        }
        if from.finished {
            if !to.told {
                to.told = true;
                rustix::net::shutdown(&to.socket, Shutdown::Write)?;
            }
            return Ok(Turn::End);
        }
        let length = match rustix::net::recv(&from.socket, &mut *scratch, RecvFlags::empty()) {
            Ok((length, _)) => length,
            Err(Errno::AGAIN) => return Ok(Turn::Wait),
            Err(Errno::INTR) => continue,
            Err(errno) => return Err(errno),
        };
        from.finished = length == 0;
        let sent = send(&to.socket, &scratch[..length])?;
        to.pending.extend_from_slice(&scratch[sent..length]);
        copied += length;
    }
    Ok(Turn::More)
}

/// Sends what the socket takes.
fn send(socket: &OwnedFd, bytes: &[u8]) -> Result<usize, Errno> {
    if bytes.is_empty() {
        return Ok(0);
    }
    loop {
        match rustix::net::send(socket, bytes, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            Err(Errno::AGAIN) => return Ok(0),
            other => return other,
        }
    }
}

/// Makes the coming close a reset.
fn reset(socket: &OwnedFd) {
    // If this fails the peer sees an ordinary end.
    let _ = sockopt::set_socket_linger(socket, Some(Duration::ZERO));
}
