//! A file's data, compressed as it comes: cut into extents of the same length, each of which becomes a
//! physical cluster of as many whole blocks as it needs, one after the other.
//!
//! mkfs.erofs does it the other way round: it fills clusters of one length with as much data as goes in,
//! so that none has padding but the last. Here half a block is lost for each extent, some 4 % of what is
//! written; in return extents begin where they can be foretold, know nothing of each other, and any
//! number of processors can compress them in one pass, with the same result.
//!
//! Indexes are full ones, eight bytes for each block: a merged image copies them and adds to addresses.
//! Of an extent that does not shrink each block is a cluster of its own, which Linux has always known.

use super::compression::{Codec, Compression};
use super::format::{BLOCK_BYTES, BLOCK_COUNT, ClusterIndex, Head};
use super::output::Output;
use super::{ImageError, format};

/// Blocks of an extent. What is read of one, however little, costs decompressing up to all of it; twice
/// as many would take 3 to 4 % less.
pub(super) const EXTENT_BLOCKS: usize = 16;
/// Bytes of an extent.
pub(super) const EXTENT_BYTES: usize = EXTENT_BLOCKS * BLOCK_BYTES;
/// Extents that wait to be compressed together.
const BATCH_EXTENTS: usize = 16;
/// Threads, at most: more would wait for the archive.
const THREADS: usize = 8;

/// Compresses one file after the other.
#[derive(Debug)]
pub(super) struct Press {
    compression: Compression,
    /// One for each thread.
    codecs: Vec<Codec>,
    /// Data that waits.
    pending: Vec<u8>,
    /// What has become of the extents of a batch.
    stored: Vec<Vec<u8>>,
    /// How many blocks each extent of the present file has come to.
    extents: Vec<u8>,
    first: u32,
    bytes: u64,
}

impl Press {
    /// For files that are to be compressed so. `None`: they are not.
    pub(super) fn new(
        compression: Compression,
        threads: usize,
    ) -> Result<Option<Self>, ImageError> {
        let codecs = (0..threads.clamp(1, THREADS))
            .map(|_| Codec::new(compression))
            .collect::<Result<Option<Vec<_>>, _>>()?;
        Ok(codecs.map(|codecs| Self {
            compression,
            codecs,
            pending: Vec::new(),
            stored: Vec::new(),
            extents: Vec::new(),
            first: 0,
            bytes: 0,
        }))
    }

    /// A file begins.
    pub(super) fn begin(&mut self, out: &mut Output<'_>) -> Result<(), ImageError> {
        self.first = out.block()?;
        self.bytes = 0;
        self.extents.clear();
        self.pending.clear();
        Ok(())
    }

    /// More of its data.
    pub(super) fn add(&mut self, out: &mut Output<'_>, mut data: &[u8]) -> Result<(), ImageError> {
        while !data.is_empty() {
            let room = BATCH_EXTENTS * EXTENT_BYTES - self.pending.len();
            let (now, later) = data.split_at(data.len().min(room));
            self.pending.extend_from_slice(now);
            self.bytes += now.len() as u64;
            data = later;
            if now.len() == room {
                self.flush(out)?;
            }
        }
        Ok(())
    }

    /// The file ends.
    pub(super) fn end(&mut self, out: &mut Output<'_>) -> Result<Pressed<'_>, ImageError> {
        self.flush(out)?;
        Ok(Pressed {
            compression: self.compression,
            first: self.first,
            bytes: self.bytes,
            extents: &self.extents,
        })
    }

    fn flush(&mut self, out: &mut Output<'_>) -> Result<(), ImageError> {
        let count = self.pending.len().div_ceil(EXTENT_BYTES);
        self.stored
            .resize_with(self.stored.len().max(count), Vec::new);
        self.compress(count);
        for (extent, stored) in self.pending.chunks(EXTENT_BYTES).zip(&self.stored) {
            let written = match stored.is_empty() {
                true => extent,
                false => {
                    // The kernel finds the beginning: it is no zero byte, and the end is a block's.
                    out.zeros((stored.len().next_multiple_of(BLOCK_BYTES) - stored.len()) as u64)?;
                    stored
                }
            };
            out.append(written)?;
            // At most 16.
            self.extents.push(written.len().div_ceil(BLOCK_BYTES) as u8);
        }
        self.pending.clear();
        Ok(())
    }

    /// Compresses what waits, each thread every so many-th extent.
    fn compress(&mut self, count: usize) {
        let threads = self.codecs.len().min(count);
        let mut shares: Vec<Vec<(&[u8], &mut Vec<u8>)>> = Vec::new();
        shares.resize_with(threads, Vec::new);
        let extents = self.pending.chunks(EXTENT_BYTES).zip(&mut self.stored);
        for (number, extent) in extents.enumerate() {
            shares[number % threads].push(extent);
        }
        let work = |codec: &mut Codec, share: Vec<(&[u8], &mut Vec<u8>)>| {
            for (extent, stored) in share {
                codec.compress(extent, stored);
            }
        };
        let mut pairs = self.codecs.iter_mut().zip(shares);
        std::thread::scope(|scope| {
            let own = pairs.next();
            for (codec, share) in pairs {
                scope.spawn(move || work(codec, share));
            }
            if let Some((codec, share)) = own {
                work(codec, share);
            }
        });
    }
}

/// What a file's data has become.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pressed<'p> {
    compression: Compression,
    /// Its first block.
    pub(super) first: u32,
    /// Its bytes, uncompressed.
    pub(super) bytes: u64,
    /// Blocks of each extent.
    extents: &'p [u8],
}

impl<'p> Pressed<'p> {
    /// The algorithm, and what its indexes are preceded by. `None`: nothing has shrunk, and its blocks
    /// are those of any other file.
    pub(super) fn header(&self) -> Option<format::MapHeader> {
        let clusters = self.bytes.div_ceil(BLOCK_BYTES as u64);
        let algorithm = self.compression.algorithm()?;
        (self.blocks() < clusters).then_some(format::MapHeader {
            advise: format::ADVISE_BIG_1,
            algorithms: algorithm.number(),
            cluster_bits: 0,
        })
    }

    /// Blocks that it takes.
    pub(super) fn blocks(&self) -> u64 {
        self.extents.iter().map(|&blocks| u64::from(blocks)).sum()
    }

    /// The indexes, in order.
    pub(super) fn indexes(&self) -> Indexes<'p> {
        Indexes {
            extents: self.extents.iter(),
            left: self.bytes.div_ceil(BLOCK_BYTES as u64),
            block: self.first,
            present: Extent::default(),
        }
    }
}

/// See [`Pressed::indexes`].
#[derive(Debug)]
pub(super) struct Indexes<'p> {
    extents: std::slice::Iter<'p, u8>,
    /// Indexes that are still to come.
    left: u64,
    /// The first block of what is next.
    block: u32,
    present: Extent,
}

/// The extent whose indexes are being made.
#[derive(Debug, Clone, Copy, Default)]
struct Extent {
    /// How many of them there have been.
    at: u16,
    /// And will be.
    clusters: u16,
    /// Blocks of its physical cluster.
    blocks: u16,
}

impl Iterator for Indexes<'_> {
    type Item = ClusterIndex;

    fn next(&mut self) -> Option<ClusterIndex> {
        if self.present.at == self.present.clusters {
            self.present = Extent {
                at: 0,
                // At most 16.
                clusters: self.left.min(EXTENT_BLOCKS as u64) as u16,
                blocks: u16::from(*self.extents.next()?),
            };
        }
        let Extent {
            at,
            clusters,
            blocks,
        } = self.present;
        self.left -= 1;
        self.present.at += 1;
        let plain = blocks == clusters;
        if plain || at == 0 {
            let block = self.block;
            // Wraps only after the last one: all blocks have been written.
            let step = if plain { 1 } else { blocks };
            self.block = self.block.wrapping_add(step.into());
            return Some(ClusterIndex::Head {
                head: if plain { Head::Plain } else { Head::First },
                partial: false,
                offset: 0,
                block,
            });
        }
        Some(ClusterIndex::Inside {
            back: if at == 1 { BLOCK_COUNT | blocks } else { at },
            ahead: clusters - at,
        })
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.left).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Indexes<'_> {}

#[cfg(test)]
mod tests {
    use std::os::fd::AsFd;
    use std::os::unix::fs::FileExt;

    use super::*;

    #[test]
    fn every_block_of_a_file_has_an_index() {
        // 16 blocks in 3, 16 that did not shrink, 3 in 2.
        let pressed = Pressed {
            compression: Compression::Lz4,
            first: 100,
            bytes: (34 * BLOCK_BYTES + 1) as u64,
            extents: &[3, 16, 2],
        };
        assert!(pressed.header().is_some());
        let indexes: Vec<_> = pressed.indexes().collect();
        assert_eq!(indexes.len(), 35);
        let head = |head, block| ClusterIndex::Head {
            head,
            partial: false,
            offset: 0,
            block,
        };
        let inside = |back, ahead| ClusterIndex::Inside { back, ahead };
        assert_eq!(indexes[0], head(Head::First, 100));
        assert_eq!(indexes[1], inside(BLOCK_COUNT | 3, 15));
        assert_eq!(indexes[15], inside(15, 1));
        assert_eq!(indexes[16], head(Head::Plain, 103));
        assert_eq!(indexes[31], head(Head::Plain, 118));
        assert_eq!(indexes[32], head(Head::First, 119));
        assert_eq!(indexes[33..], [inside(BLOCK_COUNT | 2, 2), inside(2, 1)]);
    }

    #[test]
    fn any_number_of_threads_writes_the_same() {
        let data: Vec<u8> = (0..40 * EXTENT_BYTES + 5)
            .map(|at| ((at / 3) ^ (at >> 11)) as u8)
            .collect();
        let write = |threads, compression| {
            let file = tempfile::tempfile().expect("a file");
            let mut out = Output::new(file.as_fd(), 1 << 30);
            let press = Press::new(compression, threads).expect("made");
            let mut press = press.expect("one");
            for piece in data.chunks(100_000 * threads) {
                press.begin(&mut out).expect("begun");
                press.add(&mut out, piece).expect("written");
                press.end(&mut out).expect("written");
            }
            press.begin(&mut out).expect("begun");
            press.add(&mut out, &data).expect("written");
            let blocks = press.end(&mut out).expect("written").extents.to_vec();
            out.flush().expect("written");
            let length = blocks.iter().map(|&blocks| u64::from(blocks)).sum::<u64>();
            let mut bytes = vec![0; length as usize * BLOCK_BYTES];
            let start = u64::from(press.first) * BLOCK_BYTES as u64;
            let read = file.read_at(&mut bytes, start).expect("read");
            // The last block is not padded yet.
            assert!(bytes.len() - read < BLOCK_BYTES);
            (blocks, bytes)
        };
        for compression in [Compression::Lz4, Compression::Zstd(3)] {
            let one = write(1, compression);
            assert_eq!(one.0.len(), 41);
            assert!(
                [2, 3, 8]
                    .iter()
                    .all(|&threads| write(threads, compression) == one)
            );
        }
    }

    #[test]
    fn what_did_not_shrink_needs_no_indexes() {
        let pressed = Pressed {
            compression: Compression::Zstd(3),
            first: 1,
            bytes: (17 * BLOCK_BYTES) as u64,
            extents: &[16, 1],
        };
        assert_eq!(pressed.header(), None);
    }
}
