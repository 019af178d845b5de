//! Who asks by a stream: messages with their length before them (RFC 1035 section 4.2.2).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

/// Who is silent for so long is sent away.
const IDLE: Duration = Duration::from_secs(10);
/// What may wait for who does not read.
const BACKLOG_BYTES: usize = 256 * 1024;

/// One connection.
#[derive(Debug)]
pub(super) struct Client {
    socket: OwnedFd,
    read: Vec<u8>,
    unsent: Vec<u8>,
    pub(super) until: Instant,
}

impl Client {
    pub(super) fn new(socket: OwnedFd) -> Client {
        Client {
            socket,
            read: Vec::new(),
            unsent: Vec::new(),
            until: Instant::now() + IDLE,
        }
    }

    /// The messages that have come; an error once nobody is there any more.
    pub(super) fn on_ready(&mut self, scratch: &mut [u8]) -> Result<Vec<Vec<u8>>, Errno> {
        self.flush()?;
        match rustix::net::recv(&self.socket, &mut *scratch, RecvFlags::empty()) {
            Ok((0, _)) => return Err(Errno::CONNRESET),
            Ok((length, _)) => self.read.extend_from_slice(&scratch[..length]),
            Err(Errno::AGAIN | Errno::INTR) => {}
            Err(errno) => return Err(errno),
        }
        self.until = Instant::now() + IDLE;
        Ok(std::iter::from_fn(|| take_message(&mut self.read)).collect())
    }

    pub(super) fn send(&mut self, message: &[u8]) -> Result<(), Errno> {
        let length = u16::try_from(message.len()).map_err(|_| Errno::MSGSIZE)?;
        if self.unsent.len() > BACKLOG_BYTES {
            return Err(Errno::NOBUFS);
        }
        self.unsent.extend_from_slice(&length.to_be_bytes());
        self.unsent.extend_from_slice(message);
        self.flush()
    }

    /// Whether something waits for the other side to read.
    pub(super) fn has_backlog(&self) -> bool {
        !self.unsent.is_empty()
    }

    fn flush(&mut self) -> Result<(), Errno> {
        while !self.unsent.is_empty() {
            match rustix::net::send(&self.socket, &self.unsent, SendFlags::NOSIGNAL) {
                Ok(length) => drop(self.unsent.drain(..length)),
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(())
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// Takes the first whole message off what has been read.
pub(super) fn take_message(read: &mut Vec<u8>) -> Option<Vec<u8>> {
    let length = usize::from(u16::from_be_bytes([*read.first()?, *read.get(1)?]));
    let message = read.get(2..2 + length)?.to_vec();
    read.drain(..2 + length);
    Some(message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_come_whole_or_not() {
        let mut read = vec![0, 2, b'a', b'b', 0, 3, b'c'];
        assert_eq!(take_message(&mut read), Some(b"ab".to_vec()));
        assert_eq!(take_message(&mut read), None);
        read.extend_from_slice(b"de");
        assert_eq!(take_message(&mut read), Some(b"cde".to_vec()));
        assert_eq!(take_message(&mut read), None);
    }
}
