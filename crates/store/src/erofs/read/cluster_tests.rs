//! Compressed files that lie, one lie at a time: `file` of the sample, of three blocks in one.

use super::tests::{FILE, inode, put, refused, sample, set_super};
use super::{Follow, Image, ReadError};
use crate::erofs::format::{
    self, ADVISE_BIG_1, BLOCK_BYTES, BLOCK_COUNT, ClusterIndex, FileType, Head,
    INCOMPAT_COMPR_CFGS, INCOMPAT_ZERO_PADDING, Layout, MapHeader,
};

/// Bytes of the file.
const BYTES: usize = 3 * BLOCK_BYTES;

/// What the file's inode is followed by.
#[derive(Debug, Clone)]
struct Map {
    layout: Layout,
    size: u64,
    header: MapHeader,
    indexes: [ClusterIndex; 3],
}

fn head(block: u32) -> ClusterIndex {
    ClusterIndex::Head {
        head: Head::First,
        partial: false,
        offset: 0,
        block,
    }
}

fn map() -> Map {
    Map {
        layout: Layout::CompressedFull,
        size: BYTES as u64,
        header: MapHeader {
            advise: ADVISE_BIG_1,
            algorithms: 0,
            cluster_bits: 0,
        },
        indexes: [
            head(1),
            ClusterIndex::Inside {
                back: BLOCK_COUNT | 1,
                ahead: 2,
            },
            ClusterIndex::Inside { back: 2, ahead: 1 },
        ],
    }
}

/// The sample with such a file.
fn image(map: &Map) -> Vec<u8> {
    let mut image = sample();
    let mut tail = map.header.to_bytes().to_vec();
    tail.extend([0; format::FULL_INDEX_GAP]);
    for index in map.indexes {
        tail.extend(index.to_bytes());
    }
    let file = inode(FileType::File, map.layout, map.size, 1);
    put(&mut image, FILE, &file, &tail);
    let stored = lz4_flex::block::compress(&[b'z'; BYTES]);
    let end = 2 * BLOCK_BYTES;
    image[BLOCK_BYTES..].fill(0);
    image[end - stored.len()..end].copy_from_slice(&stored);
    set_super(&mut image, |found| {
        found.feature_incompat |= INCOMPAT_ZERO_PADDING | INCOMPAT_COMPR_CFGS;
        found.compression = 1;
    });
    image
}

/// Reads all of the file.
fn read(image: &[u8]) -> Result<Vec<u8>, ReadError> {
    let image = Image::open(image)?;
    let file = image.resolve(b"file", Follow::Never)?;
    let mut bytes = vec![0; BYTES];
    let count = image.read_at(&file, &mut bytes, 0)?;
    bytes.truncate(count);
    Ok(bytes)
}

#[test]
fn the_file_itself_is_read() {
    assert_eq!(read(&image(&map())).expect("read"), [b'z'; BYTES]);
}

#[test]
fn map_headers_and_indexes_are_checked() {
    let with = |change: fn(&mut Map), message: &str| {
        let mut map = map();
        change(&mut map);
        refused(&image(&map), message);
    };
    with(|m| m.header.cluster_bits = 0x80, "fragments");
    with(|m| m.header.cluster_bits = 5, "not known");
    with(|m| m.header.advise |= 0x8, "an inline tail");
    with(|m| m.header.advise |= 0x20, "fragments");
    with(|m| m.header.advise |= 0x1, "encoded extents");
    with(|m| m.header.advise |= 0x40, "not known");
    with(|m| m.header.algorithms = 1, "LZMA");
    with(|m| m.header.algorithms = 2, "DEFLATE");
    with(|m| m.header.algorithms = 4, "its compression is none");
    with(|m| m.size = i64::MAX as u64, "its indexes reach past");
    with(|m| m.size = 1 << 40, "its indexes reach past");
    with(
        |m| m.indexes[0] = head(u32::MAX),
        "past the end of a device",
    );
    with(|m| m.indexes[0] = head(2), "past the end of a device");
    with(
        |m| m.indexes[0] = ClusterIndex::Inside { back: 1, ahead: 1 },
        "an extent begins nowhere",
    );
    with(
        |m| m.indexes[0] = ClusterIndex::Inside { back: 0, ahead: 0 },
        "an extent begins nowhere",
    );
    let blocks = |blocks| ClusterIndex::Inside {
        back: BLOCK_COUNT | blocks,
        ahead: 2,
    };
    with(
        |m| m.indexes[1] = ClusterIndex::Inside { back: 1, ahead: 0 },
        "has no length",
    );
    let lengths = [
        (0, "has no length"),
        (2, "past the end"),
        (257, "impossible length"),
    ];
    for (length, message) in lengths {
        let mut map = map();
        map.indexes[1] = blocks(length);
        refused(&image(&map), message);
    }
    with(|m| m.header.advise = 0, "may not be so large");
    let begins = |offset, partial| ClusterIndex::Head {
        head: Head::First,
        partial,
        offset,
        block: 1,
    };
    for (offset, partial, message) in [
        (4096, false, "outside of its cluster"),
        (1, false, "an extent begins nowhere"),
        (0, true, "deduplicated"),
    ] {
        let mut map = map();
        map.indexes[0] = begins(offset, partial);
        refused(&image(&map), message);
    }
    let plain = ClusterIndex::Head {
        head: Head::Plain,
        partial: false,
        offset: 0,
        block: 1,
    };
    let mut map = map();
    map.indexes[0] = plain;
    refused(&image(&map), "impossible length");
    let mut old = image(&self::map());
    set_super(&mut old, |_| ());
    refused(&old, "before Linux 5.3");
}

#[test]
fn compact_indexes_are_checked() {
    let mut map = map();
    map.layout = Layout::CompressedCompact;
    // Whatever they are: to read is all that is asked.
    for byte in 0..=255 {
        for advise in 0..4 {
            map.header.advise = advise;
            let mut image = image(&map);
            let start = FILE as usize * format::SLOT_BYTES + format::EXTENDED_BYTES + 8;
            for (at, field) in image[start..start + 16].iter_mut().enumerate() {
                *field = byte ^ (at as u8).wrapping_mul(37);
            }
            let _ = read(&image);
        }
    }
    map.header.cluster_bits = 3;
    refused(&image(&map), "compact indexes of large clusters");
}

#[test]
fn what_cannot_be_decompressed_is_damaged() {
    let good = image(&map());
    let refused = |image: &[u8]| {
        let error = read(image).expect_err("refused").to_string();
        assert!(error.contains("cannot be decompressed"), "{error}");
    };
    let last = good.len() - 1;
    let mut image = good.clone();
    image[BLOCK_BYTES..].fill(0);
    refused(&image);
    image[BLOCK_BYTES..].fill(0xff);
    refused(&image);
    let mut image = good.clone();
    image[last] = 0xf0;
    image[last - 6] = 0xff;
    refused(&image);
    // One that is right, but longer or shorter than its extent.
    for bytes in [BYTES - 1, BYTES + 1] {
        let stored = lz4_flex::block::compress(&vec![b'z'; bytes]);
        let mut image = good.clone();
        image[BLOCK_BYTES..].fill(0);
        image[last + 1 - stored.len()..].copy_from_slice(&stored);
        refused(&image);
    }
}
