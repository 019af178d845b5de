//! The smallest images, to try a kernel with: a layer with an empty root directory, and the image that
//! shows it; and a layer with one compressed file.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsFd;

use super::image::ImageWriter;
use super::merge::{MergeError, MergeLayer, merge};
use super::read::Image;
use super::tree::{DirectoryId, Node};
use super::{Compression, INLINE_BYTES, ImageError, WriteOptions};
use crate::unpack::OpaqueXattr;
use crate::unpack::archive::Attributes;

/// Bytes of memory, and of the image, that are more than enough.
const MEMORY_BYTES: usize = 64 << 10;
const IMAGE_BYTES: u64 = 1 << 20;

use super::clusters::{EXTENT_BYTES, Press};
use super::format::{
    Algorithm, BLOCK_BITS, BLOCK_BYTES, COMPAT_MTIME, Dirent, EXTENDED_BYTES, FileType, Inode,
    Layout, MAGIC, SLOT_BYTES, SUPER_BYTES, SUPER_OFFSET, SuperBlock,
};

/// Writes a layer without files, and the merged image of this one layer: the way in which the kernel
/// has to mount images of several layers. Both files are empty before.
pub fn write(merged: &File, mut layer: &File) -> std::io::Result<Result<(), MergeError>> {
    layer.write_all(&image())?;
    let failed = |error| MergeError::Layer { layer: 1, error };
    Ok(Image::open(layer)
        .map_err(failed)
        .and_then(|image| {
            let layer = MergeLayer {
                image: &image,
                has_root: false,
                opaque_root: false,
                tag: [0; 64],
            };
            merge(&[layer], merged.as_fd())
        })
        .map(drop))
}

/// One compression for each algorithm that can be written.
pub const COMPRESSIONS: [(Compression, Algorithm); 2] = [
    (Compression::Lz4, Algorithm::Lz4),
    (Compression::Zstd(1), Algorithm::Zstd),
];

/// The name of the compressed file.
pub const NAME: &str = "file";

/// What is in it.
#[must_use]
pub fn content() -> Vec<u8> {
    (0..EXTENT_BYTES + 1).map(|at| (at / 7) as u8).collect()
}

/// Writes a layer with a compressed file into an empty file.
pub fn write_compressed(file: &File, compression: Compression) -> Result<(), ImageError> {
    let options = WriteOptions {
        inline_bytes: INLINE_BYTES,
        memory_bytes: MEMORY_BYTES,
        image_bytes: IMAGE_BYTES,
        opaque: OpaqueXattr::default(),
        compression,
        uuid: [0; 16],
    };
    let mut image = ImageWriter::new(file.as_fd(), &options);
    if let Some(mut press) = Press::new(compression, 1)? {
        press.begin(&mut image.out)?;
        press.add(&mut image.out, &content())?;
        let pressed = press.end(&mut image.out)?;
        let (slot, _) = image.add_pressed(&Attributes::default(), &pressed)?;
        let node = Node::Other(FileType::File, slot);
        image.tree.put(DirectoryId::ROOT, NAME.as_bytes(), node)?;
    }
    image.finish().map(drop)
}

/// An image with an empty root directory, one block long.
fn image() -> Vec<u8> {
    let inode_at = SUPER_OFFSET + SUPER_BYTES;
    let nid = inode_at / SLOT_BYTES;
    let names = [&b"."[..], &b".."[..]];
    let entries: usize = names.len() * super::format::DIRENT_BYTES;
    let mut directory = Vec::new();
    let mut name_offset = entries;
    for name in names {
        let entry = Dirent {
            nid: nid as u64,
            // Below a block's length.
            name_offset: name_offset as u16,
            file_type: FileType::Directory.number(),
        };
        directory.extend(entry.to_bytes());
        name_offset += name.len();
    }
    names.iter().for_each(|name| directory.extend(*name));
    let root = Inode {
        layout: Layout::FlatInline,
        xattr_count: 0,
        mode: FileType::Directory.mode_bits() | 0o755,
        size: directory.len() as u64,
        data: 0,
        ino: 1,
        uid: 0,
        gid: 0,
        mtime: None,
        links: 2,
    };
    let superblock = SuperBlock {
        magic: MAGIC,
        feature_compat: COMPAT_MTIME,
        block_bits: BLOCK_BITS,
        // 36: the root follows the super block.
        root_nid: nid as u16,
        inodes: 1,
        blocks: 1,
        ..SuperBlock::default()
    };
    let mut image = vec![0; BLOCK_BYTES];
    let mut put = |at: usize, bytes: &[u8]| image[at..at + bytes.len()].copy_from_slice(bytes);
    put(SUPER_OFFSET, &superblock.to_bytes());
    put(inode_at, &root.to_extended());
    put(inode_at + EXTENDED_BYTES, &directory);
    image
}
