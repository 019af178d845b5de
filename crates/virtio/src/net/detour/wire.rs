//! The cable between the guest's driver and the stack: frames, and how many of them may wait.

use std::collections::VecDeque;

use smoltcp::phy::{self, Checksum, ChecksumCapabilities, DeviceCapabilities, Medium};
use smoltcp::time::Instant;

use crate::net::ETHERNET_BYTES;

/// How many frames wait for the guest to make room for them.
const FRAMES_MAX: usize = 64;

#[derive(Debug)]
pub(in crate::net) struct Wire {
    /// From the guest.
    pub(in crate::net) inbox: Option<Vec<u8>>,
    /// To the guest.
    pub(in crate::net) outbox: VecDeque<Vec<u8>>,
    /// Since somebody last looked there was more to say than may wait.
    pub(in crate::net) was_full: bool,
    mtu: u16,
}

impl Wire {
    pub(in crate::net) fn new(mtu: u16) -> Self {
        Self {
            inbox: None,
            outbox: VecDeque::new(),
            was_full: false,
            mtu,
        }
    }

    fn has_room(&mut self) -> bool {
        let has_room = self.outbox.len() < FRAMES_MAX;
        self.was_full |= !has_room;
        has_room
    }
}

impl phy::Device for Wire {
    type RxToken<'a> = Received;
    type TxToken<'a> = Sent<'a>;

    fn receive(&mut self, _: Instant) -> Option<(Received, Sent<'_>)> {
        if self.inbox.is_none() || !self.has_room() {
            return None;
        }
        let received = Received(self.inbox.take()?);
        Some((received, Sent(&mut self.outbox)))
    }

    fn transmit(&mut self, _: Instant) -> Option<Sent<'_>> {
        self.has_room().then_some(Sent(&mut self.outbox))
    }

    fn capabilities(&self) -> DeviceCapabilities {
        let mut checksum = ChecksumCapabilities::default();
        // A driver that has negotiated VIRTIO_NET_F_CSUM leaves TCP's out. Frames do not change between
        // its memory and here, so it is not looked at otherwise either.
        checksum.tcp = Checksum::Tx;
        let mut capabilities = DeviceCapabilities::default();
        capabilities.medium = Medium::Ethernet;
        capabilities.max_transmission_unit = usize::from(self.mtu) + ETHERNET_BYTES as usize;
        capabilities.checksum = checksum;
        capabilities
    }
}

#[derive(Debug)]
pub(in crate::net) struct Received(Vec<u8>);

impl phy::RxToken for Received {
    fn consume<R, F: FnOnce(&[u8]) -> R>(self, read: F) -> R {
        read(&self.0)
    }
}

#[derive(Debug)]
pub(in crate::net) struct Sent<'a>(&'a mut VecDeque<Vec<u8>>);

impl phy::TxToken for Sent<'_> {
    fn consume<R, F: FnOnce(&mut [u8]) -> R>(self, length: usize, write: F) -> R {
        let mut frame = vec![0; length];
        let result = write(&mut frame);
        self.0.push_back(frame);
        result
    }
}
