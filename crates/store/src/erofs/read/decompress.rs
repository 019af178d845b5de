//! The bytes of extents that are not kept as they are.

use std::sync::PoisonError;

use super::compressed::{Cluster, Packing};
use super::{Image, ReadError, Source};
use crate::erofs::format::Algorithm;

/// The extent that was decompressed last: who reads a file in small pieces has it done once.
#[derive(Debug, Default)]
pub(super) struct Recent {
    cluster: Option<Cluster>,
    bytes: Vec<u8>,
}

impl<S: Source> Image<S> {
    /// Fills `buffer` from an extent, which has as many bytes after those that are skipped.
    pub(super) fn read_cluster(
        &self,
        nid: u64,
        buffer: &mut [u8],
        cluster: Cluster,
    ) -> Result<(), ReadError> {
        let skip = cluster.skip as usize;
        let whole = Cluster { skip: 0, ..cluster };
        if skip == 0 && buffer.len() == cluster.extent_bytes as usize {
            return self.decompress(nid, buffer, whole);
        }
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        if recent.cluster != Some(whole) {
            recent.cluster = None;
            recent.bytes.resize(whole.extent_bytes as usize, 0);
            self.decompress(nid, &mut recent.bytes, whole)?;
            recent.cluster = Some(whole);
        }
        buffer.copy_from_slice(&recent.bytes[skip..skip + buffer.len()]);
        Ok(())
    }

    /// All of an extent.
    fn decompress(&self, nid: u64, extent: &mut [u8], cluster: Cluster) -> Result<(), ReadError> {
        let damaged = |what| ReadError::DamagedInode { nid, what };
        let mut stored = vec![0; cluster.bytes as usize];
        self.read_device(cluster.device, &mut stored, cluster.start)?;
        let algorithm = match cluster.packing {
            Packing::Algorithm(algorithm) => algorithm,
            Packing::Interlaced(offset) => {
                let block = 1 << self.geometry.block_bits;
                let behind = (block - offset as usize).min(extent.len());
                let (first, rest) = extent.split_at_mut(behind);
                let from = stored.len() - (block - offset as usize);
                first.copy_from_slice(&stored[from..from + behind]);
                // Not longer: an extent fits into its cluster.
                rest.copy_from_slice(&stored[..rest.len()]);
                return Ok(());
            }
        };
        // It ends with its blocks, and begins with whatever is not zero, in the first of them.
        let padding = stored.iter().take_while(|byte| **byte == 0).count();
        let stored = &stored[padding..];
        let length = match algorithm {
            Algorithm::Lz4 => lz4_flex::block::decompress_into(stored, extent).ok(),
            Algorithm::Zstd => zstd::bulk::decompress_to_buffer(stored, extent).ok(),
            // Refused when the inode was read.
            Algorithm::Lzma | Algorithm::Deflate => None,
        };
        match length == Some(extent.len()) {
            true => Ok(()),
            false => Err(damaged("an extent cannot be decompressed")),
        }
    }
}
