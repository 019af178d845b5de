//! Inodes: what `stat(2)` says of a file, and where the rest of it lies.

use super::compressed::Clusters;
use super::{Image, ReadError, Source};
use crate::erofs::format::{self, FileType, Layout};

/// Bits of a mode that are permissions.
const PERMISSIONS: u16 = 0o7777;
/// Bits of a chunk format that are known.
const CHUNK_FORMAT: u32 = (format::CHUNK_BITS_MASK | format::CHUNK_INDEXES) as u32;

/// An inode that has been checked: what it says of its own data lies within the image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Inode {
    /// Its number: the same inode has the same one, whatever the name.
    pub nid: u64,
    /// What it is.
    pub kind: FileType,
    /// Permission bits, at most 0o7777.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Seconds since the epoch, and nanoseconds below 1,000,000,000.
    pub mtime: (i64, u32),
    /// How many names it says it has.
    pub links: u32,
    /// Bytes of a file, of a directory's entries or of a link's target; 0 for anything else. At most
    /// `i64::MAX`.
    pub size: u64,
    /// Major and minor number of a device.
    pub device: (u32, u32),
    pub(super) body: Body,
    /// Where its xattrs begin, in bytes.
    pub(super) xattr_start: u64,
    /// Bytes of them: 0, or a header's and more.
    pub(super) xattr_bytes: usize,
}

/// Where the data lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Body {
    /// There is none.
    Empty,
    /// Blocks from `start` on, and from the offset `tail_offset` of the data on, at `tail_start`.
    /// All in bytes.
    Flat {
        start: u64,
        tail_offset: u64,
        tail_start: u64,
    },
    /// A table of chunks at `table`, each of `1 << chunk_bits` bytes.
    Chunks {
        table: u64,
        chunk_bits: u32,
        entries: ChunkEntries,
    },
    /// Physical clusters, by way of indexes.
    Compressed(Clusters),
}

/// What a chunk table is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ChunkEntries {
    /// Block addresses.
    Blocks,
    /// Block addresses with devices.
    Indexes,
}

impl ChunkEntries {
    pub(super) fn bytes(self) -> usize {
        match self {
            Self::Blocks => format::BLOCK_MAP_BYTES,
            Self::Indexes => format::CHUNK_INDEX_BYTES,
        }
    }
}

impl<S: Source> Image<S> {
    /// Reads the inode of a number.
    pub fn inode(&self, nid: u64) -> Result<Inode, ReadError> {
        let damaged = |what| ReadError::DamagedInode { nid, what };
        let start = nid
            .checked_mul(format::SLOT_BYTES as u64)
            .and_then(|offset| offset.checked_add(self.geometry.meta_start))
            .filter(|&start| start < self.bytes)
            .ok_or(damaged("it lies past the image's end"))?;
        let (raw, inode_bytes) = self.raw_inode(nid, start)?;
        let kind = FileType::from_mode(raw.mode).ok_or(damaged("its type is none"))?;
        let mtime = raw.mtime.unwrap_or(self.geometry.build_time);
        if mtime.1 >= 1_000_000_000 {
            return Err(damaged("its time has a second of nanoseconds"));
        }
        let xattr_start = start + inode_bytes;
        let xattr_bytes = format::xattr_bytes(raw.xattr_count);
        let rest = xattr_start + xattr_bytes as u64;
        if rest > self.bytes {
            return Err(damaged("its xattrs reach past the image's end"));
        }
        let has_data = matches!(
            kind,
            FileType::File | FileType::Directory | FileType::Symlink
        );
        let is_device = matches!(kind, FileType::CharacterDevice | FileType::BlockDevice);
        let size = if has_data { raw.size } else { 0 };
        Ok(Inode {
            nid,
            kind,
            mode: raw.mode & PERMISSIONS,
            uid: raw.uid,
            gid: raw.gid,
            mtime,
            links: raw.links,
            size,
            device: match is_device {
                true => format::device_of(raw.data),
                false => (0, 0),
            },
            body: self
                .body(&raw, size, rest)
                .map_err(|problem| problem.at(nid))?,
            xattr_start,
            xattr_bytes,
        })
    }

    /// The inode's fields and its own length.
    fn raw_inode(&self, nid: u64, start: u64) -> Result<(format::Inode, u64), ReadError> {
        let unknown = ReadError::DamagedInode {
            nid,
            what: "its format is not known",
        };
        let mut bytes = [0; format::EXTENDED_BYTES];
        // A compact inode may be the last thing in the image.
        let there = (self.bytes - start).min(bytes.len() as u64) as usize;
        self.read_exact(&mut bytes[..there], start)?;
        if format::Inode::is_extended([bytes[0], bytes[1]]) {
            if there < bytes.len() {
                return Err(ReadError::Damaged("its last inode is cut off"));
            }
            let raw = format::Inode::from_extended(&bytes).ok_or(unknown)?;
            return Ok((raw, format::EXTENDED_BYTES as u64));
        }
        match bytes.first_chunk().filter(|compact| there >= compact.len()) {
            Some(compact) => {
                let raw = format::Inode::from_compact(compact).ok_or(unknown)?;
                Ok((raw, format::COMPACT_BYTES as u64))
            }
            None => Err(ReadError::Damaged("its last inode is cut off")),
        }
    }

    /// `rest` is where the inode's xattrs end.
    fn body(&self, raw: &format::Inode, size: u64, rest: u64) -> Result<Body, Problem> {
        if size > i64::MAX as u64 {
            return Err(Problem::Damaged("its size is negative"));
        }
        if size == 0 {
            return Ok(Body::Empty);
        }
        match raw.layout {
            Layout::CompressedFull | Layout::CompressedCompact => {
                self.clusters(raw, size, rest).map(Body::Compressed)
            }
            Layout::FlatPlain | Layout::FlatInline => self.flat(raw, size, rest),
            Layout::ChunkBased => self.chunks(raw, size, rest),
        }
    }

    fn flat(&self, raw: &format::Inode, size: u64, rest: u64) -> Result<Body, Problem> {
        let block = self.block_bytes();
        let start = u64::from(raw.data) << self.geometry.block_bits;
        let tail_offset = match raw.layout {
            // Of a size that is a multiple of the block's, the whole last block is the tail.
            Layout::FlatInline => (size - 1) & !(block - 1),
            _ => size,
        };
        if tail_offset > 0
            && start
                .checked_add(tail_offset)
                .is_none_or(|end| end > self.bytes)
        {
            return Err(Problem::Damaged("its data reaches past the image's end"));
        }
        let tail = size - tail_offset;
        if tail > 0 {
            if rest % block + tail > block {
                return Err(Problem::Damaged(
                    "its inline data crosses the end of a block",
                ));
            }
            if rest + tail > self.bytes {
                return Err(Problem::Damaged(
                    "its inline data reaches past the image's end",
                ));
            }
        }
        Ok(Body::Flat {
            start,
            tail_offset,
            tail_start: rest,
        })
    }

    fn chunks(&self, raw: &format::Inode, size: u64, rest: u64) -> Result<Body, Problem> {
        if raw.data & 0xffff & !CHUNK_FORMAT != 0 {
            return Err(Problem::Unsupported("a chunk format that is not known"));
        }
        let chunk_bits =
            u32::from(self.geometry.block_bits) + (raw.data & u32::from(format::CHUNK_BITS_MASK));
        let entries = match raw.data & u32::from(format::CHUNK_INDEXES) {
            0 => ChunkEntries::Blocks,
            _ => ChunkEntries::Indexes,
        };
        let entry_bytes = entries.bytes() as u64;
        let table = rest.next_multiple_of(entry_bytes);
        // At most 2^54 chunks of eight bytes.
        let table_bytes = (((size - 1) >> chunk_bits) + 1) * entry_bytes;
        if table + table_bytes > self.bytes {
            return Err(Problem::Damaged(
                "its chunk table reaches past the image's end",
            ));
        }
        Ok(Body::Chunks {
            table,
            chunk_bits,
            entries,
        })
    }
}

/// What is wrong, without the inode's number.
#[derive(Debug)]
pub(super) enum Problem {
    Damaged(&'static str),
    Unsupported(&'static str),
    Read(ReadError),
}

impl Problem {
    /// The same of an inode.
    pub(super) fn at(self, nid: u64) -> ReadError {
        match self {
            Self::Damaged(what) => ReadError::DamagedInode { nid, what },
            Self::Unsupported(what) => ReadError::Unsupported(what),
            Self::Read(error) => error,
        }
    }
}
