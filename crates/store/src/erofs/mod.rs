//! EROFS: a layer as one read-only file system image in one file, written in one pass over its
//! archive.
//!
//! - [`format`] is what lies on disk.
//! - `image` writes: data goes out as it comes (`output`), inodes are packed into blocks between it
//!   (`records`), names stay in memory (`tree`), directories come last (`finish`, `dirents`).
//! - [`read`] reads an image, whoever made it; [`merge`] makes one image of many layers'.
//! - `layer` takes the entries of an archive, by the same rules as the unpacker of trees: later
//!   entries win, whiteouts become overlayfs's. `rules` and `xattr` are about extended attributes,
//!   `sparse` about files with holes.
//!
//! A file is *inline*, its data beside its inode, if it is no longer than
//! [`WriteOptions::inline_bytes`]; any other has whole blocks of its own, in one run, with nothing
//! inline. So a merged image over several layers can point at the blocks of every file that is not
//! inline, and copies the others.
//!
//! Data in blocks may be compressed (`compression`, `clusters`); sparse files' and the small ones' is not.
//!
//! The same archive gives the same bytes, by the same build: there is no time of building, and the UUID is
//! the diff id's beginning. Linux 5.10 mounts an image without sparse files, 5.15 one with; 5.13 one with
//! LZ4, 6.10 one with zstd. [`empty`] is an image to try a kernel with.

mod clusters;
mod compression;
mod dirents;
pub mod empty;
mod error;
mod finish;
pub mod format;
mod image;
mod layer;
pub mod merge;
mod output;
pub mod read;
mod records;
mod rules;
mod sparse;
mod tree;
mod xattr;

pub use compression::{Compression, UnknownCompression};
pub use error::ImageError;
pub(crate) use finish::stamp;
pub(crate) use layer::LayerSink;

use gamut_spec::digest::Digest;

use crate::unpack::OpaqueXattr;

/// Bytes of a file that is written inline, at most: two of them and their inodes share a block.
pub const INLINE_BYTES: usize = format::BLOCK_BYTES / 2 - format::EXTENDED_BYTES;

/// How to write an image.
#[derive(Debug, Clone)]
pub struct WriteOptions {
    /// Files of at most so many bytes are inline.
    pub inline_bytes: usize,
    /// Bytes of memory for names.
    pub memory_bytes: usize,
    /// Bytes of the image, at most.
    pub image_bytes: u64,
    /// How an opaque directory is marked.
    pub opaque: OpaqueXattr,
    /// What is done to the data of files that have blocks.
    pub compression: Compression,
    /// The file system's UUID.
    pub uuid: [u8; 16],
}

/// What an image came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Blocks of [`format::BLOCK_BYTES`].
    pub blocks: u32,
    /// Files, directories and other inodes.
    pub inodes: u64,
    /// The runs of blocks that inodes are packed into, but for directories': how many such blocks are
    /// before each, and its first block.
    pub metadata: Vec<(u32, u32)>,
}

/// The UUID of a layer's image: the beginning of its diff id, as a UUID of one's own making (RFC
/// 9562, version 8).
pub(crate) fn uuid(diff_id: &Digest) -> [u8; 16] {
    let bytes: &[u8] = match diff_id {
        Digest::Sha256(bytes) => bytes,
        Digest::Sha512(bytes) => &bytes[..],
    };
    let mut uuid = std::array::from_fn(|i| bytes[i]);
    uuid[6] = uuid[6] & 0x0f | 0x80;
    uuid[8] = uuid[8] & 0x3f | 0x80;
    uuid
}
