//! The contract suite, held against each way to keep layers and to make roots.

use std::path::Path;
use std::process::Command;

use gamut_store::snapshot::suite::{self, Layers};
use gamut_store::snapshot::{Copy, Overlay};

use crate::bench::root;

#[test]
fn overlay_over_trees_keeps_the_contract() {
    if !root("overlay_over_trees_keeps_the_contract") {
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    suite::run(scratch.path(), &Layers::Trees, |layers, containers| {
        Overlay::new(layers.to_owned(), containers.to_owned())
    });
}

#[test]
fn overlay_over_images_keeps_the_contract() {
    if !root("overlay_over_images_keeps_the_contract") || !has_mkfs() {
        return;
    }
    // A file on tmpfs cannot be mounted.
    let scratch = tempfile::tempdir_in("/var/tmp").expect("a scratch directory");
    suite::run(
        scratch.path(),
        &Layers::Images {
            make: make_image,
            merge: |overlay: &Overlay, layers| overlay.merge(layers).expect("merged"),
        },
        |layers, containers| Overlay::new(layers.to_owned(), containers.to_owned()),
    );
}

#[test]
fn copies_keep_the_contract() {
    if !root("copies_keep_the_contract") {
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    suite::run(scratch.path(), &Layers::Trees, |layers, containers| {
        Copy::new(layers.to_owned(), containers.to_owned())
    });
}

#[test]
fn copies_of_images_keep_the_contract() {
    if !root("copies_of_images_keep_the_contract") || !has_mkfs() {
        return;
    }
    let scratch = tempfile::tempdir().expect("a scratch directory");
    let images = Layers::Images {
        make: make_image,
        merge: |_: &Copy, _| {},
    };
    suite::run(scratch.path(), &images, |layers, containers| {
        Copy::new(layers.to_owned(), containers.to_owned())
    });
}

fn make_image(tree: &Path, image: &Path) {
    let made = Command::new("mkfs.erofs").arg(image).arg(tree).output();
    let made = made.expect("mkfs.erofs can be started");
    assert!(made.status.success(), "{made:?}");
}

fn has_mkfs() -> bool {
    let there = Command::new("mkfs.erofs").arg("--help").output().is_ok();
    if !there {
        eprintln!("skipped: there is no mkfs.erofs (erofs-utils)");
    }
    there
}
