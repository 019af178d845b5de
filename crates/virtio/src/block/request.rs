//! One request to a disk: VIRTIO 1.2, 5.2.6.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use rustix::fs::FallocateFlags;
use rustix::io::Errno;

use super::image::ZEROES;
use super::{Block, CLEAR_RANGES_MAX, CLEAR_SECTORS_MAX, Cache, SECTOR_BYTES};
use crate::chain::{Buffers, Chain};
use crate::memory::Memory;

// The status byte.
pub(super) const OK: u8 = 0;
pub(super) const IOERR: u8 = 1;
pub(super) const UNSUPP: u8 = 2;

// The type.
const T_IN: u32 = 0;
const T_OUT: u32 = 1;
const T_FLUSH: u32 = 4;
const T_GET_ID: u32 = 8;
const T_DISCARD: u32 = 11;
const T_WRITE_ZEROES: u32 = 13;

/// `struct virtio_blk_req`: type, reserved, sector.
const HEADER_BYTES: usize = 16;
/// `struct virtio_blk_discard_write_zeroes`: sector, number of sectors, flags.
const RANGE_BYTES: u64 = 16;
const RANGE_F_UNMAP: u32 = 1;

#[derive(Debug)]
pub(super) struct Request {
    pub(super) kind: Kind,
    /// The last byte that the device may write.
    pub(super) status: Buffers,
}

#[derive(Debug)]
pub(super) enum Kind {
    Read { sector: u64, into: Buffers },
    Write { sector: u64, from: Buffers },
    Flush,
    Id { into: Buffers },
    Discard { ranges: Buffers },
    WriteZeroes { ranges: Buffers },
    Unknown,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Done { written_bytes: u32 },
    Failed,
    Unsupported,
}

const DONE: Outcome = Outcome::Done { written_bytes: 0 };

impl Request {
    /// `None`: there is no header, or no place for the status.
    pub(super) fn parse(chain: Chain, memory: &Memory) -> Option<Self> {
        let Chain {
            mut readable,
            mut writable,
            ..
        } = chain;
        let data_bytes = writable.len().checked_sub(1)?;
        let into = writable.split_front(data_bytes);
        let header: [u8; HEADER_BYTES] = readable.read_array(memory).ok()?;
        let [a, b, c, d, _, _, _, _, sector @ ..] = header;
        let sector = u64::from_le_bytes(sector);
        let kind = match u32::from_le_bytes([a, b, c, d]) {
            T_IN => Kind::Read { sector, into },
            T_OUT => Kind::Write {
                sector,
                from: readable,
            },
            T_FLUSH => Kind::Flush,
            T_GET_ID => Kind::Id { into },
            T_DISCARD => Kind::Discard { ranges: readable },
            T_WRITE_ZEROES => Kind::WriteZeroes { ranges: readable },
            _ => Kind::Unknown,
        };
        Some(Self {
            kind,
            status: writable,
        })
    }

    /// What a limit on bytes counts.
    pub(super) fn cost_bytes(&self) -> u64 {
        match &self.kind {
            Kind::Read { into: data, .. } | Kind::Write { from: data, .. } => data.len(),
            _ => 0,
        }
    }
}

impl Kind {
    pub(super) fn perform(self, block: &mut Block, memory: &Memory) -> Outcome {
        match self {
            Self::Read { sector, into } => read(block, memory, sector, into),
            Self::Write { sector, from } => write(block, memory, sector, from),
            Self::Flush => flush(block),
            Self::Id { mut into } => match into.write(memory, &block.id) {
                Ok(()) => Outcome::Done {
                    written_bytes: block.id.len() as u32,
                },
                Err(_) => Outcome::Failed,
            },
            Self::Discard { ranges } => clear(block, memory, ranges, Clear::Discard),
            Self::WriteZeroes { ranges } => clear(block, memory, ranges, Clear::WriteZeroes),
            Self::Unknown => Outcome::Unsupported,
        }
    }
}

/// Where in the file so many bytes at a sector are, if they are whole sectors of this disk.
fn offset(block: &Block, sector: u64, bytes: u64) -> Option<u64> {
    let end = sector.checked_add(bytes / SECTOR_BYTES)?;
    let fits = bytes.is_multiple_of(SECTOR_BYTES) && end <= block.sectors;
    // At most the file's size.
    fits.then(|| sector * SECTOR_BYTES)
}

fn read(block: &mut Block, memory: &Memory, sector: u64, into: Buffers) -> Outcome {
    let bytes = into.len();
    let Some(offset) = offset(block, sector, bytes) else {
        return Outcome::Failed;
    };
    // A chain has less than 2^32 bytes.
    let (Ok(()), Ok(written_bytes)) = (
        block.disk.image.read(memory, offset, into),
        u32::try_from(bytes),
    ) else {
        return Outcome::Failed;
    };
    block.counters.reads += 1;
    block.counters.read_bytes += bytes;
    Outcome::Done { written_bytes }
}

fn write(block: &mut Block, memory: &Memory, sector: u64, from: Buffers) -> Outcome {
    let bytes = from.len();
    let Some(offset) = offset(block, sector, bytes) else {
        return Outcome::Failed;
    };
    let Some(file) = block.writable() else {
        return Outcome::Failed;
    };
    if memory.write_file(file.as_fd(), offset, from).is_err() {
        return Outcome::Failed;
    }
    block.counters.writes += 1;
    block.counters.written_bytes += bytes;
    DONE
}

fn flush(block: &mut Block) -> Outcome {
    if block.disk.cache == Cache::Unsafe {
        return Outcome::Unsupported;
    }
    if block
        .writable()
        .is_some_and(|file| file.sync_data().is_err())
    {
        return Outcome::Failed;
    }
    block.counters.flushes += 1;
    DONE
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Clear {
    Discard,
    WriteZeroes,
}

/// 5.2.6.2: all ranges are looked at before the first is touched.
fn clear(block: &mut Block, memory: &Memory, mut ranges: Buffers, how: Clear) -> Outcome {
    let count = ranges.len() / RANGE_BYTES;
    let is_well_formed = ranges.len().is_multiple_of(RANGE_BYTES)
        && (1..=u64::from(CLEAR_RANGES_MAX)).contains(&count);
    let Some(file) = block.writable().filter(|_| is_well_formed) else {
        return Outcome::Failed;
    };
    let mut checked = Vec::with_capacity(CLEAR_RANGES_MAX as usize);
    for _ in 0..count {
        let Ok(range) = ranges.read_array(memory) else {
            return Outcome::Failed;
        };
        match Range::parse(block, range, how) {
            Ok(range) => checked.push(range),
            Err(outcome) => return outcome,
        }
    }
    for range in checked {
        match range.clear(file, how) {
            Ok(()) => {}
            Err(Errno::OPNOTSUPP) => return Outcome::Unsupported,
            Err(_) => return Outcome::Failed,
        }
    }
    block.counters.clears += 1;
    DONE
}

struct Range {
    offset: u64,
    bytes: u64,
    may_unmap: bool,
}

impl Range {
    fn parse(
        block: &Block,
        range: [u8; RANGE_BYTES as usize],
        how: Clear,
    ) -> Result<Self, Outcome> {
        let [s0, s1, s2, s3, s4, s5, s6, s7, rest @ ..] = range;
        let [n0, n1, n2, n3, flags @ ..] = rest;
        let sector = u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]);
        let sectors = u32::from_le_bytes([n0, n1, n2, n3]);
        let flags = u32::from_le_bytes(flags);
        // A discard has no flags; 5.2.6.2.
        let known = match how {
            Clear::Discard => 0,
            Clear::WriteZeroes => RANGE_F_UNMAP,
        };
        if flags & !known != 0 {
            return Err(Outcome::Unsupported);
        }
        let bytes = u64::from(sectors) * SECTOR_BYTES;
        let offset = offset(block, sector, bytes).filter(|_| sectors <= CLEAR_SECTORS_MAX);
        Ok(Self {
            offset: offset.ok_or(Outcome::Failed)?,
            bytes,
            may_unmap: flags & RANGE_F_UNMAP != 0,
        })
    }

    fn clear(&self, file: &File, how: Clear) -> Result<(), Errno> {
        if self.bytes == 0 {
            return Ok(());
        }
        let punch = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        let zero = FallocateFlags::ZERO_RANGE | FallocateFlags::KEEP_SIZE;
        let allocate = |flags| rustix::fs::fallocate(file, flags, self.offset, self.bytes);
        if how == Clear::Discard {
            return allocate(punch);
        }
        let mut result = Err(Errno::OPNOTSUPP);
        if self.may_unmap {
            result = allocate(punch);
        }
        if result == Err(Errno::OPNOTSUPP) {
            result = allocate(zero);
        }
        if result == Err(Errno::OPNOTSUPP) {
            result = self.write_zeroes(file);
        }
        result
    }

    fn write_zeroes(&self, file: &File) -> Result<(), Errno> {
        let mut at = self.offset;
        let end = self.offset + self.bytes;
        while at < end {
            let length = (end - at).min(ZEROES.len() as u64);
            let piece = &ZEROES[..length as usize];
            let written = file.write_all_at(piece, at);
            written.map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
            at += length;
        }
        Ok(())
    }
}
