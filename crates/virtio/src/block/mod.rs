//! A disk: a file, or the host's block device; VIRTIO 1.2, 5.2.
//!
//! Requests are served where they are taken from the queue, by preadv(2) and pwritev(2) on the guest's
//! own buffers; [`request`] is one of them. [`image`] is what they read.

mod image;
mod partitions;
mod request;

use std::fs::File;

use rustix::io::Errno;

use crate::device::{
    ActivateError, Activation, Counter, Device, Event, Interest, Kind, Source, read_bytes,
};
use crate::interrupt::Interrupt;
use crate::memory::Memory;
use crate::queue::{Queue, Served};
use crate::rate::Limiter;
use request::{Outcome, Request};

pub use image::{Image, ImageError};
pub use partitions::PARTITIONS_MAX;

/// The unit of every address and length of the protocol.
pub const SECTOR_BYTES: u64 = 512;
/// The most queues that a disk may have.
pub const QUEUES_MAX: u16 = 16;
const QUEUE_SIZE: u16 = 256;
/// The most sectors of one discard or write-zeroes: 128 MiB, so that the loop is not held up for long.
const CLEAR_SECTORS_MAX: u32 = 1 << 18;
/// The most ranges in one discard or write-zeroes.
const CLEAR_RANGES_MAX: u32 = 16;
/// `VIRTIO_BLK_ID_BYTES`.
const ID_BYTES: usize = 20;

// Features; 5.2.3.
const F_SEG_MAX: u64 = 1 << 2;
const F_RO: u64 = 1 << 5;
const F_BLK_SIZE: u64 = 1 << 6;
const F_FLUSH: u64 = 1 << 9;
const F_MQ: u64 = 1 << 12;
const F_DISCARD: u64 = 1 << 13;
const F_WRITE_ZEROES: u64 = 1 << 14;

/// Whether the guest may write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    ReadWrite,
    ReadOnly,
}

/// What a guest's flush is worth; Firecracker's `cache_type`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cache {
    /// A flush reaches the disk: fdatasync(2).
    Writeback,
    /// No flush is offered: what the host has not written when it fails is lost.
    Unsafe,
}

/// How a disk is made.
#[derive(Debug)]
pub struct Disk {
    pub image: Image,
    /// Of partitions: [`Access::ReadOnly`] whatever this says.
    pub access: Access,
    pub cache: Cache,
    /// What the guest sees as the serial number; cut after 20 bytes.
    pub id: String,
    /// 1 to [`QUEUES_MAX`]; one for each of the guest's processors is a good number.
    pub queues: u16,
    pub limiter: Limiter,
}

/// What it has done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Counters {
    reads: u64,
    read_bytes: u64,
    writes: u64,
    written_bytes: u64,
    flushes: u64,
    clears: u64,
    errors: u64,
    unsupported: u64,
    broken_chains: u64,
}

/// The device.
#[derive(Debug)]
pub struct Block {
    disk: Disk,
    id: [u8; ID_BYTES],
    sectors: u64,
    generation: u32,
    queue_sizes: Vec<u16>,
    queues: Vec<Option<Queue>>,
    interrupt: Option<Interrupt>,
    counters: Counters,
}

impl Block {
    /// # Errors
    /// Those of lseek(2): the file's size cannot be had.
    pub fn new(mut disk: Disk) -> Result<Self, Errno> {
        if disk.image.file().is_none() {
            disk.access = Access::ReadOnly;
        }
        let mut id = [0; ID_BYTES];
        for (byte, given) in id.iter_mut().zip(disk.id.bytes()) {
            *byte = given;
        }
        let queues = disk.queues.clamp(1, QUEUES_MAX);
        Ok(Self {
            sectors: disk.image.sectors()?,
            id,
            generation: 0,
            queue_sizes: vec![QUEUE_SIZE; queues.into()],
            queues: Vec::new(),
            interrupt: None,
            counters: Counters::default(),
            disk,
        })
    }

    /// Another file takes the place of this one, or the same has grown: the guest is told the new size.
    ///
    /// # Errors
    /// As [`Block::new`]; then all is as before.
    pub fn replace(&mut self, file: File) -> Result<(), Errno> {
        let image = Image::from(file);
        self.sectors = image.sectors()?;
        self.disk.image = image;
        self.generation = self.generation.wrapping_add(1);
        if let Some(interrupt) = &self.interrupt {
            interrupt.config_change();
        }
        Ok(())
    }

    /// What the guest may write to.
    fn writable(&self) -> Option<&File> {
        let file = self.disk.image.file();
        file.filter(|_| self.disk.access == Access::ReadWrite)
    }

    /// Its limits, to be changed.
    pub fn limiter_mut(&mut self) -> &mut Limiter {
        &mut self.disk.limiter
    }

    /// `struct virtio_blk_config`; 5.2.4.
    fn config(&self) -> [u8; 60] {
        let mut config = [0; 60];
        config[..8].copy_from_slice(&self.sectors.to_le_bytes());
        // A chain also has the header and the status.
        let segments = u32::from(QUEUE_SIZE) - 2;
        config[12..16].copy_from_slice(&segments.to_le_bytes());
        config[20..24].copy_from_slice(&(SECTOR_BYTES as u32).to_le_bytes());
        config[34..36].copy_from_slice(&(self.queue_sizes.len() as u16).to_le_bytes());
        // Discard, then write zeroes: sectors and ranges of one request; a discard's alignment between.
        config[36..40].copy_from_slice(&CLEAR_SECTORS_MAX.to_le_bytes());
        config[40..44].copy_from_slice(&CLEAR_RANGES_MAX.to_le_bytes());
        config[44..48].copy_from_slice(&8_u32.to_le_bytes());
        config[48..52].copy_from_slice(&CLEAR_SECTORS_MAX.to_le_bytes());
        config[52..56].copy_from_slice(&CLEAR_RANGES_MAX.to_le_bytes());
        config[56] = 1;
        config
    }

    fn drain(&mut self, index: usize) {
        let Some(mut queue) = self.queues.get_mut(index).and_then(Option::take) else {
            return;
        };
        queue.drain(|memory, chain| {
            if !self.disk.limiter.admits() {
                return Served::Later;
            }
            match Request::parse(chain, memory) {
                Some(request) => Served::Used(self.serve(memory, request)),
                None => {
                    self.counters.errors += 1;
                    Served::Used(0)
                }
            }
        });
        self.counters.broken_chains += queue.take_broken_chains();
        self.queues[index] = Some(queue);
    }

    /// Carries it out, writes the status, and says how many bytes the driver finds in its buffers.
    fn serve(&mut self, memory: &Memory, request: Request) -> u32 {
        self.disk.limiter.charge(request.cost_bytes());
        let Request { kind, mut status } = request;
        let outcome = kind.perform(self, memory);
        let (written_bytes, code) = match outcome {
            Outcome::Done { written_bytes } => (written_bytes, request::OK),
            Outcome::Failed => {
                self.counters.errors += 1;
                (0, request::IOERR)
            }
            Outcome::Unsupported => {
                self.counters.unsupported += 1;
                (0, request::UNSUPP)
            }
        };
        match status.write(memory, &[code]) {
            Ok(()) => written_bytes.saturating_add(1),
            Err(_) => 0,
        }
    }
}

impl Device for Block {
    fn kind(&self) -> Kind {
        Kind::Block
    }

    fn features(&self) -> u64 {
        let mut features = F_SEG_MAX | F_BLK_SIZE;
        if self.disk.access == Access::ReadOnly {
            features |= F_RO;
        } else {
            features |= F_DISCARD | F_WRITE_ZEROES;
        }
        if self.disk.cache == Cache::Writeback {
            features |= F_FLUSH;
        }
        if self.queue_sizes.len() > 1 {
            features |= F_MQ;
        }
        features
    }

    fn queue_sizes(&self) -> &[u16] {
        &self.queue_sizes
    }

    fn read_config(&self, offset: u32, data: &mut [u8]) {
        read_bytes(&self.config(), offset, data);
    }

    fn write_config(&mut self, _offset: u32, _data: &[u8]) {}

    fn config_generation(&self) -> u32 {
        self.generation
    }

    fn activate(&mut self, mut activation: Activation) -> Result<(), ActivateError> {
        // Of several queues a driver may leave out all but the first.
        let first = activation.queue(0)?;
        activation.queues[0] = Some(first);
        self.queues = activation.queues;
        self.interrupt = Some(activation.interrupt);
        for index in 0..self.queues.len() {
            self.drain(index);
        }
        Ok(())
    }

    fn sources(&self) -> Vec<Source<'_>> {
        vec![Source {
            fd: self.disk.limiter.timer(),
            interest: Interest::Read,
        }]
    }

    fn handle(&mut self, event: Event) {
        match event {
            Event::Queue(index) => self.drain(index.into()),
            Event::Source(_) => {
                for index in 0..self.queues.len() {
                    self.drain(index);
                }
            }
        }
    }

    fn reset(&mut self) {
        self.queues = Vec::new();
        self.interrupt = None;
    }

    fn counters(&self) -> Vec<Counter> {
        let counters = &self.counters;
        vec![
            ("reads", counters.reads),
            ("read_bytes", counters.read_bytes),
            ("writes", counters.writes),
            ("written_bytes", counters.written_bytes),
            ("flushes", counters.flushes),
            ("clears", counters.clears),
            ("errors", counters.errors),
            ("unsupported", counters.unsupported),
            ("broken_chains", counters.broken_chains),
            ("throttled", self.disk.limiter.throttled()),
        ]
    }
}

#[cfg(test)]
mod tests;
