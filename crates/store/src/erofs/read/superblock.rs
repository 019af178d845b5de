//! The super block, the device table and the long xattr prefixes: what holds for the whole image.

use super::{ReadError, Source};
use crate::erofs::format::{self, DeviceSlot, SuperBlock};

/// The smallest and the largest block, in bits: what Linux mounts (512 to 64 KiB).
const BLOCK_BITS: std::ops::RangeInclusive<u8> = 9..=16;
/// Incompatible features whose images this reader can read, as far as it can read their files.
const FEATURES: u32 = format::INCOMPAT_ZERO_PADDING
    | format::INCOMPAT_COMPR_CFGS
    | format::INCOMPAT_CHUNKED_FILE
    | format::INCOMPAT_DEVICE_TABLE
    | format::INCOMPAT_ZTAILPACKING
    | format::INCOMPAT_FRAGMENTS
    | format::INCOMPAT_XATTR_PREFIXES;
/// Long prefixes are counted by seven bits of an xattr's name index.
const PREFIXES: u8 = 0x80;
/// A long prefix is a part of a name.
const PREFIX_BYTES: usize = format::NAME_BYTES + 1;

/// What everything else is found by.
#[derive(Debug)]
pub(super) struct Geometry {
    pub(super) block_bits: u8,
    pub(super) root_nid: u64,
    /// Where nids count from, in bytes.
    pub(super) meta_start: u64,
    /// Where ids of shared xattrs count from, in bytes.
    pub(super) xattr_start: u64,
    /// The time of compact inodes.
    pub(super) build_time: (i64, u32),
    /// Whether a chunk's device counts.
    pub(super) has_devices: bool,
    /// Blocks on each device.
    pub(super) device_blocks: Vec<u32>,
    /// Where each of them begins where blocks are counted through all of them, or 0.
    pub(super) device_starts: Vec<u32>,
    /// [`format::Algorithm::bit`] of those that files may be compressed with.
    pub(super) algorithms: u16,
    /// Compressed data ends with its last block.
    pub(super) zero_padding: bool,
    /// Name index and infix of each long xattr prefix.
    pub(super) prefixes: Vec<(u8, Vec<u8>)>,
}

impl Geometry {
    pub(super) fn read<S: Source>(source: &S, bytes: u64) -> Result<Self, ReadError> {
        let mut raw = [0; format::SUPER_BYTES];
        let start = format::SUPER_OFFSET as u64;
        if bytes < start + raw.len() as u64 {
            return Err(ReadError::NotAnImage);
        }
        exact(source, &mut raw, start)?;
        let found = SuperBlock::from_bytes(&raw);
        check(&found)?;
        check_sum(source, bytes, &found)?;
        let devices = devices(source, bytes, &found)?;
        let geometry = Self {
            block_bits: found.block_bits,
            root_nid: found.root_nid.into(),
            // No overflow: 32 bits, shifted by at most 16.
            meta_start: u64::from(found.meta_blkaddr) << found.block_bits,
            xattr_start: u64::from(found.xattr_blkaddr) << found.block_bits,
            build_time: (found.build_time.cast_signed(), found.build_time_nanoseconds),
            has_devices: found.feature_incompat & format::INCOMPAT_DEVICE_TABLE != 0,
            device_blocks: devices.iter().map(|device| device.blocks).collect(),
            device_starts: devices.iter().map(|device| device.mapped_blkaddr).collect(),
            algorithms: match found.feature_incompat & format::INCOMPAT_COMPR_CFGS {
                // The field is LZ4's window then.
                0 => 0,
                _ => found.compression,
            },
            zero_padding: found.feature_incompat & format::INCOMPAT_ZERO_PADDING != 0,
            prefixes: prefixes(source, bytes, &found)?,
        };
        Ok(geometry)
    }
}

fn check(found: &SuperBlock) -> Result<(), ReadError> {
    if found.magic != format::MAGIC {
        return Err(ReadError::NotAnImage);
    }
    if !BLOCK_BITS.contains(&found.block_bits) {
        return Err(ReadError::Unsupported(
            "a block size outside of 512 to 65536",
        ));
    }
    if found.feature_incompat & format::INCOMPAT_48BIT != 0 {
        return Err(ReadError::Unsupported(
            "an image with 48-bit block addresses",
        ));
    }
    match found.feature_incompat & !FEATURES {
        0 => {}
        unknown => return Err(ReadError::UnknownFeatures(unknown)),
    }
    if found.directory_block_bits != 0 {
        return Err(ReadError::Unsupported(
            "a directory block of several blocks",
        ));
    }
    if found.build_time_nanoseconds >= 1_000_000_000 {
        return Err(ReadError::Damaged("its time has a second of nanoseconds"));
    }
    Ok(())
}

/// The checksum is over the rest of the block that the super block is in.
fn check_sum<S: Source>(source: &S, bytes: u64, found: &SuperBlock) -> Result<(), ReadError> {
    if found.feature_compat & format::COMPAT_SB_CHKSUM == 0 {
        return Ok(());
    }
    let block = 1_usize << found.block_bits;
    let mut end = block;
    while end <= format::SUPER_OFFSET {
        end += block;
    }
    if bytes < end as u64 {
        return Err(ReadError::Damaged("it ends in its first block"));
    }
    let mut first = vec![0; end];
    exact(source, &mut first, 0)?;
    if format::super_checksum(&first) != found.checksum {
        return Err(ReadError::Damaged("the super block's checksum is wrong"));
    }
    Ok(())
}

fn devices<S: Source>(
    source: &S,
    bytes: u64,
    found: &SuperBlock,
) -> Result<Vec<DeviceSlot>, ReadError> {
    // The bit means something else where there are compressed files.
    if found.feature_incompat & format::INCOMPAT_DEVICE_TABLE == 0 {
        return Ok(Vec::new());
    }
    let slot = format::DEVICE_SLOT_BYTES as u64;
    let start = u64::from(found.device_table) * slot;
    let length = u64::from(found.extra_devices) * slot;
    if start + length > bytes {
        return Err(ReadError::Damaged("the device table reaches past its end"));
    }
    let mut table = vec![0; usize::from(found.extra_devices) * format::DEVICE_SLOT_BYTES];
    exact(source, &mut table, start)?;
    let (slots, _) = table.as_chunks();
    Ok(slots.iter().map(DeviceSlot::from_bytes).collect())
}

/// Each long prefix is two bytes of length, the index of a short one, and an infix, and begins at a
/// multiple of four bytes. With fragments they lie in the packed inode, which is compressed.
fn prefixes<S: Source>(
    source: &S,
    bytes: u64,
    found: &SuperBlock,
) -> Result<Vec<(u8, Vec<u8>)>, ReadError> {
    let mut prefixes = Vec::new();
    if found.feature_incompat & format::INCOMPAT_XATTR_PREFIXES == 0 || found.xattr_prefixes == 0 {
        return Ok(prefixes);
    }
    let packed = found.feature_incompat & format::INCOMPAT_FRAGMENTS != 0 && found.packed_nid != 0;
    if packed {
        return Err(ReadError::Unsupported(
            "an image with packed xattr prefixes",
        ));
    }
    if found.xattr_prefixes > PREFIXES {
        return Err(ReadError::Damaged(
            "it has more xattr prefixes than can be named",
        ));
    }
    let mut at = u64::from(found.xattr_prefix_start) * format::XATTR_ALIGN as u64;
    for _ in 0..found.xattr_prefixes {
        let mut length = [0; 2];
        bounded(source, bytes, &mut length, at)?;
        let length = usize::from(u16::from_le_bytes(length));
        if !(1..=PREFIX_BYTES).contains(&length) {
            return Err(ReadError::Damaged(
                "an xattr prefix has an impossible length",
            ));
        }
        let mut prefix = vec![0; length];
        bounded(source, bytes, &mut prefix, at + 2)?;
        let index = prefix.remove(0);
        prefixes.push((index, prefix));
        at = (at + 2 + length as u64).next_multiple_of(format::XATTR_ALIGN as u64);
    }
    Ok(prefixes)
}

fn bounded<S: Source>(
    source: &S,
    bytes: u64,
    buffer: &mut [u8],
    offset: u64,
) -> Result<(), ReadError> {
    if offset + buffer.len() as u64 > bytes {
        return Err(ReadError::Damaged("an xattr prefix reaches past its end"));
    }
    exact(source, buffer, offset)
}

fn exact<S: Source>(source: &S, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
    source
        .read_exact_at(buffer, offset)
        .map_err(ReadError::system(offset, buffer.len()))
}
