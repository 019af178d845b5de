//! One client of the keeper: a packet socket, and what could not be sent on it yet.

use std::collections::VecDeque;
use std::os::fd::{AsFd, OwnedFd};

use gamut_plan::ProcessId;
use gamut_plan::wire::{Attached, MAX_PACKET_BYTES, Reply, stream};
use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::{SocketFlags, accept_with};

use super::events::{Keeper, Source};

/// Past this much unsent output the workload has to wait for its reader.
const BACKLOG_BYTES: usize = 256 * 1024;

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) socket: OwnedFd,
    pub(super) attached: bool,
    /// Whether this client's input goes to the workload.
    pub(super) gives_input: bool,
    /// The process whose end this client wants to hear of.
    pub(super) waits_for: Option<ProcessId>,
    /// The process that this client started.
    pub(super) exec: Option<ProcessId>,
    pub(super) removes: bool,
    backlog: VecDeque<Vec<u8>>,
    backlog_bytes: usize,
}

impl Connection {
    fn new(socket: OwnedFd) -> Self {
        Connection {
            socket,
            attached: false,
            gives_input: false,
            waits_for: None,
            exec: None,
            removes: false,
            backlog: VecDeque::new(),
            backlog_bytes: 0,
        }
    }

    pub(super) fn attach(&mut self, attached: Attached) {
        self.attached = true;
        self.gives_input = attached == Attached::WithInput;
    }

    pub(super) fn is_full(&self) -> bool {
        self.backlog_bytes >= BACKLOG_BYTES
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Sends now if nothing waits, else queues. An error means that the client is gone.
    pub(super) fn send(&mut self, tag: &[u8], payload: &[u8]) -> Result<(), Errno> {
        if self.backlog.is_empty() {
            match gamut_sys::socket::send(self.socket.as_fd(), &[tag, payload], &[]) {
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
        let packet = [tag, payload].concat();
        self.backlog_bytes += packet.len();
        self.backlog.push_back(packet);
        Ok(())
    }

    /// Sends what waits, as far as it goes.
    pub(super) fn flush(&mut self) -> Result<(), Errno> {
        while let Some(packet) = self.backlog.front() {
            match gamut_sys::socket::send(self.socket.as_fd(), &[packet], &[]) {
                Ok(()) => {
                    self.backlog_bytes -= packet.len();
                    self.backlog.pop_front();
                }
                Err(Errno::AGAIN) => return Ok(()),
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

impl Keeper {
    pub(super) fn accept(&mut self) {
        let running = self.workload.as_ref().map(|workload| &workload.listener);
        let resting = self.resting.as_ref().map(|resting| &resting.listener);
        let Some(listener) = running.or(resting) else {
            return;
        };
        if let Ok(socket) = accept_with(listener, SocketFlags::CLOEXEC) {
            let _ = self.admit(socket);
        }
    }

    pub(super) fn admit(&mut self, socket: OwnedFd) -> Result<(), Errno> {
        gamut_sys::socket::set_nonblocking(&socket)?;
        let id = self.next_connection;
        self.next_connection = self.next_connection.wrapping_add(1);
        self.poll
            .watch(&socket, Source::Connection(id), EventFlags::IN)?;
        self.connections.insert(id, Connection::new(socket));
        Ok(())
    }

    /// Forgets a client. The workload goes on, and its output flows again if this one held it up.
    pub(super) fn dismiss(&mut self, id: u32) {
        if let Some(connection) = self.connections.remove(&id) {
            self.poll.forget(&connection.socket);
            if connection.gives_input {
                self.input_client_left();
            }
            if connection.removes {
                self.remove_after_all();
            }
        }
        self.resume_output();
    }

    pub(super) fn on_connection(&mut self, id: u32, flags: EventFlags) {
        if flags.contains(EventFlags::OUT) {
            let gone = match self.connections.get_mut(&id) {
                Some(connection) => connection.flush().is_err(),
                None => return,
            };
            let finished = self.workload.is_none()
                && self.leaving.is_none()
                && self.connections.get(&id).is_some_and(|c| !c.has_backlog());
            if gone || finished {
                return self.dismiss(id);
            }
            self.watch_connection(id);
            self.resume_output();
        }
        if flags.intersects(EventFlags::IN | EventFlags::HUP | EventFlags::ERR) {
            self.receive(id);
        }
    }

    fn receive(&mut self, id: u32) {
        let mut packet = std::mem::take(&mut self.packet);
        if packet.is_empty() {
            packet = vec![0; MAX_PACKET_BYTES];
        }
        self.receive_into(id, &mut packet);
        self.packet = packet;
    }

    fn receive_into(&mut self, id: u32, buffer: &mut [u8]) {
        loop {
            let Some(connection) = self.connections.get(&id) else {
                return;
            };
            if connection.gives_input && self.input_is_full() {
                // The rest waits in the socket until the workload reads.
                return self.watch_connection(id);
            }
            match gamut_sys::socket::receive(connection.socket.as_fd(), buffer) {
                Ok((0, _)) => return self.dismiss(id),
                Ok((length, descriptors)) => self.on_packet(id, &buffer[..length], descriptors),
                Err(Errno::AGAIN) => return,
                Err(_) => return self.dismiss(id),
            }
        }
    }

    fn on_packet(&mut self, id: u32, packet: &[u8], descriptors: Vec<OwnedFd>) {
        match packet.split_first() {
            Some((&stream::STDIN, bytes)) => self.give_input(id, bytes),
            Some((&stream::STDIN_END, _)) => self.end_input(id),
            Some((b'{' | b'"', _)) => match serde_json::from_slice(packet) {
                Ok(request) => self.on_request(id, request, descriptors),
                Err(error) => self.reply(
                    id,
                    &Reply::Refused {
                        reason: error.to_string(),
                    },
                ),
            },
            _ => self.reply(
                id,
                &Reply::Refused {
                    reason: "not a request".into(),
                },
            ),
        }
    }

    /// Waits for input if the workload can take it, and for room if something is unsent.
    pub(super) fn watch_connection(&self, id: u32) {
        let Some(connection) = self.connections.get(&id) else {
            return;
        };
        let mut flags = EventFlags::empty();
        if !(connection.gives_input && self.input_is_full()) {
            flags |= EventFlags::IN;
        }
        if connection.has_backlog() {
            flags |= EventFlags::OUT;
        }
        let _ = self
            .poll
            .watch(&connection.socket, Source::Connection(id), flags);
    }

    pub(super) fn reply(&mut self, id: u32, reply: &Reply) {
        let text = serde_json::to_vec(reply).unwrap_or_else(|_| b"\"done\"".to_vec());
        self.send_to(id, &[], &text);
    }

    pub(super) fn send_to(&mut self, id: u32, tag: &[u8], payload: &[u8]) {
        let Some(connection) = self.connections.get_mut(&id) else {
            return;
        };
        let sent = connection.send(tag, payload);
        let waits = connection.has_backlog();
        match sent {
            Err(_) => self.dismiss(id),
            Ok(()) if waits => self.watch_connection(id),
            Ok(()) => {}
        }
    }
}
