//! Honest archives, made by the `tar` crate and by hand: everything in them comes out.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};

use gamut_store::unpack::{OpaqueXattr, RootAttributes, UnpackOptions};

use crate::bench::{Scratch, TAR, Tar, gzip, listed, root, unpack};

const GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";
const ZSTD: &str = "application/vnd.oci.image.layer.v1.tar+zstd";

fn header(kind: tar::EntryType, mode: u32, size: usize) -> tar::Header {
    let mut header = tar::Header::new_gnu();
    header.set_entry_type(kind);
    header.set_mode(mode);
    header.set_mtime(1_600_000_000);
    header.set_size(size as u64);
    header.set_uid(rustix::process::geteuid().as_raw().into());
    header.set_gid(rustix::process::getegid().as_raw().into());
    header
}

fn sample() -> Vec<u8> {
    let mut builder = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind, mode, data: &[u8]| {
        let mut header = header(kind, mode, data.len());
        builder
            .append_data(&mut header, path, data)
            .expect("appended");
    };
    add("usr/", tar::EntryType::Directory, 0o755, b"");
    add("usr/bin/", tar::EntryType::Directory, 0o555, b"");
    add("usr/bin/tool", tar::EntryType::Regular, 0o4755, b"#!");
    add(
        &format!("usr/{}/long", "n".repeat(150)),
        tar::EntryType::Regular,
        0o600,
        b"long",
    );
    add("large", tar::EntryType::Regular, 0o640, &vec![7; 3 << 20]);
    let mut link = header(tar::EntryType::Symlink, 0o777, 0);
    builder
        .append_link(&mut link, "bin", "usr/bin")
        .expect("appended");
    let mut link = header(tar::EntryType::Link, 0o644, 0);
    builder
        .append_link(&mut link, "tool2", "usr/bin/tool")
        .expect("appended");
    builder.into_inner().expect("finished")
}

fn check_sample(tree: &std::path::Path) {
    let tool = fs::metadata(tree.join("usr/bin/tool")).expect("there");
    assert_eq!(tool.permissions().mode() & 0o7777, 0o4755);
    assert_eq!(
        (tool.mtime(), tool.mtime_nsec(), tool.nlink()),
        (1_600_000_000, 0, 2)
    );
    assert_eq!(
        fs::metadata(tree.join("tool2")).expect("there").ino(),
        tool.ino()
    );
    let bin = fs::metadata(tree.join("usr/bin")).expect("there");
    assert_eq!((bin.mode() & 0o7777, bin.mtime()), (0o555, 1_600_000_000));
    assert_eq!(
        fs::metadata(tree.join("usr")).expect("there").mtime(),
        1_600_000_000
    );
    assert_eq!(
        fs::read_link(tree.join("bin")).expect("a link"),
        std::path::Path::new("usr/bin")
    );
    let link = fs::symlink_metadata(tree.join("bin")).expect("there");
    assert_eq!(link.mtime(), 1_600_000_000);
    let long = tree.join("usr").join("n".repeat(150)).join("long");
    assert_eq!(fs::read(long).expect("read"), b"long");
    assert_eq!(
        fs::read(tree.join("large")).expect("read"),
        vec![7; 3 << 20]
    );
}

#[test]
fn every_compression_gives_the_same_tree() {
    let tar = sample();
    let (first, second) = tar.split_at(tar.len() / 3);
    let members = [gzip(first), gzip(second)].concat();
    let frames = [
        zstd::encode_all(first, 3).expect("compressed"),
        zstd::encode_all(second, 3).expect("compressed"),
    ]
    .concat();
    let compressed: [(&str, Vec<u8>, &str); 6] = [
        ("plain", tar.clone(), TAR),
        ("gzip", gzip(&tar), GZIP),
        ("gzip of several members", members, GZIP),
        (
            "zstd",
            zstd::encode_all(&tar[..], 3).expect("compressed"),
            ZSTD,
        ),
        ("zstd of several frames", frames, ZSTD),
        ("plain under another media type", tar.clone(), GZIP),
    ];
    for (name, bytes, media_type) in compressed {
        let scratch = Scratch::new();
        let options = UnpackOptions::default();
        let (layer, warnings) = unpack(&scratch.store, &tar, &bytes, media_type, &options)
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(warnings.count, 0, "{name}: {warnings:?}");
        check_sample(&scratch.store.layers().tree(&layer.record));
        assert_eq!(layer.record.size_bytes, (3 << 20) + 6, "{name}");
        assert_eq!(layer.record.entries, 7, "{name}");
        assert_eq!(
            scratch.layer_names(),
            [layer.record.directory.as_str()],
            "{name}"
        );
    }
}

#[test]
fn either_algorithm_of_digests_is_checked() {
    let scratch = Scratch::new();
    let tar = sample();
    let sha512: gamut_store::Digest = {
        use sha2::Digest as _;
        let hex = sha2::Sha512::digest(&tar)
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect::<String>();
        format!("sha512:{hex}").parse().expect("a digest")
    };
    let diff_id = crate::bench::sha256(&tar);
    let source = gamut_store::unpack::LayerSource {
        digest: &sha512,
        size_bytes: None,
        media_type: TAR,
        diff_id: &diff_id,
    };
    let options = UnpackOptions::default();
    let layers = scratch.store.layers();
    let other = [&tar[..], b"x"].concat();
    assert!(layers.unpack(&source, &other[..], &options).is_err());
    layers
        .unpack(&source, &tar[..], &options)
        .expect("unpacked");
    let blob = scratch
        .store
        .blobs()
        .put(&sha512, None, &tar[..])
        .expect("put");
    assert_eq!(scratch.store.blobs().read(&blob.digest).expect("read"), tar);
}

#[test]
fn unpacking_twice_reads_once() {
    let scratch = Scratch::new();
    let tar = sample();
    let (first, _) = scratch.unpack(&tar).expect("unpacked");
    let digest = crate::bench::sha256(&tar);
    let source = gamut_store::unpack::LayerSource {
        digest: &digest,
        size_bytes: None,
        media_type: TAR,
        diff_id: &digest,
    };
    let unread = crate::bench::Breaks(b"");
    let options = UnpackOptions::default();
    let (again, _) = scratch
        .store
        .layers()
        .unpack(&source, unread, &options)
        .expect("there");
    assert_eq!(first.record, again.record);
    assert!(scratch.store.layer(&digest).expect("looked up").is_some());
}

#[test]
fn owners_modes_and_nanoseconds_are_kept() {
    if !root("owners_modes_and_nanoseconds_are_kept") {
        return;
    }
    let scratch = Scratch::new();
    let records: [(&str, &[u8]); 3] = [
        ("uid", b"3000000"),
        ("gid", b"3000001"),
        ("mtime", b"1600000000.123456789"),
    ];
    let tar = Tar::new()
        .pax(&records)
        .raw(b'0', "setid", "", b"x", |h| {
            h[100..107].copy_from_slice(b"0006755")
        })
        .pax(&records)
        .raw(b'5', "setgid", "", b"", |h| {
            h[100..107].copy_from_slice(b"0003770")
        })
        .file("setgid/inside", "")
        .pax(&records)
        .symlink("link", "nowhere")
        .pax(&records)
        .raw(b'3', "null", "", b"", |h| {
            h[100..107].copy_from_slice(b"0000666");
            h[329..336].copy_from_slice(b"0000001");
            h[337..344].copy_from_slice(b"0000003");
        })
        .pax(&[("mtime", b"-1.5")])
        .file("old", "")
        .end();
    let tree = scratch.tree(&tar);
    for (name, mode) in [
        ("setid", 0o6755),
        ("setgid", 0o3770),
        ("link", 0o777),
        ("null", 0o666),
    ] {
        let metadata = fs::symlink_metadata(tree.join(name)).expect(name);
        assert_eq!(metadata.mode() & 0o7777, mode, "{name}");
        assert_eq!(
            (metadata.uid(), metadata.gid()),
            (3_000_000, 3_000_001),
            "{name}"
        );
        let time = (metadata.mtime(), metadata.mtime_nsec());
        assert_eq!(time, (1_600_000_000, 123_456_789), "{name}");
    }
    let inside = fs::metadata(tree.join("setgid/inside")).expect("there");
    assert_eq!(
        (inside.uid(), inside.gid()),
        (0, 0),
        "no group is inherited"
    );
    let null = fs::symlink_metadata(tree.join("null")).expect("there");
    assert!(null.file_type().is_char_device());
    assert_eq!(null.rdev(), rustix::fs::makedev(1, 3));
    let old = fs::metadata(tree.join("old")).expect("there");
    assert_eq!((old.mtime(), old.mtime_nsec()), (-2, 500_000_000));
}

#[test]
fn extended_attributes_are_kept_even_with_line_feeds_in_them() {
    if !root("extended_attributes_are_kept_even_with_line_feeds_in_them") {
        return;
    }
    let scratch = Scratch::new();
    // VFS_CAP_REVISION_2, effective; permitted: bits 1, 3, 10 (a line feed, as it happens).
    let capability = [
        1, 0, 0, 2, b'\n', 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.note", b"a\nb=c"),
            ("SCHILY.xattr.unknown.name", b"x"),
            ("uid", b"7"),
        ])
        .file("ping", "x")
        .pax(&[("SCHILY.xattr.trusted.own", b"1")])
        .symlink("link", "ping")
        .end();
    let (layer, warnings) = scratch.unpack(&tar).expect("unpacked");
    assert_eq!(warnings.count, 1, "{warnings:?}");
    assert!(
        warnings.kept[0].what.contains("unknown.name"),
        "{warnings:?}"
    );
    let tree = scratch.store.layers().tree(&layer.record);
    let read = |path: &str, name: &str| {
        let mut value = [0; 64];
        let length = rustix::fs::lgetxattr(tree.join(path), name, &mut value).expect(name);
        value[..length].to_vec()
    };
    assert_eq!(read("ping", "security.capability"), capability);
    assert_eq!(read("ping", "user.note"), b"a\nb=c");
    assert_eq!(read("link", "trusted.own"), b"1");
}

#[test]
fn whiteouts_become_overlayfs_ones() {
    if !root("whiteouts_become_overlayfs_ones") {
        return;
    }
    let tar = Tar::new()
        .file("a/.wh.gone", "")
        .file("b/.wh..wh..opq", "")
        .file("b/new", "")
        // What a layer has itself, its own whiteouts do not hide.
        .file("c/kept", "")
        .file("c/.wh.kept", "")
        .file("d/.wh.replaced", "")
        .file("d/replaced/file", "")
        .file("e/dir/file", "")
        .file("e/.wh.dir", "")
        .file("f/.wh.file", "")
        .file("f/file", "new")
        .end();
    for (opaque, name) in [
        (OpaqueXattr::Trusted, "trusted.overlay.opaque"),
        (OpaqueXattr::User, "user.overlay.opaque"),
    ] {
        let scratch = Scratch::new();
        let options = UnpackOptions {
            opaque,
            ..UnpackOptions::default()
        };
        let (layer, _) = scratch.unpack_with(&tar, &options).expect("unpacked");
        let tree = scratch.store.layers().tree(&layer.record);
        let gone = fs::symlink_metadata(tree.join("a/gone")).expect("a whiteout");
        assert!(gone.file_type().is_char_device() && gone.rdev() == 0);
        let is_opaque = |path: &str| {
            let mut value = [0; 8];
            rustix::fs::getxattr(tree.join(path), name, &mut value)
                .is_ok_and(|n| &value[..n] == b"y")
        };
        assert!(is_opaque("b") && is_opaque("d/replaced") && is_opaque("e/dir"));
        assert!(!is_opaque("a") && !is_opaque("c"));
        assert_eq!(listed(&tree.join("b")), ["new"]);
        assert_eq!(listed(&tree.join("c")), ["kept"]);
        assert_eq!(listed(&tree.join("d/replaced")), ["file"]);
        assert_eq!(
            fs::read_to_string(tree.join("f/file")).expect("a file"),
            "new"
        );
    }
}

#[test]
fn what_a_layer_says_of_the_root_is_recorded() {
    let scratch = Scratch::new();
    let tar = Tar::new()
        .raw(b'5', "./", "", b"", |h| {
            h[100..107].copy_from_slice(b"0000711")
        })
        .file(".wh..wh..opq", "")
        .end();
    let (layer, _) = scratch.unpack(&tar).expect("unpacked");
    let attributes = RootAttributes {
        mode: 0o711,
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
    };
    assert_eq!(layer.record.root, Some(attributes));
    assert!(layer.record.opaque_root);
    let tree = scratch.store.layers().tree(&layer.record);
    assert_eq!(fs::metadata(tree).expect("there").mode() & 0o7777, 0o711);
    let (layer, _) = scratch
        .unpack(&Tar::new().file("f", "").end())
        .expect("unpacked");
    assert_eq!((layer.record.root, layer.record.opaque_root), (None, false));
    let tree = scratch.store.layers().tree(&layer.record);
    assert_eq!(fs::metadata(tree).expect("there").mode() & 0o7777, 0o755);
}

#[test]
fn sparse_files_have_their_holes() {
    let scratch = Scratch::new();
    let data = [vec![1; 512], vec![2; 512]].concat();
    let tar = Tar::new()
        .raw(b'S', "sparse", "", &data, |h| {
            h[257..265].copy_from_slice(b"ustar  \0");
            h[345..500].fill(0);
            h[386..397].copy_from_slice(b"00000004000");
            h[398..409].copy_from_slice(b"00000001000");
            h[410..421].copy_from_slice(b"00004000000");
            h[422..433].copy_from_slice(b"00000001000");
            h[483..494].copy_from_slice(b"00010000000");
        })
        .file("after", "x")
        .end();
    let tree = scratch.tree(&tar);
    let content = fs::read(tree.join("sparse")).expect("read");
    assert_eq!(content.len(), 0o10000000);
    assert_eq!(content[0o4000..0o4000 + 512], data[..512]);
    assert_eq!(content[0o4000000..0o4000000 + 512], data[512..]);
    assert_eq!(content.iter().filter(|&&byte| byte != 0).count(), 1024);
    assert_eq!(fs::read_to_string(tree.join("after")).expect("read"), "x");
    assert!(fs::metadata(tree.join("sparse")).expect("there").blocks() * 512 < 1 << 20);
}

#[test]
fn archives_may_end_without_ceremony_and_go_on_after_their_end() {
    let scratch = Scratch::new();
    let mut bare = Tar::new().file("a", "x").end();
    bare.truncate(bare.len() - 1024);
    assert_eq!(listed(&scratch.tree(&bare)), ["a"]);
    let mut padded = Tar::new().file("b", "x").end();
    padded.write_all(&[0; 10240]).expect("padded");
    padded
        .write_all(b"garbage that no reader of tar looks at")
        .expect("padded");
    assert_eq!(listed(&scratch.tree(&padded)), ["b"]);
    assert_eq!(listed(&scratch.tree(&[])), [""; 0]);
}

#[test]
fn later_entries_replace_earlier_ones_and_directories_are_merged() {
    let scratch = Scratch::new();
    let tar = Tar::new()
        .file("f", "one")
        .file("f", "two")
        .directory("d")
        .file("d/kept", "")
        .raw(b'5', "d", "", b"", |h| {
            h[100..107].copy_from_slice(b"0000700")
        })
        .symlink("l", "d")
        .directory("l")
        .file("l/own", "")
        .entry(b'0', "old-style/", "", b"")
        .end();
    let tree = scratch.tree(&tar);
    assert_eq!(fs::read_to_string(tree.join("f")).expect("read"), "two");
    assert_eq!(listed(&tree.join("d")), ["kept"]);
    assert_eq!(
        fs::metadata(tree.join("d")).expect("there").mode() & 0o7777,
        0o700
    );
    assert_eq!(listed(&tree.join("l")), ["own"]);
    assert!(tree.join("old-style").is_dir());
}
