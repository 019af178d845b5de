//! What goes wrong on the way: each has its own error, and nothing is left behind.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use gamut_spec::{Fault, Kind};
use gamut_store::layer::LayerError;
use gamut_store::unpack::{LayerSource, UnpackOptions, UnpackProblem};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use crate::bench::{Breaks, Scratch, TAR, Tar, gzip, listed, problem, root, sha256, unpack};

const GZIP: &str = "application/vnd.oci.image.layer.v1.tar+gzip";

/// Enough incompressible data that damage in the middle is damage to data.
fn tar() -> Vec<u8> {
    let mut state = 1_u32;
    let noise: Vec<u8> = (0..300_000)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            state.to_be_bytes()[0]
        })
        .collect();
    Tar::new()
        .file("a", "x")
        .entry(b'0', "noise", "", &noise)
        .end()
}

#[test]
fn truncated_streams_are_called_so() {
    let scratch = Scratch::new();
    let tar = tar();
    let options = UnpackOptions::default();
    let compressed = [
        ("gzip", gzip(&tar)),
        ("zstd", zstd::encode_all(&tar[..], 1).expect("compressed")),
    ];
    for (name, whole) in compressed {
        for length in [2, 20, whole.len() / 2, whole.len() - 1] {
            let result = unpack(&scratch.store, &tar, &whole[..length], GZIP, &options);
            let problem = problem(result, &scratch);
            let named = matches!(problem, UnpackProblem::Truncated { .. })
                // Two bytes are no compressed stream and no tar.
                || length == 2;
            assert!(named, "{name} of {length} bytes: {problem}");
        }
        // Nothing in the stream says that it is short, but the descriptor does.
        let (digest, diff_id) = (sha256(&whole), sha256(&tar));
        let source = LayerSource {
            digest: &digest,
            size_bytes: Some(whole.len() as u64 + 1),
            media_type: GZIP,
            diff_id: &diff_id,
        };
        let result = scratch.store.layers().unpack(&source, &whole[..], &options);
        let problem = problem(result, &scratch);
        assert!(
            matches!(problem, UnpackProblem::Truncated { .. }),
            "{name}: {problem}"
        );
    }
    let result = scratch.unpack(&tar[..tar.len() / 2]);
    let problem = problem(result, &scratch);
    assert!(matches!(problem, UnpackProblem::Archive(_)), "{problem}");
}

#[test]
fn damaged_streams_are_called_so() {
    let scratch = Scratch::new();
    let tar = tar();
    let options = UnpackOptions::default();
    let mut damaged = gzip(&tar);
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].fill(0xff);
    let trailing = [gzip(&tar), b"garbage after the last member".to_vec()].concat();
    let mut frame = zstd::encode_all(&tar[..], 1).expect("compressed");
    frame.extend_from_slice(b"garbage after the last frame");
    for bytes in [damaged, trailing, frame] {
        let result = unpack(&scratch.store, &tar, &bytes, GZIP, &options);
        let problem = problem(result, &scratch);
        assert!(
            matches!(problem, UnpackProblem::Corrupt { .. }),
            "{problem}"
        );
    }
}

/// Each of the threads can be the one that has had enough; the others would go on for ever.
#[test]
fn whoever_fails_ends_a_stream_without_end() {
    let scratch = Scratch::new();
    let tar = tar();
    let damaged = [&gzip(&tar)[..tar.len() / 2], &[0xff; 64]].concat();
    let unsafe_path = Tar::new().file("../a", "x").end();
    let cases = [
        (&damaged, None, "data is damaged"),
        (&unsafe_path, None, "`..`"),
        (&tar, Some(5 << 20), "the declared 5242880 bytes"),
    ];
    for (beginning, size_bytes, expected) in cases {
        let (digest, diff_id) = (sha256(beginning), sha256(&tar));
        let source = LayerSource {
            digest: &digest,
            size_bytes,
            media_type: TAR,
            diff_id: &diff_id,
        };
        let endless = beginning.as_slice().chain(std::io::repeat(0));
        let options = UnpackOptions::default();
        let result = scratch.store.layers().unpack(&source, endless, &options);
        let problem = problem(result, &scratch);
        let told = problem.to_string();
        assert!(told.contains(expected), "{told}");
    }
}

#[test]
fn a_broken_connection_is_called_so_and_can_be_tried_again() {
    let scratch = Scratch::new();
    let tar = tar();
    let whole = gzip(&tar);
    let (digest, diff_id) = (sha256(&whole), sha256(&tar));
    let source = LayerSource {
        digest: &digest,
        size_bytes: Some(whole.len() as u64),
        media_type: GZIP,
        diff_id: &diff_id,
    };
    let options = UnpackOptions::default();
    let ingests = scratch.store.ingests();
    let (first, second) = whole.split_at(whole.len() / 3);
    let ingest = ingests.resume(&digest, source.size_bytes).expect("started");
    let mut tee = ingest.tee(Breaks(first));
    let result = scratch.store.layers().unpack(&source, &mut tee, &options);
    let error = result.as_ref().expect_err("broken");
    assert_eq!(error.kind(), Kind::Unavailable);
    let problem = problem(result, &scratch);
    assert!(matches!(problem, UnpackProblem::Stream(_)), "{problem}");
    drop(tee);
    // Another process, later: the network gives the rest only.
    let ingest = ingests.resume(&digest, source.size_bytes).expect("resumed");
    assert_eq!(ingest.offset(), first.len() as u64);
    let mut tee = ingest.tee(second);
    scratch
        .store
        .layers()
        .unpack(&source, &mut tee, &options)
        .expect("unpacked");
    tee.discard().expect("removed");
    assert_eq!(listed(&scratch.root().join("ingest")), [""; 0]);
}

#[test]
fn wrong_digests_and_sizes_are_called_so() {
    let scratch = Scratch::new();
    let tar = tar();
    let bytes = gzip(&tar);
    let (digest, diff_id, other) = (sha256(&bytes), sha256(&tar), sha256(b"other"));
    let unpack = |source: LayerSource<'_>| {
        let options = UnpackOptions::default();
        problem(
            scratch.store.layers().unpack(&source, &bytes[..], &options),
            &scratch,
        )
    };
    let source = LayerSource {
        digest: &digest,
        size_bytes: None,
        media_type: GZIP,
        diff_id: &diff_id,
    };
    let wrong = unpack(LayerSource {
        digest: &other,
        ..source
    });
    assert!(
        matches!(&wrong, UnpackProblem::WrongDigest { actual } if *actual == digest),
        "{wrong}"
    );
    let wrong = unpack(LayerSource {
        diff_id: &other,
        ..source
    });
    assert!(
        matches!(&wrong, UnpackProblem::WrongDiffId { actual, .. } if *actual == diff_id),
        "{wrong}"
    );
    let long = unpack(LayerSource {
        size_bytes: Some(bytes.len() as u64 - 1),
        ..source
    });
    assert!(matches!(long, UnpackProblem::TooLong { .. }), "{long}");
    let kind = unpack(LayerSource {
        media_type: "text/html",
        ..source
    });
    assert!(matches!(kind, UnpackProblem::MediaType(_)), "{kind}");
}

#[test]
fn errors_name_the_layer_and_the_entry() {
    let scratch = Scratch::new();
    let tar = Tar::new().file("../x", "").end();
    let error = scratch.unpack(&tar).expect_err("refused");
    let expected = format!(
        "layer {}, entry `../x`: refused: a path with `..`",
        sha256(&tar).short()
    );
    assert_eq!(error.to_string(), expected);
    assert_eq!(error.kind(), Kind::Invalid);
}

/// A small file system of our own, attached nowhere; it goes with its descriptor.
fn small_file_system(size: &str) -> std::os::fd::OwnedFd {
    let context =
        rustix::mount::fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC).expect("tmpfs is there");
    rustix::mount::fsconfig_set_string(&context, "size", size).expect("it takes a size");
    rustix::mount::fsconfig_create(&context).expect("made");
    let (flags, attributes) = (FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty());
    rustix::mount::fsmount(&context, flags, attributes).expect("mounted")
}

#[test]
fn a_full_disk_is_called_so_and_is_empty_again() {
    if !root("a_full_disk_is_called_so_and_is_empty_again") {
        return;
    }
    let disk = small_file_system("4m");
    let small = PathBuf::from(format!("/proc/self/fd/{}", disk.as_raw_fd()));
    let scratch = Scratch::new();
    let (store, path) = (&scratch.store, scratch.root());
    // Everything but the database, which looks for the real path of its file.
    for directory in ["layers", "blobs"] {
        std::fs::rename(path.join(directory), path.join("old")).expect("renamed");
        std::os::unix::fs::symlink(small.join(directory), path.join(directory)).expect("linked");
        std::fs::remove_dir_all(path.join("old")).expect("removed");
    }
    std::fs::create_dir_all(small.join("layers/base/fs")).expect("made");
    std::fs::create_dir_all(small.join("blobs/sha256")).expect("made");
    let large = Tar::new()
        .file("small", "x")
        .entry(b'0', "large", "", &vec![1; 8 << 20])
        .end();
    let options = UnpackOptions::default();
    for bytes in [large.clone(), gzip(&large)] {
        let error = unpack(store, &large, &bytes, TAR, &options).expect_err("full");
        assert_eq!(error.kind(), Kind::Unavailable);
        assert!(error.hint().is_some_and(|hint| hint.contains("free space")));
        let LayerError::Unpack(error) = error else {
            panic!("{error}");
        };
        assert!(matches!(*error.problem, UnpackProblem::NoSpace), "{error}");
        assert_eq!(listed(&path.join("layers")), ["base"]);
    }
    let blob = store
        .blobs()
        .put_bytes(&vec![1; 8 << 20])
        .expect_err("full");
    assert_eq!(blob.kind(), Kind::Unavailable, "{blob}");
    assert_eq!(listed(&path.join("blobs/sha256")), [""; 0]);
    let fits = Tar::new().entry(b'0', "fits", "", &vec![1; 1 << 20]).end();
    unpack(store, &fits, &fits, TAR, &options).expect("there is room again");
}
