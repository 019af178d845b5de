//! A network card behind a TAP device; VIRTIO 1.2, 5.1.
//!
//! Packets pass between the tap and the guest's buffers with their header, `struct virtio_net_hdr_v1`, as
//! they are: what the driver has negotiated of checksums and large segments the tap is told, and the host's
//! network stack does it. [`receive`] is the way to the guest, [`detour`] a neighbour that is not behind the link.

pub mod detour;
mod receive;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_sys::tap;
use rustix::io::Errno;

use crate::chain::Chain;
use crate::device::{
    ActivateError, Activation, Counter, Device, Event, Interest, Kind, Source, read_bytes,
};
use crate::memory::{Memory, TransferError};
use crate::queue::{Queue, Served};
use crate::rate::Limiter;
use detour::{Counts, Detour};
use receive::Receiver;

const QUEUE_SIZES: [u16; 2] = [256, 256];
/// receiveq1: to the guest.
const RECEIVE: u16 = 0;
/// transmitq1: from the guest.
const TRANSMIT: u16 = 1;

const HEADER_BYTES: u64 = tap::HEADER_BYTES as u64;
/// An Ethernet header, without a VLAN tag.
const ETHERNET_BYTES: u64 = 14;
const MTU_DEFAULT: u64 = 1500;
/// The largest packet with its header: 64 KiB of IP, Ethernet with a VLAN tag.
const PACKET_BYTES_MAX: u64 = HEADER_BYTES + ETHERNET_BYTES + 4 + 65_535;
/// What a driver must have room for when it takes large segments; 5.1.6.3.1.
const LARGE_BYTES: u64 = HEADER_BYTES + 65_550;

// Features; 5.1.3.
const F_CSUM: u64 = 1;
const F_GUEST_CSUM: u64 = 1 << 1;
const F_MTU: u64 = 1 << 3;
const F_MAC: u64 = 1 << 5;
const F_GUEST_TSO4: u64 = 1 << 7;
const F_GUEST_TSO6: u64 = 1 << 8;
const F_GUEST_ECN: u64 = 1 << 9;
const F_HOST_TSO4: u64 = 1 << 11;
const F_HOST_TSO6: u64 = 1 << 12;
const F_HOST_ECN: u64 = 1 << 13;
const F_MRG_RXBUF: u64 = 1 << 15;

/// What the card is plugged into. Neither may block.
#[derive(Debug)]
pub enum Link {
    /// A TAP device, as `gamut_sys::tap::open` gives it.
    Tap(OwnedFd),
    /// A socket that keeps packets apart, to a network stack in another process. Each packet begins with a
    /// `struct virtio_net_hdr_v1`; there are no checksums left out and no large segments.
    Packets(OwnedFd),
}

impl Link {
    fn fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tap(fd) | Self::Packets(fd) => fd.as_fd(),
        }
    }
}

/// How a card is made.
#[derive(Debug)]
pub struct Card {
    pub link: Link,
    /// `None`: the driver makes one up.
    pub mac: Option<[u8; 6]>,
    /// The largest IP packet, told to the driver; `None`: 1500, and it is not told.
    pub mtu: Option<u16>,
    /// To the guest.
    pub receive_limiter: Limiter,
    /// From the guest.
    pub transmit_limiter: Limiter,
    /// Who is told of frames before the link.
    pub detour: Option<Detour>,
}

/// The device.
#[derive(Debug)]
pub struct Net {
    card: Card,
    receiver: Option<Receiver>,
    transmit: Option<Queue>,
    /// A packet waits for the link to take it.
    is_link_full: bool,
    received: Traffic,
    sent: Traffic,
    broken_chains: u64,
}

/// One direction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Traffic {
    packets: u64,
    bytes: u64,
    dropped: u64,
}

impl Traffic {
    fn count(&mut self, bytes: u64) {
        self.packets += 1;
        self.bytes += bytes;
    }
}

impl Net {
    #[must_use]
    pub fn new(card: Card) -> Self {
        Self {
            card,
            receiver: None,
            transmit: None,
            is_link_full: false,
            received: Traffic::default(),
            sent: Traffic::default(),
            broken_chains: 0,
        }
    }

    /// Its limits to be changed: to the guest, and from it.
    pub fn limiters_mut(&mut self) -> [&mut Limiter; 2] {
        [
            &mut self.card.receive_limiter,
            &mut self.card.transmit_limiter,
        ]
    }

    fn transmit(&mut self) {
        let Some(mut queue) = self.transmit.take() else {
            return;
        };
        self.is_link_full = false;
        queue.drain(|memory, chain| {
            if !self.card.transmit_limiter.admits() {
                return Served::Later;
            }
            self.send(memory, &chain)
        });
        self.broken_chains += queue.take_broken_chains();
        self.transmit = Some(queue);
        if self.card.detour.as_ref().is_some_and(Detour::has_frames) {
            self.receive();
        }
    }

    fn send(&mut self, memory: &Memory, chain: &Chain) -> Served {
        let bytes = chain.readable.len();
        if !(HEADER_BYTES + ETHERNET_BYTES..=PACKET_BYTES_MAX).contains(&bytes) {
            self.sent.dropped += 1;
            return Served::Used(0);
        }
        // As in Firecracker, the limit holds it up, but it costs nothing.
        if self.is_detoured(memory, chain) {
            return Served::Used(0);
        }
        let mut written = Err(TransferError::Host(Errno::INTR));
        while written == Err(TransferError::Host(Errno::INTR)) {
            written = memory.send_packet(self.card.link.fd(), &chain.readable);
        }
        match written {
            Ok(_) => self.sent.count(bytes),
            Err(TransferError::Host(Errno::AGAIN)) => {
                self.is_link_full = true;
                return Served::Later;
            }
            // A header that makes no sense, or an interface that is down.
            Err(_) => self.sent.dropped += 1,
        }
        self.card.transmit_limiter.charge(bytes);
        Served::Used(0)
    }

    /// Hands a packet over if it is for the detour.
    fn is_detoured(&mut self, memory: &Memory, chain: &Chain) -> bool {
        let Some(detour) = &mut self.card.detour else {
            return false;
        };
        let mut frame = chain.readable.clone();
        frame.skip(HEADER_BYTES);
        let mut start = [0; detour::START_BYTES];
        // Shorter ones are for nobody there.
        let is_read = frame.clone().read(memory, &mut start).is_ok();
        if !is_read || !detour.wants(&start) {
            return false;
        }
        // At most PACKET_BYTES_MAX.
        let mut bytes = vec![0; frame.len() as usize];
        if frame.read(memory, &mut bytes).is_ok() {
            detour.take(bytes);
        }
        true
    }

    fn receive(&mut self) {
        if let Some(receiver) = &mut self.receiver {
            let from = receive::From {
                detour: self.card.detour.as_mut(),
                link: self.card.link.fd(),
            };
            let limiter = &mut self.card.receive_limiter;
            receiver.receive(from, limiter, &mut self.received);
            self.broken_chains += receiver.take_broken_chains();
        }
    }

    /// What the driver takes, as the tap knows it.
    fn offload(features: u64) -> u32 {
        let pairs = [
            (F_GUEST_CSUM, tap::OFFLOAD_CHECKSUM),
            (F_GUEST_TSO4, tap::OFFLOAD_TSO4),
            (F_GUEST_TSO6, tap::OFFLOAD_TSO6),
            (F_GUEST_ECN, tap::OFFLOAD_TSO_ECN),
        ];
        let taken = pairs.iter().filter(|(feature, _)| features & feature != 0);
        let offload = taken.fold(0, |offload, (_, bit)| offload | bit);
        // 5.1.3.1: the others depend on it.
        if offload & tap::OFFLOAD_CHECKSUM == 0 {
            0
        } else {
            offload
        }
    }
}

impl Device for Net {
    fn kind(&self) -> Kind {
        Kind::Net
    }

    fn features(&self) -> u64 {
        let mut features = F_MRG_RXBUF;
        if self.card.mac.is_some() {
            features |= F_MAC;
        }
        if self.card.mtu.is_some() {
            features |= F_MTU;
        }
        if matches!(self.card.link, Link::Tap(_)) {
            features |= F_CSUM | F_HOST_TSO4 | F_HOST_TSO6 | F_HOST_ECN;
            features |= F_GUEST_CSUM | F_GUEST_TSO4 | F_GUEST_TSO6 | F_GUEST_ECN;
        }
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        &QUEUE_SIZES
    }

    /// `struct virtio_net_config`; 5.1.4.
    fn read_config(&self, offset: u32, data: &mut [u8]) {
        let mut config = [0; 12];
        config[..6].copy_from_slice(&self.card.mac.unwrap_or_default());
        config[10..].copy_from_slice(&self.card.mtu.unwrap_or_default().to_le_bytes());
        read_bytes(&config, offset, data);
    }

    fn write_config(&mut self, _offset: u32, _data: &[u8]) {}

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        let features = activation.features;
        let offload = Self::offload(features);
        if let Link::Tap(tap) = &self.card.link {
            tap::set_offload(tap.as_fd(), offload)?;
        }
        let is_large = offload & (tap::OFFLOAD_TSO4 | tap::OFFLOAD_TSO6) != 0;
        let mtu = self.card.mtu.map_or(MTU_DEFAULT, u64::from);
        self.receiver = Some(Receiver::new(
            activation.queue(RECEIVE)?,
            if is_large {
                LARGE_BYTES
            } else {
                HEADER_BYTES + ETHERNET_BYTES + mtu
            },
            if features & F_MRG_RXBUF != 0 {
                receive::Merge::Chains
            } else {
                receive::Merge::Never
            },
        ));
        self.transmit = Some(activation.queue(TRANSMIT)?);
        self.receive();
        self.transmit();
        Ok(())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        let timer = |fd| Source {
            fd,
            interest: Interest::Read,
        };
        let mut sources = vec![
            Source {
                fd: self.card.link.fd(),
                interest: Interest::ReadWrite,
            },
            timer(self.card.receive_limiter.timer()),
            timer(self.card.transmit_limiter.timer()),
        ];
        sources.extend(self.card.detour.iter().map(|detour| timer(detour.timer())));
        sources
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Queue(RECEIVE) | Event::Source(1) => self.receive(),
            Event::Queue(_) | Event::Source(2) => self.transmit(),
            Event::Source(3) => {
                if let Some(detour) = &mut self.card.detour {
                    detour.turn();
                }
                self.receive();
            }
            Event::Source(_) => {
                self.receive();
                if self.is_link_full {
                    self.transmit();
                }
            }
        }
    }

    fn reset(&mut self) {
        self.receiver = None;
        self.transmit = None;
        self.is_link_full = false;
        if let Some(detour) = &mut self.card.detour {
            detour.reset();
        }
    }

    fn counters(&self) -> Vec<Counter> {
        let throttled = |limiter| Limiter::throttled(limiter);
        let detour = self.card.detour.as_ref();
        let detour = detour.map_or_else(Counts::default, |detour| detour.counts);
        vec![
            ("received_packets", self.received.packets),
            ("received_bytes", self.received.bytes),
            ("received_dropped", self.received.dropped),
            ("received_throttled", throttled(&self.card.receive_limiter)),
            ("sent_packets", self.sent.packets),
            ("sent_bytes", self.sent.bytes),
            ("sent_dropped", self.sent.dropped),
            ("sent_throttled", throttled(&self.card.transmit_limiter)),
            ("broken_chains", self.broken_chains),
            ("detour_taken", detour.taken),
            ("detour_dropped", detour.dropped),
            ("detour_sent_packets", detour.sent_packets),
            ("detour_sent_bytes", detour.sent_bytes),
            ("detour_opened", detour.opened),
            ("detour_closed", detour.closed),
        ]
    }
}

#[cfg(test)]
mod tests;
