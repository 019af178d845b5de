//! Bytes on their way between a process's stream and the host, one direction each.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::event::epoll::EventFlags;
use rustix::io::Errno;
use rustix::net::Shutdown;

use crate::poll::{Poll, Side, Source};

/// What is moved at a time.
pub(crate) const BUFFER_BYTES: usize = 64 << 10;
/// How many buffers a pump moves before others have their turn.
const ROUNDS: u32 = 8;

/// How the end of the input is told to the other side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The descriptor is closed: a pipe, a terminal's master.
    Close,
    /// The connection is shut down in this direction.
    HalfClose,
    /// The same, and it is over only when the host says that it has taken everything.
    Delivered,
}

/// What a pump waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum State {
    /// There is nothing to be moved.
    Idle,
    /// There may be more.
    Busy,
    /// The other side takes no more now.
    Blocked,
    /// The host is to take what it has been sent.
    Delivering,
    Done,
}

#[derive(Debug)]
pub(crate) struct Pump {
    id: u32,
    from: Option<OwnedFd>,
    to: OwnedFd,
    ending: Ending,
    pending: Vec<u8>,
    pub(crate) state: State,
}

impl Pump {
    /// Both descriptors are the pump's own; both become non-blocking.
    pub(crate) fn new(id: u32, from: OwnedFd, to: OwnedFd, ending: Ending) -> Result<Self, Errno> {
        gamut_sys::socket::set_nonblocking(&from)?;
        gamut_sys::socket::set_nonblocking(&to)?;
        Ok(Pump {
            id,
            from: Some(from),
            to,
            ending,
            pending: Vec::new(),
            state: State::Idle,
        })
    }

    pub(crate) fn from(&self) -> Option<BorrowedFd<'_>> {
        self.from.as_ref().map(AsFd::as_fd)
    }

    /// Something happened to one of the descriptors.
    pub(crate) fn on_event(
        &mut self,
        poll: &Poll,
        side: Side,
        flags: EventFlags,
        buffer: &mut [u8],
    ) {
        if side == Side::To && flags.intersects(EventFlags::ERR | EventFlags::HUP) {
            // Nobody is there any more, or everything has arrived.
            self.close(poll);
        } else {
            self.advance(poll, buffer);
        }
    }

    /// Moves what can be moved, and waits for more of it.
    pub(crate) fn advance(&mut self, poll: &Poll, buffer: &mut [u8]) {
        if matches!(self.state, State::Delivering | State::Done) {
            return;
        }
        self.state = State::Busy;
        for _ in 0..ROUNDS {
            if !self.flush() || !self.fill(poll, buffer) {
                break;
            }
        }
        if self.watch(poll).is_err() {
            self.state = State::Done;
        }
        if self.state == State::Done {
            self.close(poll);
        }
    }

    /// Writes what waits; `false` if some is left, or nobody takes it.
    fn flush(&mut self) -> bool {
        let pending = std::mem::take(&mut self.pending);
        self.send(&pending)
    }

    /// Writes, and keeps what is not taken now.
    fn send(&mut self, mut bytes: &[u8]) -> bool {
        while !bytes.is_empty() {
            match rustix::io::write(&self.to, bytes) {
                Ok(length) => bytes = &bytes[length..],
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => {
                    self.pending = bytes.to_vec();
                    self.state = State::Blocked;
                    return false;
                }
                Err(_) => {
                    self.state = State::Done;
                    return false;
                }
            }
        }
        true
    }

    /// Moves one buffer; `false` if there is nothing now or any more.
    fn fill(&mut self, poll: &Poll, buffer: &mut [u8]) -> bool {
        let Some(from) = &self.from else {
            self.end();
            return false;
        };
        match rustix::io::read(from, &mut *buffer) {
            Ok(length) if length > 0 => self.send(&buffer[..length]),
            Err(Errno::INTR) => true,
            Err(Errno::AGAIN) => {
                self.state = State::Idle;
                false
            }
            // A terminal whose other side is closed reads as an error.
            Ok(_) | Err(_) => {
                poll.forget(from);
                self.from = None;
                self.end();
                false
            }
        }
    }

    /// All of the input has been sent.
    fn end(&mut self) {
        self.state = match self.ending {
            Ending::Close => State::Done,
            Ending::HalfClose | Ending::Delivered => {
                let told = rustix::net::shutdown(&self.to, Shutdown::Write);
                match (told, self.ending) {
                    (Ok(()), Ending::Delivered) => State::Delivering,
                    _ => State::Done,
                }
            }
        };
    }

    /// Level-triggered: whoever is not waited for must not be in the set, or its end would be told for ever.
    fn watch(&self, poll: &Poll) -> Result<(), Errno> {
        let (from, to) = match self.state {
            State::Idle | State::Busy => (Some(EventFlags::IN), EventFlags::empty()),
            State::Blocked => (None, EventFlags::OUT),
            State::Delivering => (None, EventFlags::empty()),
            State::Done => return Ok(()),
        };
        match (&self.from, from) {
            (Some(fd), Some(flags)) => poll.watch(fd, Source::Pump(self.id, Side::From), flags)?,
            (Some(fd), None) => poll.forget(fd),
            (None, _) => {}
        }
        poll.watch(&self.to, Source::Pump(self.id, Side::To), to)
    }

    fn close(&mut self, poll: &Poll) {
        self.state = State::Done;
        if let Some(from) = self.from.take() {
            poll.forget(from);
        }
        poll.forget(&self.to);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use rustix::pipe::{PipeFlags, pipe_with};

    fn sockets() -> (OwnedFd, OwnedFd) {
        socketpair(
            AddressFamily::UNIX,
            SocketType::STREAM,
            SocketFlags::CLOEXEC,
            None,
        )
        .unwrap()
    }

    /// Runs the pump until nothing happens.
    fn settle(pump: &mut Pump, poll: &Poll) {
        let mut buffer = vec![0; BUFFER_BYTES];
        pump.advance(poll, &mut buffer);
        let mut events = Vec::with_capacity(8);
        loop {
            poll.wait(&mut events, Some(0)).unwrap();
            if events.is_empty() || pump.state == State::Done {
                return;
            }
            for event in &events {
                let Some(Source::Pump(_, side)) = Source::of(event) else {
                    panic!()
                };
                pump.on_event(poll, side, event.flags, &mut buffer);
            }
        }
    }

    #[test]
    fn everything_arrives_before_the_end() {
        let poll = Poll::new().unwrap();
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (ours, host) = sockets();
        let mut pump = Pump::new(1, read, ours, Ending::Delivered).unwrap();
        gamut_sys::socket::set_nonblocking(&host).unwrap();
        gamut_sys::socket::set_nonblocking(&write).unwrap();
        let mut sent = 0u64;
        let mut received = 0u64;
        let mut writer = Some(write);
        let mut buffer = vec![0; BUFFER_BYTES];
        while pump.state != State::Delivering {
            if let Some(write) = &writer {
                while let Ok(length) = rustix::io::write(write, &buffer) {
                    sent += length as u64;
                }
                if sent > 1 << 20 {
                    writer = None;
                }
            }
            settle(&mut pump, &poll);
            while let Ok(length) = rustix::io::read(&host, &mut buffer) {
                received += length as u64;
                if length == 0 {
                    break;
                }
            }
        }
        settle(&mut pump, &poll);
        assert_eq!((received, pump.state), (sent, State::Delivering));
        drop(host);
        settle(&mut pump, &poll);
        assert_eq!(pump.state, State::Done);
    }

    #[test]
    fn a_reader_that_is_gone_is_told_to_the_writer() {
        let poll = Poll::new().unwrap();
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (ours, host) = sockets();
        let mut pump = Pump::new(1, read, ours, Ending::Delivered).unwrap();
        settle(&mut pump, &poll);
        assert_eq!(pump.state, State::Idle);
        drop(host);
        settle(&mut pump, &poll);
        assert_eq!(pump.state, State::Done);
        assert_eq!(rustix::io::write(&write, b"x"), Err(Errno::PIPE));
    }

    #[test]
    fn input_ends_when_the_host_says_so() {
        let poll = Poll::new().unwrap();
        let (read, write) = pipe_with(PipeFlags::CLOEXEC).unwrap();
        let (ours, host) = sockets();
        let mut pump = Pump::new(1, ours, write, Ending::Close).unwrap();
        rustix::io::write(&host, b"typed").unwrap();
        rustix::net::shutdown(&host, Shutdown::Write).unwrap();
        settle(&mut pump, &poll);
        drop(pump);
        let mut buffer = [0; 16];
        assert_eq!(rustix::io::read(&read, &mut buffer), Ok(5));
        assert_eq!(rustix::io::read(&read, &mut buffer), Ok(0));
    }
}
