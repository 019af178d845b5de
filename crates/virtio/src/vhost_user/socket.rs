//! The stream socket of the protocol: whole messages with their descriptors.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_sys::socket;
use rustix::io::Errno;

use super::message::{HEADER_BYTES, Header};

/// A message that has come.
#[derive(Debug)]
pub(super) struct Message {
    pub(super) header: Header,
    pub(super) payload: Vec<u8>,
    pub(super) descriptors: Vec<OwnedFd>,
}

/// Why no message comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SocketError {
    #[error("the other side has closed the connection")]
    Closed,
    #[error("a message of another protocol")]
    Header,
    #[error(transparent)]
    Host(#[from] Errno),
}

#[derive(Debug)]
pub(super) struct Socket {
    socket: OwnedFd,
    /// What has come of a message. Never more than one: so its descriptors are its own.
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

impl Socket {
    pub(super) fn new(socket: OwnedFd) -> Self {
        Self {
            socket,
            bytes: Vec::new(),
            descriptors: Vec::new(),
        }
    }

    pub(super) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// The next message; of a socket that does not wait, `None` when it has not all come yet.
    pub(super) fn receive(&mut self) -> Result<Option<Message>, SocketError> {
        loop {
            let wanted = self.wanted()?;
            if wanted == self.bytes.len() {
                break;
            }
            let have = self.bytes.len();
            self.bytes.resize(wanted, 0);
            let room = &mut self.bytes[have..];
            let descriptors = &mut self.descriptors;
            let received = socket::receive_each(self.socket.as_fd(), room, |descriptor| {
                // More than that comes with no message.
                if descriptors.len() < socket::MAX_DESCRIPTORS {
                    descriptors.push(descriptor);
                }
            });
            self.bytes.truncate(have + received.unwrap_or(0));
            match received {
                Ok(0) => return Err(SocketError::Closed),
                Ok(_) => {}
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::CONNRESET) => return Err(SocketError::Closed),
                Err(error) => return Err(error.into()),
            }
        }
        let mut payload = std::mem::take(&mut self.bytes);
        let header = header(&payload)?.ok_or(SocketError::Header)?;
        payload.drain(..HEADER_BYTES);
        Ok(Some(Message {
            header,
            payload,
            descriptors: std::mem::take(&mut self.descriptors),
        }))
    }

    /// How many bytes to have before anything else can be said.
    fn wanted(&self) -> Result<usize, SocketError> {
        let header = header(&self.bytes)?;
        Ok(header.map_or(HEADER_BYTES, |header| HEADER_BYTES + header.length as usize))
    }

    pub(super) fn send(
        &self,
        header: Header,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), SocketError> {
        let parts = [header.to_bytes().as_slice(), payload].concat();
        match socket::send(self.socket.as_fd(), &[&parts], descriptors) {
            Ok(()) => Ok(()),
            Err(Errno::PIPE | Errno::CONNRESET) => Err(SocketError::Closed),
            Err(error) => Err(error.into()),
        }
    }
}

/// The header, if all of it is there.
fn header(bytes: &[u8]) -> Result<Option<Header>, SocketError> {
    bytes.first_chunk().map_or(Ok(None), |bytes| {
        Header::parse(bytes).map(Some).ok_or(SocketError::Header)
    })
}
