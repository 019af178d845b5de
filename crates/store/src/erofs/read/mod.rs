//! Reading an EROFS image that somebody else may have made.
//!
//! [`Image::open`] reads the super block; then [`Image::root`] and [`Image::lookup`], or
//! [`Image::resolve`] for a path, give an [`Inode`], and the other methods what belongs to it:
//! [`Image::entries`], [`Image::read_at`], [`Image::link_target`], [`Image::xattrs`]. [`Walk`] visits
//! everything.
//!
//! Nothing in the image is believed. Every number is checked before it is used as an offset, a
//! length or a count; no allocation is larger than the image itself, a block, or a limit with a
//! name; nothing recurses; and what an image shares in order to look larger than it is ends in an
//! error (see [`Walk`]). Files compressed with LZ4 or zstd are read; other compressions, inline
//! compressed tails, fragments, deduplicated compressed data, 48-bit block addresses and directory
//! blocks of several blocks are refused by name.

#[cfg(test)]
mod cluster_tests;
mod compact;
mod compressed;
mod data;
mod decompress;
mod directory;
mod error;
mod indexes;
mod inode;
mod path;
mod source;
mod superblock;
#[cfg(test)]
mod tests;
mod walk;
mod xattr;

pub use compressed::{Cluster, Packing};
pub use data::{Extent, Extents, Place};
pub use directory::{Entries, Entry};
pub use error::ReadError;
pub(super) use indexes::ClusterIndexes;
pub use inode::Inode;
pub use path::Follow;
pub use source::Source;
pub(super) use walk::TreeGuard;
pub use walk::{Visit, Walk};
pub use xattr::Xattr;

use std::sync::Mutex;

use super::format::Algorithm;
use decompress::Recent;
use superblock::Geometry;

/// An open image. Reading takes `&self`: threads may share one if they may share the source.
#[derive(Debug)]
pub struct Image<S> {
    source: S,
    /// Bytes of `source`.
    bytes: u64,
    geometry: Geometry,
    /// The other files that chunks may lie on, by slot.
    devices: Vec<S>,
    recent: Mutex<Recent>,
}

impl<S: Source> Image<S> {
    /// Reads and checks the super block. Data that lies on other devices cannot be read.
    pub fn open(source: S) -> Result<Self, ReadError> {
        Self::open_with(source, Vec::new())
    }

    /// The same, with the other devices, in the order of the device table.
    pub fn open_with(source: S, devices: Vec<S>) -> Result<Self, ReadError> {
        let bytes = source.size_bytes().map_err(ReadError::system(0, 0))?;
        let geometry = Geometry::read(&source, bytes)?;
        Ok(Self {
            source,
            bytes,
            geometry,
            devices,
            recent: Mutex::default(),
        })
    }

    /// Where its own bytes come from.
    pub fn source(&self) -> &S {
        &self.source
    }

    /// Bytes of a block, 512 to 65536.
    pub fn block_bytes(&self) -> u64 {
        1 << self.geometry.block_bits
    }

    /// Bytes of the image's own file.
    pub fn size_bytes(&self) -> u64 {
        self.bytes
    }

    /// Blocks on each of the devices in the image's device table, in its order; 0 where the table
    /// does not say.
    pub fn device_blocks(&self) -> &[u32] {
        &self.geometry.device_blocks
    }

    /// What files may be compressed with, as the super block says; nothing for images of before Linux
    /// 5.13.
    pub fn algorithms(&self) -> impl Iterator<Item = Algorithm> {
        let bits = self.geometry.algorithms;
        let all = Algorithm::ALL.into_iter();
        all.filter(move |algorithm| bits & algorithm.bit() != 0)
    }

    /// The root directory.
    pub fn root(&self) -> Result<Inode, ReadError> {
        self.inode(self.geometry.root_nid)
    }

    /// Reads from the image's own file, in bounds or not at all.
    fn read_exact(&self, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let end = offset.checked_add(buffer.len() as u64);
        if end.is_none_or(|end| end > self.bytes) {
            return Err(ReadError::Damaged("something reaches past its end"));
        }
        self.source
            .read_exact_at(buffer, offset)
            .map_err(ReadError::system(offset, buffer.len()))
    }

    /// Reads from the image's own file, which is device 0, or from another one.
    fn read_device(&self, device: u16, buffer: &mut [u8], offset: u64) -> Result<(), ReadError> {
        let Some(slot) = usize::from(device).checked_sub(1) else {
            return self.read_exact(buffer, offset);
        };
        self.devices
            .get(slot)
            .ok_or(ReadError::NoDevice(device))?
            .read_exact_at(buffer, offset)
            .map_err(ReadError::system(offset, buffer.len()))
    }
}
