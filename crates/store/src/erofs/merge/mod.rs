//! Many layers as one image: an image of forty layers is one mount, and one lower directory.
//!
//! The merged image has the names and inodes that can be seen when overlayfs stacks the layers: what
//! a whiteout or an opaque directory hides is not there, and neither are they; directories that
//! several layers have are one, with the upper one's attributes; names of one inode stay so. It has
//! no data but what is inline in the layers, small files and links. All other files are chunks that
//! lie in the layers' images: device 1 is the bottom layer's, and so on. A file in one run of blocks
//! is a single chunk of eight bytes, however large it is. A compressed file keeps its indexes, with
//! addresses in the one address space that all devices are in.
//!
//! It is mounted as `-o device=LAYER1,device=LAYER2,…`, with all layers, in this order: by loop or
//! other block devices since Linux 5.16 (5.15 has no device tables), from files since 6.12. A mount
//! option of fsconfig(2) has 255 bytes, one for each layer; those of mount(2) share 4095. All devices
//! in one, each at the place that the device table says, the merged image first, will do too, since
//! Linux 6.4.
//!
//! The same layers give the same bytes.

mod compressed;
mod data;
mod error;
mod tree;

use std::os::fd::BorrowedFd;

use gamut_spec::digest::Algorithm;

pub use error::MergeError;

use super::format::{BLOCK_BYTES, DeviceSlot};
use super::image::ImageWriter;
use super::read::{Image, Source};
use super::{Compression, INLINE_BYTES, WriteOptions, Written};
use crate::hash::Hasher;
use crate::unpack::OpaqueXattr;

/// Layers, at most: a device's number has 16 bits, and 0 is the image itself.
const LAYERS: usize = u16::MAX as usize;
/// Bytes of memory for names and directories' attributes.
const MEMORY_BYTES: usize = 256 << 20;
/// What is added to the layers' sizes for the limit of the merged image: it copies their metadata,
/// but for chunk tables, which may be twice as large as theirs.
const SPARE_BYTES: u64 = 1 << 20;

/// A layer to be merged.
#[derive(Debug)]
pub struct MergeLayer<'i, S> {
    /// Its image.
    pub image: &'i Image<S>,
    /// Its archive says something of the root directory: what the image says of it counts. Without,
    /// the next lower layer's word does.
    pub has_root: bool,
    /// It hides every layer below it.
    pub opaque_root: bool,
    /// What names it in the device table, such as the digits of its diff id.
    pub tag: [u8; 64],
}

/// Writes the merged image of layers, the bottom one first, into an empty file.
pub fn merge<S: Source>(
    layers: &[MergeLayer<'_, S>],
    file: BorrowedFd<'_>,
) -> Result<Written, MergeError> {
    if layers.len() > LAYERS {
        return Err(MergeError::TooManyLayers {
            count: layers.len(),
            limit: LAYERS,
        });
    }
    let mut slots = Vec::with_capacity(layers.len());
    let mut image_bytes = SPARE_BYTES;
    for (number, layer) in (1..).zip(layers) {
        slots.push(slot(number, layer)?);
        image_bytes = image_bytes.saturating_add(layer.image.size_bytes().saturating_mul(2));
    }
    let options = WriteOptions {
        inline_bytes: INLINE_BYTES,
        memory_bytes: MEMORY_BYTES,
        image_bytes,
        // There are none.
        opaque: OpaqueXattr::Trusted,
        compression: Compression::None,
        uuid: uuid(layers),
    };
    let mut writer = ImageWriter::with_devices(file, &options, slots)?;
    tree::Merge::new(layers, &mut writer).run()?;
    Ok(writer.finish()?)
}

/// The place of a layer in the device table.
fn slot<S: Source>(number: usize, layer: &MergeLayer<'_, S>) -> Result<DeviceSlot, MergeError> {
    let form = |what| MergeError::Form {
        layer: number,
        what,
    };
    if layer.image.block_bytes() != BLOCK_BYTES as u64 {
        return Err(form("an image whose blocks have not 4096 bytes"));
    }
    if !layer.image.device_blocks().is_empty() {
        return Err(form("an image with devices of its own"));
    }
    let blocks = layer.image.size_bytes().div_ceil(BLOCK_BYTES as u64);
    Ok(DeviceSlot {
        tag: layer.tag,
        blocks: u32::try_from(blocks).map_err(|_| form("an image of 16 TiB"))?,
        mapped_blkaddr: 0,
    })
}

/// The same layers, the same UUID.
fn uuid<S>(layers: &[MergeLayer<'_, S>]) -> [u8; 16] {
    let mut hasher = Hasher::new(Algorithm::Sha256);
    for layer in layers {
        hasher.update(&layer.tag);
    }
    super::uuid(&hasher.finish())
}
