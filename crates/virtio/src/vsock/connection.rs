//! One stream between a port of the guest and something of the host's, with credit in both
//! directions; VIRTIO 1.2, 5.10.6.3.

use std::collections::VecDeque;
use std::os::fd::AsFd;

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::RecvFlags;

use super::end::End;
use super::packet::{
    CREDIT_REQUEST, CREDIT_UPDATE, Header, REQUEST, RESPONSE, RW, SHUTDOWN, SHUTDOWN_BOTH,
    SHUTDOWN_RECEIVE, SHUTDOWN_SEND,
};
use crate::chain::Buffers;
use crate::memory::{Memory, TransferError};

/// How much of the guest's bytes waits for a host that does not read; Firecracker's number.
pub(super) const BUFFER_BYTES: u32 = 64 << 10;
/// The guest is told of room when it thinks that less than this is left.
const CREDIT_LOW_BYTES: u32 = BUFFER_BYTES / 2;
/// The most bytes in a packet to the guest: `VIRTIO_VSOCK_MAX_PKT_BUF_SIZE` of Linux.
pub(super) const PACKET_BYTES_MAX: u64 = 64 << 10;
/// The longest line that a host's connection may begin with, `CONNECT` and a port.
const GREETING_BYTES_MAX: usize = 32;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// The host has connected, and not yet said which port it wants.
    Greeting,
    /// The guest is asked, and has not answered.
    Requested,
    Open,
}

/// The connection is over, for both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Over;

/// What the guest is to be told next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// With so many bytes that are in its buffers already.
    Packet {
        operation: u16,
        flags: u32,
        length: u32,
    },
    Nothing,
    Over,
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) end: End,
    pub(super) local_port: u32,
    pub(super) peer_port: u32,
    /// It is in the queue of those that have something to tell.
    pub(super) is_queued: bool,
    state: State,
    /// REQUEST or RESPONSE, if it is due.
    answer: Option<u16>,

    // To the guest.
    is_readable: bool,
    is_input_over: bool,
    is_hung_up: bool,
    has_asked_for_credit: bool,
    /// The flags of the last SHUTDOWN that was sent.
    shutdown_told: u32,
    sent: u32,
    peer_buffer_bytes: u32,
    peer_forwarded: u32,

    // From the guest.
    buffer: VecDeque<u8>,
    received: u32,
    forwarded: u32,
    forwarded_told: u32,
    is_credit_due: bool,
    is_output_over: bool,
    /// The flags of its SHUTDOWNs.
    peer_shutdown: u32,
}

impl Connection {
    /// Of a host that has connected.
    pub(super) fn accepted(end: End) -> Self {
        Self {
            is_readable: end.is_to_guest(),
            end,
            local_port: 0,
            peer_port: 0,
            is_queued: false,
            state: State::Greeting,
            answer: None,
            is_input_over: false,
            is_hung_up: false,
            has_asked_for_credit: false,
            shutdown_told: 0,
            sent: 0,
            peer_buffer_bytes: 0,
            peer_forwarded: 0,
            buffer: VecDeque::new(),
            received: 0,
            forwarded: 0,
            forwarded_told: 0,
            is_credit_due: false,
            is_output_over: false,
            peer_shutdown: 0,
        }
    }

    /// Of a guest that has asked for one, and got through to the host.
    pub(super) fn requested(end: End, request: &Header) -> Self {
        let mut connection = Self::accepted(end);
        connection.local_port = request.destination_port;
        connection.peer_port = request.source_port;
        connection.state = State::Open;
        connection.answer = Some(RESPONSE);
        connection.note_credit(request);
        connection
    }

    pub(super) fn is_greeting(&self) -> bool {
        self.state == State::Greeting
    }

    /// The port that the host asks for with its first line, once that is whole: Firecracker's
    /// `CONNECT PORT\n`. What is behind the line is left for the guest.
    pub(super) fn greeting(&mut self) -> Result<Option<u32>, Over> {
        let mut line = [0; GREETING_BYTES_MAX];
        let length = match rustix::net::recv(&self.end, &mut line[..], RecvFlags::PEEK) {
            Ok((_, 0)) => return Err(Over),
            Ok((_, length)) => length.min(GREETING_BYTES_MAX),
            Err(Errno::AGAIN | Errno::INTR) => return Ok(None),
            Err(_) => return Err(Over),
        };
        let Some(end) = line[..length].iter().position(|&byte| byte == b'\n') else {
            return if length < GREETING_BYTES_MAX {
                Ok(None)
            } else {
                Err(Over)
            };
        };
        let port = std::str::from_utf8(&line[..end])
            .ok()
            .and_then(parse_greeting)
            .ok_or(Over)?;
        // It is there, so it is read whole.
        let read = rustix::io::read(&self.end, &mut line[..=end]);
        (read == Ok(end + 1)).then_some(Some(port)).ok_or(Over)
    }

    /// The greeting was understood: the guest is asked.
    pub(super) fn request(&mut self, local_port: u32, peer_port: u32) {
        (self.local_port, self.peer_port) = (local_port, peer_port);
        self.state = State::Requested;
        self.answer = Some(REQUEST);
    }

    /// Something happened to the host's end.
    pub(super) fn wake(&mut self, events: EventFlags) -> Result<(), Over> {
        let is_hung_up = events.contains(EventFlags::HUP);
        self.is_readable = self.end.is_to_guest();
        self.is_hung_up |= is_hung_up;
        if self.end.is_over(events) || (self.state == State::Requested && is_hung_up) {
            return Err(Over);
        }
        self.flush()
    }

    fn note_credit(&mut self, header: &Header) {
        self.peer_buffer_bytes = header.buffer_bytes;
        self.peer_forwarded = header.forwarded;
    }

    /// How much the guest takes now. One that says it has forwarded more than it got gets nothing.
    fn credit(&self) -> u32 {
        let in_flight = self.sent.wrapping_sub(self.peer_forwarded);
        self.peer_buffer_bytes.saturating_sub(in_flight)
    }

    /// A packet from the guest; `data` is its payload.
    pub(super) fn receive(
        &mut self,
        memory: &Memory,
        header: &Header,
        data: Buffers,
    ) -> Result<(), Over> {
        self.note_credit(header);
        match (header.operation, self.state) {
            (RESPONSE, State::Requested) if self.answer.is_none() => {
                self.state = State::Open;
                self.has_asked_for_credit = false;
                let line = format!("OK {}\n", self.local_port);
                // The socket is new: a line has room, or nobody is there.
                let written = rustix::io::write(&self.end, line.as_bytes());
                (written == Ok(line.len())).then_some(()).ok_or(Over)
            }
            (RW, State::Open)
                if self.peer_shutdown & SHUTDOWN_SEND == 0 && self.end.is_from_guest() =>
            {
                self.forward(memory, data)
            }
            (SHUTDOWN, State::Open) => {
                self.peer_shutdown |= header.flags & SHUTDOWN_BOTH;
                self.flush()
            }
            (CREDIT_REQUEST, State::Open) => {
                self.is_credit_due = true;
                Ok(())
            }
            (CREDIT_UPDATE, State::Open) => {
                self.has_asked_for_credit = false;
                Ok(())
            }
            _ => Err(Over),
        }
    }

    fn forward(&mut self, memory: &Memory, mut data: Buffers) -> Result<(), Over> {
        let length = data.len();
        let room = u64::from(BUFFER_BYTES) - self.buffer.len() as u64;
        if length > room {
            // It has overdrawn its credit.
            return Err(Over);
        }
        self.received = self.received.wrapping_add(length as u32);
        if self.buffer.is_empty() && length > 0 {
            match memory.send(self.end.as_fd(), &data) {
                Ok(bytes) => {
                    data.skip(bytes as u64);
                    self.count_forwarded(bytes);
                }
                Err(TransferError::Host(Errno::AGAIN | Errno::INTR)) => {}
                Err(_) => return Err(Over),
            }
        }
        // At most BUFFER_BYTES.
        let mut rest = vec![0; data.len() as usize];
        data.read(memory, &mut rest).map_err(|_| Over)?;
        self.buffer.extend(rest);
        self.flush()
    }

    /// Writes what waits, as far as the host takes it, and what follows from there being no more.
    fn flush(&mut self) -> Result<(), Over> {
        while !self.buffer.is_empty() {
            match rustix::io::write(&self.end, self.buffer.as_slices().0) {
                Ok(0) => return Err(Over),
                Ok(bytes) => {
                    self.buffer.drain(..bytes);
                    self.count_forwarded(bytes);
                }
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => return Ok(()),
                Err(_) => return Err(Over),
            }
        }
        // Most connections never wait for their host, so none keeps the memory.
        self.buffer = VecDeque::new();
        let is_unheard = self.peer_shutdown & SHUTDOWN_RECEIVE != 0 && !self.end.is_from_guest();
        if self.peer_shutdown == SHUTDOWN_BOTH || is_unheard {
            return Err(Over);
        }
        if self.peer_shutdown & SHUTDOWN_SEND != 0 && !self.is_output_over {
            // Once: it is an event of the socket's itself.
            self.is_output_over = true;
            return self.end.end_output().then_some(()).ok_or(Over);
        }
        Ok(())
    }

    fn count_forwarded(&mut self, bytes: usize) {
        // A write is shorter than 2^32.
        self.forwarded = self.forwarded.wrapping_add(bytes as u32);
        let in_flight = self.received.wrapping_sub(self.forwarded_told);
        let seen = BUFFER_BYTES.saturating_sub(in_flight);
        self.is_credit_due |= seen < CREDIT_LOW_BYTES;
    }

    /// What the guest is told next, with data read into `into`, which is not empty.
    pub(super) fn next(&mut self, memory: &Memory, into: &Buffers) -> Next {
        let packet = |operation| Next::Packet {
            operation,
            flags: 0,
            length: 0,
        };
        if let Some(operation) = self.answer.take() {
            return packet(operation);
        }
        if self.state != State::Open {
            return Next::Nothing;
        }
        if self.is_readable && !self.is_input_over && self.peer_shutdown & SHUTDOWN_RECEIVE == 0 {
            match self.read(memory, into) {
                Next::Nothing => {}
                next => return next,
            }
        }
        // Who cannot send does not receive either, where there is one way only.
        let is_hung_up = self.is_hung_up || !self.end.is_from_guest();
        let flags = match (self.is_input_over, is_hung_up) {
            (true, true) => SHUTDOWN_BOTH,
            (true, false) => SHUTDOWN_SEND,
            (false, _) => 0,
        };
        if flags & !self.shutdown_told != 0 {
            self.shutdown_told |= flags;
            return Next::Packet {
                operation: SHUTDOWN,
                flags,
                length: 0,
            };
        }
        if self.is_credit_due {
            return packet(CREDIT_UPDATE);
        }
        Next::Nothing
    }

    fn read(&mut self, memory: &Memory, into: &Buffers) -> Next {
        let credit = self.credit();
        if credit == 0 {
            if self.has_asked_for_credit {
                return Next::Nothing;
            }
            self.has_asked_for_credit = true;
            return Next::Packet {
                operation: CREDIT_REQUEST,
                flags: 0,
                length: 0,
            };
        }
        let most = u64::from(credit).min(PACKET_BYTES_MAX);
        let into = into.clone().split_front(most);
        loop {
            match memory.receive(self.end.as_fd(), &into) {
                Ok(0) => {
                    self.is_input_over = true;
                    return Next::Nothing;
                }
                Ok(bytes) => {
                    // At most PACKET_BYTES_MAX.
                    let length = bytes as u32;
                    self.sent = self.sent.wrapping_add(length);
                    self.has_asked_for_credit = false;
                    return Next::Packet {
                        operation: RW,
                        flags: 0,
                        length,
                    };
                }
                Err(TransferError::Host(Errno::INTR)) => {}
                Err(TransferError::Host(Errno::AGAIN)) => {
                    self.is_readable = false;
                    return Next::Nothing;
                }
                Err(TransferError::Host(error)) if self.end.is_end(error) => {
                    self.is_input_over = true;
                    return Next::Nothing;
                }
                Err(_) => return Next::Over,
            }
        }
    }

    /// What every packet says of credit; saying it settles it.
    pub(super) fn tell_credit(&mut self) -> u32 {
        self.is_credit_due = false;
        self.forwarded_told = self.forwarded;
        self.forwarded
    }
}

fn parse_greeting(line: &str) -> Option<u32> {
    let (word, port) = line.split_once(' ')?;
    let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
    (word.eq_ignore_ascii_case("connect") && is_number).then(|| port.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn greetings() {
        assert_eq!(parse_greeting("CONNECT 52"), Some(52));
        assert_eq!(parse_greeting("connect 4294967295"), Some(u32::MAX));
        for line in [
            "CONNECT",
            "CONNECT ",
            "CONNECT +5",
            "CONNECT 5 ",
            "CONNECT 4294967296",
            "GET / HTTP/1.1",
            "",
        ] {
            assert_eq!(parse_greeting(line), None, "{line}");
        }
    }
}
