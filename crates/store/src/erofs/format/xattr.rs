//! Extended attributes: the header after an inode, and the entries.

use super::{XATTR_ALIGN, XATTR_ENTRY_BYTES, XATTR_HEADER_BYTES, u16_at, u32_at};

/// Bytes of an inode's xattrs: `i_xattr_icount` counts the header as one and the rest by four bytes.
pub fn xattr_bytes(count: u16) -> usize {
    match usize::from(count) {
        0 => 0,
        count => XATTR_HEADER_BYTES + XATTR_ALIGN * (count - 1),
    }
}

/// The reverse of [`xattr_bytes`], for the bytes after the header. `None`: too many.
pub fn xattr_count(body_bytes: usize) -> Option<u16> {
    match body_bytes {
        0 => Some(0),
        bytes => u16::try_from(bytes.div_ceil(XATTR_ALIGN) + 1).ok(),
    }
}

/// `struct erofs_xattr_ibody_header`; the ids of `shared_count` shared xattrs follow, four bytes
/// each, then the inline entries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct XattrHeader {
    /// A Bloom filter over the names, inverted; with [`COMPAT_XATTR_FILTER`] only.
    pub name_filter: u32,
    /// How many ids follow.
    pub shared_count: u8,
}

impl XattrHeader {
    /// As on disk.
    pub fn to_bytes(self) -> [u8; XATTR_HEADER_BYTES] {
        let [a, b, c, d] = self.name_filter.to_le_bytes();
        [a, b, c, d, self.shared_count, 0, 0, 0, 0, 0, 0, 0]
    }

    /// From disk.
    pub fn from_bytes(bytes: &[u8; XATTR_HEADER_BYTES]) -> Self {
        Self {
            name_filter: u32_at(bytes, 0),
            shared_count: bytes[4],
        }
    }
}

/// `struct erofs_xattr_entry`; the name and the value follow, then padding to [`XATTR_ALIGN`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct XattrEntry {
    /// Bytes of the name.
    pub name_bytes: u8,
    /// The name's beginning: [`XATTR_PREFIXES`], or a long prefix.
    pub name_index: u8,
    /// Bytes of the value.
    pub value_bytes: u16,
}

impl XattrEntry {
    /// As on disk.
    pub fn to_bytes(self) -> [u8; XATTR_ENTRY_BYTES] {
        let [low, high] = self.value_bytes.to_le_bytes();
        [self.name_bytes, self.name_index, low, high]
    }

    /// From disk.
    pub fn from_bytes(bytes: &[u8; XATTR_ENTRY_BYTES]) -> Self {
        Self {
            name_bytes: bytes[0],
            name_index: bytes[1],
            value_bytes: u16_at(bytes, 2),
        }
    }

    /// Bytes with name, value and padding.
    pub fn whole_bytes(self) -> usize {
        let bytes =
            XATTR_ENTRY_BYTES + usize::from(self.name_bytes) + usize::from(self.value_bytes);
        bytes.next_multiple_of(XATTR_ALIGN)
    }
}
