//! The merged image of layers is what overlayfs shows of the same layers' trees.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;
use std::path::Path;

use gamut_store::erofs::Compression;
use gamut_store::erofs::format::DeviceSlot;
use gamut_store::erofs::merge::{MergeLayer, merge};
use gamut_store::erofs::read::Image;
use gamut_store::layer::Form;
use gamut_store::unpack::{OpaqueXattr, UnpackOptions};

use crate::bench::{Scratch, Tar, root};
use crate::listing::{Listing, assert_same, mounted, of_directory, of_image, scratch};
use crate::stacks::{Stacks, compare, without_root};

fn names(listing: &Listing) -> Vec<String> {
    listing
        .keys()
        .map(|path| path.escape_ascii().to_string())
        .collect()
}

fn text(bytes: usize, seed: usize) -> String {
    (0..bytes)
        .map(|i| char::from(b'a' + ((i * 7 + seed) % 26) as u8))
        .collect()
}

#[test]
fn layers_cover_and_hide_each_other() {
    if !root("layers_cover_and_hide_each_other") {
        return;
    }
    let below = Tar::new()
        .file("both", "below")
        .file("only-below", "below")
        .symlink("link", "both")
        .directory("d")
        .file("d/gone", "below")
        .file("d/kept", "below")
        .directory("opaque")
        .file("opaque/gone", "below")
        .directory("was-dir")
        .file("was-dir/x", "below")
        .file("was-file", "below")
        .directory("gone-dir")
        .file("gone-dir/x", "below");
    let above = Tar::new()
        .file("both", "above")
        .file("only-above", "above")
        .file("d/.wh.gone", "")
        .file("d/.wh.never-there", "")
        .directory("opaque")
        .file("opaque/.wh..wh..opq", "")
        .file("opaque/new", "above")
        .file("was-dir", "above")
        .directory("was-file")
        .file("was-file/x", "above")
        .file(".wh.gone-dir", "");
    let listing = compare(&[below.end(), above.end()]);
    let expected = [
        "both",
        "d",
        "d/kept",
        "link",
        "only-above",
        "only-below",
        "opaque",
        "opaque/new",
        "was-dir",
        "was-file",
        "was-file/x",
    ];
    assert_eq!(names(&listing), expected);
}

#[test]
fn what_was_hidden_stays_so_when_it_comes_again() {
    if !root("what_was_hidden_stays_so_when_it_comes_again") {
        return;
    }
    let first = Tar::new()
        .directory("d")
        .file("d/first", "1")
        .directory("e")
        .directory("e/f")
        .file("e/f/first", "1")
        .directory("g")
        .file("g/first", "1");
    // A whiteout, a file and an opaque directory in the place of directories.
    let second = Tar::new()
        .file(".wh.d", "")
        .directory("e")
        .file("e/f", "2")
        .directory("g")
        .file("g/.wh..wh..opq", "")
        .file("g/second", "2");
    let third = Tar::new()
        .directory("d")
        .file("d/third", "3")
        .directory("e")
        .directory("e/f")
        .file("e/f/third", "3")
        .directory("g")
        .file("g/third", "3");
    let listing = compare(&[first.end(), second.end(), third.end()]);
    let expected = [
        "d",
        "d/third",
        "e",
        "e/f",
        "e/f/third",
        "g",
        "g/second",
        "g/third",
    ];
    assert_eq!(names(&listing), expected);
}

#[test]
fn an_opaque_root_hides_everything_below() {
    if !root("an_opaque_root_hides_everything_below") {
        return;
    }
    let tars = [
        Tar::new()
            .file("gone", "1")
            .directory("d")
            .file("d/gone", "1")
            .end(),
        Tar::new()
            .file(".wh..wh..opq", "")
            .file("kept", "2")
            .directory("d")
            .end(),
        Tar::new().file("d/new", "3").end(),
    ];
    assert_eq!(names(&compare(&tars)), ["d", "d/new", "kept"]);
}

#[test]
fn every_kind_of_file_points_into_its_layer() {
    if !root("every_kind_of_file_points_into_its_layer") {
        return;
    }
    let mut tars = Vec::new();
    for layer in 0..3 {
        let mut tar = Tar::new();
        for bytes in [0, 1, 2000, 4000, 4095, 4096, 4097, 8192, 100_000, 3 << 20] {
            let name = format!("{layer}-of-{bytes}");
            tar = tar.file(&name, &text(bytes, layer));
        }
        tar = tar
            .symlink(&format!("{layer}-link"), &text(90, layer))
            .entry(b'6', &format!("{layer}-fifo"), "", b"")
            .raw(b'3', &format!("{layer}-null"), "", b"", |header| {
                header[329..336].copy_from_slice(b"0000001");
                header[337..344].copy_from_slice(b"0000003");
            })
            .hardlink(&format!("{layer}-same"), &format!("{layer}-of-4097"))
            .hardlink(&format!("{layer}-small"), &format!("{layer}-of-2000"))
            .hardlink("shared-name", &format!("{layer}-of-4097"));
        tars.push(tar.end());
    }
    let listing = compare(&tars);
    let node = |name: &str| &listing[name.as_bytes()];
    assert_eq!(node("shared-name").first_name, b"2-of-4097");
    assert_eq!(node("1-same").first_name, b"1-of-4097");
}

#[test]
fn attributes_are_the_upper_layers() {
    if !root("attributes_are_the_upper_layers") {
        return;
    }
    let owned = |tar: Tar, mode: &str, id: &str, time: &[u8], value: &[u8]| {
        let (mode, id) = (mode.to_owned(), id.to_owned());
        let mut put = move |header: &mut [u8; 512]| {
            header[100..107].copy_from_slice(mode.as_bytes());
            header[108..115].copy_from_slice(id.as_bytes());
            header[116..123].copy_from_slice(id.as_bytes());
        };
        let records = [
            ("mtime", time),
            ("SCHILY.xattr.user.x", value),
            ("SCHILY.xattr.trusted.y", value),
        ];
        let tar = tar.pax(&records).raw(b'5', "d", "", b"", &mut put);
        tar.pax(&records).raw(b'0', "d/f", "", b"data", put)
    };
    let below = owned(
        Tar::new(),
        "0000700",
        "0000017",
        b"1000.000000001",
        b"below",
    );
    let above = owned(Tar::new(), "0001777", "0777777", b"-5.25", &[b'x'; 1500]);
    let above = above
        .pax(&[("SCHILY.xattr.user.x", &[b'x'; 1500])])
        .file("same", "x");
    let listing = compare(&[below.end(), above.end()]);
    assert_eq!(listing[&b"d"[..]].mtime, (-6, 750_000_000));
    assert_eq!(listing[&b"d"[..]].mode & 0o7777, 0o1777);
}

#[test]
fn forty_layers_keep_their_order() {
    if !root("forty_layers_keep_their_order") {
        return;
    }
    let tars: Vec<_> = (0..40)
        .map(|number| {
            let mut tar = Tar::new()
                .file("last", &number.to_string())
                .file("large", &text(10_000, number))
                .file(&format!("own{number}"), &text(5000, number))
                .directory("d")
                .file(&format!("d/{number}"), &text(5000, number));
            if number > 0 {
                tar = tar.file(&format!(".wh.own{}", number - 1), "");
            }
            tar.end()
        })
        .collect();
    let listing = compare(&tars);
    assert_eq!(listing.len(), 44);
    assert!(listing.contains_key(&b"own39"[..]));
}

#[test]
fn more_layers_than_overlayfs_stacks() {
    if !root("more_layers_than_overlayfs_stacks") {
        return;
    }
    let tar = |number: usize| {
        Tar::new()
            .file(&format!("f{number}"), &text(5000, number))
            .end()
    };
    let tars: Vec<_> = (0..600).map(tar).collect();
    let stacks = Stacks::new(&tars);
    let place = scratch();
    let merged = place.path().join("merged");
    stacks.merged(&merged).expect("merged");
    let Some(mounted) = mounted(&merged, &stacks.image_paths()) else {
        return;
    };
    let listing = of_directory(&mounted.path());
    assert_eq!(listing.len(), 601);
    for number in [0, 255, 256, 511, 599] {
        let read = std::fs::read_to_string(mounted.path().join(format!("f{number}")));
        assert_eq!(read.expect("read"), text(5000, number));
    }
}

#[test]
fn devices_in_one_address_space_are_one_device() {
    if !root("devices_in_one_address_space_are_one_device") {
        return;
    }
    let tars = [
        Tar::new().file("a", &text(9000, 1)).end(),
        Tar::new().file("b", &text(9000, 2)).end(),
        Tar::new().file("c", &text(99_000, 3)).end(),
    ];
    let stacks = Stacks::compressed(&tars, |number| match number {
        2 => Compression::Lz4,
        _ => Compression::None,
    });
    let place = scratch();
    let merged = place.path().join("merged");
    stacks.merged(&merged).expect("merged");
    let expected = stacks.overlay();
    let whole = place.path().join("whole");
    std::fs::copy(&merged, &whole).expect("copied");
    let file = File::options().write(true).open(&whole).expect("opened");
    // The device table follows the first block.
    let table = &std::fs::read(&merged).expect("read")[4096..];
    for (slot, layer) in table.as_chunks().0.iter().zip(stacks.image_paths()) {
        let at = u64::from(DeviceSlot::from_bytes(slot).mapped_blkaddr) * 4096;
        let layer = std::fs::read(layer).expect("read");
        file.write_all_at(&layer, at).expect("written");
    }
    if let Some(mounted) = mounted(&whole, &[]) {
        assert_same(&expected, &without_root(of_directory(&mounted.path())));
    }
}

#[test]
fn the_root_is_the_top_layers_that_says_something_of_it() {
    if !root("the_root_is_the_top_layers_that_says_something_of_it") {
        return;
    }
    let with_root = |mode: &'static str| {
        Tar::new().raw(b'5', "./", "", b"", |header| {
            header[100..107].copy_from_slice(mode.as_bytes());
        })
    };
    let silent = || Tar::new().file("x", "").end();
    let mode = |tars: &[Vec<u8>]| {
        let stacks = Stacks::new(tars);
        let place = scratch();
        let merged = place.path().join("merged");
        stacks.merged(&merged).expect("merged");
        let image = Image::open(File::open(&merged).expect("opened")).expect("an image");
        image.root().expect("a root").mode
    };
    assert_eq!(
        mode(&[
            with_root("0000711").end(),
            with_root("0001755").end(),
            silent()
        ]),
        0o1755
    );
    assert_eq!(mode(&[with_root("0000711").end(), silent()]), 0o711);
    assert_eq!(mode(&[silent()]), 0o755);
    assert_eq!(mode(&[]), 0o755);
}

#[test]
fn the_same_layers_give_the_same_bytes() {
    if !root("the_same_layers_give_the_same_bytes") {
        return;
    }
    let tars = [
        Tar::new()
            .file("a", &text(9000, 1))
            .hardlink("b", "a")
            .end(),
        Tar::new()
            .directory("d")
            .file("d/c", &text(100, 2))
            .hardlink("e", "d/c")
            .end(),
    ];
    let place = scratch();
    let write = |name: &str| {
        let path = place.path().join(name);
        Stacks::new(&tars).merged(&path).expect("merged");
        std::fs::read(path).expect("read")
    };
    assert!(write("first") == write("second"));
}

#[test]
fn layers_that_cannot_be_merged_are_named() {
    if !root("layers_that_cannot_be_merged_are_named") {
        return;
    }
    let tars = [
        Tar::new().file("a", "a").end(),
        Tar::new().file("b", &text(9000, 2)).end(),
    ];
    let stacks = Stacks::new(&tars);
    let place = scratch();
    let merged = place.path().join("merged");
    stacks.merged(&merged).expect("merged");
    let open = |path: &Path| Image::open(File::open(path).expect("opened")).expect("an image");
    let into = File::create(place.path().join("again")).expect("a file");
    let layer = |image| MergeLayer {
        image,
        has_root: false,
        opaque_root: false,
        tag: [0; 64],
    };
    // A merged image has devices of its own.
    let (plain, other) = (open(&stacks.image_paths()[0]), open(&merged));
    let error = merge(&[layer(&plain), layer(&other)], into.as_fd()).expect_err("refused");
    assert_eq!(
        error.to_string(),
        "layer 2: an image with devices of its own cannot be merged"
    );
    // The root of the second layer's image comes to be larger than anything.
    let other = open(&stacks.image_paths()[1]);
    let file = File::options().write(true).open(&stacks.image_paths()[1]);
    file.and_then(|file| file.write_all_at(&u64::MAX.to_le_bytes(), 1152 + 8))
        .expect("written");
    let error = merge(&[layer(&plain), layer(&other)], into.as_fd()).expect_err("refused");
    assert!(
        error
            .to_string()
            .starts_with("layer 2: the image is damaged"),
        "{error}"
    );
}

/// Layers of random entries over few names, so that they meet each other in every way.
#[test]
fn random_layers_merge_as_overlayfs_stacks_them() {
    if !root("random_layers_merge_as_overlayfs_stacks_them") {
        return;
    }
    let mut state = 7_u64;
    let mut below = |limit: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 33) as usize % limit
    };
    for _ in 0..25 {
        let layers = 2 + below(5);
        let tars: Vec<_> = (0..layers)
            .map(|layer| random_layer(layer, &mut below))
            .collect();
        compare(&tars);
    }
}

/// A layer that can be unpacked: what has entries below it is a directory.
fn random_layer(layer: usize, below: &mut impl FnMut(usize) -> usize) -> Vec<u8> {
    let mut tar = Tar::new();
    let mut files: Vec<String> = Vec::new();
    for top in ["a", "b", "c"] {
        tar = random_name(tar, top, layer, below, &mut files, 0);
    }
    tar.end()
}

fn random_name(
    tar: Tar,
    path: &str,
    layer: usize,
    below: &mut impl FnMut(usize) -> usize,
    files: &mut Vec<String>,
    depth: usize,
) -> Tar {
    let (parent, name) = path
        .rsplit_once('/')
        .map_or(("", path), |(parent, name)| (parent, name));
    match below(10) {
        0 | 1 => tar,
        2 => tar.file(
            &format!(
                "{parent}{}.wh.{name}",
                if parent.is_empty() { "" } else { "/" }
            ),
            "",
        ),
        3 => {
            files.push(path.to_owned());
            tar.file(path, &text([3, 5000][below(2)], layer))
        }
        4 => tar.symlink(path, &format!("to-{layer}")),
        5 if !files.is_empty() => {
            let target = files[below(files.len())].clone();
            tar.hardlink(path, &target)
        }
        choice if depth < 3 => {
            let mut tar = tar.directory(path);
            if choice == 6 {
                tar = tar.file(&format!("{path}/.wh..wh..opq"), "");
            }
            for name in ["x", "y"] {
                let path = format!("{path}/{name}");
                tar = random_name(tar, &path, layer, below, files, depth + 1);
            }
            tar
        }
        _ => tar.file(path, ""),
    }
}

#[test]
fn marks_for_mounts_by_users_are_marks_too() {
    if !root("marks_for_mounts_by_users_are_marks_too") {
        return;
    }
    let images = Scratch::new();
    let options = UnpackOptions {
        form: Form::Erofs,
        opaque: OpaqueXattr::User,
        ..UnpackOptions::default()
    };
    let open = |tar: Vec<u8>| {
        let (layer, _) = images.unpack_with(&tar, &options).expect("unpacked");
        let path = images.store.layers().tree(&layer.record);
        Image::open(File::open(path).expect("opened")).expect("an image")
    };
    let below = open(Tar::new().directory("d").file("d/gone", "").end());
    let above = open(Tar::new().directory("d").file("d/.wh..wh..opq", "").end());
    let layers = [&below, &above].map(|image| MergeLayer {
        image,
        has_root: false,
        opaque_root: false,
        tag: [0; 64],
    });
    let place = scratch();
    let merged = place.path().join("merged");
    let file = File::create(&merged).expect("a file");
    merge(&layers, file.as_fd()).expect("merged");
    let image = Image::open(File::open(&merged).expect("opened")).expect("an image");
    let listing = without_root(of_image(&image));
    assert_eq!(names(&listing), ["d"]);
    assert_eq!(listing[&b"d"[..]].xattrs, []);
}
