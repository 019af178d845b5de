//! The super block and its checksum.

use super::{SUPER_BYTES, SUPER_OFFSET, u16_at, u32_at, u64_at};

/// `struct erofs_super_block`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct SuperBlock {
    /// [`MAGIC`].
    pub magic: u32,
    /// See [`super_checksum`].
    pub checksum: u32,
    /// `COMPAT_*`.
    pub feature_compat: u32,
    /// log2 of the block size.
    pub block_bits: u8,
    /// Extension slots of [`SUPER_SLOT_BYTES`] that follow.
    pub extension_slots: u8,
    /// The root directory.
    pub root_nid: u16,
    /// Number of inodes.
    pub inodes: u64,
    /// The time of compact inodes: seconds since the epoch.
    pub build_time: u64,
    /// And nanoseconds.
    pub build_time_nanoseconds: u32,
    /// Blocks of the image, other devices not counted.
    pub blocks: u32,
    /// Where nids count from.
    pub meta_blkaddr: u32,
    /// Where shared xattrs' ids count from.
    pub xattr_blkaddr: u32,
    /// RFC 9562.
    pub uuid: [u8; 16],
    /// A label, ended by zero bytes.
    pub volume_name: [u8; 16],
    /// `INCOMPAT_*`.
    pub feature_incompat: u32,
    /// Compression algorithms, or the LZ4 window.
    pub compression: u16,
    /// Devices in the device table.
    pub extra_devices: u16,
    /// Where the device table begins, in [`DEVICE_SLOT_BYTES`].
    pub device_table: u16,
    /// log2 of blocks in a directory block; 0.
    pub directory_block_bits: u8,
    /// Long xattr prefixes.
    pub xattr_prefixes: u8,
    /// Where they begin, in four bytes.
    pub xattr_prefix_start: u32,
    /// The inode that fragments are packed into; 0 for none.
    pub packed_nid: u64,
}

impl SuperBlock {
    /// As on disk.
    pub fn to_bytes(&self) -> [u8; SUPER_BYTES] {
        let mut bytes = [0; SUPER_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &self.magic.to_le_bytes());
        put(4, &self.checksum.to_le_bytes());
        put(8, &self.feature_compat.to_le_bytes());
        put(12, &[self.block_bits, self.extension_slots]);
        put(14, &self.root_nid.to_le_bytes());
        put(16, &self.inodes.to_le_bytes());
        put(24, &self.build_time.to_le_bytes());
        put(32, &self.build_time_nanoseconds.to_le_bytes());
        put(36, &self.blocks.to_le_bytes());
        put(40, &self.meta_blkaddr.to_le_bytes());
        put(44, &self.xattr_blkaddr.to_le_bytes());
        put(48, &self.uuid);
        put(64, &self.volume_name);
        put(80, &self.feature_incompat.to_le_bytes());
        put(84, &self.compression.to_le_bytes());
        put(86, &self.extra_devices.to_le_bytes());
        put(88, &self.device_table.to_le_bytes());
        put(90, &[self.directory_block_bits, self.xattr_prefixes]);
        put(92, &self.xattr_prefix_start.to_le_bytes());
        put(96, &self.packed_nid.to_le_bytes());
        bytes
    }

    /// From disk, unjudged.
    pub fn from_bytes(bytes: &[u8; SUPER_BYTES]) -> Self {
        Self {
            magic: u32_at(bytes, 0),
            checksum: u32_at(bytes, 4),
            feature_compat: u32_at(bytes, 8),
            block_bits: bytes[12],
            extension_slots: bytes[13],
            root_nid: u16_at(bytes, 14),
            inodes: u64_at(bytes, 16),
            build_time: u64_at(bytes, 24),
            build_time_nanoseconds: u32_at(bytes, 32),
            blocks: u32_at(bytes, 36),
            meta_blkaddr: u32_at(bytes, 40),
            xattr_blkaddr: u32_at(bytes, 44),
            uuid: std::array::from_fn(|i| bytes[48 + i]),
            volume_name: std::array::from_fn(|i| bytes[64 + i]),
            feature_incompat: u32_at(bytes, 80),
            compression: u16_at(bytes, 84),
            extra_devices: u16_at(bytes, 86),
            device_table: u16_at(bytes, 88),
            directory_block_bits: bytes[90],
            xattr_prefixes: bytes[91],
            xattr_prefix_start: u32_at(bytes, 92),
            packed_nid: u64_at(bytes, 96),
        }
    }
}

/// The checksum of the super block: CRC-32C of the bytes from [`SUPER_OFFSET`] to the end of the
/// first block, its own field taken for zero, without the final inversion.
pub fn super_checksum(first_block: &[u8]) -> u32 {
    let bytes = first_block.get(SUPER_OFFSET..).unwrap_or_default();
    let own = |at: usize| (4..8).contains(&at);
    bytes.iter().enumerate().fold(u32::MAX, |crc, (at, &byte)| {
        let byte = if own(at) { 0 } else { byte };
        (0..8).fold(crc ^ u32::from(byte), |crc, _| {
            // The Castagnoli polynomial, reversed: RFC 3720, appendix B.4.
            (crc >> 1) ^ (0x82f6_3b78 & 0_u32.wrapping_sub(crc & 1))
        })
    })
}
