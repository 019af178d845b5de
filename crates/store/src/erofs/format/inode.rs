//! Inodes: their forms, their layouts, and the numbers of devices.

use super::{COMPACT_BYTES, EXTENDED_BYTES, u16_at, u32_at, u64_at};

/// How an inode's data lies (`i_format`, bits 1 to 3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// Whole blocks from [`Inode::data`] on.
    FlatPlain,
    /// Compressed, one index of eight bytes for each block.
    CompressedFull,
    /// All but the last block as in `FlatPlain`; the last one, of whatever length, follows the
    /// inode and its xattrs, and must not cross the end of a block.
    FlatInline,
    /// Compressed, with compact indexes.
    CompressedCompact,
    /// A table of chunks follows the inode and its xattrs.
    ChunkBased,
}

impl Layout {
    const ALL: [Self; 5] = [
        Self::FlatPlain,
        Self::CompressedFull,
        Self::FlatInline,
        Self::CompressedCompact,
        Self::ChunkBased,
    ];

    fn number(self) -> u16 {
        match self {
            Self::FlatPlain => 0,
            Self::CompressedFull => 1,
            Self::FlatInline => 2,
            Self::CompressedCompact => 3,
            Self::ChunkBased => 4,
        }
    }
}

/// An inode of either form: `struct erofs_inode_compact`, `struct erofs_inode_extended`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Inode {
    /// How the data lies.
    pub layout: Layout,
    /// See [`xattr_bytes`].
    pub xattr_count: u16,
    /// Type and permissions, as in `stat(2)`.
    pub mode: u16,
    /// Bytes of data.
    pub size: u64,
    /// By type and layout: the first block of data, a device's number ([`device_number`]), the
    /// chunk format (low 16 bits), or the number of compressed blocks (`i_u`).
    pub data: u32,
    /// A number for `stat(2)` on 32-bit systems; elsewhere it is the nid.
    pub ino: u32,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since the epoch and nanoseconds. `None` in the compact form, which has the super
    /// block's build time.
    pub mtime: Option<(i64, u32)>,
    /// Names.
    pub links: u32,
}

impl Inode {
    /// Whether an inode that begins with these two bytes is extended: bit 0 of `i_format`.
    pub fn is_extended(first: [u8; 2]) -> bool {
        first[0] & 1 != 0
    }

    /// The extended form. A time of `None` becomes the epoch.
    pub fn to_extended(&self) -> [u8; EXTENDED_BYTES] {
        let mut bytes = [0; EXTENDED_BYTES];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        let (seconds, nanoseconds) = self.mtime.unwrap_or_default();
        put(0, &(self.layout.number() << 1 | 1).to_le_bytes());
        put(2, &self.xattr_count.to_le_bytes());
        put(4, &self.mode.to_le_bytes());
        put(8, &self.size.to_le_bytes());
        put(16, &self.data.to_le_bytes());
        put(20, &self.ino.to_le_bytes());
        put(24, &self.uid.to_le_bytes());
        put(28, &self.gid.to_le_bytes());
        put(32, &seconds.to_le_bytes());
        put(40, &nanoseconds.to_le_bytes());
        put(44, &self.links.to_le_bytes());
        bytes
    }

    /// An extended inode. `None`: bits of `i_format` that are not known.
    pub fn from_extended(bytes: &[u8; EXTENDED_BYTES]) -> Option<Self> {
        Some(Self {
            layout: layout(u16_at(bytes, 0), 1)?,
            xattr_count: u16_at(bytes, 2),
            mode: u16_at(bytes, 4),
            size: u64_at(bytes, 8),
            data: u32_at(bytes, 16),
            ino: u32_at(bytes, 20),
            uid: u32_at(bytes, 24),
            gid: u32_at(bytes, 28),
            mtime: Some((u64_at(bytes, 32).cast_signed(), u32_at(bytes, 40))),
            links: u32_at(bytes, 44),
        })
    }

    /// A compact inode. `None`: bits of `i_format` that are not known.
    pub fn from_compact(bytes: &[u8; COMPACT_BYTES]) -> Option<Self> {
        Some(Self {
            layout: layout(u16_at(bytes, 0), 0)?,
            xattr_count: u16_at(bytes, 2),
            mode: u16_at(bytes, 4),
            links: u16_at(bytes, 6).into(),
            size: u32_at(bytes, 8).into(),
            data: u32_at(bytes, 16),
            ino: u32_at(bytes, 20),
            uid: u16_at(bytes, 24).into(),
            gid: u16_at(bytes, 26).into(),
            mtime: None,
        })
    }
}

/// Where [`Inode::links`] lies in an extended inode, for changing it later.
pub const EXTENDED_LINKS_OFFSET: usize = 44;

fn layout(format: u16, form: u16) -> Option<Layout> {
    let known = |layout: &Layout| layout.number() << 1 | form == format;
    Layout::ALL.into_iter().find(known)
}

/// A device's number as the kernel keeps it on disk (`new_encode_dev`): 12 bits of major, 20 of
/// minor. `None`: it does not fit.
pub fn device_number(major: u32, minor: u32) -> Option<u32> {
    let fits = major < 1 << 12 && minor < 1 << 20;
    fits.then_some((minor & 0xff) | major << 8 | (minor & !0xff) << 12)
}

/// The reverse of [`device_number`]: major and minor.
pub fn device_of(number: u32) -> (u32, u32) {
    (
        number >> 8 & 0xfff,
        (number & 0xff) | (number >> 12 & 0xf_ff00),
    )
}
