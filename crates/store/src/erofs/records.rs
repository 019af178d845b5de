//! Where inodes go while the image is written: with their xattrs, chunk tables and inline data they
//! are packed into blocks, which go out together, between files' data, whenever enough are full.
//!
//! So an inode's final place is not known when it is added. It gets a [`Slot`], and the node id of a
//! slot can be asked for once its blocks have gone out.

use super::ImageError;
use super::format::{BLOCK_BYTES, EXTENDED_BYTES, SLOT_BYTES};
use super::output::Output;

/// Blocks that are filled at the same time: `find` reads them one after another.
const CLUSTER_BLOCKS: usize = 64;
/// Slots of a block.
const BLOCK_SLOTS: u32 = (BLOCK_BYTES / SLOT_BYTES) as u32;

/// A place for an inode: its place among all metadata, in units of [`SLOT_BYTES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Slot(u32);

impl Slot {
    /// Where it is among all metadata, in bytes.
    pub(super) fn offset(self) -> u64 {
        u64::from(self.0) * SLOT_BYTES as u64
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Records {
    /// The blocks that are being filled.
    cluster: Vec<u8>,
    /// Bytes taken of each of them.
    taken: Vec<usize>,
    /// Those before this one are full.
    first_open: usize,
    /// Metadata blocks before the cluster.
    before: u32,
    /// For each run of metadata blocks that has gone out: how many were before it, and where it is.
    runs: Vec<(u32, u32)>,
}

impl Records {
    /// Adds an inode with whatever follows it, at most a block; it will lie in one block.
    pub(super) fn add(&mut self, out: &mut Output<'_>, record: &[u8]) -> Result<Slot, ImageError> {
        let room = |taken: &usize| taken + record.len() <= BLOCK_BYTES;
        let fitting = self.taken[self.first_open..].iter().position(room);
        let block = match fitting {
            Some(block) => self.first_open + block,
            None => {
                if self.taken.len() == CLUSTER_BLOCKS {
                    self.flush(out)?;
                }
                self.cluster.resize(self.cluster.len() + BLOCK_BYTES, 0);
                self.taken.push(0);
                self.taken.len() - 1
            }
        };
        let offset = self.taken[block];
        let at = block * BLOCK_BYTES + offset;
        self.cluster[at..at + record.len()].copy_from_slice(record);
        self.taken[block] = (offset + record.len()).next_multiple_of(SLOT_BYTES);
        let full = |taken: &&usize| **taken > BLOCK_BYTES - EXTENDED_BYTES;
        self.first_open += self.taken[self.first_open..]
            .iter()
            .take_while(full)
            .count();
        self.slot(block, offset)
    }

    /// The slot of something larger than a block; its `bytes` bytes have to be appended to `out`
    /// right after this.
    pub(super) fn add_large(
        &mut self,
        out: &mut Output<'_>,
        bytes: u64,
    ) -> Result<Slot, ImageError> {
        self.flush(out)?;
        let slot = self.slot(0, 0)?;
        self.runs.push((self.before, out.block()?));
        self.before = u32::try_from(bytes.div_ceil(BLOCK_BYTES as u64))
            .ok()
            .and_then(|blocks| self.before.checked_add(blocks))
            .ok_or_else(too_many)?;
        Ok(slot)
    }

    /// Writes out what is there. The data before must end with a file.
    pub(super) fn flush(&mut self, out: &mut Output<'_>) -> Result<(), ImageError> {
        if !self.taken.is_empty() {
            self.runs.push((self.before, out.block()?));
            out.append(&self.cluster)?;
            self.before += self.taken.len() as u32;
            self.cluster.clear();
            self.taken.clear();
            self.first_open = 0;
        }
        Ok(())
    }

    /// The node id of a slot that has gone out.
    pub(super) fn nid(&self, slot: Slot) -> u64 {
        let block = slot.0 / BLOCK_SLOTS;
        let run = self.runs.partition_point(|&(before, _)| before <= block) - 1;
        let (before, at) = self.runs[run];
        u64::from(at + (block - before)) * u64::from(BLOCK_SLOTS) + u64::from(slot.0 % BLOCK_SLOTS)
    }

    /// For each run of metadata blocks: how many are before it, and where it is.
    pub(super) fn into_runs(self) -> Vec<(u32, u32)> {
        self.runs
    }

    fn slot(&self, block: usize, offset: usize) -> Result<Slot, ImageError> {
        (self.before + block as u32)
            .checked_mul(BLOCK_SLOTS)
            .map(|first| Slot(first + (offset / SLOT_BYTES) as u32))
            .ok_or_else(too_many)
    }
}

fn too_many() -> ImageError {
    ImageError::limit("blocks of metadata", u32::MAX / BLOCK_SLOTS)
}
