//! A layer's file in the merged image: inline data is copied, compressed files keep their indexes, and
//! everything else becomes chunks that lie in the layer.

use super::super::clusters::EXTENT_BYTES;
use super::super::format::{
    Algorithm, BLOCK_BITS, BLOCK_BYTES, CHUNK_BITS_MASK, CHUNK_INDEXES, ChunkIndex, FileType,
    NULL_ADDRESS,
};
use super::super::image::{Content, ImageWriter};
use super::super::read::{Extent, Extents, Image, Inode, Packing, Place, ReadError, Source};
use super::super::records::Slot;
use super::{MergeError, compressed};
use crate::unpack::archive::Attributes;

/// Adds a file of the layer that is device `device`, which is also the layer's number.
pub(super) fn add<S: Source>(
    writer: &mut ImageWriter<'_>,
    image: &Image<S>,
    device: u16,
    inode: &Inode,
    attributes: &Attributes,
) -> Result<Slot, MergeError> {
    let failed = |error| MergeError::Layer {
        layer: device.into(),
        error,
    };
    let mut outline = Outline::default();
    for extent in image.extents(inode, 0) {
        outline.add(extent.map_err(failed)?);
    }
    if let Some(indexes) = image.cluster_indexes(inode) {
        if outline.too_large {
            let what = "an image with physical clusters of more than 64 KiB";
            let layer = device.into();
            return Err(MergeError::Form { layer, what });
        }
        return compressed::add(writer, device, inode, attributes, indexes);
    }
    let mut tail_block = 0;
    if let Some(tail) = outline.tail {
        // Less than a block.
        let mut bytes = vec![0; tail.length as usize];
        image
            .read_at(inode, &mut bytes, tail.offset)
            .map_err(failed)?;
        if tail.offset == 0 {
            let content = Content::Inline(&bytes);
            return Ok(writer.add(FileType::File, attributes, content)?);
        }
        // A file is inline or in chunks, not both: the tail gets a block here.
        tail_block = writer.out.block()?;
        writer.out.append(&bytes)?;
    }
    if inode.size == 0 {
        return Ok(writer.add(FileType::File, attributes, Content::Empty)?);
    }
    let bits = outline.chunk_bits(inode.size);
    let chunk_bytes = 1_u64 << (u32::from(BLOCK_BITS) + bits);
    let mut table = Table {
        extents: image.extents(inode, 0),
        present: None,
        chunk_bytes,
        offset: 0,
        // Beyond memory only if a layer's own table is.
        left: usize::try_from(inode.size.div_ceil(chunk_bytes)).unwrap_or(usize::MAX),
        device,
        tail_block,
        error: None,
    };
    let slot = writer.add(
        FileType::File,
        attributes,
        Content::Chunks {
            bytes: inode.size,
            // At most 31.
            format: CHUNK_INDEXES | bits as u16,
            table: &mut table,
        },
    )?;
    match table.error {
        Some(error) => Err(failed(error)),
        None => Ok(slot),
    }
}

/// What has to be known of a file before its table is written.
#[derive(Debug, Default)]
struct Outline {
    /// The blocks at which extents begin, or-ed: a chunk may have as many blocks as divide all.
    beginnings: u64,
    /// What is inline.
    tail: Option<Extent>,
    /// There is a physical cluster that takes more than the merged image says of its largest.
    too_large: bool,
}

impl Outline {
    fn add(&mut self, extent: Extent) {
        self.beginnings |= extent.offset >> BLOCK_BITS;
        match extent.place {
            Place::Inline { .. } => self.tail = Some(extent),
            Place::Packed(cluster) => {
                let most = EXTENT_BYTES as u32;
                let windowed = cluster.packing == Packing::Algorithm(Algorithm::Zstd);
                self.too_large |= cluster.bytes > most || windowed && cluster.extent_bytes > most;
            }
            Place::Hole | Place::Blocks { .. } => {}
        }
    }

    /// log2 of the blocks in a chunk: as many as possible, but no more than the file has.
    fn chunk_bits(&self, bytes: u64) -> u32 {
        let whole = bytes.div_ceil(BLOCK_BYTES as u64).next_power_of_two();
        (self.beginnings | whole)
            .trailing_zeros()
            .min(CHUNK_BITS_MASK.into())
    }
}

/// The chunks of a file, in order.
#[derive(Debug)]
struct Table<'i, S> {
    extents: Extents<'i, S>,
    present: Option<Extent>,
    chunk_bytes: u64,
    /// Where the next chunk begins in the file.
    offset: u64,
    /// Chunks that are still to come.
    left: usize,
    device: u16,
    /// The block of the merged image that has the inline tail.
    tail_block: u32,
    /// What the layer's table could not be read for; holes come after it.
    error: Option<ReadError>,
}

impl<S: Source> Table<'_, S> {
    /// The extent that the next chunk lies in.
    fn extent(&mut self) -> Option<Extent> {
        loop {
            if let Some(extent) = self.present
                && self.offset < extent.offset + extent.length
            {
                return Some(extent);
            }
            match self.extents.next()? {
                Ok(extent) => self.present = Some(extent),
                Err(error) => self.error = Some(error),
            }
        }
    }
}

impl<S: Source> Iterator for Table<'_, S> {
    type Item = ChunkIndex;

    fn next(&mut self) -> Option<ChunkIndex> {
        self.left = self.left.checked_sub(1)?;
        let extent = self.extent();
        let index = match extent.map(|extent| (extent.place, self.offset - extent.offset)) {
            // Compressed files have no chunks.
            None | Some((Place::Hole | Place::Packed(_), _)) => ChunkIndex {
                device: 0,
                block: NULL_ADDRESS,
            },
            Some((Place::Inline { .. }, _)) => ChunkIndex {
                device: 0,
                block: self.tail_block,
            },
            Some((Place::Blocks { start, .. }, within)) => ChunkIndex {
                device: self.device,
                // The reader has checked that it is within the image, whose blocks have 32 bits.
                block: ((start + within) >> BLOCK_BITS) as u32,
            },
        };
        self.offset = self.offset.saturating_add(self.chunk_bytes);
        Some(index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<S: Source> ExactSizeIterator for Table<'_, S> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn bits(offsets: &[u64], bytes: u64) -> u32 {
        let mut outline = Outline::default();
        for &offset in offsets {
            outline.add(Extent {
                offset,
                length: 1,
                place: Place::Hole,
            });
        }
        outline.chunk_bits(bytes)
    }

    #[test]
    fn chunks_are_as_large_as_the_extents_allow() {
        let block = BLOCK_BYTES as u64;
        assert_eq!(bits(&[0], 1), 0);
        assert_eq!(bits(&[0], block), 0);
        assert_eq!(bits(&[0], block + 1), 1);
        assert_eq!(bits(&[0], 5 * block), 3);
        assert_eq!(bits(&[0], 1 << 62), 31);
        assert_eq!(bits(&[0, 4 * block, 12 * block], 100 * block), 2);
        assert_eq!(bits(&[0, 3 * block], 4 * block), 0);
    }
}
