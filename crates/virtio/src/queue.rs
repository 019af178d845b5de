//! One virtqueue of an active device: chains come out checked, and go back with a length.
//!
//! The split ring itself (VIRTIO 1.2, 2.7) is the crate `virtio-queue`'s. Here is what it leaves to its
//! user: a chain that is broken is given back with nothing in it, and counted; a ring that is broken ends
//! in DEVICE_NEEDS_RESET; and a driver that fills the ring as fast as it is emptied does not keep the
//! event loop for itself.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use virtio_queue::{QueueOwnedT, QueueT};

use crate::chain::Chain;
use crate::interrupt::{self, Interrupt};
use crate::memory::Memory;

/// What became of a chain in [`Queue::drain`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Served {
    /// It is done, and so many bytes were written into it.
    Used(u32),
    /// It is put back, and no other is looked at for now.
    Later,
}

/// A virtqueue that the driver has set up.
#[derive(Debug)]
pub struct Queue {
    ring: virtio_queue::Queue,
    memory: Memory,
    interrupt: Interrupt,
    notifier: Arc<OwnedFd>,
    /// The ring makes no sense; nothing is done until a reset.
    is_broken: bool,
    broken_chains: u64,
}

impl Queue {
    /// `ring` is configured and checked against `memory`.
    pub(crate) fn new(
        ring: virtio_queue::Queue,
        memory: Memory,
        interrupt: Interrupt,
        notifier: Arc<OwnedFd>,
    ) -> Self {
        Self {
            ring,
            memory,
            interrupt,
            notifier,
            is_broken: false,
            broken_chains: 0,
        }
    }

    /// What the driver has told of it, for whoever serves it instead.
    pub(crate) fn ring(&self) -> &virtio_queue::Queue {
        &self.ring
    }

    /// What the driver rings.
    pub(crate) fn notifier(&self) -> &Arc<OwnedFd> {
        &self.notifier
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    /// Chains that were given back unread since the last time somebody asked.
    pub(crate) fn take_broken_chains(&mut self) -> u64 {
        std::mem::take(&mut self.broken_chains)
    }

    /// The next request; `None` when there is none now, and then the driver will notify of the next.
    pub(crate) fn pop(&mut self) -> Option<Chain> {
        // Each round but the last takes one chain from the ring. A driver that adds broken ones all
        // the time is left alone after one ring's worth.
        for _ in 0..=self.ring.size() {
            if let Some(chain) = self.pop_now() {
                match chain {
                    Ok(chain) => return Some(chain),
                    Err(head) => {
                        self.broken_chains += 1;
                        self.add_used(head, 0);
                    }
                }
            } else if self.is_broken || !self.wants_notification() {
                return None;
            }
        }
        self.again();
        None
    }

    /// What is in the ring, without asking to be notified; the head of a chain that is broken.
    fn pop_now(&mut self) -> Option<Result<Chain, u16>> {
        if self.is_broken {
            return None;
        }
        let next = match self.ring.iter(self.memory.map()) {
            Ok(mut available) => available.next(),
            Err(_) => {
                self.break_ring();
                None
            }
        };
        let chain = next?;
        let head = chain.head_index();
        Some(Chain::parse(chain, &self.memory).map_err(|_| head))
    }

    /// Asks the driver to notify of the next chain; `true` if one has come meanwhile.
    fn wants_notification(&mut self) -> bool {
        match self.ring.enable_notification(self.memory.map()) {
            Ok(has_more) => has_more,
            Err(_) => {
                self.break_ring();
                false
            }
        }
    }

    /// Undoes the last [`Queue::pop`].
    pub(crate) fn put_back(&mut self) {
        self.ring.go_to_previous_position();
    }

    /// Gives a chain back. The driver is told by [`Queue::signal`].
    pub(crate) fn add_used(&mut self, head: u16, written_bytes: u32) {
        let used = self.ring.add_used(self.memory.map(), head, written_bytes);
        if used.is_err() {
            self.break_ring();
        }
    }

    /// Tells the driver of what was given back, if it wants to hear.
    pub(crate) fn signal(&mut self) {
        match self.ring.needs_notification(self.memory.map()) {
            Ok(true) => self.interrupt.used_buffer(),
            Ok(false) => {}
            Err(_) => self.break_ring(),
        }
    }

    /// Serves what is there, but no more than a ring's worth at a time.
    pub(crate) fn drain(&mut self, mut serve: impl FnMut(&Memory, Chain) -> Served) {
        let memory = self.memory.clone();
        let mut left = self.ring.size();
        loop {
            if left == 0 {
                self.again();
                break;
            }
            left -= 1;
            let Some(chain) = self.pop() else { break };
            let head = chain.head;
            match serve(&memory, chain) {
                Served::Used(written_bytes) => self.add_used(head, written_bytes),
                Served::Later => {
                    self.put_back();
                    break;
                }
            }
        }
        self.signal();
    }

    /// Comes back to this queue after others had their turn.
    pub(crate) fn again(&self) {
        interrupt::notify(&self.notifier);
    }

    fn break_ring(&mut self) {
        self.is_broken = true;
        self.interrupt.needs_reset();
    }
}
