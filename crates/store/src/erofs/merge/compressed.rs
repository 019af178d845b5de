//! A layer's compressed file in the merged image: the same indexes, whose addresses count from where the
//! layer begins among all devices.

use super::super::format::{ClusterIndex, FileType};
use super::super::image::{Content, ImageWriter};
use super::super::read::{ClusterIndexes, Inode, ReadError, Source};
use super::super::records::Slot;
use super::MergeError;
use crate::unpack::archive::Attributes;

/// Adds a file of the layer that is device `device`, whose extents have been found within it.
pub(super) fn add<S: Source>(
    writer: &mut ImageWriter<'_>,
    device: u16,
    inode: &Inode,
    attributes: &Attributes,
    indexes: ClusterIndexes<'_, S>,
) -> Result<Slot, MergeError> {
    let layer = usize::from(device);
    let first = match writer.devices.get(layer - 1) {
        Some(slot) if slot.mapped_blkaddr != 0 => slot.mapped_blkaddr,
        _ => {
            return Err(MergeError::Form {
                layer,
                what: "an image with compressed files beyond 16 TiB",
            });
        }
    };
    let (header, blocks) = (indexes.header(), indexes.blocks());
    let mut table = Shifted {
        indexes,
        first,
        error: None,
    };
    let content = Content::Clusters {
        bytes: inode.size,
        blocks,
        header,
        table: &mut table,
    };
    let slot = writer.add(FileType::File, attributes, content)?;
    match table.error {
        Some(error) => Err(MergeError::Layer { layer, error }),
        None => Ok(slot),
    }
}

/// Indexes with other addresses.
#[derive(Debug)]
struct Shifted<'i, S> {
    indexes: ClusterIndexes<'i, S>,
    /// Where block 0 of the layer is.
    first: u32,
    /// What an index could not be read for; the others come to nothing.
    error: Option<ReadError>,
}

impl<S: Source> Iterator for Shifted<'_, S> {
    type Item = ClusterIndex;

    fn next(&mut self) -> Option<ClusterIndex> {
        Some(match self.indexes.next()? {
            Ok(ClusterIndex::Head {
                head,
                partial,
                offset,
                block,
            }) => ClusterIndex::Head {
                head,
                partial,
                offset,
                // No overflow: the layer ends below 2^32. What is beyond its end no extent has.
                block: self.first.saturating_add(block),
            },
            Ok(inside) => inside,
            Err(error) => {
                self.error = Some(error);
                ClusterIndex::Inside { back: 0, ahead: 0 }
            }
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.indexes.size_hint()
    }
}

impl<S: Source> ExactSizeIterator for Shifted<'_, S> {}
