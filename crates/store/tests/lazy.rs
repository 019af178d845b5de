//! Layers that are laid out from an index beside them, and filled piece by piece.

use std::io::Write;

use gamut_spec::Fault;
use gamut_store::Digest;
use gamut_store::layer::{Form, LayerRecord};
use gamut_store::lazy::{LayerIndex, LazyError, Opened, Origin, PendingLayer};
use gamut_store::unpack::{LayerSource, Limits, UnpackOptions};

use crate::bench::{Scratch, sha256};

/// Bytes that compress somewhat, those that do not, and runs: blocks of all kinds.
fn data(bytes: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let mut data = Vec::with_capacity(bytes + 100);
    while data.len() < bytes {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        match data.len() >> 18 & 3 {
            0 => data.extend(state.to_le_bytes()),
            1 => data.extend([0; 100]),
            _ => data.extend(format!("{state} and so on, {state}\n").into_bytes()),
        }
    }
    data.truncate(bytes);
    data
}

/// An archive of several points' length, with entries that tables of contents have difficulties with.
fn archive() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |kind, path: &str, target: &str, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(0o640);
        header.set_uid(7);
        header.set_gid(8);
        header.set_mtime(1_600_000_000);
        header.set_size(content.len() as u64);
        let added = match target {
            "" => builder.append_data(&mut header, path, content),
            target => builder.append_link(&mut header, path, target),
        };
        added.expect("memory");
    };
    use tar::EntryType::{Directory, Link, Regular, Symlink};
    add(Directory, "d/", "", b"");
    add(Regular, "d/large", "", &data(9 << 20, 5));
    add(Regular, "d/empty", "", b"");
    for number in 0..300 {
        add(
            Regular,
            &format!("d/small-{number}"),
            "",
            &data(number * 37, 11),
        );
    }
    add(Link, "d/same", "d/large", b"");
    add(Symlink, "d/link", "large", b"");
    add(Regular, ".wh.gone", "", b"");
    add(Regular, ".wh..wh.plnk/1", "", b"ignored");
    add(
        Regular,
        &format!("d/{}", "long".repeat(60)),
        "",
        b"a long name",
    );
    add(Regular, "d/last", "", &data(3 << 20, 9));
    builder.into_inner().expect("memory")
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let builder = flate2::GzBuilder::new()
        .filename("a.tar")
        .comment("of a test");
    let mut encoder = builder.write(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

/// In pieces of `size`, each compressed by itself.
fn pieces(bytes: &[u8], size: usize, pack: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    bytes.chunks(size).flat_map(pack).collect()
}

fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::encode_all(bytes, 3).expect("memory")
}

/// A layer and what is known of it.
struct Blob {
    tar: Vec<u8>,
    bytes: Vec<u8>,
    digest: Digest,
    diff_id: Digest,
}

const TYPE: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

impl Blob {
    fn new(tar: &[u8], bytes: Vec<u8>) -> Self {
        Self {
            digest: sha256(&bytes),
            diff_id: sha256(tar),
            tar: tar.to_vec(),
            bytes,
        }
    }

    fn source(&self) -> LayerSource<'_> {
        LayerSource {
            digest: &self.digest,
            size_bytes: Some(self.bytes.len() as u64),
            media_type: TYPE,
            diff_id: &self.diff_id,
        }
    }

    fn index(&self) -> Result<LayerIndex, LazyError> {
        LayerIndex::build(&self.source(), &self.bytes[..])
    }

    /// Lays it out as an index says.
    fn pending(&self, scratch: &Scratch, index: LayerIndex) -> Result<PendingLayer, LazyError> {
        let toc = index.into_toc(&self.source(), &Limits::default())?;
        let origin = Origin {
            reference: "localhost/a:b".into(),
            digest: self.digest.clone(),
            size_bytes: self.bytes.len() as u64,
            media_type: TYPE.into(),
        };
        let layers = scratch.store.layers();
        let options = UnpackOptions::default();
        let (layer, _) = layers.lay_out(&self.diff_id, &origin, toc, &options)?;
        assert_eq!(layer.record.form, Form::Lazy);
        match layers.open_pending(&layer.record)? {
            Opened::Pending(pending) => Ok(*pending),
            other => panic!("not pending: {other:?}"),
        }
    }
}

/// Fills all of it by requests, from the end to the beginning; gives the bytes that were asked for.
fn supply_all(blob: &Blob, pending: &PendingLayer) -> u64 {
    let all = 0..pending.image().metadata().expect("a file").len();
    let mut asked = 0;
    for wanted in pending.missing(&all).chunks(5).rev() {
        let wanted: Vec<usize> = wanted
            .iter()
            .copied()
            .filter(|&c| !pending.has(c))
            .collect();
        for request in pending.requests(&wanted) {
            let part = request.blob.start as usize..request.blob.end as usize;
            asked += part.len() as u64;
            pending.supply(&request, &blob.bytes[part]).expect("right");
        }
    }
    assert_eq!(pending.missing(&all), [0; 0]);
    assert_eq!(pending.verify(), 0);
    asked
}

fn is_filled_either_way(blob: &Blob) {
    let scratch = Scratch::new();
    let index = blob.index().expect("an index");
    let stored = index.to_bytes().expect("bytes");
    assert_eq!(
        blob.index().expect("an index").to_bytes().ok(),
        Some(stored.clone())
    );
    let read = LayerIndex::parse(&stored).expect("our own");
    assert_eq!(read, index);
    assert!(stored.len() < blob.bytes.len() / 10, "{}", stored.len());
    let pending = blob.pending(&scratch, index.clone()).expect("laid out");
    let asked = supply_all(blob, &pending);
    assert!(asked < 3 * blob.bytes.len() as u64, "{asked} bytes");
    let record = pending.fill(&blob.bytes[..], &UnpackOptions::default());
    let record = record.expect("it is what the index says");
    pending.finish();
    // In one go, too, and the same image comes of it.
    let other = Scratch::new();
    let pending = blob.pending(&other, index).expect("laid out");
    let filled = pending.fill(&blob.bytes[..], &UnpackOptions::default());
    let filled = filled.expect("it is what the index says");
    pending.finish();
    let image = |scratch: &Scratch, record: &LayerRecord| {
        std::fs::read(scratch.store.layers().tree(record)).expect("an image")
    };
    assert!(image(&scratch, &record) == image(&other, &filled));
    let layer = scratch.store.layers().get(&blob.diff_id).expect("read");
    let layer = layer.expect("it is there");
    let mut again = Vec::new();
    let mut reproduced = scratch.store.layers().reproduce(&layer).expect("a record");
    std::io::copy(&mut reproduced, &mut again).expect("the archive");
    assert!(again == blob.tar, "another archive");
}

#[test]
fn gzip_is_read_from_its_middle() {
    let tar = archive();
    is_filled_either_way(&Blob::new(&tar, gzip(&tar)));
}

#[test]
fn gzip_of_several_members_is_too() {
    let tar = archive();
    is_filled_either_way(&Blob::new(&tar, pieces(&tar, 700_000, gzip)));
}

#[test]
fn zstd_is_read_from_its_frames() {
    let tar = archive();
    is_filled_either_way(&Blob::new(&tar, pieces(&tar, 1 << 20, zstd)));
}

#[test]
fn what_is_not_compressed_needs_nothing() {
    let tar = archive();
    is_filled_either_way(&Blob::new(&tar, tar.clone()));
}

#[test]
fn what_cannot_be_read_from_the_middle_is_refused() {
    let tar = archive();
    let error = Blob::new(&tar, zstd(&tar)).index().expect_err("one frame");
    assert!(error.to_string().contains("one frame of zstd"), "{error}");
    let mut wrong = Blob::new(&tar, gzip(&tar));
    wrong.diff_id = sha256(b"another");
    let error = wrong.index().expect_err("another archive");
    assert!(
        error.to_string().contains("archive has the digest"),
        "{error}"
    );
    wrong = Blob::new(&tar, gzip(&tar));
    wrong.bytes.truncate(1000);
    wrong.index().expect_err("it is short");
    assert!(Blob::new(&tar, gzip(b"no archive")).index().is_err());
}

#[test]
fn an_index_of_another_layer_is_refused() {
    let tar = archive();
    let (one, other) = (Blob::new(&tar, gzip(&tar)), Blob::new(&tar, tar.clone()));
    let scratch = Scratch::new();
    let index = other.index().expect("an index");
    let error = one.pending(&scratch, index).expect_err("another's");
    assert!(error.to_string().contains("another layer"), "{error}");
}

#[test]
fn a_changed_index_never_gives_other_bytes() {
    let mut builder = tar::Builder::new(Vec::new());
    for number in 0..20_u8 {
        let mut header = tar::Header::new_gnu();
        let content = data(20_000, number.into());
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        builder
            .append_data(&mut header, format!("f{number}"), &content[..])
            .expect("memory");
    }
    let tar = builder.into_inner().expect("memory");
    let blob = Blob::new(&tar, gzip(&tar));
    let plain = blob.index().expect("an index").to_bytes().expect("bytes");
    let plain = zstd::decode_all(&plain[..]).expect("our own");
    let mut laid_out = 0;
    // Bytes of the head, points, digests and headers, spread over all of it.
    for at in (0..plain.len()).step_by(plain.len() / 40) {
        let mut changed = plain.clone();
        changed[at] ^= 0x10;
        let Ok(index) = LayerIndex::parse(&zstd(&changed)) else {
            continue;
        };
        let scratch = Scratch::new();
        let Ok(pending) = blob.pending(&scratch, index) else {
            continue;
        };
        laid_out += 1;
        match pending.fill(&blob.bytes[..], &UnpackOptions::default()) {
            // A window, say, which a whole reading has no use for.
            Ok(record) => {
                pending.finish();
                let verdict = scratch.store.verify_layer(&record).expect("verified");
                assert_eq!(verdict, gamut_store::verify::Verdict::Sound, "byte {at}");
            }
            Err(error) => {
                assert_eq!(error.kind(), gamut_spec::Kind::Invalid, "{error}");
                assert!(pending.is_untrue(), "{error}");
                let again = scratch.store.layers().open_pending(pending.record());
                let Opened::Pending(again) = again.expect("opened") else {
                    panic!("it is not whole")
                };
                assert!(again.is_untrue());
            }
        }
    }
    assert!(laid_out > 5, "{laid_out}");
}

#[test]
fn a_bomb_is_not_unpacked() {
    let bomb = zstd::encode_all(std::io::Read::take(std::io::repeat(0), 100 << 20), 3);
    let error = LayerIndex::parse(&bomb.expect("memory")).expect_err("too long");
    assert!(error.to_string().contains("more than"), "{error}");
}
