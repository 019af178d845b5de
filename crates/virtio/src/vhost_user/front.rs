//! The front end: a device of this machine whose queues another process serves.
//!
//! The driver's notifications and the device's interrupts pass this process by: the back end has the
//! eventfds themselves. What is left is to carry what the driver has set up across, and to know whether the
//! back end still lives. A back end is trusted to answer within [`PATIENCE`], and with nothing else.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use rustix::io::Errno;
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use virtio_queue::QueueT;

use super::message::{Acknowledge, Fields, Header, Request, VringAddresses, VringState};
use super::socket::{Message, Socket};
use super::table::{Table, host_address};
use super::{F_PROTOCOL_FEATURES, P_MQ, P_REPLY_ACK, SocketError};
use crate::device::{
    ActivateError, Activation, Counter, Device, Event, Interest, Kind, Source, read_bytes,
};
use crate::interrupt::Interrupt;
use crate::mmio::{F_EVENT_IDX, F_INDIRECT_DESC, F_VERSION_1};
use crate::queue::Queue;

/// How long a back end may take for an answer.
pub const PATIENCE: Duration = Duration::from_secs(10);
/// The longest name of a file system (VIRTIO 1.2, 5.11.4).
pub const TAG_BYTES_MAX: usize = 36;
/// The queue for urgent requests, and one for all others; 5.11.2.
const FS_QUEUE_SIZES: [u16; 2] = [128, 1024];

/// What a back end may offer: the kind's own features, and of the queues' those that this room's have.
const FEATURES: u64 = 0xff_ffff | F_INDIRECT_DESC | F_EVENT_IDX | F_VERSION_1;

/// Why there is no such device.
#[derive(Debug, thiserror::Error)]
pub enum RemoteError {
    #[error(transparent)]
    Socket(#[from] SocketError),
    #[error("the back end has no answer to {0:?}")]
    Answer(Request),
    #[error("the back end cannot be spoken to: {0}")]
    Lacks(&'static str),
    #[error("the name {0:?} of a file system is longer than 36 bytes, or empty")]
    Tag(String),
    #[error(transparent)]
    Host(#[from] Errno),
}

/// A device that is served elsewhere.
#[derive(Debug)]
pub struct Remote {
    kind: Kind,
    config: Vec<u8>,
    queue_sizes: Vec<u16>,
    features: u64,
    protocol_features: u64,
    socket: Socket,
    /// The indices of the queues that the back end was given.
    started: Vec<u16>,
    interrupt: Option<Interrupt>,
    is_lost: bool,
    losses: u64,
}

impl Remote {
    /// A file system that the guest mounts by `tag`, served behind a connected Unix stream socket.
    ///
    /// # Errors
    /// The back end does not answer, or with something else than vhost-user.
    pub fn fs(tag: &str, socket: OwnedFd) -> Result<Self, RemoteError> {
        if tag.is_empty() || tag.len() > TAG_BYTES_MAX {
            return Err(RemoteError::Tag(tag.to_owned()));
        }
        // `struct virtio_fs_config`; 5.11.4.
        let mut config = tag.as_bytes().to_vec();
        config.resize(TAG_BYTES_MAX, 0);
        let requests = FS_QUEUE_SIZES.len() as u32 - 1;
        config.extend(requests.to_le_bytes());
        Self::new(Kind::Fs, config, FS_QUEUE_SIZES.to_vec(), socket)
    }

    /// A device of any kind, with its configuration.
    pub(super) fn new(
        kind: Kind,
        config: Vec<u8>,
        queue_sizes: Vec<u16>,
        socket: OwnedFd,
    ) -> Result<Self, RemoteError> {
        rustix::io::ioctl_fionbio(&socket, false)?;
        for timeout in [Timeout::Recv, Timeout::Send] {
            set_socket_timeout(&socket, timeout, Some(PATIENCE))?;
        }
        let mut remote = Self {
            kind,
            config,
            queue_sizes,
            features: 0,
            protocol_features: 0,
            socket: Socket::new(socket),
            started: Vec::new(),
            interrupt: None,
            is_lost: false,
            losses: 0,
        };
        remote.greet()?;
        Ok(remote)
    }

    /// Learns what the back end can, and says what of it is used.
    fn greet(&mut self) -> Result<(), RemoteError> {
        self.tell(Request::SetOwner, &[], &[])?;
        let features = self.ask_number(Request::GetFeatures)?;
        if features & F_VERSION_1 == 0 {
            return Err(RemoteError::Lacks("VIRTIO 1"));
        }
        if features & F_PROTOCOL_FEATURES == 0 {
            return Err(RemoteError::Lacks("protocol features"));
        }
        self.features = features & FEATURES;
        let known = self.ask_number(Request::GetProtocolFeatures)?;
        self.protocol_features = known & (P_MQ | P_REPLY_ACK);
        let accepted = self.protocol_features.to_le_bytes();
        self.tell(Request::SetProtocolFeatures, &accepted, &[])?;
        if self.protocol_features & P_MQ != 0 {
            let queues = self.ask_number(Request::GetQueueNum)?;
            if queues < self.queue_sizes.len() as u64 {
                return Err(RemoteError::Lacks("queues"));
            }
        }
        Ok(())
    }

    /// Says something that has no answer of its own.
    fn tell(
        &mut self,
        request: Request,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), RemoteError> {
        let header = Header::request(request, Acknowledge::Not, payload.len());
        Ok(self.socket.send(header, payload, descriptors)?)
    }

    /// As [`Remote::tell`], and waits until it is done, if the back end can say so.
    fn tell_and_wait(
        &mut self,
        request: Request,
        payload: &[u8],
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<(), RemoteError> {
        if self.protocol_features & P_REPLY_ACK == 0 {
            return self.tell(request, payload, descriptors);
        }
        let header = Header::request(request, Acknowledge::Wanted, payload.len());
        self.socket.send(header, payload, descriptors)?;
        match Fields(&self.reply(request)?).u64() {
            Some(0) => Ok(()),
            _ => Err(RemoteError::Answer(request)),
        }
    }

    fn ask_number(&mut self, request: Request) -> Result<u64, RemoteError> {
        self.tell(request, &[], &[])?;
        let answer = self.reply(request)?;
        Fields(&answer).u64().ok_or(RemoteError::Answer(request))
    }

    fn reply(&mut self, request: Request) -> Result<Vec<u8>, RemoteError> {
        match self.socket.receive()? {
            Some(Message {
                header, payload, ..
            }) if header.is_reply_to(request) => Ok(payload),
            _ => Err(RemoteError::Answer(request)),
        }
    }

    /// Hands the guest over.
    fn start(&mut self, activation: &Activation) -> Result<(), RemoteError> {
        let features = activation.features | F_PROTOCOL_FEATURES;
        self.tell(Request::SetFeatures, &features.to_le_bytes(), &[])?;
        let (payload, files) = Table::payload(&activation.memory);
        self.tell_and_wait(Request::SetMemTable, &payload, &files)?;
        let call = activation.interrupt.lend()?;
        let queues = activation.queues.iter().enumerate();
        for (index, queue) in queues.filter_map(|(index, queue)| Some((index, queue.as_ref()?))) {
            let index = index as u16;
            self.start_queue(index, queue, call.as_fd())?;
            self.started.push(index);
        }
        Ok(())
    }

    fn start_queue(
        &mut self,
        index: u16,
        queue: &Queue,
        call: BorrowedFd<'_>,
    ) -> Result<(), RemoteError> {
        let ring = queue.ring();
        // The ring was checked against this memory.
        let address = |guest| host_address(queue.memory(), guest).unwrap_or_default();
        let addresses = VringAddresses {
            descriptors: address(ring.desc_table()),
            used: address(ring.used_ring()),
            available: address(ring.avail_ring()),
        };
        let state = |number: u16| {
            let (index, number) = (index.into(), number.into());
            VringState { index, number }.to_bytes()
        };
        let which = u64::from(index).to_le_bytes();
        let notifier = Arc::clone(queue.notifier());
        self.tell(Request::SetVringNum, &state(ring.size()), &[])?;
        self.tell(Request::SetVringBase, &state(ring.next_avail()), &[])?;
        self.tell(Request::SetVringAddr, &addresses.to_bytes(index), &[])?;
        self.tell(Request::SetVringCall, &which, &[call])?;
        self.tell(Request::SetVringKick, &which, &[notifier.as_fd()])?;
        self.tell_and_wait(Request::SetVringEnable, &state(1), &[])
    }

    /// Takes the guest back: no queue is touched after that.
    fn stop(&mut self) -> Result<(), RemoteError> {
        for index in std::mem::take(&mut self.started) {
            let state = VringState {
                index: index.into(),
                number: 0,
            };
            self.tell(Request::SetVringEnable, &state.to_bytes(), &[])?;
            self.tell(Request::GetVringBase, &state.to_bytes(), &[])?;
            self.reply(Request::GetVringBase)?;
        }
        Ok(())
    }

    /// Nothing can be said to the back end any more.
    fn lose(&mut self) {
        if !self.is_lost {
            self.is_lost = true;
            self.losses += 1;
            if let Some(interrupt) = &self.interrupt {
                interrupt.needs_reset();
            }
        }
    }
}

impl Device for Remote {
    fn kind(&self) -> Kind {
        self.kind
    }

    fn features(&self) -> u64 {
        self.features
    }

    fn transport_features(&self) -> u64 {
        self.features & (F_INDIRECT_DESC | F_EVENT_IDX)
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u32, data: &mut [u8]) {
        read_bytes(&self.config, offset, data);
    }

    fn write_config(&mut self, _offset: u32, _data: &[u8]) {}

    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError> {
        if self.is_lost || self.start(&activation).is_err() {
            self.lose();
            return Err(ActivateError::Host(Errno::PIPE));
        }
        self.interrupt = Some(activation.interrupt);
        Ok(())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        vec![Source {
            fd: self.socket.as_fd(),
            interest: Interest::Read,
        }]
    }

    fn handle(&mut self, event: Event) {
        // The back end hears the queues' notifications itself, and says nothing unasked but that it is gone.
        if let Event::Source(_) = event
            && has_ended(self.socket.as_fd())
        {
            self.lose();
        }
    }

    fn reset(&mut self) {
        self.interrupt = None;
        if !self.is_lost && self.stop().is_err() {
            self.lose();
        }
    }

    fn counters(&self) -> Vec<Counter> {
        vec![("losses", self.losses)]
    }
}

/// Whether the peer has closed the socket.
fn has_ended(socket: BorrowedFd<'_>) -> bool {
    use rustix::net::RecvFlags;

    let mut byte = [0; 1];
    let flags = RecvFlags::PEEK | RecvFlags::DONTWAIT;
    match rustix::net::recv(socket, &mut byte, flags) {
        Ok((received, _)) => received == 0,
        Err(error) => error != Errno::AGAIN && error != Errno::INTR,
    }
}
