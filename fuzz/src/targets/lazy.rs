//! What a layer is laid out from before it is here: tables of contents, indexes, and blobs that are read
//! from their middle.

use std::fs::File;
use std::io::Write;

use gamut_spec::digest::Digest;
use gamut_store::blob::Blobs;
use gamut_store::fuzzing::{lazy, limits};
use gamut_store::unpack::LayerSource;

use super::layer;

/// Any digest.
const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

fn file() -> File {
    tempfile::tempfile_in("/dev/shm")
        .or_else(|_| tempfile::tempfile())
        .expect("a file")
}

/// eStargz's and zstd:chunked's.
pub(super) fn toc(bytes: &[u8]) {
    lazy::toc(bytes, file, &limits());
}

/// One of everything, in both dialects.
pub(super) fn tocs() -> Vec<Vec<u8>> {
    let rows = r#"{"version":1,"entries":[
        {"type":"dir","name":"d/","mode":493,"uid":1,"gid":2,"modtime":"1969-12-31T23:59:59.5Z"},
        {"type":"reg","name":"d/a","size":10,"offset":100,"endOffset":300,"digest":"SHA",
         "chunkDigest":"SHA","chunkSize":6,"xattrs":{"user.x":"AQI="}},
        {"type":"chunk","name":"d/a","offset":200,"chunkOffset":6,"chunkSize":4,"chunkDigest":"SHA"},
        {"type":"reg","name":"b","size":3,"offset":300,"endOffset":400,"innerOffset":512,
         "chunkDigest":"SHA","digest":"SHA"},
        {"type":"symlink","name":"l","linkName":"d/a"},{"type":"hardlink","name":"h","linkName":"b"},
        {"type":"char","name":"c","devMajor":1,"devMinor":3},{"type":"block","name":"k"},
        {"type":"fifo","name":"f"},{"type":"reg","name":"d/.wh.a"},{"type":"reg","name":".wh..wh..opq"}]}"#;
    vec![rows.replace("SHA", SHA).into_bytes()]
}

/// Ours.
pub(super) fn index(bytes: &[u8]) {
    lazy::index(bytes, &file(), &limits());
}

/// Of layers packed in all ways.
pub(super) fn indexes() -> Vec<Vec<u8>> {
    let all = packed().into_iter().filter_map(|(tar, blob)| {
        let (digest, diff_id): (Digest, Digest) = (Blobs::digest(&blob), Blobs::digest(&tar));
        let source = LayerSource {
            digest: &digest,
            size_bytes: Some(blob.len() as u64),
            media_type: "",
            diff_id: &diff_id,
        };
        lazy::index_of(&source, &blob)
    });
    all.collect()
}

/// gzip and zstd, begun at each point.
pub(super) fn blob(bytes: &[u8]) {
    let directory = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
    let directory = directory.expect("a directory");
    lazy::blob(bytes, &directory.path().join("points"));
}

pub(super) fn blobs() -> Vec<Vec<u8>> {
    packed().into_iter().map(|(_, blob)| blob).collect()
}

/// Archives, plain, and in several blocks, members and frames.
fn packed() -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut packed = Vec::new();
    for tar in layer::seeds() {
        let pieces = || tar.chunks(2000);
        let gzip = pieces().flat_map(|piece| {
            let level = flate2::Compression::new(6);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(piece).expect("memory");
            encoder.finish().expect("memory")
        });
        let level = flate2::Compression::new(6);
        let mut blocks = flate2::write::GzEncoder::new(Vec::new(), level);
        for piece in pieces() {
            blocks.write_all(piece).expect("memory");
            blocks.flush().expect("memory");
        }
        packed.push((tar.clone(), blocks.finish().expect("memory")));
        let zstd = pieces().flat_map(|piece| zstd::encode_all(piece, 1).expect("memory"));
        packed.push((tar.clone(), gzip.collect()));
        packed.push((tar.clone(), zstd.collect()));
        packed.push((tar.clone(), tar));
    }
    packed
}
