//! Packets for the guest: VIRTIO 1.2, 5.1.6.3 and 5.1.6.4.
//!
//! A packet is read straight into the guest's buffers, so there must be room for the largest before it is
//! known how large it is. The chains that make up this room are kept from packet to packet.

use std::collections::VecDeque;
use std::os::fd::BorrowedFd;

use rustix::io::Errno;

use super::detour::Detour;
use super::{HEADER_BYTES, Traffic};
use crate::chain::Buffers;
use crate::memory::TransferError;
use crate::queue::Queue;
use crate::rate::Limiter;

/// Where `num_buffers` is in the header.
const NUM_BUFFERS_OFFSET: u64 = 10;
/// How many packets are read in one go.
const PACKETS_MAX: u16 = 256;

/// Whether a packet may be in more than one chain: `VIRTIO_NET_F_MRG_RXBUF`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Merge {
    Chains,
    Never,
}

/// Where packets come from; the first one is asked first.
#[derive(Debug)]
pub(super) struct From<'a> {
    pub(super) detour: Option<&'a mut Detour>,
    pub(super) link: BorrowedFd<'a>,
}

#[derive(Debug)]
pub(super) struct Receiver {
    queue: Queue,
    packet_bytes: u64,
    merge: Merge,
    /// Taken from the queue and not yet given back: head and size.
    chains: VecDeque<(u16, u64)>,
    /// All of their buffers.
    room: Buffers,
    broken_chains: u64,
}

impl Receiver {
    /// Packets are meant to be no larger than `packet_bytes`, header included; one that is (a VLAN tag) may
    /// find room in what is there.
    pub(super) fn new(queue: Queue, packet_bytes: u64, merge: Merge) -> Self {
        Self {
            queue,
            packet_bytes,
            merge,
            chains: VecDeque::new(),
            room: Buffers::default(),
            broken_chains: 0,
        }
    }

    pub(super) fn take_broken_chains(&mut self) -> u64 {
        std::mem::take(&mut self.broken_chains) + self.queue.take_broken_chains()
    }

    pub(super) fn receive(
        &mut self,
        mut from: From<'_>,
        limiter: &mut Limiter,
        traffic: &mut Traffic,
    ) {
        let mut left = PACKETS_MAX;
        while self.make_room() && limiter.admits() {
            if left == 0 {
                self.queue.again();
                break;
            }
            left -= 1;
            let detour = from.detour.as_deref_mut();
            let received = match detour.and_then(Detour::next_frame) {
                Some(frame) => self.put(&frame),
                None => self.queue.memory().receive_packet(from.link, &self.room),
            };
            match received {
                Ok(bytes) if bytes as u64 >= HEADER_BYTES => {
                    let bytes = bytes as u64;
                    limiter.charge(bytes);
                    traffic.count(bytes);
                    self.give(bytes);
                }
                // No packet of ours; what is in the buffers now will be overwritten.
                Ok(1..) => traffic.dropped += 1,
                Err(TransferError::Host(Errno::INTR)) => {}
                Err(TransferError::Buffers) => self.give_all_back(),
                // Nothing there, or nobody.
                Ok(_) | Err(_) => break,
            }
        }
        self.queue.signal();
    }

    /// Puts a frame of our own where the link's would be read to: checksums are right, and it is whole. One
    /// byte is the answer if it does not fit, as of a packet that is none.
    fn put(&self, frame: &[u8]) -> Result<usize, TransferError> {
        let packet = [&[0; HEADER_BYTES as usize][..], frame].concat();
        let written = self.room.clone().write(self.queue.memory(), &packet);
        Ok(written.map_or(1, |()| packet.len()))
    }

    /// Whether there is room for a packet of any size.
    fn make_room(&mut self) -> bool {
        // Each round takes a chain; those that are too small are few before the queue stops by itself.
        let mut left = PACKETS_MAX;
        while self.room.len() < self.packet_bytes {
            if left == 0 {
                self.queue.again();
                return false;
            }
            left -= 1;
            let Some(chain) = self.queue.pop() else {
                return false;
            };
            let bytes = chain.writable.len();
            let least = match self.merge {
                Merge::Chains => HEADER_BYTES,
                Merge::Never => self.packet_bytes,
            };
            if bytes < least {
                self.broken_chains += 1;
                self.queue.add_used(chain.head, 0);
                continue;
            }
            self.room.append(&chain.writable);
            self.chains.push_back((chain.head, bytes));
        }
        true
    }

    /// Gives the chains that a packet of this length fills back, and says in its header how many.
    fn give(&mut self, packet_bytes: u64) {
        let mut count: u16 = 0;
        let mut sizes: u64 = 0;
        for (_, bytes) in &self.chains {
            if sizes >= packet_bytes {
                break;
            }
            sizes += bytes;
            count += 1;
        }
        let mut front = self.room.split_front(sizes);
        front.skip(NUM_BUFFERS_OFFSET);
        // The first chain has room for a header at least.
        let _ = front.write(self.queue.memory(), &count.to_le_bytes());
        let mut left = packet_bytes;
        for (head, bytes) in self.chains.drain(..usize::from(count)) {
            // At most the length of a packet.
            let written_bytes = left.min(bytes);
            left -= written_bytes;
            self.queue.add_used(head, written_bytes as u32);
        }
    }

    /// The buffers are in more pieces than one call takes.
    fn give_all_back(&mut self) {
        self.room = Buffers::default();
        for (head, _) in self.chains.drain(..) {
            self.broken_chains += 1;
            self.queue.add_used(head, 0);
        }
    }
}
