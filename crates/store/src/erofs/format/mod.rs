//! What an EROFS image is made of, byte for byte: pure functions between fields and little-endian
//! arrays, for the writer and the reader.
//!
//! Written from the kernel's documentation (Documentation/filesystems/erofs.rst,
//! <https://erofs.docs.kernel.org/en/latest/ondisk/core_ondisk.html>); names and numbers are those of
//! `fs/erofs/erofs_fs.h`. Nothing here judges: a reader has to check every number it gets.
//!
//! | place | what |
//! |---|---|
//! | byte 1024 | [`SuperBlock`], then compression configurations and device slots ([`DeviceSlot`]), if any |
//! | `meta_blkaddr` × block + 32 × nid | an [`Inode`], its xattrs ([`XattrHeader`]), its chunk table or cluster indexes ([`ClusterIndex`]), its inline tail |
//! | `xattr_blkaddr` × block + 4 × id | a shared xattr ([`XattrEntry`]) |
//! | blocks of a directory | [`Dirent`]s, sorted by name, then the names |

mod chunk;
mod compressed;
mod dirent;
mod inode;
mod superblock;
mod xattr;

pub use chunk::{ChunkIndex, DeviceSlot};
pub use compressed::{
    ADVISE_BIG_1, ADVISE_BIG_2, ADVISE_COMPACTED_2B, ADVISE_FRAGMENT, ADVISE_INLINE,
    ADVISE_INTERLACED, Algorithm, BLOCK_COUNT, CLUSTER_BYTES, CLUSTER_INDEX_BYTES, ClusterIndex,
    EXTENT_BYTES, FRAGMENT_INODE, FULL_INDEX_GAP, Head, MAP_HEADER_BYTES, MapHeader,
    lz4_configuration, zstd_configuration,
};
pub use dirent::{Dirent, FileType};
pub use inode::{EXTENDED_LINKS_OFFSET, Inode, Layout, device_number, device_of};
pub use superblock::{SuperBlock, super_checksum};
pub use xattr::{XattrEntry, XattrHeader, xattr_bytes, xattr_count};

/// Bit length of the block size of our images. Kernels before 6.4 mount no others where pages have
/// 4096 bytes.
pub const BLOCK_BITS: u8 = 12;
/// Bytes of a block of our images.
pub const BLOCK_BYTES: usize = 1 << BLOCK_BITS;
/// Where the super block begins, in bytes.
pub const SUPER_OFFSET: usize = 1024;
/// Bytes of a super block without extension slots.
pub const SUPER_BYTES: usize = 128;
/// Bytes of each extension slot of the super block.
pub const SUPER_SLOT_BYTES: usize = 16;
/// `EROFS_SUPER_MAGIC_V1`.
pub const MAGIC: u32 = 0xe0f5_e1e2;
/// Bytes of a unit of node ids: an inode begins at `nid * SLOT_BYTES` from the metadata's start.
pub const SLOT_BYTES: usize = 32;
/// Bytes of a compact inode.
pub const COMPACT_BYTES: usize = 32;
/// Bytes of an extended inode.
pub const EXTENDED_BYTES: usize = 64;
/// Bytes of a directory entry without its name.
pub const DIRENT_BYTES: usize = 12;
/// Bytes of the header of an inode's xattrs.
pub const XATTR_HEADER_BYTES: usize = 12;
/// Bytes of an xattr entry without name and value.
pub const XATTR_ENTRY_BYTES: usize = 4;
/// Xattr entries, and the shared ones' ids, are aligned to this many bytes.
pub const XATTR_ALIGN: usize = 4;
/// Bytes of one entry of a chunk table with [`CHUNK_INDEXES`].
pub const CHUNK_INDEX_BYTES: usize = 8;
/// Bytes of one entry of a chunk table without [`CHUNK_INDEXES`]: a block address.
pub const BLOCK_MAP_BYTES: usize = 4;
/// Bytes of a device slot; the table begins at `devt_slotoff` times this.
pub const DEVICE_SLOT_BYTES: usize = 128;

/// Most bytes of a name.
pub const NAME_BYTES: usize = 255;
/// Most bytes of an xattr's value: its length has 16 bits.
pub const XATTR_VALUE_BYTES: usize = 0xffff;
/// Most shared xattrs of an inode: their number has eight bits.
pub const SHARED_XATTRS: usize = 0xff;
/// Largest `root_nid`: it has 16 bits, so the root lies within the first two mebibytes.
pub const ROOT_NID: u64 = 0xffff;
/// The block address of a chunk that is a hole (`EROFS_NULL_ADDR`).
pub const NULL_ADDRESS: u32 = u32::MAX;

/// `feature_compat`: the super block has a checksum.
pub const COMPAT_SB_CHKSUM: u32 = 0x1;
/// `feature_compat`: an inode's time is its mtime, not its ctime.
pub const COMPAT_MTIME: u32 = 0x2;
/// `feature_compat`: [`XattrHeader::name_filter`] means something.
pub const COMPAT_XATTR_FILTER: u32 = 0x4;

/// `feature_incompat`: compressed clusters are padded at their beginning.
pub const INCOMPAT_ZERO_PADDING: u32 = 0x1;
/// `feature_incompat`: compression configurations, big clusters.
pub const INCOMPAT_COMPR_CFGS: u32 = 0x2;
/// `feature_incompat`: there are chunk-based files. Linux 5.15.
pub const INCOMPAT_CHUNKED_FILE: u32 = 0x4;
/// `feature_incompat`: there is a device table, or (same bit) a second compression. Linux 5.16.
pub const INCOMPAT_DEVICE_TABLE: u32 = 0x8;
/// `feature_incompat`: compressed tails are inline.
pub const INCOMPAT_ZTAILPACKING: u32 = 0x10;
/// `feature_incompat`: fragments in a packed inode, or (same bit) deduplicated compressed data.
pub const INCOMPAT_FRAGMENTS: u32 = 0x20;
/// `feature_incompat`: long xattr name prefixes. Linux 6.4.
pub const INCOMPAT_XATTR_PREFIXES: u32 = 0x40;
/// `feature_incompat`: 48-bit block addresses. Linux 6.16.
pub const INCOMPAT_48BIT: u32 = 0x80;

/// The low 16 bits of [`Inode::data`] of a chunk-based file: log2 of the blocks in a chunk.
pub const CHUNK_BITS_MASK: u16 = 0x1f;
/// The same field: the table has [`ChunkIndex`]es, not bare block addresses.
pub const CHUNK_INDEXES: u16 = 0x20;

/// [`XattrEntry::name_index`] and what it stands for; the entry's name is what follows. The names of
/// POSIX ACLs are their indexes alone.
pub const XATTR_PREFIXES: [(u8, &[u8]); 6] = [
    (1, b"user."),
    (2, b"system.posix_acl_access"),
    (3, b"system.posix_acl_default"),
    (4, b"trusted."),
    (5, b"lustre."),
    (6, b"security."),
];
/// Set in [`XattrEntry::name_index`] when the rest of it counts the image's own long prefixes.
pub const XATTR_LONG_PREFIX: u8 = 0x80;

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(std::array::from_fn(|i| bytes[at + i]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read() {
        let inode = Inode {
            layout: Layout::ChunkBased,
            xattr_count: 7,
            mode: 0o100_644,
            size: 1 << 40,
            data: 0x25,
            ino: 3,
            uid: 3_000_000,
            gid: 3_000_001,
            mtime: Some((-2, 500_000_000)),
            links: 70_000,
        };
        let bytes = inode.to_extended();
        assert!(Inode::is_extended([bytes[0], bytes[1]]));
        assert_eq!(Inode::from_extended(&bytes), Some(inode));
        assert_eq!(
            bytes[EXTENDED_LINKS_OFFSET..][..4],
            70_000_u32.to_le_bytes()
        );
        let dirent = Dirent {
            nid: 1 << 35,
            name_offset: 24,
            file_type: FileType::Symlink.number(),
        };
        assert_eq!(Dirent::from_bytes(&dirent.to_bytes()), dirent);
        let superblock = SuperBlock {
            magic: MAGIC,
            checksum: 1,
            feature_compat: 2,
            block_bits: 12,
            root_nid: 36,
            inodes: 4,
            blocks: 5,
            xattr_blkaddr: 6,
            uuid: [7; 16],
            feature_incompat: INCOMPAT_CHUNKED_FILE,
            extra_devices: 8,
            device_table: 9,
            ..SuperBlock::default()
        };
        assert_eq!(SuperBlock::from_bytes(&superblock.to_bytes()), superblock);
        let index = ChunkIndex {
            device: 3,
            block: NULL_ADDRESS,
        };
        assert_eq!(ChunkIndex::from_bytes(&index.to_bytes()), index);
    }

    #[test]
    fn unknown_formats_are_not_read() {
        let mut bytes = [0; EXTENDED_BYTES];
        for (format, known) in [
            (1_u16, true),
            (9, true),
            (11, false),
            (0, false),
            (33, false),
        ] {
            bytes[..2].copy_from_slice(&format.to_le_bytes());
            assert_eq!(Inode::from_extended(&bytes).is_some(), known, "{format}");
        }
    }

    #[test]
    fn the_checksum_is_the_known_one() {
        // RFC 3720, appendix B.4: 32 bytes of zero have the CRC 0x8a9136aa.
        let mut block = vec![0; SUPER_OFFSET + 40];
        let whole = super_checksum(&block);
        block[SUPER_OFFSET + 4] = 9;
        assert_eq!(
            super_checksum(&block),
            whole,
            "its own field does not count"
        );
        assert_eq!(!super_checksum(&[0; SUPER_OFFSET + 32]), 0x8a91_36aa);
    }

    #[test]
    fn xattrs_are_counted_by_fours() {
        assert_eq!((xattr_bytes(0), xattr_count(0)), (0, Some(0)));
        assert_eq!((xattr_bytes(2), xattr_count(4)), (16, Some(2)));
        assert_eq!(xattr_count(1 << 20), None);
        let entry = XattrEntry {
            name_bytes: 4,
            name_index: 1,
            value_bytes: 1,
        };
        assert_eq!(entry.whole_bytes(), 12);
    }

    #[test]
    fn device_numbers_have_twelve_and_twenty_bits() {
        assert_eq!(device_number(0, 0), Some(0));
        assert_eq!(device_number(4096, 0), None);
        for (major, minor) in [(1, 3), (4095, (1 << 20) - 1), (259, 70_000)] {
            let number = device_number(major, minor).expect("fits");
            assert_eq!(device_of(number), (major, minor));
        }
    }
}
