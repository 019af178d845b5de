//! Files with holes: chunks of one size, of which those with data are written and the others are
//! holes in the chunk table.

use super::format::{BLOCK_BITS, BLOCK_BYTES, BLOCK_MAP_BYTES, ChunkIndex, NULL_ADDRESS};
use crate::unpack::sparse::Sparse;

/// log2 of the most blocks in a chunk: a gibibyte.
const CHUNK_BITS: u16 = 18;

/// Neighbouring chunks with data.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stretch {
    /// The first chunk.
    pub(super) chunk: u64,
    /// How many there are.
    pub(super) count: u64,
}

/// How a sparse file is cut into chunks.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Cut {
    /// log2 of blocks in a chunk.
    pub(super) bits: u16,
    /// Chunks in the file.
    pub(super) chunks: u64,
    /// Chunks with data, ascending.
    pub(super) stretches: Vec<Stretch>,
}

impl Cut {
    /// The cut that takes the least space: small chunks make a long table, large ones hold zeros.
    pub(super) fn of(sparse: &Sparse) -> Self {
        let cost = |cut: &Self| {
            let data: u64 = cut.stretches.iter().map(|stretch| stretch.count).sum();
            let data = data
                .saturating_mul(cut.chunk_bytes())
                .min(sparse.real_bytes);
            data + cut.chunks * BLOCK_MAP_BYTES as u64
        };
        let mut best = Self::with(sparse, 0);
        for bits in 1..=CHUNK_BITS {
            let next = Self::with(sparse, bits);
            if cost(&next) < cost(&best) {
                best = next;
            }
        }
        best
    }

    fn with(sparse: &Sparse, bits: u16) -> Self {
        let shift = u32::from(BLOCK_BITS) + u32::from(bits);
        let mut stretches: Vec<Stretch> = Vec::new();
        for &(offset, length) in sparse.runs.iter().filter(|(_, length)| *length > 0) {
            let (first, last) = (offset >> shift, (offset + length - 1) >> shift);
            match stretches.last_mut() {
                Some(before) if first <= before.chunk + before.count => {
                    before.count = last + 1 - before.chunk;
                }
                _ => stretches.push(Stretch {
                    chunk: first,
                    count: last + 1 - first,
                }),
            }
        }
        Self {
            bits,
            chunks: sparse.real_bytes.div_ceil(1 << shift),
            stretches,
        }
    }

    /// Bytes of a chunk.
    pub(super) fn chunk_bytes(&self) -> u64 {
        (BLOCK_BYTES as u64) << self.bits
    }

    /// The chunk table, when the first stretch's data begins at `block` and the others' follows.
    pub(super) fn table(&self, block: u32) -> Table<'_> {
        Table {
            cut: self,
            chunk: 0,
            stretch: 0,
            block,
        }
    }
}

/// See [`Cut::table`].
#[derive(Debug)]
pub(super) struct Table<'c> {
    cut: &'c Cut,
    chunk: u64,
    stretch: usize,
    block: u32,
}

impl Iterator for Table<'_> {
    type Item = ChunkIndex;

    fn next(&mut self) -> Option<ChunkIndex> {
        if self.chunk == self.cut.chunks {
            return None;
        }
        let mut index = ChunkIndex {
            device: 0,
            block: NULL_ADDRESS,
        };
        if let Some(stretch) = self.cut.stretches.get(self.stretch)
            && self.chunk >= stretch.chunk
        {
            index.block = self.block;
            // Wraps only after the last chunk: all blocks have been written.
            self.block = self.block.wrapping_add(1 << self.cut.bits);
            self.stretch += usize::from(self.chunk + 1 == stretch.chunk + stretch.count);
        }
        self.chunk += 1;
        Some(index)
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::try_from(self.cut.chunks - self.chunk).unwrap_or(usize::MAX);
        (left, Some(left))
    }
}

impl ExactSizeIterator for Table<'_> {}

#[cfg(test)]
mod tests {
    use super::*;

    fn sparse(real_bytes: u64, runs: &[(u64, u64)]) -> Sparse {
        let runs = runs.to_vec();
        Sparse { real_bytes, runs }
    }

    #[test]
    fn a_chunk_is_as_large_as_is_cheapest() {
        let one = Cut::of(&sparse(64 << 30, &[(1 << 30, 512)]));
        assert_eq!(one.stretches.len(), 1);
        assert!(one.chunks * 4 + one.chunk_bytes() < 2 << 20, "{one:?}");
        let empty = Cut::of(&sparse(8 << 30, &[(5, 0)]));
        assert_eq!((empty.chunks, empty.stretches.len()), (8, 0));
    }

    #[test]
    fn the_table_has_an_address_for_each_chunk_with_data() {
        let cut = Cut {
            bits: 1,
            chunks: 6,
            stretches: vec![
                Stretch { chunk: 1, count: 2 },
                Stretch { chunk: 5, count: 1 },
            ],
        };
        let blocks: Vec<_> = cut.table(10).map(|index| index.block).collect();
        let hole = NULL_ADDRESS;
        assert_eq!(blocks, [hole, 10, 12, hole, hole, 14]);
    }

    #[test]
    fn runs_in_one_chunk_or_next_to_each_other_are_one_stretch() {
        let cut = Cut::with(
            &sparse(1 << 20, &[(0, 1), (100, 4000), (9000, 1), (50_000, 1)]),
            0,
        );
        let expected = [
            Stretch { chunk: 0, count: 3 },
            Stretch {
                chunk: 12,
                count: 1,
            },
        ];
        assert_eq!(cut.stretches, expected);
    }
}
