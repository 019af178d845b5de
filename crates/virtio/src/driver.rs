//! The other side, for tests: a driver that does as VIRTIO 1.2, 3.1 says, through the registers, with an
//! event loop like the machine's.

use std::collections::HashMap;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::event::epoll::{self, EventData, EventFlags};

use crate::device::{Device, Event, Interest};
use crate::memory::{Memory, Pages, Region};
use crate::mmio::{F_VERSION_1, Mmio};

/// Where guest memory is: two pieces, with a hole between them.
pub(crate) const LOW: u64 = 0x10_0000;
pub(crate) const HIGH: u64 = 0x40_0000;
const SIZE: u64 = 0x10_0000;
/// What each queue's three parts get of the low piece.
const QUEUE_BYTES: u64 = 0x4000;
const QUEUE_SIZE: u16 = 64;

/// A descriptor to be.
#[derive(Debug, Clone)]
pub(crate) enum Part<'a> {
    Out(&'a [u8]),
    In(u32),
    /// Whatever the test wants to say.
    Raw {
        address: u64,
        length: u32,
        flags: u16,
        next: u16,
    },
}

pub(crate) const NEXT: u16 = 1;
pub(crate) const WRITE: u16 = 2;
pub(crate) const INDIRECT: u16 = 4;

#[derive(Debug)]
struct Ring {
    descriptor: u16,
    available: u16,
    used: u16,
}

#[derive(Debug)]
pub(crate) struct Driver<D: Device> {
    pub(crate) mmio: Mmio<D>,
    pub(crate) memory: Memory,
    pub(crate) features: u64,
    epoll: OwnedFd,
    rings: Vec<Ring>,
    free: u64,
    /// Where a head's parts for writing are.
    answers: HashMap<(u16, u16), Vec<(u64, u32)>>,
}

impl<D: Device> Driver<D> {
    /// The registers as they are at power on.
    pub(crate) fn new(device: D) -> Self {
        let region = |guest_base| Region {
            guest_base,
            size_bytes: SIZE,
        };
        let memory = Memory::new(&[region(LOW), region(HIGH)], Pages::Base).expect("memory");
        let mmio = Mmio::new(device, memory.clone()).expect("eventfds");
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC).expect("epoll");
        let add = |fd: BorrowedFd<'_>, data, flags| {
            epoll::add(&epoll, fd, EventData::new_u64(data), flags | EventFlags::ET)
                .expect("watched");
        };
        for (index, fd) in mmio.notifiers().enumerate() {
            add(fd, index as u64, EventFlags::IN);
        }
        for (index, source) in mmio.sources().into_iter().enumerate() {
            let flags = match source.interest {
                Interest::Read => EventFlags::IN,
                Interest::Write => EventFlags::OUT,
                Interest::ReadWrite => EventFlags::IN | EventFlags::OUT,
            };
            add(source.fd, 1 << 32 | index as u64, flags);
        }
        Self {
            mmio,
            memory,
            features: 0,
            epoll,
            rings: Vec::new(),
            free: HIGH,
            answers: HashMap::new(),
        }
    }

    /// Ready, with whatever is offered of these features.
    pub(crate) fn started(device: D, wanted: u64) -> Self {
        let mut driver = Self::new(device);
        driver.start(wanted);
        assert_eq!(driver.get(0x070), 15, "the device is ready");
        driver
    }

    pub(crate) fn start(&mut self, wanted: u64) {
        self.negotiate(wanted);
        for index in 0..self.mmio.notifiers().count() {
            self.set_up(index as u16);
        }
        self.set(0x070, 15);
    }

    pub(crate) fn negotiate(&mut self, wanted: u64) {
        self.set(0x070, 1);
        self.set(0x070, 3);
        self.set(0x014, 0);
        let low = self.get(0x010);
        self.set(0x014, 1);
        let high = self.get(0x010);
        self.features = (u64::from(high) << 32 | u64::from(low)) & (wanted | F_VERSION_1);
        self.set(0x024, 0);
        self.set(0x020, self.features as u32);
        self.set(0x024, 1);
        self.set(0x020, (self.features >> 32) as u32);
        self.set(0x070, 11);
        assert_eq!(self.get(0x070), 11, "the features are accepted");
    }

    pub(crate) fn set_up(&mut self, queue: u16) {
        self.set(0x030, queue.into());
        let size = self.get(0x034).min(QUEUE_SIZE.into());
        self.set(0x038, size);
        let at = LOW + u64::from(queue) * QUEUE_BYTES;
        for (register, address) in [(0x080, at), (0x090, at + 0x1000), (0x0a0, at + 0x2000)] {
            self.set(register, address as u32);
            self.set(register + 4, (address >> 32) as u32);
        }
        self.set(0x044, 1);
        assert_eq!(self.get(0x044), 1, "the queue is ready");
        // Memory keeps what was there before a reset.
        self.memory
            .write(at, &vec![0; QUEUE_BYTES as usize])
            .expect("zeroed");
        let ring = Ring {
            descriptor: 0,
            available: 0,
            used: 0,
        };
        self.rings.truncate(usize::from(queue));
        self.rings.push(ring);
    }

    pub(crate) fn get(&self, register: u64) -> u32 {
        let mut value = [0; 4];
        self.mmio.read(register, &mut value);
        u32::from_le_bytes(value)
    }

    pub(crate) fn set(&mut self, register: u64, value: u32) {
        self.mmio.write(register, &value.to_le_bytes());
    }

    pub(crate) fn config<const N: usize>(&self, offset: u64) -> [u8; N] {
        let mut bytes = [0xee; N];
        self.mmio.read(0x100 + offset, &mut bytes);
        bytes
    }

    pub(crate) fn counter(&self, name: &str) -> u64 {
        let counters = self.mmio.counters();
        let counter = counters.iter().find(|(other, _)| *other == name);
        counter.unwrap_or_else(|| panic!("no counter {name}")).1
    }

    /// So many bytes of guest memory, each time others.
    pub(crate) fn allocate(&mut self, length: u64) -> u64 {
        if self.free + length > HIGH + SIZE {
            self.free = HIGH;
        }
        let at = self.free;
        self.free += length.next_multiple_of(16);
        at
    }

    fn queue_at(queue: u16) -> u64 {
        LOW + u64::from(queue) * QUEUE_BYTES
    }

    fn write_descriptor(&self, table: u64, index: u16, address: u64, length: u32, rest: [u16; 2]) {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&address.to_le_bytes());
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes[12..14].copy_from_slice(&rest[0].to_le_bytes());
        bytes[14..].copy_from_slice(&rest[1].to_le_bytes());
        let at = table + u64::from(index) * 16;
        self.memory.write(at, &bytes).expect("a descriptor");
    }

    /// Makes a chain available, without a word to the device; its head.
    pub(crate) fn add(&mut self, queue: u16, parts: &[Part<'_>]) -> u16 {
        let table = Self::queue_at(queue);
        let ring = &self.rings[usize::from(queue)];
        let first = ring.descriptor;
        let (available, after) = (ring.available, first + parts.len() as u16);
        let mut answers = Vec::new();
        for (number, part) in parts.iter().enumerate() {
            let index = (first + number as u16) % QUEUE_SIZE;
            let link = if number + 1 < parts.len() { NEXT } else { 0 };
            let next = (index + 1) % QUEUE_SIZE;
            match *part {
                Part::Out(bytes) => {
                    let at = self.allocate(bytes.len() as u64);
                    self.memory.write(at, bytes).expect("written");
                    self.write_descriptor(table, index, at, bytes.len() as u32, [link, next]);
                }
                Part::In(length) => {
                    let at = self.allocate(length.into());
                    answers.push((at, length));
                    self.write_descriptor(table, index, at, length, [link | WRITE, next]);
                }
                Part::Raw {
                    address,
                    length,
                    flags,
                    next,
                } => self.write_descriptor(table, index, address, length, [flags, next]),
            }
        }
        let slot = table + 0x1000 + 4 + u64::from(available % QUEUE_SIZE) * 2;
        self.memory
            .write(slot, &first.to_le_bytes())
            .expect("avail");
        self.answers.insert((queue, first), answers);
        let ring = &mut self.rings[usize::from(queue)];
        ring.descriptor = after % QUEUE_SIZE;
        ring.available = available.wrapping_add(1);
        let index = ring.available;
        self.set_available(queue, index);
        first
    }

    /// The ring's index, as it is told to the device.
    pub(crate) fn set_available(&mut self, queue: u16, index: u16) {
        let at = Self::queue_at(queue) + 0x1002;
        self.memory.write(at, &index.to_le_bytes()).expect("avail");
    }

    /// Notifies, and lets the loop run.
    pub(crate) fn kick(&mut self, queue: u16) {
        self.set(0x050, queue.into());
        self.run();
    }

    /// Hands over events until there are none.
    pub(crate) fn run(&mut self) {
        for _ in 0..10_000 {
            let mut events = Vec::with_capacity(8);
            let zero = rustix::time::Timespec {
                tv_sec: 0,
                tv_nsec: 0,
            };
            epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                Some(&zero),
            )
            .expect("epoll");
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

    /// Waits for something to happen, then as [`Driver::run`].
    pub(crate) fn wait(&mut self) {
        let mut fds = [rustix::event::PollFd::new(
            &self.epoll,
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut fds, None).expect("poll");
        self.run();
    }

    /// The next chain that came back: its head, the length, and what is in its parts for writing.
    pub(crate) fn used(&mut self, queue: u16) -> Option<(u16, u32, Vec<u8>)> {
        let base = Self::queue_at(queue) + 0x2000;
        let mut index = [0; 2];
        self.memory.read(base + 2, &mut index).expect("used");
        let ring = &mut self.rings[usize::from(queue)];
        if u16::from_le_bytes(index) == ring.used {
            return None;
        }
        let mut element = [0; 8];
        let slot = base + 4 + u64::from(ring.used % QUEUE_SIZE) * 8;
        self.memory.read(slot, &mut element).expect("used");
        ring.used = ring.used.wrapping_add(1);
        let head = u16::from_le_bytes([element[0], element[1]]);
        let length = u32::from_le_bytes([element[4], element[5], element[6], element[7]]);
        let mut bytes = Vec::new();
        for (at, length) in self.answers.remove(&(queue, head)).unwrap_or_default() {
            let mut part = vec![0; length as usize];
            self.memory.read(at, &mut part).expect("answer");
            bytes.extend(part);
        }
        Some((head, length, bytes))
    }

    /// A chain there and back: the length, and what is in its parts for writing.
    pub(crate) fn request(&mut self, queue: u16, parts: &[Part<'_>]) -> (u32, Vec<u8>) {
        let head = self.add(queue, parts);
        self.kick(queue);
        let (used, length, bytes) = self.used(queue).expect("an answer");
        assert_eq!(used, head);
        (length, bytes)
    }
}
