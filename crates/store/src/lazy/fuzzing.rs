//! For the fuzz targets only: tables of contents and indexes that somebody else has made, and blobs that
//! are to be read from their middle.

use std::fs::File;
use std::io::Read;
use std::os::fd::AsFd;

use super::chunk::MAX_CHUNK_BYTES;
use super::index::MAX_INDEX_BYTES;
use super::layer_index::LayerIndex;
use super::layout::lay_out;
use super::part::{Unpacking, Windows};
use super::points::MAX_PART_BYTES;
use super::scan::Scan;
use super::toc::{Dialect, Toc};
use crate::erofs::{self, Compression, WriteOptions};
use crate::unpack::{LayerSource, Limits, OpaqueXattr};

/// Bytes of an archive that a fuzzed blob may become.
const MAX_BYTES: u64 = 8 << 20;
/// Bytes of the blob that a fuzzed table is about.
const BLOB_BYTES: u64 = 1 << 20;

/// Reads a table of contents in each dialect, and lays out what it says in empty files of `directory`.
pub fn toc(json: &[u8], mut file: impl FnMut() -> File, limits: &Limits) {
    for dialect in [Dialect::Estargz, Dialect::ZstdChunked] {
        if let Ok(toc) = Toc::parse(json, dialect, BLOB_BYTES) {
            lay(toc, BLOB_BYTES, &file(), limits);
        }
    }
}

/// Reads an index, which has been decompressed, and lays out what it says.
pub fn index(bytes: &[u8], file: &File, limits: &Limits) {
    let Ok(index) = LayerIndex::read(bytes) else {
        return;
    };
    let stored = index.to_bytes().expect("no longer than it was");
    assert_eq!(LayerIndex::parse(&stored).expect("our own"), index);
    let (layer, diff_id) = (index.layer.clone(), index.diff_id.clone());
    let stored_bytes = index.points.stored_bytes;
    let source = LayerSource {
        digest: &layer,
        size_bytes: Some(stored_bytes),
        media_type: "",
        diff_id: &diff_id,
    };
    if let Ok(toc) = index.into_toc(&source, limits) {
        lay(toc, stored_bytes, file, limits);
    }
}

fn lay(toc: Toc, blob_bytes: u64, file: &File, limits: &Limits) {
    let options = WriteOptions {
        inline_bytes: erofs::INLINE_BYTES,
        memory_bytes: limits.directory_memory_bytes,
        image_bytes: 16 << 20,
        opaque: OpaqueXattr::Trusted,
        compression: Compression::None,
        uuid: [0; 16],
    };
    let Ok(outline) = lay_out(toc, file.as_fd(), &options, limits) else {
        return;
    };
    let mut end = 0;
    for chunk in outline.chunks {
        let blob = &chunk.blob;
        assert!(blob.start < blob.end && blob.end <= blob_bytes, "{chunk:?}");
        assert!(blob.end - blob.start <= MAX_PART_BYTES, "{chunk:?}");
        assert!(chunk.length <= MAX_CHUNK_BYTES, "{chunk:?}");
        assert!(chunk.at >= end, "{chunk:?} before {end}");
        end = chunk.place().end;
    }
}

/// Reads a blob, noting where it could have been begun, and begins it there: the same has to come out.
/// `points` is a file that does not exist.
pub fn blob(bytes: &[u8], points: &std::path::Path) {
    let Ok(mut scan) = Scan::new(bytes, bytes.len() as u64, 1) else {
        return;
    };
    let mut archive = Vec::new();
    let read = (&mut scan).take(MAX_BYTES).read_to_end(&mut archive);
    let found = scan.into_points();
    let archive_is_whole = read.is_ok() && found.tar_bytes == archive.len() as u64;
    if !archive_is_whole {
        return;
    }
    let dialect = Dialect::of(found.format);
    if dialect == Dialect::Plain || archive.is_empty() {
        return;
    }
    found.check().expect("points in order");
    Windows::write(points, &found.points).expect("written");
    let windows = Windows::open(points).expect("our own");
    std::fs::remove_file(points).expect("removed");
    for chunk in found.cut(0..archive.len() as u64) {
        let (part, inner) = found.part(&chunk).expect("a part");
        let boundary = windows.boundary(part.start).expect("read");
        let part = &bytes[part.start as usize..part.end as usize];
        let mut part = Unpacking::new(dialect, boundary.as_ref(), part).expect("a point");
        let length = (chunk.end - chunk.start) as u32;
        let taken = part.take(inner, length).expect("what came out before");
        assert!(
            taken == archive[chunk.start as usize..chunk.end as usize],
            "{chunk:?}"
        );
    }
}

/// The index of a blob, decompressed, for seeds.
pub fn index_of(source: &LayerSource<'_>, blob: &[u8]) -> Option<Vec<u8>> {
    let stored = LayerIndex::build(source, blob).ok()?.to_bytes().ok()?;
    zstd::bulk::decompress(&stored, MAX_INDEX_BYTES as usize).ok()
}
