//! Layers whose archives come out again, byte for byte. Every unpacking of the other tests is held
//! to it too (`bench::unpack`).

use std::io::Read;
use std::os::unix::fs::MetadataExt;

use gamut_store::reproduce::ReproduceError;

use crate::bench::{Scratch, Tar, listed, root, sha256};

/// Unpacks, which checks that the same archive comes out again; its tree.
fn tree(scratch: &Scratch, tar: Tar) -> std::path::PathBuf {
    scratch.tree(&tar.end())
}

#[test]
fn files_that_were_replaced_are_in_the_archive_all_the_same() {
    let scratch = Scratch::new();
    let tree = tree(
        &scratch,
        Tar::new()
            .file("a", "first")
            .file("b", "kept")
            .file("a", "second, longer")
            .hardlink("c", "a")
            .file("a", "third")
            .hardlink("a", "b")
            .file("a", "fifth")
            .symlink("a", "b")
            .file("a", ""),
    );
    assert_eq!(std::fs::read(tree.join("a")).expect("read"), b"");
    assert_eq!(
        std::fs::read(tree.join("c")).expect("read"),
        b"second, longer"
    );
    let replaced = tree.with_file_name("replaced");
    assert_eq!(listed(&replaced), ["0", "1", "2", "3", "4"]);
}

#[test]
fn a_directory_that_was_replaced_is_in_it_with_all_that_was_below() {
    let scratch = Scratch::new();
    let tree = tree(
        &scratch,
        Tar::new()
            .file("d/one", "1")
            .file("d/e/two", "22")
            .hardlink("d/e/three", "d/one")
            .file("d", "a file now")
            .directory("d")
            .file("d/one", "again"),
    );
    assert_eq!(std::fs::read(tree.join("d/one")).expect("read"), b"again");
}

#[test]
fn paths_through_links_are_found_where_they_led() {
    let scratch = Scratch::new();
    let tree = tree(
        &scratch,
        Tar::new()
            .directory("usr/lib")
            .symlink("lib", "usr/lib")
            .file("lib/one", "by the link")
            .file("usr/lib/one", "replaced by its place")
            .symlink("abs", "/lib")
            .file("abs/two", "by two links")
            .file("lib", "no link any more")
            .file("abs", "nor this"),
    );
    let one = std::fs::read(tree.join("usr/lib/one")).expect("read");
    assert_eq!(one, b"replaced by its place");
}

#[test]
fn whatever_has_no_file_is_kept_as_it_is() {
    let scratch = Scratch::new();
    let long = "x".repeat(200_000);
    let tar = Tar::new()
        .file(".wh..wh.plnk/1.2", "AUFS's own")
        .file("d/.wh.gone", "a whiteout with content")
        .file("d/.wh..wh..opq", "too")
        .pax(&[("path", b"elsewhere"), ("comment", long.as_bytes())])
        .file("here", "content");
    let mut tar = tar.end();
    tar.extend(long.bytes());
    scratch.tree(&tar);
}

#[test]
fn an_archive_may_end_without_an_end() {
    let scratch = Scratch::new();
    let mut tar = Tar::new().file("a", &"y".repeat(1300)).end();
    tar.truncate(512 + 1536);
    scratch.tree(&tar);
    let scratch = Scratch::new();
    scratch.tree(b"");
}

#[test]
fn sparse_files_give_their_runs() {
    let scratch = Scratch::new();
    let mut data = vec![b'a'; 512];
    data.extend([b'b'; 100]);
    let tar = Tar::new().raw(b'S', "sparse", "", &data, |header| {
        let mut put = |at: usize, number: usize| {
            header[at..at + 11].copy_from_slice(format!("{number:011o}").as_bytes());
        };
        for (at, number) in [(386, 1024), (398, 512), (410, 1 << 20), (422, 100)] {
            put(at, number);
        }
        put(483, 2 << 20);
    });
    let tree = tree(&scratch, tar.file("sparse", "and replaced"));
    let aside = std::fs::metadata(tree.with_file_name("replaced").join("0")).expect("there");
    assert_eq!(aside.len(), 2 << 20);
}

#[test]
fn a_changed_layer_is_noticed() {
    let scratch = Scratch::new();
    let tar = Tar::new().file("a", "content").file("b", "longer").end();
    let (layer, _) = scratch
        .unpack(&tar)
        .unwrap_or_else(|error| panic!("{error}"));
    let tree = scratch.store.layers().tree(&layer.record);
    let play = || {
        let mut reproduction = scratch.store.layers().reproduce(&layer).expect("a record");
        let mut bytes = Vec::new();
        let error = reproduction.read_to_end(&mut bytes).expect_err("noticed");
        match error.downcast::<ReproduceError>() {
            Ok(error) => error,
            Err(error) => panic!("{error}"),
        }
    };
    std::fs::write(tree.join("a"), "CONTENT").expect("changed");
    let error = play();
    assert!(
        matches!(error, ReproduceError::WrongDigest { expected, .. } if expected == sha256(&tar))
    );
    std::fs::write(tree.join("a"), "short").expect("changed");
    assert!(matches!(play(), ReproduceError::Content { path, .. } if path == "a"));
    std::fs::remove_file(tree.join("a")).expect("removed");
    std::os::unix::fs::symlink("b", tree.join("a")).expect("linked");
    assert!(matches!(play(), ReproduceError::Content { path, .. } if path == "a"));
    let record = tree.with_file_name("tar-split.zst");
    let text = std::fs::read(&record).expect("read");
    std::fs::write(&record, &text[..text.len() / 2]).expect("torn");
    assert!(matches!(play(), ReproduceError::Record { .. }));
    std::fs::remove_file(&record).expect("removed");
    let gone = scratch.store.layers().reproduce(&layer);
    assert!(matches!(gone, Err(ReproduceError::NoRecord(_))));
}

/// What the records cost beside the files they belong to: 2,000 of them here.
#[test]
fn a_record_is_small() {
    if !root("a_record_is_small") {
        return;
    }
    let scratch = Scratch::new();
    let mut tar = Tar::new();
    for number in 0..2_000 {
        let name = format!("usr/share/doc/package-{}/file-{number}", number / 50);
        tar = tar.file(&name, &number.to_string());
    }
    let tree = tree(&scratch, tar);
    let record = std::fs::metadata(tree.with_file_name("tar-split.zst")).expect("there");
    assert!(record.size() < 100 << 10, "{} bytes", record.size());
}
