//! A layer's tar again, byte for byte, though only its files were kept.
//!
//! While a layer is unpacked, a [`tape`] keeps what the files cannot give back: headers, padding,
//! the order of everything, in `layers/<name>/tar-split.zst`. [`Layers::reproduce`] plays it,
//! with the files' contents put in where they were, and checks the result against the diff id. The
//! idea is that of github.com/vbatts/tar-split, which Docker and containers/storage use; theirs is
//! JSON, and cannot do layers that have a path twice.
//!
//! # The record
//!
//! One zstd stream of items. Numbers are LEB128.
//!
//! | tag | item | then |
//! |---|---|---|
//! | 1 | bytes as they are | length (at most [`MAX_RAW_BYTES`]), bytes |
//! | 2 | content in a file of a tree | length of path (at most [`MAX_PATH_BYTES`]), path, offset, length |
//! | 3 | a file of a tree was replaced | length of path, path |
//! | 4 | content in an image | offset, length |
//! | 5 | content in an image, beside an inode | offset among the metadata, length |
//! | 6 | where an image's metadata goes on | blocks of metadata before, number of the block |
//! | 7 | content in an image, compressed | offset of its inode among the metadata, length |
//! | 0 | the end | nothing |
//!
//! In a tree, paths are those of the finished tree, without links. An archive may have a path twice;
//! the first content is then moved to `layers/<name>/replaced/<n>`, n counting the items with tag 3
//! from 0, and that item says which content of before it was.
//!
//! An EROFS image keeps every byte that was written to it, whether a name leads to it or not: an
//! offset is enough. Inodes are packed into blocks that go out later (`crate::erofs`), so what
//! lies beside them is found by way of the items with tag 6, which come at the end; so are the inodes of
//! compressed files, which say where their data is.

mod aside;
mod contents;
mod error;
mod items;
mod player;
pub(crate) mod tape;

use std::os::fd::AsFd;

pub use error::ReproduceError;
pub use player::Reproduction;

use crate::layer::{Layer, Layers};

/// The record in a layer's directory.
pub(crate) const RECORD: &str = "tar-split.zst";
/// The directory of replaced contents in a layer's directory; mostly there is none.
pub(crate) const REPLACED: &str = "replaced";

/// Bytes of one item of plain bytes.
const MAX_RAW_BYTES: usize = 64 << 10;
/// Bytes of a path: what links make of one may be longer than what an archive may say.
const MAX_PATH_BYTES: usize = 64 << 10;

const END: u8 = 0;
const RAW: u8 = 1;
const IN_FILE: u8 = 2;
const GONE: u8 = 3;
const IN_BLOCKS: u8 = 4;
const BESIDE_INODE: u8 = 5;
const METADATA: u8 = 6;
const COMPRESSED: u8 = 7;

/// Where bytes of a content are, by a path `P` in a tree or by an offset in an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kept<P> {
    /// In the file at this path of the tree, from this offset on.
    InFile(P, u64),
    /// In the EROFS image, from this byte on.
    InBlocks(u64),
    /// In the EROFS image beside an inode, from this byte of all metadata on.
    BesideInode(u64),
    /// In the EROFS image: all of the compressed file whose inode is at this byte of all metadata.
    Compressed(u64),
}

impl<P> Kept<P> {
    /// What lies `bytes` after it.
    pub(crate) fn further(self, bytes: u64) -> Self {
        match self {
            Self::InFile(path, offset) => Self::InFile(path, offset + bytes),
            Self::InBlocks(start) => Self::InBlocks(start + bytes),
            Self::BesideInode(start) => Self::BesideInode(start + bytes),
            // Always whole: what is compressed has no runs.
            Self::Compressed(inode) => Self::Compressed(inode),
        }
    }
}

impl Layers {
    /// The layer's uncompressed tar as a stream, byte for byte as it was unpacked. Its last read
    /// fails with [`ReproduceError::WrongDigest`] (see [`ReproduceError::within`]) if the bytes do
    /// not hash to the diff id, so whoever has read it to its end has the right ones.
    pub fn reproduce(&self, layer: &Layer) -> Result<Reproduction, ReproduceError> {
        let directory = crate::pin::open_directory(&self.path(&layer.record))?;
        Reproduction::open(directory.as_fd(), layer.record.form, &layer.record.diff_id)
    }

    /// How many bytes [`Layers::reproduce`] will give.
    pub fn tar_bytes(&self, layer: &Layer) -> Result<u64, ReproduceError> {
        let directory = crate::pin::open_directory(&self.path(&layer.record))?;
        Reproduction::size_bytes(directory.as_fd(), &layer.record.diff_id)
    }
}
