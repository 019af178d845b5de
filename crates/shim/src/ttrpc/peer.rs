//! A client of ours, which is containerd: its calls come in pieces, its answers go out whole.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use prost::Message;
use rustix::io::Errno;
use rustix::net::{RecvFlags, SendFlags};

use super::frame;
use crate::error::ShimError;
use crate::message::rpc::{Request, Response};

/// The sending half of a connection; answers come from many threads, each one whole.
#[derive(Debug)]
pub struct Peer {
    socket: OwnedFd,
    sending: Mutex<()>,
}

impl Peer {
    /// `socket` is a connected stream socket, blocking: an answer waits for room, though not for ever (the
    /// listener sets a time limit on sending).
    #[must_use]
    pub fn new(socket: OwnedFd) -> Arc<Peer> {
        Arc::new(Peer {
            socket,
            sending: Mutex::new(()),
        })
    }

    fn send(&self, mut bytes: &[u8]) {
        let _whole = self.sending.lock().unwrap_or_else(PoisonError::into_inner);
        while !bytes.is_empty() {
            let sent = rustix::io::retry_on_intr(|| {
                rustix::net::send(&self.socket, bytes, SendFlags::NOSIGNAL)
            });
            match sent {
                Ok(count) => bytes = &bytes[count..],
                Err(_) => {
                    // Half a frame would be misread: end the connection. Who asked is gone or stuck.
                    let _ = rustix::net::shutdown(&self.socket, rustix::net::Shutdown::Both);
                    return;
                }
            }
        }
    }
}

impl AsFd for Peer {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// The right to answer one call, and the duty: one that is dropped says that there will be no answer.
#[derive(Debug)]
pub struct Reply {
    peer: Arc<Peer>,
    stream: u32,
    answered: bool,
}

impl Reply {
    fn new(peer: &Arc<Peer>, stream: u32) -> Reply {
        Reply {
            peer: Arc::clone(peer),
            stream,
            answered: false,
        }
    }

    /// Answers. A peer that is gone is nobody's loss.
    pub fn send(mut self, answer: Result<Vec<u8>, ShimError>) {
        self.respond(answer);
    }

    fn respond(&mut self, answer: Result<Vec<u8>, ShimError>) {
        self.answered = true;
        let (status, payload) = match answer {
            Ok(payload) => (None, payload),
            Err(error) => (Some(error.status()), Vec::new()),
        };
        let data = Response { status, payload }.encode_to_vec();
        self.peer
            .send(&frame::encode(self.stream, frame::kind::RESPONSE, &data));
    }
}

impl Drop for Reply {
    fn drop(&mut self) {
        if !self.answered {
            self.respond(Err(ShimError::Dropped));
        }
    }
}

/// The receiving half: what came in so far.
#[derive(Debug)]
pub struct Incoming {
    peer: Arc<Peer>,
    received: Vec<u8>,
}

/// What a readable connection had to give.
#[derive(Debug)]
pub struct Calls {
    pub calls: Vec<(Request, Reply)>,
    /// The peer has gone, or does not speak ttrpc.
    pub ended: bool,
}

impl Incoming {
    #[must_use]
    pub fn new(peer: Arc<Peer>) -> Incoming {
        Incoming {
            peer,
            received: Vec::new(),
        }
    }

    /// Reads what is there, without waiting.
    pub fn read(&mut self) -> Calls {
        let mut ended = false;
        let mut buffer = [0u8; 8 << 10];
        loop {
            match rustix::net::recv(&self.peer, &mut buffer[..], RecvFlags::DONTWAIT) {
                Ok((0, _)) => {
                    ended = true;
                    break;
                }
                Ok((count, _)) => self.received.extend(&buffer[..count]),
                Err(Errno::INTR) => {}
                Err(Errno::AGAIN) => break,
                Err(_) => {
                    ended = true;
                    break;
                }
            }
            // What one peer has sent is served before more is taken in.
            if self.received.len() > frame::MAX_DATA_BYTES {
                break;
            }
        }
        let mut calls = Vec::new();
        loop {
            match frame::take(&mut self.received) {
                Ok(None) => break,
                Ok(Some(frame)) if frame.kind == frame::kind::REQUEST => {
                    let reply = Reply::new(&self.peer, frame.stream);
                    match Request::decode(&*frame.data) {
                        Ok(request) => calls.push((request, reply)),
                        Err(error) => reply.send(Err(error.into())),
                    }
                }
                // Data of a stream that nobody opened.
                Ok(Some(_)) => {}
                Err(frame::TooLong) => {
                    ended = true;
                    break;
                }
            }
        }
        if self.received.is_empty() {
            self.received = Vec::new();
        }
        Calls { calls, ended }
    }
}

impl AsFd for Incoming {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.peer.as_fd()
    }
}
