//! The reader of EROFS images against the kernel: the same tree, whoever reads it. The images are
//! those of `mkfs.erofs`.

use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;

use gamut_store::erofs::format::FileType;
use gamut_store::erofs::read::{Follow, Image, Place, ReadError};
use rustix::fs::FileType as Kind;

use crate::listing::{
    assert_same, mknod, mounted, of_directory, of_image, scratch, set_mtime, set_xattr,
};
use crate::mounted::fsck_is_new;

/// A tree with one of everything, and some of them at their limits.
fn fill(tree: &Path) {
    let file = |name: &str, bytes: &[u8]| fs::write(tree.join(name), bytes).expect("written");
    for directory in ["a/b/c", "many", "empty", "!before-dot"] {
        fs::create_dir_all(tree.join(directory)).expect("made");
    }
    file("empty-file", b"");
    file("small", b"small\n");
    for bytes in [4095, 4096, 4097, 12_288, 100_001] {
        let bytes: Vec<u8> = (0..bytes).map(|i| (i % 251) as u8).collect();
        file(&format!("a/of-{}", bytes.len()), &bytes);
    }
    // Some of it can be compressed, and some cannot.
    let mut state = 1_u32;
    let mixed = (0..3_000_000_u32).map(|i| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match i >> 15 & 3 {
            0 => (state >> 24) as u8,
            1 => (i % 251) as u8,
            2 => (i.wrapping_mul(i) >> 5) as u8,
            _ => 0,
        }
    });
    file("mixed", &mixed.collect::<Vec<_>>());
    for number in 0..3000 {
        file(&format!("many/{number}-{}", "n".repeat(number % 200)), b"");
    }
    // mkfs.erofs 1.5 cannot do 255.
    file(&"n".repeat(254), b"a long name");
    fs::hard_link(tree.join("small"), tree.join("a/b/same")).expect("linked");
    symlink("b/../../small", tree.join("a/link")).expect("linked");
    symlink("/a/link", tree.join("absolute")).expect("linked");
    symlink("t".repeat(4095), tree.join("long-link")).expect("linked");
    symlink("loop", tree.join("loop")).expect("linked");
    mknod(&tree.join("null"), Kind::CharacterDevice, (1, 3));
    mknod(&tree.join("disk"), Kind::BlockDevice, (259, 70_000));
    mknod(&tree.join("fifo"), Kind::Fifo, (0, 0));
    mknod(&tree.join("socket"), Kind::Socket, (0, 0));
    let sparse = File::create(tree.join("sparse")).expect("made");
    sparse.set_len(300_000).expect("long");
    sparse.write_all_at(b"data", 150_000).expect("written");
    for (name, value) in [
        ("user.a", &b"x"[..]),
        ("user.long", &[7; 3000]),
        ("user.empty", b""),
        ("trusted.t", b"\0binary\n"),
        ("security.capability", CAPABILITY),
    ] {
        set_xattr(&tree.join("a/of-4097"), name, value);
    }
    for name in ["a/of-4095", "a/of-4096", "empty", "a/b/c", "small"] {
        set_xattr(&tree.join(name), "user.shared", b"the same for all");
    }
    set_xattr(&tree.join("empty"), "system.posix_acl_default", ACL);
    let owner = |name: &str, id| std::os::unix::fs::lchown(tree.join(name), Some(id), Some(id + 1));
    owner("small", 70_000).expect("given away");
    owner("a/link", 12).expect("given away");
    let mode = fs::Permissions::from_mode(0o6711);
    fs::set_permissions(tree.join("small"), mode).expect("set");
    set_mtime(&tree.join("small"), 1_600_000_000, 123_456_789);
    set_mtime(&tree.join("absolute"), 0, 1);
    set_mtime(&tree.join("a/b"), 1 << 33, 999_999_999);
}

/// cap_net_raw+ep, as capabilities(7) has it on disk, version 2.
const CAPABILITY: &[u8] = &[1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// user::rwx user:7:rwx group::r-x mask::rwx other::r-x: `struct posix_acl_xattr_header` and entries.
const ACL: &[u8] = &[
    2, 0, 0, 0, //
    1, 0, 7, 0, 255, 255, 255, 255, //
    2, 0, 7, 0, 7, 0, 0, 0, //
    4, 0, 5, 0, 255, 255, 255, 255, //
    16, 0, 7, 0, 255, 255, 255, 255, //
    32, 0, 5, 0, 255, 255, 255, 255,
];

/// An image by `mkfs.erofs`; `None`, having said so, where there is none or it lacks an option.
fn mkfs(image: &Path, tree: &Path, options: &[&str]) -> Option<()> {
    let output = Command::new("mkfs.erofs")
        .args(options)
        .args([image, tree])
        .output();
    match output {
        Ok(output) if output.status.success() => Some(()),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("mkfs.erofs {options:?}: {said}");
        }
        Err(error) => {
            eprintln!("skipped: no mkfs.erofs: {error}");
            None
        }
    }
}

fn is_root(test: &str) -> bool {
    let root = rustix::process::geteuid().is_root();
    if !root {
        eprintln!("{test}: skipped: needs root");
    }
    root
}

fn sample(options: &[&str]) -> Option<(tempfile::TempDir, PathBuf)> {
    let scratch = scratch();
    let tree = scratch.path().join("tree");
    fs::create_dir(&tree).expect("made");
    fill(&tree);
    let image = scratch.path().join("image");
    mkfs(&image, &tree, options)?;
    Some((scratch, image))
}

fn open(path: &Path) -> Image<File> {
    Image::open(File::open(path).expect("opened")).expect("an image")
}

#[test]
fn every_form_of_an_image_reads_as_the_kernel_reads_it() {
    if !is_root("every_form_of_an_image_reads_as_the_kernel_reads_it") {
        return;
    }
    for options in [
        &[][..],
        &["-T0"],
        &["-Enoinline_data"],
        &["-Eforce-inode-extended"],
        &["--chunksize=4096"],
        &["--chunksize=16384", "-Eforce-chunk-indexes"],
        &["-x1"],
    ] {
        let Some((scratch, path)) = sample(options) else {
            return;
        };
        let read = of_image(&open(&path));
        assert!(read.len() > 3000, "{options:?}: {}", read.len());
        if let Some(mounted) = mounted(&path, &[]) {
            assert_same(&read, &of_directory(&mounted.path()));
        }
        // What mkfs was given, but for sockets' like that no archive has.
        if options.is_empty() {
            assert_same(&read, &of_directory(&scratch.path().join("tree")));
        }
    }
}

#[test]
fn chunks_on_another_device_are_read_from_it() {
    if !is_root("chunks_on_another_device_are_read_from_it") {
        return;
    }
    let blob = scratch();
    let device = blob.path().join("blob");
    let option = format!("--blobdev={}", device.display());
    let Some((_scratch, path)) = sample(&["--chunksize=8192", &option]) else {
        return;
    };
    let file = |path: &Path| File::open(path).expect("opened");
    let image = Image::open_with(file(&path), vec![file(&device)]).expect("an image");
    let read = of_image(&image);
    assert_eq!(image.device_blocks().len(), 1);
    if let Some(mounted) = mounted(&path, std::slice::from_ref(&device)) {
        assert_same(&read, &of_directory(&mounted.path()));
    }
    let alone = open(&path);
    let large = alone.resolve(b"a/of-100001", Follow::Never).expect("there");
    let answer = alone.read_at(&large, &mut [0; 10], 0);
    assert!(matches!(answer, Err(ReadError::NoDevice(1))), "{answer:?}");
}

#[test]
fn compressed_images_read_as_the_kernel_reads_them() {
    if !is_root("compressed_images_read_as_the_kernel_reads_them") {
        return;
    }
    for options in [
        &["-zlz4"][..],
        &["-zlz4hc", "-Enoinline_data"],
        &["-zlz4hc", "-C65536", "-T0"],
        &["-zlz4", "-C16384", "-Eforce-inode-extended"],
        &["-zzstd,level=3", "-C4096"],
        &["-zzstd,level=9", "-C65536"],
    ] {
        if options[0].contains("zstd") && !fsck_is_new() {
            eprintln!("skipped: mkfs.erofs knows no zstd");
            continue;
        }
        let Some((_scratch, path)) = sample(options) else {
            return;
        };
        let image = open(&path);
        let packed = image.resolve(b"mixed", Follow::Never).expect("there");
        let packed = image.extents(&packed, 0).filter(|extent| {
            let extent = extent.as_ref().expect("mapped");
            matches!(extent.place, Place::Packed(_))
        });
        assert!(packed.count() > 3, "{options:?}");
        let read = of_image(&image);
        if let Some(mounted) = mounted(&path, &[]) {
            assert_same(&read, &of_directory(&mounted.path()));
        }
    }
}

#[test]
fn other_compressed_files_are_refused_by_name_or_read() {
    if !is_root("other_compressed_files_are_refused_by_name_or_read") {
        return;
    }
    for (options, what) in [
        (
            &["-zlz4", "-Elegacy-compress"][..],
            "a file compressed as before Linux 5.3",
        ),
        (
            &["-zlz4", "-Eztailpacking"],
            "a compressed file with an inline tail",
        ),
        (
            &["-zlz4", "-Efragments"],
            "a compressed file with fragments",
        ),
    ] {
        let Some((_scratch, path)) = sample(options) else {
            return;
        };
        let image = open(&path);
        let mut refused = Vec::new();
        for name in [
            "mixed",
            "a/of-4095",
            "a/of-4096",
            "a/of-4097",
            "a/of-12288",
            "a/of-100001",
        ] {
            refused.extend(image.resolve(name.as_bytes(), Follow::Never).err());
        }
        // Not every version has a use for the form here, and newer ones have another old form.
        if refused.is_empty() {
            if let Some(mounted) = mounted(&path, &[]) {
                assert_same(&of_image(&image), &of_directory(&mounted.path()));
            }
            continue;
        }
        let messages: Vec<_> = refused.iter().map(ToString::to_string).collect();
        assert!(
            messages.contains(&format!("{what} cannot be read")),
            "{options:?}: {messages:?}"
        );
        assert!(image.resolve(b"a/b", Follow::Never).is_ok());
    }
}

#[test]
fn paths_resolve_within_the_image() {
    if !is_root("paths_resolve_within_the_image") {
        return;
    }
    let Some((_scratch, path)) = sample(&[]) else {
        return;
    };
    let image = open(&path);
    let nid = |path: &[u8], follow| Ok::<_, ReadError>(image.resolve(path, follow)?.nid);
    let small = nid(b"small", Follow::Never).expect("there");
    for path in [
        &b"/small"[..],
        b"./a/../small",
        b"../../small",
        b"a/link",
        b"absolute",
        b"/a/b/c/../../../absolute",
        b"a/b/same",
    ] {
        let found = nid(path, Follow::Last).expect("there");
        assert_eq!(found, small, "{}", path.escape_ascii());
    }
    let link = image.resolve(b"absolute", Follow::Never).expect("there");
    assert_eq!(link.kind, FileType::Symlink);
    assert_eq!(image.link_target(&link).expect("read"), b"/a/link");
    let root = nid(b"", Follow::Never).expect("there");
    assert_eq!(nid(b"..", Follow::Last).expect("there"), root);
    assert!(nid(b"a/", Follow::Last).is_ok());
    for (path, message) in [
        (&b"a/nothing"[..], "there is no `a/nothing` in the image"),
        (b"loop", "too many symbolic links in `loop`"),
        (b"small/x", "`small/x` is not a directory"),
        (b"small/.", "`small/.` is not a directory"),
        (b"small/", "`small/` is not a directory"),
        (b"small/..", "`small/..` is not a directory"),
    ] {
        let error = nid(path, Follow::Last).expect_err("refused");
        assert_eq!(error.to_string(), message);
    }
    // Every name of a directory of many blocks is found, and none that is not there.
    let many = image.resolve(b"many", Follow::Never).expect("there");
    let entries = image.entries(&many).expect("a directory");
    for entry in entries {
        let entry = entry.expect("an entry");
        let found = image.lookup(&many, &entry.name).expect("looked up");
        assert_eq!(found.map(|inode| inode.nid), Some(entry.nid));
        let other = [entry.name.as_slice(), b"!"].concat();
        assert_eq!(image.lookup(&many, &other).expect("looked up"), None);
    }
}

#[test]
fn ranges_and_extents_of_a_file_are_those_of_its_bytes() {
    if !is_root("ranges_and_extents_of_a_file_are_those_of_its_bytes") {
        return;
    }
    for options in [&[][..], &["--chunksize=4096"], &["-Enoinline_data"]] {
        let Some((scratch, path)) = sample(options) else {
            return;
        };
        let image = open(&path);
        for name in ["a/of-100001", "a/of-4095", "sparse", "empty-file"] {
            let whole = fs::read(scratch.path().join("tree").join(name)).expect("read");
            let name = std::ffi::OsStr::new(name).as_bytes();
            let inode = image.resolve(name, Follow::Never).expect("there");
            let mut end = 0;
            for extent in image.extents(&inode, 0) {
                let extent = extent.expect("mapped");
                assert_eq!(extent.offset, end);
                end += extent.length;
                if let Place::Blocks { start, .. } = extent.place {
                    assert!(start.is_multiple_of(image.block_bytes()));
                }
            }
            assert_eq!(end, inode.size);
            for (offset, length) in [(0, 1), (1, 4095), (4090, 10), (99_999, 100), (1 << 40, 5)] {
                let mut buffer = vec![0; length];
                let read = image.read_at(&inode, &mut buffer, offset as u64);
                let end = whole.len().min(offset + length);
                let expected = whole.get(offset..end).unwrap_or_default();
                assert_eq!(&buffer[..read.expect("read")], expected);
            }
        }
    }
}
