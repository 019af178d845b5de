//! What every device model is: [`Device`]. A transport (`mmio`) owns one, and the machine's event loop
//! drives it.
//!
//! Events are edge-triggered: whoever waits registers each descriptor once, with `EPOLLET`, and a device
//! that stops before a descriptor is drained comes back to it by itself. So an eventfd need not be read,
//! and a descriptor that nobody can serve just now costs nothing.

use std::fmt;
use std::os::fd::BorrowedFd;

use crate::interrupt::Interrupt;
use crate::memory::Memory;
use crate::mmio::{F_EVENT_IDX, F_INDIRECT_DESC};
use crate::queue::Queue;

/// The device type; VIRTIO 1.2, 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub enum Kind {
    Net = 1,
    Block = 2,
    Console = 3,
    Entropy = 4,
    Balloon = 5,
    Vsock = 19,
    Fs = 26,
    Pmem = 27,
}

/// What a device is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The driver has notified a queue, by its index.
    Queue(u16),
    /// Something happened to a descriptor of the device's own, by its place in [`Device::sources`].
    Source(usize),
}

/// What a descriptor is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Interest {
    /// Bytes to be read, or the end: `EPOLLIN`.
    Read,
    /// Room to write: `EPOLLOUT`.
    Write,
    ReadWrite,
}

/// A descriptor of a device's, edge-triggered.
#[derive(Debug, Clone, Copy)]
pub struct Source<'a> {
    pub fd: BorrowedFd<'a>,
    pub interest: Interest,
}

/// What a device gets when its driver is ready: VIRTIO 1.2, 3.1.1, step 8.
#[derive(Debug)]
pub struct Activation {
    /// The features that both know, transport's included.
    pub features: u64,
    /// By index; those that the driver has not set up are `None`.
    pub queues: Vec<Option<Queue>>,
    /// The guest's.
    pub memory: Memory,
    /// How the driver is told.
    pub interrupt: Interrupt,
}

impl Activation {
    /// Takes a queue without which the device can do nothing.
    ///
    /// # Errors
    /// That the driver has not set it up.
    pub fn queue(&mut self, index: u16) -> Result<Queue, ActivateError> {
        let queue = self.queues.get_mut(usize::from(index));
        queue
            .and_then(Option::take)
            .ok_or(ActivateError::QueueMissing(index))
    }
}

/// Why a device cannot begin.
#[derive(Debug, thiserror::Error)]
pub enum ActivateError {
    #[error("the driver has not set up queue {0}")]
    QueueMissing(u16),
    #[error("the host refuses what the driver has negotiated")]
    Host(#[from] rustix::io::Errno),
}

/// A number that only grows, with its name.
pub type Counter = (&'static str, u64);

/// A device model behind a transport. None of it waits. All of them are in this room: what they do with a
/// queue is not for others.
pub trait Device: Send + fmt::Debug {
    fn kind(&self) -> Kind;

    /// The features of this kind of device that are offered; the transport adds its own.
    fn features(&self) -> u64;

    /// The features of queues that are offered.
    fn transport_features(&self) -> u64 {
        F_INDIRECT_DESC | F_EVENT_IDX
    }

    /// How large each queue may be at most, by index: powers of two up to 32768.
    fn queue_sizes(&self) -> &[u16];

    /// Fills `data` with the configuration at `offset`; zeroes where there is none.
    fn read_config(&self, offset: u32, data: &mut [u8]);

    /// The driver writes the configuration. What is not for writing is ignored.
    fn write_config(&mut self, offset: u32, data: &[u8]);

    /// Changes whenever what [`Device::read_config`] gives has changed by itself.
    fn config_generation(&self) -> u32 {
        0
    }

    /// The driver is ready. The device looks once at everything it waits for, because what happened to
    /// its descriptors before was not told.
    ///
    /// # Errors
    /// What the driver has left out, or the host refuses; the driver is then told to reset.
    fn activate(&mut self, activation: Activation) -> Result<(), ActivateError>;

    /// What it waits for besides its queues: the same ones for all of its life.
    fn sources(&self) -> Vec<Source<'_>>;

    /// Something happened. Not before it was activated, and not after it was reset.
    fn handle(&mut self, event: Event);

    /// Back to before it was activated; all requests that were not answered are forgotten.
    fn reset(&mut self);

    /// What it has done so far, resets notwithstanding.
    fn counters(&self) -> Vec<Counter>;
}

/// [`Device::read_config`] of a configuration that is there as bytes.
pub(crate) fn read_bytes(config: &[u8], offset: u32, data: &mut [u8]) {
    let rest = config.get(offset as usize..).unwrap_or_default();
    let length = rest.len().min(data.len());
    data[..length].copy_from_slice(&rest[..length]);
    data[length..].fill(0);
}
