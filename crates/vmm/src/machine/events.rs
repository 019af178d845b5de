//! A machine that runs, and its devices' events.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use gamut_virtio::device::{Counter, Event, Interest};
use rustix::event::epoll::{self, EventData, EventFlags};
use rustix::io::Errno;
use rustix::time::Timespec;

use super::bus::{Bus, Shared, lock};
use super::kvm::Vm;
use super::vcpu::{Gate, Threads};
use super::{End, MachineError, counters};

/// Events that are taken at a time; then the owner has its turn.
const EVENTS_MAX: usize = 32;
/// The mark of the guest's end in the epoll set.
const OVER: u64 = u64::MAX;
/// Of a source of a device's own, beside its index; without it, a queue.
const SOURCE: u64 = 1 << 31;

/// A machine with its vCPUs. Dropped, it ends at once.
#[derive(Debug)]
pub struct Running {
    threads: Threads,
    gate: Arc<Gate>,
    bus: Arc<Bus>,
    names: Vec<String>,
    epoll: OwnedFd,
    // Last: the vCPUs are its.
    _vm: Vm,
}

impl Running {
    pub(super) fn new(
        threads: Threads,
        gate: Arc<Gate>,
        bus: Arc<Bus>,
        names: Vec<String>,
        vm: Vm,
    ) -> Result<Self, MachineError> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let data = EventData::new_u64(OVER);
        epoll::add(&epoll, gate.over(), data, EventFlags::IN)?;
        for (device, index) in bus.devices.iter().zip(0..) {
            watch(&epoll, device, index)?;
        }
        Ok(Self {
            threads,
            gate,
            bus,
            names,
            epoll,
            _vm: vm,
        })
    }

    /// Readable when [`Running::dispatch`] has something to do.
    #[must_use]
    pub fn events(&self) -> BorrowedFd<'_> {
        self.epoll.as_fd()
    }

    /// Serves what has happened to the devices, without waiting, and some of it at a time; says how the
    /// guest ended if it did.
    ///
    /// # Errors
    /// Those of epoll_wait(2).
    pub fn dispatch(&mut self) -> Result<Option<End>, Errno> {
        let zero = Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        let mut events = Vec::with_capacity(EVENTS_MAX);
        let room = rustix::buffer::spare_capacity(&mut events);
        match epoll::wait(&self.epoll, room, Some(&zero)) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        for event in events {
            let data = event.data.u64();
            if data == OVER {
                continue;
            }
            let number = data as u32;
            let Some(device) = self.bus.devices.get((data >> 32) as usize) else {
                continue;
            };
            lock(device).handle(if data & SOURCE != 0 {
                Event::Source((number & !(SOURCE as u32)) as usize)
            } else {
                Event::Queue(number as u16)
            });
        }
        Ok(self.gate.end())
    }

    /// Stops all vCPUs; they have stopped when this returns. Devices go on.
    pub fn pause(&mut self) {
        self.threads.hold();
    }

    /// Lets the vCPUs run.
    pub fn resume(&mut self) {
        self.threads.resume();
    }

    /// Bytes for the guest's serial port, as far as it has room; how many that were.
    pub fn type_in(&mut self, bytes: &[u8]) -> usize {
        self.bus.serial().enqueue(bytes)
    }

    /// Presses the three keys, if there is a keyboard.
    pub fn press_ctrl_alt_del(&mut self) {
        if let Some(mut keyboard) = self.bus.keyboard() {
            keyboard.ctrl_alt_del();
        }
    }

    /// Every device's counters, by its name; the vCPUs' as `vcpus`.
    #[must_use]
    pub fn metrics(&self) -> Vec<(String, Vec<Counter>)> {
        let devices = self.names.iter().cloned().zip(&self.bus.devices);
        let mut metrics: Vec<_> = devices
            .map(|(name, device)| (name, lock(device).counters()))
            .collect();
        metrics.push(("vcpus".to_owned(), counters(&self.gate)));
        metrics
    }
}

/// Edge-triggered, as the devices want it.
fn watch(epoll: &OwnedFd, device: &Shared, index: u64) -> Result<(), Errno> {
    let device = lock(device);
    let add = |fd: BorrowedFd<'_>, mark: u64, flags| {
        let data = EventData::new_u64(index << 32 | mark);
        epoll::add(epoll, fd, data, flags | EventFlags::ET)
    };
    for (queue, fd) in device.notifiers().enumerate() {
        add(fd, queue as u64, EventFlags::IN)?;
    }
    for (number, source) in device.sources().into_iter().enumerate() {
        let flags = match source.interest {
            Interest::Read => EventFlags::IN,
            Interest::Write => EventFlags::OUT,
            Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
        };
        add(source.fd, SOURCE | number as u64, flags)?;
    }
    Ok(())
}
