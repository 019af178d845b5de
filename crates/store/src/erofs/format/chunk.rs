//! Where chunks lie, and the devices they may lie on.

use super::{CHUNK_INDEX_BYTES, DEVICE_SLOT_BYTES, u16_at, u32_at};

/// `struct erofs_inode_chunk_index`: where a chunk lies. The table is aligned to its entries' size.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChunkIndex {
    /// 0 for the image itself, else the slot in the device table, counted from 1.
    pub device: u16,
    /// The first block on that device, or [`NULL_ADDRESS`].
    pub block: u32,
}

impl ChunkIndex {
    /// As on disk.
    pub fn to_bytes(self) -> [u8; CHUNK_INDEX_BYTES] {
        let mut bytes = [0; CHUNK_INDEX_BYTES];
        bytes[2..4].copy_from_slice(&self.device.to_le_bytes());
        bytes[4..].copy_from_slice(&self.block.to_le_bytes());
        bytes
    }

    /// From disk.
    pub fn from_bytes(bytes: &[u8; CHUNK_INDEX_BYTES]) -> Self {
        Self {
            device: u16_at(bytes, 2),
            block: u32_at(bytes, 4),
        }
    }
}

/// `struct erofs_deviceslot`: another file or device that chunks may lie on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DeviceSlot {
    /// Whatever names it, such as a digest.
    pub tag: [u8; 64],
    /// Its blocks.
    pub blocks: u32,
    /// Where it appears in one address space with the others, or 0.
    pub mapped_blkaddr: u32,
}

impl DeviceSlot {
    /// As on disk.
    pub fn to_bytes(&self) -> [u8; DEVICE_SLOT_BYTES] {
        let mut bytes = [0; DEVICE_SLOT_BYTES];
        bytes[..64].copy_from_slice(&self.tag);
        bytes[64..68].copy_from_slice(&self.blocks.to_le_bytes());
        bytes[68..72].copy_from_slice(&self.mapped_blkaddr.to_le_bytes());
        bytes
    }

    /// From disk.
    pub fn from_bytes(bytes: &[u8; DEVICE_SLOT_BYTES]) -> Self {
        Self {
            tag: std::array::from_fn(|i| bytes[i]),
            blocks: u32_at(bytes, 64),
            mapped_blkaddr: u32_at(bytes, 68),
        }
    }
}
