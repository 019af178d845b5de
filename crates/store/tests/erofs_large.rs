//! Images of much: large directories, large and sparse files, real layers.

use std::path::PathBuf;

use gamut_store::unpack::UnpackProblem;

use crate::bench::{Scratch, Tar, listed};
use crate::mounted::{can_mount, compare, fsck, image, image_options, mount, numbered};

#[test]
fn a_directory_of_a_hundred_thousand_entries() {
    if !can_mount("a_directory_of_a_hundred_thousand_entries") {
        return;
    }
    let scratch = Scratch::new();
    let tar = numbered(100_000, |i| format!("d/entry {i}"));
    let (image, _, _) = image(&scratch, &tar, &image_options());
    fsck(&image);
    let mounted = mount(&image);
    let directory = mounted.path("d");
    assert_eq!(listed(&directory).len(), 100_000);
    for i in (0..100_000).step_by(97) {
        let content = std::fs::read_to_string(directory.join(format!("entry {i}")));
        assert_eq!(content.expect("found"), i.to_string());
    }
    assert!(!directory.join("entry 100000").exists());
}

#[test]
fn sparse_files_are_the_same_in_an_image() {
    if !can_mount("sparse_files_are_the_same_in_an_image") {
        return;
    }
    let sparse = |tar: Tar, name: &str, runs: &[(u64, u64)], size: u64| {
        let data: Vec<u8> = (0..runs.iter().map(|run| run.1).sum())
            .map(|i: u64| (i % 251) as u8 + 1)
            .collect();
        tar.raw(b'S', name, "", &data, |h| {
            h[257..265].copy_from_slice(b"ustar  \0");
            h[345..500].fill(0);
            // Numbers in base 256: octal digits end at 8 GiB.
            let mut put = |at: usize, number: u64| {
                h[at] = 0x80;
                h[at + 4..at + 12].copy_from_slice(&number.to_be_bytes());
            };
            for (i, (offset, length)) in runs.iter().enumerate() {
                put(386 + 24 * i, *offset);
                put(398 + 24 * i, *length);
            }
            put(483, size);
        })
    };
    let mut tar = Tar::new();
    for (name, runs, size) in [
        ("small", &[(10, 20), (500, 5)][..], 1000),
        ("hole at the end", &[(0, 5000)], 1 << 20),
        (
            "hole at the beginning",
            &[(1 << 20, 5000)],
            (1 << 20) + 5000,
        ),
        (
            "scattered",
            &[(5000, 1), (70_000, 8192), (1 << 22, 100), (1 << 24, 0)],
            1 << 24,
        ),
        ("no hole", &[(0, 9000)], 9000),
        ("nothing", &[], 0),
        ("all hole", &[(1 << 20, 0)], 1 << 20),
        ("large", &[(3, 4), (5 << 30, 4096)], 6 << 30),
        ("very large", &[(100 << 30, 7)], (200 << 30) + 1),
    ] {
        tar = sparse(tar, name, runs, size);
    }
    let tar = tar.hardlink("again", "large").file("after", "x").end();
    compare(&tar);
}

#[test]
fn memory_and_size_are_limited() {
    let mut options = image_options();
    options.limits.directory_memory_bytes = 20_000;
    let scratch = Scratch::new();
    let problem = scratch.refused_with(&numbered(2000, |i| i.to_string()), &options);
    assert!(matches!(problem, UnpackProblem::Limit { .. }), "{problem}");
}

/// The layers of the lab's images: Debian, and packages on top of it.
#[test]
fn real_layers_are_the_same_in_an_image() {
    let test = "real_layers_are_the_same_in_an_image";
    if !can_mount(test) {
        return;
    }
    let Some(layout) = std::env::var_os("GAMUT_LAYOUT") else {
        eprintln!("{test}: skipped: GAMUT_LAYOUT is not set; `lab/image layout` prints it");
        return;
    };
    let mut layers = 0;
    for blob in std::fs::read_dir(PathBuf::from(layout).join("blobs/sha256")).expect("a layout") {
        let bytes = std::fs::read(blob.expect("a blob").path()).expect("read");
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut tar = Vec::new();
            let mut decoder = flate2::read::MultiGzDecoder::new(&bytes[..]);
            std::io::Read::read_to_end(&mut decoder, &mut tar).expect("decompressed");
            compare(&tar);
            layers += 1;
        }
    }
    assert!(layers > 3, "{layers} layers only");
}

/// More names than any layer of an image has, in the memory that they may take.
#[test]
fn a_million_entries() {
    let scratch = Scratch::new();
    let mut tar = Vec::with_capacity(512 << 20);
    // Nothing but headers; one is made, and the others differ in their names and sums.
    let first = Tar::new().file("d0000/entry 0000000", "").end();
    for i in 0..1_000_000_u32 {
        let mut header: [u8; 512] = std::array::from_fn(|at| first[at]);
        let name = format!("d{:04}/entry {i:07}", i % 1000);
        header[..name.len()].copy_from_slice(name.as_bytes());
        header[148..156].fill(b' ');
        let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
        header[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
        tar.extend_from_slice(&header);
    }
    let (image, layer, _) = image(&scratch, &tar, &image_options());
    assert_eq!(layer.record.entries, 1_000_000);
    fsck(&image);
    if can_mount("a_million_entries") {
        let mounted = mount(&image);
        let directory = mounted.path("d0999");
        assert_eq!(listed(&directory).len(), 1000);
        let last = std::fs::metadata(directory.join("entry 0999999"));
        assert!(last.expect("there").is_file());
    }
}

/// GNU tar's ways to write a sparse file give the file itself, in a tree and in an image.
#[test]
fn every_form_of_a_sparse_file_is_read() {
    let test = "every_form_of_a_sparse_file_is_read";
    if !can_mount(test) {
        return;
    }
    let directory = tempfile::tempdir().expect("a scratch directory");
    let file = std::fs::File::create(directory.path().join("sparse")).expect("made");
    for i in 0..40 {
        let data = vec![i as u8 + 1; 5000];
        std::os::unix::fs::FileExt::write_all_at(&file, &data, i * 300_000 + 7).expect("written");
    }
    file.set_len(20 << 20).expect("extended");
    let expected = std::fs::read(directory.path().join("sparse")).expect("read");
    let forms = [
        "--format=gnu",
        "--sparse-version=0.0",
        "--sparse-version=0.1",
        "--sparse-version=1.0",
    ];
    for form in forms {
        let mut tar = std::process::Command::new("tar");
        tar.args(["--create", "--sparse", form]);
        if form != "--format=gnu" {
            tar.arg("--format=pax");
        }
        let output = tar.arg("sparse").current_dir(&directory).output();
        let output = match output {
            Ok(output) => output,
            Err(error) => return eprintln!("{test}: skipped: tar: {error}"),
        };
        assert!(output.status.success(), "{form}: {output:?}");
        assert!(output.stdout.len() < 1 << 20, "{form} writes holes");
        let scratch = Scratch::new();
        let tree = scratch.tree(&output.stdout).join("sparse");
        assert!(std::fs::read(tree).expect("read") == expected, "{form}");
        compare(&output.stdout);
    }
}
