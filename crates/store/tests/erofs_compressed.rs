//! Compressed layers: what is read of them, by the kernel and by our reader, is what was put in.

use std::fs::File;
use std::path::Path;

use gamut_store::erofs::Compression;
use gamut_store::erofs::read::{Follow, Image, Packing, Place};
use gamut_store::unpack::UnpackOptions;

use crate::bench::{Scratch, Tar, root};
use crate::listing::{assert_same, mounted, of_directory, of_image, scratch};
use crate::mounted::{can_mount, compare_with, image, image_options};
use crate::stacks::Stacks;

const ALL: [Compression; 4] = [
    Compression::Lz4,
    Compression::Zstd(1),
    Compression::Zstd(3),
    Compression::Zstd(19),
];

fn options(compression: Compression) -> UnpackOptions {
    UnpackOptions {
        compression,
        ..image_options()
    }
}

/// Numbers that look random, and are the same each time.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        self.0 >> 33
    }

    fn noise(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|_| self.next() as u8).collect()
    }

    /// Noise, repetitions, zeros, in runs of random lengths.
    fn data(&mut self, bytes: usize) -> Vec<u8> {
        let mut data = Vec::with_capacity(bytes + 100_000);
        while data.len() < bytes {
            let run = 1 + (self.next() % 60_000) as usize;
            match self.next() % 4 {
                0 => data.extend(self.noise(run)),
                1 => data.extend(b"a word, ".repeat(run / 8)),
                2 => data.extend((0..run).map(|i| (i * i % 26) as u8)),
                _ => data.resize(data.len() + run, 0),
            }
        }
        data.truncate(bytes);
        data
    }
}

/// A file of any bytes.
fn file(tar: Tar, name: &str, data: &[u8]) -> Tar {
    tar.entry(b'0', name, "", data)
}

/// Sizes around the ends of blocks, extents, and of what is compressed at once.
fn sample() -> Vec<u8> {
    let mut random = Random(1);
    let mut tar = Tar::new();
    for bytes in [0, 1, 1984, 1985, 4095, 4096, 4097, 8192, 8193] {
        tar = tar.file(&format!("text-{bytes}"), &"x y ".repeat(bytes)[..bytes]);
    }
    for (number, around) in [65_536_usize, 131_072, 1 << 20, 3 << 20].iter().enumerate() {
        for bytes in [
            around - 4096,
            around - 1,
            *around,
            around + 1,
            around + 4097,
        ] {
            tar = file(tar, &format!("zeros-{bytes}"), &vec![0; bytes]);
            tar = file(tar, &format!("mixed-{bytes}"), &random.data(bytes));
        }
        tar = tar.hardlink(&format!("link-{number}"), &format!("mixed-{around}"));
    }
    let tar = file(tar, "noise", &random.noise(300_000));
    let tar = tar.pax(&[("SCHILY.xattr.user.a", &[b'v'; 500]), ("mtime", b"1.5")]);
    file(tar, "with-xattr", &random.data(200_000)).end()
}

#[test]
fn a_compressed_image_is_the_tree_of_its_archive() {
    if !can_mount("a_compressed_image_is_the_tree_of_its_archive") {
        return;
    }
    let tar = sample();
    let bytes = |path: &Path| path.metadata().expect("there").len();
    let (_plain, plain) = compare_with(&tar, &options(Compression::None));
    for compression in ALL {
        let (_kept, path) = compare_with(&tar, &options(compression));
        assert!(bytes(&path) * 3 < bytes(&plain) * 2, "{compression}");
        let image = Image::open(File::open(&path).expect("opened")).expect("an image");
        let read = of_image(&image);
        if let Some(mounted) = mounted(&path, &[]) {
            assert_same(&read, &of_directory(&mounted.path()));
        }
    }
}

#[test]
fn archives_of_random_files_are_the_same_compressed() {
    if !can_mount("archives_of_random_files_are_the_same_compressed") {
        return;
    }
    let mut random = Random(7);
    for round in 0..12 {
        let mut tar = Tar::new();
        for number in 0..1 + random.next() % 20 {
            let bytes = 1_usize << (random.next() % 22);
            let bytes = bytes + (random.next() as usize % bytes);
            tar = file(
                tar,
                &format!("d{}/{number}", number % 3),
                &random.data(bytes),
            );
        }
        compare_with(&tar.end(), &options(ALL[round % ALL.len()]));
    }
}

/// Whatever of a file is asked for, in whatever pieces.
#[test]
fn ranges_of_a_compressed_file_are_those_of_its_bytes() {
    let mut random = Random(3);
    let data = random.data(700_001);
    let tar = file(Tar::new(), "file", &data).end();
    for compression in ALL {
        let store = Scratch::new();
        let (path, _, _) = image(&store, &tar, &options(compression));
        let image = Image::open(File::open(&path).expect("opened")).expect("an image");
        let inode = image.resolve(b"file", Follow::Never).expect("there");
        for _ in 0..200 {
            let offset = random.next() as usize % data.len();
            let mut buffer = vec![0; 1 + random.next() as usize % 150_000];
            let read = image.read_at(&inode, &mut buffer, offset as u64);
            let expected = &data[offset..data.len().min(offset + buffer.len())];
            assert_eq!(&buffer[..read.expect("read")], expected);
        }
        let mut end = 0;
        for extent in image.extents(&inode, 0) {
            let extent = extent.expect("mapped");
            assert_eq!(extent.offset, end);
            end += extent.length;
            if let Place::Packed(cluster) = extent.place {
                assert!(matches!(cluster.packing, Packing::Algorithm(_)));
                assert!(u64::from(cluster.bytes) < extent.length);
            }
        }
        assert_eq!(end, data.len() as u64);
    }
}

#[test]
fn the_same_archive_gives_the_same_compressed_bytes() {
    let tar = sample();
    for compression in ALL {
        let write = || {
            let store = Scratch::new();
            let (path, _, _) = image(&store, &tar, &options(compression));
            std::fs::read(path).expect("read")
        };
        assert!(write() == write(), "{compression}");
    }
}

#[test]
fn nothing_worth_compressing_is_an_image_as_ever() {
    let noise = Random(5).noise(70_000);
    let tar = file(Tar::new().file("a", "small"), "b", &noise).end();
    let write = |compression| {
        let store = Scratch::new();
        let (path, _, _) = image(&store, &tar, &options(compression));
        std::fs::read(path).expect("read")
    };
    assert!(write(Compression::Zstd(3)) == write(Compression::None));
}

#[test]
fn compressed_layers_are_merged() {
    if !root("compressed_layers_are_merged") {
        return;
    }
    let mut random = Random(11);
    let tars: Vec<_> = (0..7)
        .map(|layer| {
            let mut tar = Tar::new().file("small", &layer.to_string());
            tar = file(tar, "last", &random.data(100_000));
            for bytes in [5000, 70_000, 2_500_000] {
                tar = file(tar, &format!("{layer}/of-{bytes}"), &random.data(bytes));
            }
            let whole = format!("{layer}/of-70000");
            tar.hardlink(&format!("{layer}-same"), &whole).end()
        })
        .collect();
    let stacks = Stacks::compressed(&tars, |layer| match layer % 3 {
        0 => Compression::Lz4,
        1 => Compression::None,
        _ => Compression::Zstd(3),
    });
    let listing = stacks.compare();
    assert_eq!(listing.len(), 2 + 7 * 5);
    let place = scratch();
    let merged = place.path().join("merged");
    stacks.merged(&merged).expect("merged");
    // Eight bytes for each block of the 18 MB, and not the data.
    let bytes = merged.metadata().expect("there").len();
    assert!(bytes < 200_000, "{bytes}");
}
