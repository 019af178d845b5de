//! Sockets between guest and host without a network; VIRTIO 1.2, 5.10. Streams only.
//!
//! [`host`] has all connections, [`connection`] is one of them, [`end`] its descriptor, [`packet`] the header;
//! [`Peer`] says where they go.
//! What waits is bounded on both sides: by the connection's credit, by the number of connections, and by
//! the number of refusals, at which the guest's own packets have to wait.

mod connection;
mod end;
mod host;
mod packet;
mod peer;

use rustix::io::Errno;

use crate::chain::Chain;
use crate::device::{
    ActivateError, Activation, Counter, Device, Event, Interest, Kind, Source, read_bytes,
};
use crate::memory::Memory;
use crate::queue::{Queue, Served};
use host::Host;
use packet::{HEADER_BYTES, Header};

pub use peer::{Peer, UnixSockets};

/// The host's address; `VMADDR_CID_HOST`.
pub const HOST_CID: u64 = 2;
/// The least address that a guest may have.
pub const FIRST_GUEST_CID: u64 = 3;

const QUEUE_SIZES: [u16; 3] = [256, 256, 16];
/// rx: to the guest.
const RECEIVE: u16 = 0;
/// tx: from the guest.
const TRANSMIT: u16 = 1;

/// The device.
#[derive(Debug)]
pub struct Vsock {
    guest_cid: u64,
    host: Host,
    receive: Option<Queue>,
    transmit: Option<Queue>,
    /// The guest's packets wait until it has taken ours.
    is_held: bool,
    received: u64,
    sent: u64,
    broken_chains: u64,
}

impl Vsock {
    /// A guest with this address. Signals of broken pipes are ignored, as Rust's runtime does.
    ///
    /// # Errors
    /// `EMFILE`, `ENOMEM`: an epoll set.
    pub fn new(guest_cid: u64, peer: Box<dyn Peer>) -> Result<Self, Errno> {
        Ok(Self {
            guest_cid,
            host: Host::new(guest_cid, peer)?,
            receive: None,
            transmit: None,
            is_held: false,
            received: 0,
            sent: 0,
            broken_chains: 0,
        })
    }

    /// Takes the guest's packets.
    fn transmit(&mut self) {
        let Some(mut queue) = self.transmit.take() else {
            return;
        };
        self.is_held = false;
        queue.drain(|memory, chain| {
            if !self.host.has_room() {
                self.is_held = true;
                return Served::Later;
            }
            self.take(memory, chain);
            Served::Used(0)
        });
        self.broken_chains += queue.take_broken_chains();
        self.transmit = Some(queue);
    }

    fn take(&mut self, memory: &Memory, chain: Chain) {
        let mut data = chain.readable;
        let Ok(header) = data.read_array::<HEADER_BYTES>(memory) else {
            self.broken_chains += 1;
            return;
        };
        self.received += 1;
        self.host.receive(memory, &Header::parse(&header), data);
    }

    /// Gives the guest what there is for it.
    fn receive(&mut self) {
        let Some(mut queue) = self.receive.take() else {
            return;
        };
        let mut left = QUEUE_SIZES[0];
        loop {
            if left == 0 {
                queue.again();
                break;
            }
            left -= 1;
            let Some(chain) = queue.pop() else { break };
            if chain.writable.len() <= HEADER_BYTES as u64 {
                self.broken_chains += 1;
                queue.add_used(chain.head, 0);
                continue;
            }
            match self.host.next(queue.memory(), &chain.writable) {
                Some(length) => {
                    self.sent += 1;
                    queue.add_used(chain.head, length);
                }
                None => {
                    queue.put_back();
                    break;
                }
            }
        }
        queue.signal();
        self.broken_chains += queue.take_broken_chains();
        self.receive = Some(queue);
    }
}

impl Device for Vsock {
    fn kind(&self) -> Kind {
        Kind::Vsock
    }

    fn features(&self) -> u64 {
        0
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_vsock_config`; 5.10.4.
    fn read_config(&self, offset: u32, data: &mut [u8]) {
        read_bytes(&self.guest_cid.to_le_bytes(), offset, data);
    }

    fn write_config(&mut self, _offset: u32, _data: &[u8]) {}

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        self.receive = Some(activation.queue(RECEIVE)?);
        self.transmit = Some(activation.queue(TRANSMIT)?);
        self.handle(Event::Source(0));
        self.handle(Event::Queue(TRANSMIT));
        Ok(())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        vec![Source {
            fd: self.host.events(),
            interest: Interest::Read,
        }]
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Queue(TRANSMIT) => self.transmit(),
            Event::Queue(_) => {}
            Event::Source(_) => self.host.wake(),
        }
        self.receive();
        if let Some(queue) = self
            .transmit
            .as_ref()
            .filter(|_| self.is_held && self.host.has_room())
        {
            queue.again();
        }
    }

    fn reset(&mut self) {
        self.receive = None;
        self.transmit = None;
        self.is_held = false;
        self.host.clear();
    }

    fn counters(&self) -> Vec<Counter> {
        vec![
            ("received_packets", self.received),
            ("sent_packets", self.sent),
            ("opened", self.host.opened),
            ("refused", self.host.refused),
            ("connections", self.host.connections() as u64),
            ("broken_chains", self.broken_chains),
        ]
    }
}

#[cfg(test)]
mod tests;
