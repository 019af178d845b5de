//! A queue while the driver sets it up: its size and where its three parts are; VIRTIO 1.2, 2.7 and
//! 4.2.2 (QueueNum to QueueUsedHigh).

use std::os::fd::OwnedFd;
use std::sync::Arc;

use virtio_queue::QueueT;
use vm_memory::GuestAddress;

use super::F_EVENT_IDX;
use crate::interrupt::Interrupt;
use crate::memory::Memory;
use crate::queue::Queue;

/// Which half of an address is written.
#[derive(Debug, Clone, Copy)]
pub(super) enum Half {
    Low,
    High,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct QueueSetup {
    max_size: u16,
    size: u16,
    descriptors: u64,
    available: u64,
    used: u64,
    /// It was checked against guest memory, and nothing has changed since.
    is_ready: bool,
}

impl QueueSetup {
    pub(super) fn new(max_size: u16) -> Self {
        Self {
            max_size,
            size: max_size,
            descriptors: 0,
            available: 0,
            used: 0,
            is_ready: false,
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new(self.max_size);
    }

    pub(super) fn max_size(&self) -> u32 {
        self.max_size.into()
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    pub(super) fn set_size(&mut self, size: u32) -> Option<()> {
        let size = u16::try_from(size).ok()?;
        let fits = size.is_power_of_two() && size <= self.max_size && !self.is_ready;
        fits.then(|| self.size = size)
    }

    pub(super) fn set_descriptors(&mut self, half: Half, value: u32) -> Option<()> {
        (!self.is_ready).then(|| set_half(&mut self.descriptors, half, value))
    }

    pub(super) fn set_available(&mut self, half: Half, value: u32) -> Option<()> {
        (!self.is_ready).then(|| set_half(&mut self.available, half, value))
    }

    pub(super) fn set_used(&mut self, half: Half, value: u32) -> Option<()> {
        (!self.is_ready).then(|| set_half(&mut self.used, half, value))
    }

    /// Makes it ready, if all of it is aligned and in guest memory.
    pub(super) fn check(&mut self, memory: &Memory) -> Option<()> {
        self.ring()
            .filter(|ring| ring.is_valid(memory.map()))
            .map(|_| self.is_ready = true)
    }

    pub(super) fn unready(&mut self) {
        self.is_ready = false;
    }

    /// The queue, if it is ready.
    pub(super) fn queue(
        &self,
        features: u64,
        memory: Memory,
        interrupt: Interrupt,
        notifier: Arc<OwnedFd>,
    ) -> Option<Queue> {
        let mut ring = self.ring().filter(|_| self.is_ready)?;
        ring.set_event_idx(features & F_EVENT_IDX != 0);
        Some(Queue::new(ring, memory, interrupt, notifier))
    }

    fn ring(&self) -> Option<virtio_queue::Queue> {
        let mut ring = virtio_queue::Queue::new(self.max_size).ok()?;
        ring.try_set_size(self.size).ok()?;
        let address = GuestAddress(self.descriptors);
        ring.try_set_desc_table_address(address).ok()?;
        ring.try_set_avail_ring_address(GuestAddress(self.available))
            .ok()?;
        ring.try_set_used_ring_address(GuestAddress(self.used))
            .ok()?;
        ring.set_ready(true);
        Some(ring)
    }
}

fn set_half(address: &mut u64, half: Half, value: u32) {
    let value = u64::from(value);
    *address = match half {
        Half::Low => *address & !u64::from(u32::MAX) | value,
        Half::High => *address & u64::from(u32::MAX) | value << 32,
    };
}
