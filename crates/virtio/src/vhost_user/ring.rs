//! A queue as a front end sets it up.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use rustix::io::Errno;
use virtio_queue::QueueT;
use vm_memory::GuestAddress;

use super::message::VringAddresses;
use super::table::Table;
use crate::interrupt::{self, Interrupt};
use crate::mmio::F_EVENT_IDX;
use crate::queue::Queue;

#[derive(Debug)]
pub(super) struct Ring {
    max_size: u16,
    pub(super) size: u16,
    pub(super) addresses: VringAddresses,
    /// The index of the next chain to be taken.
    pub(super) base: u16,
    /// The front end's; the queue is stopped as long as there is none.
    pub(super) kick: Option<OwnedFd>,
    pub(super) is_enabled: bool,
    /// What the device itself comes back by.
    pub(super) notifier: Arc<OwnedFd>,
    pub(super) interrupt: Interrupt,
}

impl Ring {
    pub(super) fn new(max_size: u16) -> Result<Self, Errno> {
        Ok(Self {
            max_size,
            size: max_size,
            addresses: VringAddresses::default(),
            base: 0,
            kick: None,
            is_enabled: false,
            notifier: Arc::new(interrupt::event()?),
            interrupt: Interrupt::called(),
        })
    }

    pub(super) fn fits(&self, size: u16) -> bool {
        size.is_power_of_two() && size <= self.max_size
    }

    /// How far the driver has been served: the index of the used ring (VIRTIO 1.2, 2.7.8).
    pub(super) fn served(&self, table: &Table) -> Option<u16> {
        let mut index = [0; 2];
        let at = table.guest_address(self.addresses.used)?.checked_add(2)?;
        table.memory.read(at, &mut index).ok()?;
        Some(u16::from_le_bytes(index))
    }

    /// The queue, if all of it is aligned and in guest memory.
    pub(super) fn queue(&self, features: u64, table: &Table) -> Option<Queue> {
        let address = |user| table.guest_address(user).map(GuestAddress);
        let mut ring = virtio_queue::Queue::new(self.max_size).ok()?;
        ring.try_set_size(self.size).ok()?;
        ring.try_set_desc_table_address(address(self.addresses.descriptors)?)
            .ok()?;
        ring.try_set_avail_ring_address(address(self.addresses.available)?)
            .ok()?;
        ring.try_set_used_ring_address(address(self.addresses.used)?)
            .ok()?;
        ring.set_event_idx(features & F_EVENT_IDX != 0);
        ring.set_next_avail(self.base);
        ring.set_next_used(self.served(table)?);
        ring.set_ready(true);
        ring.is_valid(table.memory.map()).then(|| {
            let (memory, interrupt) = (table.memory.clone(), self.interrupt.clone());
            Queue::new(ring, memory, interrupt, Arc::clone(&self.notifier))
        })
    }
}
