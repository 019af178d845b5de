//! The transport: the register file of virtio-mmio, version 2; VIRTIO 1.2, 4.2.2.
//!
//! [`Mmio`] owns a device. A vCPU reads and writes its 4 KiB of registers; the event loop waits for
//! [`Mmio::notifiers`] and [`Mmio::sources`] and hands over what happens. `Arc<Mutex<Mmio<Block>>>` becomes
//! `Arc<Mutex<Mmio<dyn Device>>>` for the bus and the loop, while the machine keeps the first to reach the
//! device's own methods.
//!
//! The steps of 3.1.1 are enforced: features are chosen before FEATURES_OK, queues are set up between
//! that and DRIVER_OK, and whatever is written at another time, or to a register that is not for writing,
//! is ignored and counted.

mod setup;

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::io::Errno;

use crate::device::{Activation, Counter, Device, Event, Source};
use crate::interrupt::{self, Interrupt};
use crate::memory::Memory;
use setup::{Half, QueueSetup};

/// How much of the guest's address space the registers take.
pub const REGISTERS_BYTES: u64 = 0x1000;
/// Where [`Mmio::notifiers`] are written to (`KVM_IOEVENTFD`, with the queue's index as the datum).
pub const QUEUE_NOTIFY: u64 = 0x050;
/// Where the device's configuration begins.
const CONFIG: u64 = 0x100;

/// "virt", little end first.
const MAGIC: u32 = 0x7472_6976;
const VERSION: u32 = 2;
/// No device vendor in particular: "gamu".
const VENDOR: u32 = 0x756d_6167;

// Device status; 2.1.
const ACKNOWLEDGE: u32 = 1;
const DRIVER: u32 = 2;
const DRIVER_OK: u32 = 4;
const FEATURES_OK: u32 = 8;
const NEEDS_RESET: u32 = 64;
const FAILED: u32 = 128;

// Features that are the transport's; 6.
pub const F_INDIRECT_DESC: u64 = 1 << 28;
pub const F_EVENT_IDX: u64 = 1 << 29;
pub const F_VERSION_1: u64 = 1 << 32;

/// A device behind its registers.
#[derive(Debug)]
pub struct Mmio<D: Device + ?Sized> {
    memory: Memory,
    line: Arc<OwnedFd>,
    interrupt: Interrupt,
    notifiers: Vec<Arc<OwnedFd>>,
    status: u32,
    device_features_half: u32,
    driver_features_half: u32,
    driver_features: u64,
    queue_index: u32,
    queues: Vec<QueueSetup>,
    /// The device has been activated, and neither reset nor given up since.
    is_active: bool,
    refused_writes: u64,
    refused_activations: u64,
    resets: u64,
    device: D,
}

impl<D: Device> Mmio<D> {
    /// # Errors
    /// `EMFILE`, `ENOMEM`: an eventfd for the interrupt and for each queue.
    pub fn new(device: D, memory: Memory) -> Result<Self, Errno> {
        let sizes = device.queue_sizes();
        let queues = sizes.iter().map(|&size| QueueSetup::new(size)).collect();
        let notifiers: Result<_, Errno> = sizes
            .iter()
            .map(|_| interrupt::event().map(Arc::new))
            .collect();
        let line = Arc::new(interrupt::event()?);
        Ok(Self {
            memory,
            interrupt: Interrupt::new(Arc::clone(&line)),
            line,
            notifiers: notifiers?,
            status: 0,
            device_features_half: 0,
            driver_features_half: 0,
            driver_features: 0,
            queue_index: 0,
            queues,
            is_active: false,
            refused_writes: 0,
            refused_activations: 0,
            resets: 0,
            device,
        })
    }

    /// The device, for what the host does with it.
    pub fn device_mut(&mut self) -> &mut D {
        &mut self.device
    }
}

impl<D: Device + ?Sized> Mmio<D> {
    /// The device.
    pub fn device(&self) -> &D {
        &self.device
    }

    /// What is tied to the guest's interrupt (`KVM_IRQFD`).
    #[must_use]
    pub fn interrupt_line(&self) -> BorrowedFd<'_> {
        self.line.as_fd()
    }

    /// An eventfd for each queue, for [`Event::Queue`]; the same ones for all of its life.
    pub fn notifiers(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.notifiers.iter().map(|event| event.as_fd())
    }

    /// The device's own descriptors, for [`Event::Source`].
    #[must_use]
    pub fn sources(&self) -> Vec<Source<'_>> {
        self.device.sources()
    }

    /// Something that is waited for happened. Before the driver is ready it is ignored.
    pub fn handle(&mut self, event: Event) {
        if self.is_active && !self.interrupt.is_reset_needed() {
            self.device.handle(event);
        }
    }

    /// What the device and its transport have done.
    #[must_use]
    pub fn counters(&self) -> Vec<Counter> {
        let mut counters = self.device.counters();
        counters.extend([
            ("refused_writes", self.refused_writes),
            ("refused_activations", self.refused_activations),
            ("resets", self.resets),
        ]);
        counters
    }

    /// A vCPU reads. Registers are read as four aligned bytes (4.2.2.2); anything else reads zeroes.
    pub fn read(&self, offset: u64, data: &mut [u8]) {
        if let Some(at) = config_offset(offset) {
            return self.device.read_config(at, data);
        }
        match <&mut [u8; 4]>::try_from(&mut *data) {
            Ok(register) => *register = self.register(offset).to_le_bytes(),
            Err(_) => data.fill(0),
        }
    }

    /// A vCPU writes.
    pub fn write(&mut self, offset: u64, data: &[u8]) {
        let done = if let Some(at) = config_offset(offset) {
            self.write_config(at, data)
        } else if let Ok(bytes) = data.try_into() {
            self.write_register(offset, u32::from_le_bytes(bytes))
        } else {
            None
        };
        if done.is_none() {
            self.refused_writes += 1;
        }
    }

    fn register(&self, offset: u64) -> u32 {
        let queue = self.queues.get(self.queue_index as usize);
        match offset {
            0x000 => MAGIC,
            0x004 => VERSION,
            0x008 => self.device.kind() as u32,
            0x00c => VENDOR,
            0x010 => half(self.offered(), self.device_features_half),
            0x034 => queue.map_or(0, QueueSetup::max_size),
            0x044 => queue.map_or(0, |queue| u32::from(queue.is_ready())),
            0x060 => self.interrupt.status(),
            0x070 => self.status(),
            // SHMLen: no shared memory region has an index (4.2.2.1). SHMBase goes with it.
            0x0b0..=0x0bc => u32::MAX,
            0x0fc => self.device.config_generation(),
            _ => 0,
        }
    }

    /// `None`: it is not for writing, or not now.
    fn write_register(&mut self, offset: u64, value: u32) -> Option<()> {
        match offset {
            0x014 => self.device_features_half = value,
            0x020 => self.accept_features(value)?,
            0x024 => self.driver_features_half = value,
            0x030 => self.queue_index = value,
            0x038 => self.queue_to_set_up()?.set_size(value)?,
            0x044 => {
                let memory = self.memory.clone();
                let queue = self.queue_to_set_up()?;
                if value == 1 {
                    queue.check(&memory)?;
                } else {
                    queue.unready();
                }
            }
            QUEUE_NOTIFY => interrupt::notify(self.notifiers.get(value as usize)?),
            0x064 => self.interrupt.acknowledge(value),
            0x070 => self.write_status(value)?,
            0x080 => self.queue_to_set_up()?.set_descriptors(Half::Low, value)?,
            0x084 => self.queue_to_set_up()?.set_descriptors(Half::High, value)?,
            0x090 => self.queue_to_set_up()?.set_available(Half::Low, value)?,
            0x094 => self.queue_to_set_up()?.set_available(Half::High, value)?,
            0x0a0 => self.queue_to_set_up()?.set_used(Half::Low, value)?,
            0x0a4 => self.queue_to_set_up()?.set_used(Half::High, value)?,
            // SHMSel: none has one.
            0x0ac => {}
            _ => return None,
        }
        Some(())
    }

    fn write_config(&mut self, at: u32, data: &[u8]) -> Option<()> {
        (self.status & DRIVER != 0 && !self.has_failed())
            .then(|| self.device.write_config(at, data))
    }

    fn offered(&self) -> u64 {
        self.device.features() | self.device.transport_features() | F_VERSION_1
    }

    fn accept_features(&mut self, value: u32) -> Option<()> {
        let may = self.status & DRIVER != 0 && self.status & FEATURES_OK == 0;
        let shift = match self.driver_features_half {
            0 => 0,
            1 => 32,
            // There are none, so there is nothing to accept.
            _ => return (value == 0).then_some(()),
        };
        let others = self.driver_features & !(u64::from(u32::MAX) << shift);
        may.then(|| self.driver_features = others | u64::from(value) << shift)
    }

    /// The queue that the driver has chosen, while queues may be set up.
    fn queue_to_set_up(&mut self) -> Option<&mut QueueSetup> {
        let may = self.status & FEATURES_OK != 0 && self.status & DRIVER_OK == 0;
        let queue = self.queues.get_mut(self.queue_index as usize);
        queue.filter(|_| may)
    }

    fn status(&self) -> u32 {
        if self.interrupt.is_reset_needed() {
            self.status | NEEDS_RESET
        } else {
            self.status
        }
    }

    fn has_failed(&self) -> bool {
        self.status & FAILED != 0
    }

    /// 2.1.1: the driver sets bits, one step after the other, and clears them only by a reset.
    fn write_status(&mut self, value: u32) -> Option<()> {
        if value == 0 {
            self.reset();
            return Some(());
        }
        // The driver writes back what it has read, with another bit.
        let value = value & !NEEDS_RESET;
        let known = ACKNOWLEDGE | DRIVER | DRIVER_OK | FEATURES_OK | FAILED;
        if value & self.status != self.status || value & !known != 0 || self.has_failed() {
            return None;
        }
        let new = value & !self.status;
        if new & FAILED != 0 {
            self.stop();
            self.status = value;
            return Some(());
        }
        for (bit, needs) in [
            (DRIVER, ACKNOWLEDGE),
            (FEATURES_OK, DRIVER),
            (DRIVER_OK, FEATURES_OK),
        ] {
            if new & bit != 0 && value & needs == 0 {
                return None;
            }
        }
        self.status |= new & (ACKNOWLEDGE | DRIVER);
        if new & FEATURES_OK != 0 {
            // Left out when the features will not do: the driver reads it back (3.1.1, step 6).
            let known = self.driver_features & !self.offered() == 0;
            if !known || self.driver_features & F_VERSION_1 == 0 {
                return None;
            }
            self.status |= FEATURES_OK;
        }
        if new & DRIVER_OK != 0 {
            self.status |= DRIVER_OK;
            self.activate();
        }
        Some(())
    }

    fn activate(&mut self) {
        let queues = self.queues.iter().zip(&self.notifiers);
        let queues = queues.map(|(setup, notifier)| {
            let (memory, interrupt) = (self.memory.clone(), self.interrupt.clone());
            setup.queue(
                self.driver_features,
                memory,
                interrupt,
                Arc::clone(notifier),
            )
        });
        let activation = Activation {
            features: self.driver_features,
            queues: queues.collect(),
            memory: self.memory.clone(),
            interrupt: self.interrupt.clone(),
        };
        match self.device.activate(activation) {
            Ok(()) => self.is_active = true,
            Err(_) => {
                self.device.reset();
                self.refused_activations += 1;
                self.interrupt.needs_reset();
            }
        }
    }

    fn stop(&mut self) {
        if self.is_active {
            self.is_active = false;
            self.device.reset();
        }
    }

    /// 4.2.2.1: everything as it was at the beginning. The interrupt's line is left alone.
    fn reset(&mut self) {
        self.stop();
        for queue in &mut self.queues {
            queue.reset();
        }
        self.status = 0;
        self.device_features_half = 0;
        self.driver_features_half = 0;
        self.driver_features = 0;
        self.queue_index = 0;
        self.interrupt.reset();
        self.resets += 1;
    }
}

/// The 32 bits that a selector of 0 or 1 chooses.
fn half(bits: u64, selector: u32) -> u32 {
    match selector {
        0 => bits as u32,
        1 => (bits >> 32) as u32,
        _ => 0,
    }
}

/// Where in the configuration an offset is. The configuration ends with the registers' 4 KiB.
fn config_offset(offset: u64) -> Option<u32> {
    let at = offset.checked_sub(CONFIG)?;
    u32::try_from(at).ok()
}

#[cfg(test)]
mod tests;
