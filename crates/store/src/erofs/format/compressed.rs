//! Compressed files: what follows the super block for each algorithm, and the indexes of an inode.
//!
//! A compressed file is cut into logical clusters, of a block each in our images. An *extent* is a run of
//! the file's bytes that is stored in one *physical cluster* of whole blocks. Each logical cluster has an
//! index: the one in which an extent begins (*head*) says where its physical cluster is, the others how far
//! away the heads are.

use super::{u16_at, u32_at};

/// Bytes of a [`MapHeader`]; it is aligned to as many.
pub const MAP_HEADER_BYTES: usize = 8;
/// Bytes of a [`ClusterIndex`].
pub const CLUSTER_INDEX_BYTES: usize = 8;
/// Between the header and the first full index.
pub const FULL_INDEX_GAP: usize = 8;

/// Most bytes of a physical cluster (`Z_EROFS_PCLUSTER_MAX_SIZE`).
pub const CLUSTER_BYTES: u64 = 1 << 20;
/// Most bytes of an extent (`Z_EROFS_PCLUSTER_MAX_DSIZE`).
pub const EXTENT_BYTES: u64 = 12 << 20;

/// [`MapHeader::advise`]: of compact indexes, some have two bytes; of full ones, they are not indexes but
/// extents (Linux 6.15).
pub const ADVISE_COMPACTED_2B: u16 = 0x1;
/// [`MapHeader::advise`]: physical clusters of the first algorithm may have several blocks.
pub const ADVISE_BIG_1: u16 = 0x2;
/// [`MapHeader::advise`]: those of the second algorithm, and uncompressed ones, may (the latter since
/// Linux 6.2).
pub const ADVISE_BIG_2: u16 = 0x4;
/// [`MapHeader::advise`]: the last physical cluster follows the indexes.
pub const ADVISE_INLINE: u16 = 0x8;
/// [`MapHeader::advise`]: a byte of an uncompressed extent lies at its offset within a block.
pub const ADVISE_INTERLACED: u16 = 0x10;
/// [`MapHeader::advise`]: the end is in the packed inode.
pub const ADVISE_FRAGMENT: u16 = 0x20;

/// [`MapHeader::cluster_bits`]: all of the file is in the packed inode.
pub const FRAGMENT_INODE: u8 = 0x80;

/// An index's `di_advise`: the extent is only a part of what its physical cluster holds.
const PARTIAL: u16 = 1 << 15;
/// `delta[0]` of the index after a head: it counts blocks instead (`Z_EROFS_LI_D0_CBLKCNT`).
pub const BLOCK_COUNT: u16 = 1 << 11;

/// How data is compressed: `Z_EROFS_COMPRESSION_*`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// One LZ4 block, without a frame.
    Lz4,
    /// Of the MicroLZMA form.
    Lzma,
    /// Raw DEFLATE.
    Deflate,
    /// One frame: RFC 8878. Linux 6.10.
    Zstd,
}

impl Algorithm {
    /// All of them, by their numbers.
    pub const ALL: [Self; 4] = [Self::Lz4, Self::Lzma, Self::Deflate, Self::Zstd];

    /// The number.
    pub fn number(self) -> u8 {
        match self {
            Self::Lz4 => 0,
            Self::Lzma => 1,
            Self::Deflate => 2,
            Self::Zstd => 3,
        }
    }

    /// Its bit in [`super::SuperBlock::compression`].
    pub fn bit(self) -> u16 {
        1 << self.number()
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "LZ4",
            Self::Lzma => "LZMA",
            Self::Deflate => "DEFLATE",
            Self::Zstd => "zstd",
        }
    }
}

/// `struct z_erofs_lz4_cfgs` with its length: the largest distance of a match, and the blocks of the
/// largest physical cluster.
pub fn lz4_configuration(cluster_blocks: u16) -> [u8; 16] {
    const DISTANCE: u16 = u16::MAX;
    let mut bytes = [0; 16];
    bytes[..2].copy_from_slice(&14_u16.to_le_bytes());
    bytes[2..4].copy_from_slice(&DISTANCE.to_le_bytes());
    bytes[4..6].copy_from_slice(&cluster_blocks.to_le_bytes());
    bytes
}

/// `struct z_erofs_zstd_cfgs` with its length: log2 of the largest window in bytes, at least 10.
pub fn zstd_configuration(window_bits: u8) -> [u8; 8] {
    [6, 0, 0, window_bits.saturating_sub(10), 0, 0, 0, 0]
}

/// `struct z_erofs_map_header`: follows a compressed inode and its xattrs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapHeader {
    /// `ADVISE_*`.
    pub advise: u16,
    /// [`Algorithm::number`] of both kinds of heads, four bits each.
    pub algorithms: u8,
    /// log2 of blocks in a logical cluster, and [`FRAGMENT_INODE`].
    pub cluster_bits: u8,
}

impl MapHeader {
    /// As on disk.
    pub fn to_bytes(self) -> [u8; MAP_HEADER_BYTES] {
        let [low, high] = self.advise.to_le_bytes();
        [0, 0, 0, 0, low, high, self.algorithms, self.cluster_bits]
    }

    /// From disk.
    pub fn from_bytes(bytes: &[u8; MAP_HEADER_BYTES]) -> Self {
        Self {
            advise: u16_at(bytes, 4),
            algorithms: bytes[6],
            cluster_bits: bytes[7],
        }
    }
}

/// What begins in a logical cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Head {
    /// An extent that is not compressed.
    Plain,
    /// One that is compressed by the first algorithm.
    First,
    /// One that is compressed by the second algorithm.
    Second,
}

/// `struct z_erofs_lcluster_index`, of a full index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ClusterIndex {
    /// An extent begins here.
    Head {
        /// What it is.
        head: Head,
        /// It is only a part of what its physical cluster holds.
        partial: bool,
        /// Where in the logical cluster it begins, in bytes.
        offset: u16,
        /// Its physical cluster's first block.
        block: u32,
    },
    /// None does.
    Inside {
        /// How many logical clusters before this one its extent begins; or [`BLOCK_COUNT`] and the
        /// blocks of the physical cluster, if that is the one before.
        back: u16,
        /// How many logical clusters after this one the next extent begins.
        ahead: u16,
    },
}

impl ClusterIndex {
    /// As on disk.
    pub fn to_bytes(self) -> [u8; CLUSTER_INDEX_BYTES] {
        let (advise, offset, rest) = match self {
            Self::Head {
                head,
                partial,
                offset,
                block,
            } => {
                let kind = match head {
                    Head::Plain => 0,
                    Head::First => 1,
                    Head::Second => 3,
                };
                let partial = if partial { PARTIAL } else { 0 };
                (kind | partial, offset, block)
            }
            Self::Inside { back, ahead } => (2, 0, u32::from(ahead) << 16 | u32::from(back)),
        };
        let mut bytes = [0; CLUSTER_INDEX_BYTES];
        bytes[..2].copy_from_slice(&advise.to_le_bytes());
        bytes[2..4].copy_from_slice(&offset.to_le_bytes());
        bytes[4..].copy_from_slice(&rest.to_le_bytes());
        bytes
    }

    /// From disk.
    pub fn from_bytes(bytes: &[u8; CLUSTER_INDEX_BYTES]) -> Self {
        let advise = u16_at(bytes, 0);
        let head = match advise & 3 {
            0 => Head::Plain,
            1 => Head::First,
            2 => {
                return Self::Inside {
                    back: u16_at(bytes, 4),
                    ahead: u16_at(bytes, 6),
                };
            }
            _ => Head::Second,
        };
        Self::Head {
            head,
            partial: advise & PARTIAL != 0,
            offset: u16_at(bytes, 2),
            block: u32_at(bytes, 4),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let header = MapHeader {
            advise: ADVISE_BIG_1,
            algorithms: 0x30,
            cluster_bits: 1,
        };
        assert_eq!(MapHeader::from_bytes(&header.to_bytes()), header);
        for head in [Head::Plain, Head::First, Head::Second] {
            let index = ClusterIndex::Head {
                head,
                partial: head == Head::Second,
                offset: 4095,
                block: u32::MAX - 1,
            };
            assert_eq!(ClusterIndex::from_bytes(&index.to_bytes()), index);
        }
        let inside = ClusterIndex::Inside {
            back: BLOCK_COUNT | 3,
            ahead: 7,
        };
        assert_eq!(ClusterIndex::from_bytes(&inside.to_bytes()), inside);
        // Type 2, no offset, both distances: the kernel's own order.
        assert_eq!(inside.to_bytes(), [2, 0, 0, 0, 3, 8, 7, 0]);
    }
}
