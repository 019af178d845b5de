//! The tree of hashes that dm-verity reads beside a layer's image (kernel documentation, device-mapper,
//! "verity", "Hash Tree"): SHA-256 without salt over blocks of 4096 bytes, 128 hashes in a block, the top
//! level first, no super block.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;

use gamut_spec::digest::{Algorithm, Digest};

use crate::hash::Hasher;

const BLOCK_BYTES: usize = 4096;
const HASH_BYTES: usize = 32;
/// log2 of the hashes in a block.
const FANOUT_BITS: u32 = 7;
/// Blocks that are read at once.
const BLOCKS: usize = 64;

/// What a tree comes to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Root {
    /// The hash of the top block; of the only block of data, where there is one.
    pub(super) hash: [u8; HASH_BYTES],
    /// Blocks of data.
    pub(super) blocks: u64,
}

/// One level: hashes of what is below it.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// Its first block in the tree's file.
    first: u64,
    blocks: u64,
}

/// Writes the tree over `data` into the empty file `tree`.
pub(super) fn write(data: &File, tree: &File) -> io::Result<Root> {
    let bytes = data.metadata()?.len();
    if bytes == 0 || bytes % BLOCK_BYTES as u64 != 0 {
        return Err(io::Error::other("it does not consist of blocks"));
    }
    let blocks = bytes / BLOCK_BYTES as u64;
    let levels = levels(blocks);
    // From the data to the top: what is hashed, and its blocks.
    let (mut below, mut from, mut count) = (data, 0, blocks);
    for level in &levels {
        hash_level(below, from, count, tree, level.first)?;
        (below, from, count) = (tree, level.first, level.blocks);
    }
    let mut top = [0; BLOCK_BYTES];
    below.read_exact_at(&mut top, from * BLOCK_BYTES as u64)?;
    // A device has no bytes after its last whole sector, and a file of none cannot be one.
    let length = levels.iter().map(|level| level.blocks).sum::<u64>().max(1);
    tree.set_len(length * BLOCK_BYTES as u64)?;
    Ok(Root {
        hash: hash(&top),
        blocks,
    })
}

/// The levels over so many blocks of data, the lowest first.
fn levels(blocks: u64) -> Vec<Level> {
    let mut levels = Vec::new();
    let mut count = blocks;
    while count > 1 {
        count = count.div_ceil(1 << FANOUT_BITS);
        levels.push(Level {
            first: 0,
            blocks: count,
        });
    }
    let mut first = 0;
    for level in levels.iter_mut().rev() {
        level.first = first;
        first += level.blocks;
    }
    levels
}

/// Hashes `count` blocks of `from`, from the block `first` on, into blocks of `into` from `at` on.
fn hash_level(from: &File, first: u64, count: u64, into: &File, at: u64) -> io::Result<()> {
    let mut data = vec![0; BLOCKS * BLOCK_BYTES];
    let mut hashes = Vec::with_capacity(BLOCK_BYTES);
    let mut at = at * BLOCK_BYTES as u64;
    let mut done = 0;
    while done < count {
        let now = (count - done).min(BLOCKS as u64);
        // At most 64.
        let data = &mut data[..now as usize * BLOCK_BYTES];
        from.read_exact_at(data, (first + done) * BLOCK_BYTES as u64)?;
        for block in data.chunks(BLOCK_BYTES) {
            hashes.extend_from_slice(&hash(block));
            if hashes.len() == BLOCK_BYTES {
                into.write_all_at(&hashes, at)?;
                at += BLOCK_BYTES as u64;
                hashes.clear();
            }
        }
        done += now;
    }
    if !hashes.is_empty() {
        hashes.resize(BLOCK_BYTES, 0);
        into.write_all_at(&hashes, at)?;
    }
    Ok(())
}

fn hash(block: &[u8]) -> [u8; HASH_BYTES] {
    match Hasher::of(Algorithm::Sha256, block) {
        Digest::Sha256(hash) => hash,
        // Cannot be: it was asked for the other.
        Digest::Sha512(_) => [0; HASH_BYTES],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(blocks: usize) -> (Root, Vec<u8>) {
        let data = tempfile::tempfile().expect("a file");
        for number in 0..blocks {
            let block = [number as u8; BLOCK_BYTES];
            data.write_all_at(&block, (number * BLOCK_BYTES) as u64)
                .expect("written");
        }
        let tree = tempfile::tempfile().expect("a file");
        let root = write(&data, &tree).expect("a tree");
        let mut bytes = vec![0; tree.metadata().expect("there").len() as usize];
        tree.read_exact_at(&mut bytes, 0).expect("read");
        (root, bytes)
    }

    #[test]
    fn the_top_block_comes_first() {
        let (root, bytes) = tree(1);
        assert_eq!(root.hash, hash(&[0; BLOCK_BYTES]));
        assert_eq!(bytes.len(), BLOCK_BYTES);
        let (root, bytes) = tree(128);
        assert_eq!(bytes.len(), BLOCK_BYTES);
        assert_eq!(root.hash, hash(&bytes));
        assert_eq!(bytes[32..64], hash(&[1; BLOCK_BYTES]));
        let (root, bytes) = tree(129);
        assert_eq!(bytes.len(), 3 * BLOCK_BYTES);
        assert_eq!(root.blocks, 129);
        let (top, low) = bytes.split_at(BLOCK_BYTES);
        assert_eq!(root.hash, hash(top));
        assert_eq!(top[..32], hash(&low[..BLOCK_BYTES]));
        assert_eq!(top[32..64], hash(&low[BLOCK_BYTES..]));
        assert_eq!(low[BLOCK_BYTES..][..32], hash(&[128; BLOCK_BYTES]));
        assert!(top[64..].iter().all(|&byte| byte == 0));
    }
}
