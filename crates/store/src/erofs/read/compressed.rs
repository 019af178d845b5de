//! Compressed files: what is said of one beside its inode, and where its physical clusters lie.

use super::data::Window;
use super::indexes::{ClusterIndexes, Found};
use super::inode::{Body, Problem};
use super::{Image, Inode, Source};
use crate::erofs::format::{self, Algorithm, Head, Layout, MAP_HEADER_BYTES, MapHeader};

/// [`MapHeader::advise`], as far as it is known.
const ADVISE: u16 = format::ADVISE_COMPACTED_2B
    | format::ADVISE_BIG_1
    | format::ADVISE_BIG_2
    | format::ADVISE_INTERLACED;
/// log2 of the bytes of the largest logical cluster: an offset in one has 16 bits.
const CLUSTER_BITS: u32 = 16;
/// The same for compact indexes, and for those of two bytes.
const COMPACT_CLUSTER_BITS: u32 = 14;
const SHORT_CLUSTER_BITS: u32 = 12;

/// A physical cluster whose bytes have to be changed before they are a file's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cluster {
    /// Which file: 0 is the image's own, others count from 1 in the device table.
    pub device: u16,
    /// Where it begins, in bytes.
    pub start: u64,
    /// Its bytes: whole blocks, at most [`format::CLUSTER_BYTES`].
    pub bytes: u32,
    /// How they are kept.
    pub packing: Packing,
    /// Bytes of the whole extent, at most [`format::EXTENT_BYTES`].
    pub extent_bytes: u32,
    /// How many of them come before those that were asked for.
    pub skip: u32,
}

/// How an extent's bytes are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packing {
    /// Compressed.
    Algorithm(Algorithm),
    /// As they are, but so that the first one is at this offset in a block; what does not fit behind it
    /// is at the beginning.
    Interlaced(u32),
}

/// The indexes of a file that has been checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Clusters {
    /// Where they begin, in bytes.
    pub(super) start: u64,
    pub(super) form: Form,
    pub(super) header: MapHeader,
    /// log2 of the bytes of a logical cluster.
    pub(super) bits: u32,
    /// Blocks of all physical clusters, as the inode says; for stat(2) only.
    pub(super) blocks: u32,
}

/// What indexes are made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// Of eight bytes each.
    Full,
    /// So many of four bytes, then so many of two, then of four.
    Compact { initial: u64, short: u64 },
}

impl<S: Source> Image<S> {
    /// The indexes of a file of `size` bytes, whose xattrs end at `rest`.
    pub(super) fn clusters(
        &self,
        raw: &format::Inode,
        size: u64,
        rest: u64,
    ) -> Result<Clusters, Problem> {
        let unsupported = |what| Err(Problem::Unsupported(what));
        if !self.geometry.zero_padding {
            return unsupported("a file compressed as before Linux 5.3");
        }
        let header_at = rest.next_multiple_of(MAP_HEADER_BYTES as u64);
        let mut bytes = [0; MAP_HEADER_BYTES];
        self.read_exact(&mut bytes, header_at)
            .map_err(Problem::Read)?;
        let header = MapHeader::from_bytes(&bytes);
        let bits = u32::from(self.geometry.block_bits) + u32::from(header.cluster_bits & 0xf);
        if header.cluster_bits & format::FRAGMENT_INODE != 0
            || header.advise & format::ADVISE_FRAGMENT != 0
        {
            return unsupported("a compressed file with fragments");
        }
        if header.advise & format::ADVISE_INLINE != 0 {
            return unsupported("a compressed file with an inline tail");
        }
        if header.advise & !ADVISE != 0 || bits > CLUSTER_BITS {
            return unsupported("a form of compressed files that is not known");
        }
        self.algorithm(header.algorithms & 0xf)?;
        let start = header_at + MAP_HEADER_BYTES as u64;
        let count = size.div_ceil(1 << bits);
        let short = header.advise & format::ADVISE_COMPACTED_2B != 0;
        let (start, form, length) = match raw.layout {
            Layout::CompressedFull if short => {
                return unsupported("a compressed file with encoded extents");
            }
            Layout::CompressedFull => {
                let start = start + format::FULL_INDEX_GAP as u64;
                let entry = format::CLUSTER_INDEX_BYTES as u64;
                (start, Form::Full, count.checked_mul(entry))
            }
            _ => {
                if bits > COMPACT_CLUSTER_BITS || short && bits > SHORT_CLUSTER_BITS {
                    return unsupported("compact indexes of large clusters");
                }
                // Up to a multiple of 32 bytes.
                let initial = (32 - start % 32) / 4 % 8;
                let short = match short {
                    true => count.saturating_sub(initial) / 16 * 16,
                    false => 0,
                };
                // At most 2^54 of them.
                (
                    start,
                    Form::Compact { initial, short },
                    Some(count * 4 - short * 2),
                )
            }
        };
        let end = length.and_then(|length| start.checked_add(length));
        if end.is_none_or(|end| end > self.bytes) {
            return Err(Problem::Damaged("its indexes reach past the image's end"));
        }
        Ok(Clusters {
            start,
            form,
            header,
            bits,
            blocks: raw.data,
        })
    }

    /// The indexes of a compressed file, as full ones; `None`: it is not compressed.
    pub(in crate::erofs) fn cluster_indexes(&self, inode: &Inode) -> Option<ClusterIndexes<'_, S>> {
        let Body::Compressed(clusters) = inode.body else {
            return None;
        };
        Some(ClusterIndexes {
            image: self,
            clusters,
            nid: inode.nid,
            size: inode.size,
            window: Window::default(),
            next: 0,
        })
    }

    /// The algorithm of a number.
    fn algorithm(&self, number: u8) -> Result<Algorithm, Problem> {
        match Algorithm::ALL.get(usize::from(number)) {
            Some(Algorithm::Lzma) => Err(Problem::Unsupported("a file compressed with LZMA")),
            Some(Algorithm::Deflate) => Err(Problem::Unsupported("a file compressed with DEFLATE")),
            Some(algorithm) => Ok(*algorithm),
            None => Err(Problem::Damaged("its compression is none")),
        }
    }

    /// How the bytes of an extent are kept; `None`: as they are.
    pub(super) fn packing(
        &self,
        clusters: &Clusters,
        found: &Found,
    ) -> Result<Option<Packing>, Problem> {
        let numbers = clusters.header.algorithms;
        Ok(match found.head {
            Head::First => Some(Packing::Algorithm(self.algorithm(numbers & 0xf)?)),
            Head::Second => Some(Packing::Algorithm(self.algorithm(numbers >> 4)?)),
            Head::Plain if clusters.header.advise & format::ADVISE_INTERLACED != 0 => {
                let offset = found.offset & ((1 << self.geometry.block_bits) - 1);
                Some(Packing::Interlaced(offset as u32))
            }
            Head::Plain => None,
        })
    }

    /// Where the physical cluster of an extent is: device, place and length. In one with devices, blocks
    /// are counted through all of them.
    pub(super) fn locate(&self, found: &Found) -> (u16, u64, u64) {
        let geometry = &self.geometry;
        let block = u64::from(found.block);
        let devices = geometry.device_starts.iter().zip(&geometry.device_blocks);
        let on = (1..).zip(devices).find(|(_, (start, blocks))| {
            let start = u64::from(**start);
            start != 0 && (start..start + u64::from(**blocks)).contains(&block)
        });
        let (device, block) = match on {
            Some((device, (start, _))) => (device, block - u64::from(*start)),
            None => (0, block),
        };
        let bits = geometry.block_bits;
        (device, block << bits, found.blocks << bits)
    }
}
