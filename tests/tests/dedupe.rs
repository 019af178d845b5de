//! Files that several layers have, kept once.

use gamut_tests::disk::Disk;
use gamut_tests::host::program;
use gamut_tests::{Gamut, ImageBuilder, Layer};

/// Bytes of the file that two layers have.
const TWIN_BYTES: usize = 24 << 20;

/// Bytes that no compression and no file system takes for others.
fn noise() -> Vec<u8> {
    let mut state = 1_u32;
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 24) as u8
    };
    (0..TWIN_BYTES + 100).map(|_| next()).collect()
}

/// An image whose second layer has the file, beside something of its own.
fn image(name: &str) -> ImageBuilder {
    ImageBuilder::new()
        .layer(super::run::busybox_with(&[
            "sh",
            "cat",
            "sha256sum",
            "sleep",
        ]))
        .layer(Layer::new().file("own", 0o644, name).file(
            &format!("of-{name}/twin"),
            0o600,
            noise(),
        ))
        .env(&["PATH=/bin"])
        .cmd(&["sh", "-c", "cat /of-*/twin | sha256sum"])
}

/// Bytes that are free where the engine's root is, everything written out.
fn free(gamut: &Gamut) -> u64 {
    let root = gamut.root().to_str().unwrap();
    program("sync", &["-f", root]);
    let told = program("stat", &["-f", "-c", "%a %S", root]);
    let mut numbers = told.split_whitespace().map(|n| n.parse::<u64>().unwrap());
    numbers.next().unwrap() * numbers.next().unwrap()
}

/// `(files, bytes)` of the last line.
fn dedupe(gamut: &Gamut) -> (u64, u64) {
    let words = ["system", "dedupe", "--format", "{{.Files}} {{.Bytes}}"];
    let told = gamut.call(&words).ok();
    let (files, bytes) = told.text().split_once(' ').expect("two numbers");
    (files.parse().unwrap(), bytes.parse().unwrap())
}

/// With layers of whatever form, and of both: less is taken, nothing is lost, and each layer goes by
/// itself.
fn twins_are_kept_once(drivers: [&str; 2]) {
    let Some(gamut) = Gamut::new() else { return };
    let mkfs = ["mkfs.xfs", "-q", "-m", "reflink=1"];
    let Some(_disk) = Disk::new(&gamut, 512, &mkfs) else {
        return;
    };
    let references = ["one", "two"].map(|name| {
        let image = image(name).build();
        gamut
            .host
            .registry
            .push(&image, &format!("dedupe-{name}:lab"))
    });
    for (driver, reference) in drivers.iter().zip(&references) {
        let words = ["--storage-driver", driver, "pull", "-q", reference];
        let told = gamut.call(&words);
        if told.err.contains("cannot be had here") {
            gamut_tests::skip::skipped(told.err.trim());
            return;
        }
        told.ok();
    }
    let run = |reference: &str| {
        let words = ["run", "--rm", "--network", "none", reference];
        gamut.call(&words).ok().text().to_owned()
    };
    let running = gamut
        .call(&[
            "run",
            "-d",
            "--network",
            "none",
            &references[1],
            "sleep",
            "1000",
        ])
        .ok();
    let content = run(&references[0]);
    assert_eq!(run(&references[1]), content);
    let before = free(&gamut);
    let (files, bytes) = dedupe(&gamut);
    assert_eq!((files, bytes), (1, TWIN_BYTES as u64 + 100));
    let gained = free(&gamut).saturating_sub(before);
    assert!(
        gained as usize > TWIN_BYTES * 9 / 10,
        "{gained} bytes more are free"
    );
    // Once more is nothing more, and all is what it was.
    assert_eq!(dedupe(&gamut), (files, bytes));
    gamut.call(&["image", "verify"]).ok();
    super::disk::agree(&gamut, "files are shared");
    gamut.call(&["exec", running.text(), "cat", "/own"]).ok();
    gamut.call(&["rmi", "-f", &references[0]]).ok();
    assert_eq!(run(&references[1]), content);
    gamut.call(&["rm", "-f", running.text()]).ok();
    gamut.call(&["image", "verify"]).ok();
}

#[test]
fn files_of_images_are_kept_once() {
    twins_are_kept_once(["erofs", "erofs"]);
}

#[test]
fn files_of_trees_are_kept_once() {
    twins_are_kept_once(["overlay", "overlay"]);
}

#[test]
fn files_of_a_tree_and_an_image_are_kept_once() {
    twins_are_kept_once(["overlay", "erofs"]);
}

#[test]
fn where_files_cannot_share_blocks_it_is_said() {
    let Some(gamut) = Gamut::new() else { return };
    let Some(_disk) = Disk::new(&gamut, 64, &["mke2fs", "-q", "-t", "ext4"]) else {
        return;
    };
    gamut
        .call(&["system", "dedupe"])
        .refused(1, &["cannot share their blocks"])
        .hinted();
}
