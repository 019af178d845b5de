//! Virtio devices in the hands of a hostile guest: an input is a script of what it does to registers,
//! memory and rings, and of what happens on the host meanwhile. [`script`] is its form, [`devices`] has what
//! is done to each kind of device.
//!
//! Nothing may panic, and nothing may keep the event loop busy for ever.

mod devices;
mod net;
mod script;

use std::os::fd::OwnedFd;

use gamut_virtio::device::{Device, Event, Interest};
use gamut_virtio::memory::{Memory, Pages, Region};
use gamut_virtio::mmio::{F_VERSION_1, Mmio};
use rustix::event::epoll::{self, EventData, EventFlags};

pub(super) use devices::{balloon, block, console, entropy, fs, pmem, vsock};
pub(super) use devices::{
    balloon_seeds, block_seeds, console_seeds, entropy_seeds, fs_seeds, pmem_seeds, vsock_seeds,
};
pub(super) use net::{net, net_seeds};
use script::{Reader, Step};

/// Guest memory: two pieces, with a hole between them.
const LOW: u64 = 0x10_0000;
const HIGH: u64 = 0x40_0000;
const SIZE: u64 = 0x4_0000;
/// Where a queue's three parts are in the low piece, when the script does not place them itself.
const QUEUE_BYTES: u64 = 0x4000;
const AVAILABLE: u64 = 0x1000;
const USED: u64 = 0x2000;
const QUEUE_SIZE: u16 = 16;
/// Events that one step may lead to.
const EVENTS_MAX: u32 = 5000;

/// What happens on the host, by a number and some bytes.
type Act<'a, D> = &'a mut dyn FnMut(&mut Mmio<D>, u8, &[u8]);

struct Guest<D: Device> {
    mmio: Mmio<D>,
    memory: Memory,
    epoll: OwnedFd,
    queues: u16,
}

/// Plays a script on a device; what it has come to in the end.
fn play<D: Device>(device: D, bytes: &[u8], act: Act<'_, D>) -> Mmio<D> {
    let mut guest = Guest::new(device);
    for step in Reader::new(bytes) {
        guest.step(step, act);
    }
    guest.mmio
}

impl<D: Device> Guest<D> {
    fn new(device: D) -> Self {
        let region = |guest_base| Region {
            guest_base,
            size_bytes: SIZE,
        };
        let memory = Memory::new(&[region(LOW), region(HIGH)], Pages::Base).expect("memory");
        let mmio = Mmio::new(device, memory.clone()).expect("eventfds");
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let notifiers = mmio.notifiers().enumerate();
        let notifiers = notifiers.map(|(index, fd)| (fd, index as u64, EventFlags::IN));
        let sources = mmio.sources().into_iter().enumerate();
        let sources = sources.map(|(index, source)| {
            let flags = match source.interest {
                Interest::Read => EventFlags::IN,
                Interest::Write => EventFlags::OUT,
                Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
            };
            (source.fd, 1 << 32 | index as u64, flags)
        });
        for (fd, data, flags) in notifiers.chain(sources) {
            epoll::add(&epoll, fd, EventData::new_u64(data), flags | EventFlags::ET)
                .expect("watched");
        }
        let queues = mmio.notifiers().count() as u16;
        Self {
            mmio,
            memory,
            epoll,
            queues,
        }
    }

    fn step(&mut self, step: Step<'_>, act: Act<'_, D>) {
        match step {
            Step::WriteRegister { offset, bytes } => self.mmio.write(offset.into(), bytes),
            Step::ReadRegister { offset, length } => {
                let mut bytes = [0; 16];
                let length = usize::from(length) % bytes.len();
                self.mmio.read(offset.into(), &mut bytes[..length]);
            }
            Step::Fill { address, bytes } => drop(self.memory.write(address, bytes)),
            Step::Describe {
                queue,
                index,
                descriptor,
            } => {
                let at = self.queue_at(queue) + u64::from(index % QUEUE_SIZE) * 16;
                self.memory.write(at, descriptor).expect("the table");
            }
            Step::Offer { queue, head } => {
                self.offer(queue, head);
                self.run();
            }
            Step::Start { features } => self.start(features),
            Step::Act { number, bytes } => {
                act(&mut self.mmio, number, bytes);
                self.run();
            }
            Step::Run => self.run(),
        }
    }

    fn queue_at(&self, queue: u8) -> u64 {
        LOW + u64::from(u16::from(queue) % self.queues) * QUEUE_BYTES
    }

    fn set(&mut self, register: u64, value: u32) {
        self.mmio.write(register, &value.to_le_bytes());
    }

    /// As a driver should, from a reset on, with empty rings.
    fn start(&mut self, features: u64) {
        self.set(0x070, 0);
        for status in [1, 3] {
            self.set(0x070, status);
        }
        let mut offered = [[0; 4]; 2];
        for (half, offered) in [0, 1].into_iter().zip(&mut offered) {
            self.set(0x014, half);
            self.mmio.read(0x010, offered);
        }
        let [low, high] = offered.map(u32::from_le_bytes);
        let accepted = (u64::from(high) << 32 | u64::from(low)) & (features | F_VERSION_1);
        for (half, bits) in [(0, accepted as u32), (1, (accepted >> 32) as u32)] {
            self.set(0x024, half);
            self.set(0x020, bits);
        }
        self.set(0x070, 11);
        for queue in 0..self.queues {
            let at = LOW + u64::from(queue) * QUEUE_BYTES;
            self.memory.write(at + AVAILABLE, &[0; 64]).expect("a ring");
            self.memory.write(at + USED, &[0; 256]).expect("a ring");
            self.set(0x030, queue.into());
            self.set(0x038, QUEUE_SIZE.into());
            for (register, part) in [(0x080, at), (0x090, at + AVAILABLE), (0x0a0, at + USED)] {
                self.set(register, part as u32);
            }
            self.set(0x044, 1);
        }
        self.set(0x070, 15);
        self.run();
    }

    /// Makes a chain available and notifies.
    fn offer(&mut self, queue: u8, head: u16) {
        let at = self.queue_at(queue) + AVAILABLE;
        let mut index = [0; 2];
        self.memory.read(at + 2, &mut index).expect("the ring");
        let index = u16::from_le_bytes(index);
        let slot = at + 4 + u64::from(index % QUEUE_SIZE) * 2;
        self.memory
            .write(slot, &head.to_le_bytes())
            .expect("the ring");
        let index = index.wrapping_add(1);
        self.memory
            .write(at + 2, &index.to_le_bytes())
            .expect("the ring");
        self.set(0x050, u32::from(u16::from(queue) % self.queues));
    }

    /// Hands over events until there are none.
    fn run(&mut self) {
        let zero = rustix::time::Timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        for _ in 0..EVENTS_MAX {
            let mut events = [const { std::mem::MaybeUninit::uninit() }; 8];
            let (events, _) = epoll::wait(&self.epoll, &mut events, Some(&zero)).expect("epoll");
            if events.is_empty() {
                return;
            }
            for event in events {
                let data = event.data.u64();
                self.mmio.handle(if data >> 32 == 0 {
                    Event::Queue(data as u16)
                } else {
                    Event::Source(data as u32 as usize)
                });
            }
        }
        panic!("the device keeps itself busy");
    }
}
