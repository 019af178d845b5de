//! Layers that are no longer what they were are found out. Every unpacking of the other tests is found
//! sound too (`bench::unpack`).

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{FileExt, PermissionsExt, chown, symlink};
use std::path::Path;

use gamut_store::layer::{Form, Layer};
use gamut_store::unpack::UnpackOptions;
use gamut_store::verify::Verdict;

use crate::bench::{Scratch, Tar, listed, root};

fn archive() -> Vec<u8> {
    Tar::new()
        .directory("d")
        .file("d/file", &"content ".repeat(1000))
        .file("d/small", "small")
        .hardlink("d/second-name", "d/file")
        .file("implied/one", "its directory is not in the archive")
        .symlink("link", "d/small")
        .file("d/.wh.gone", "")
        .file("opaque/.wh..wh..opq", "")
        .end()
}

fn unpack(scratch: &Scratch, form: Form) -> Layer {
    let options = UnpackOptions {
        form,
        ..UnpackOptions::default()
    };
    let unpacked = scratch.unpack_with(&archive(), &options);
    unpacked.unwrap_or_else(|error| panic!("{error}")).0
}

/// What is said of a layer to which `act` was done.
fn damaged(form: Form, act: impl FnOnce(&Path)) -> String {
    let scratch = Scratch::new();
    let layer = unpack(&scratch, form);
    act(&scratch.store.layers().tree(&layer.record));
    let verdict = scratch
        .store
        .verify_layer(&layer.record)
        .expect("it can be looked at");
    // Nothing is left behind of the looking.
    assert_eq!(scratch.layer_names().len(), 1);
    match verdict {
        Verdict::Damaged(what) => what,
        other => panic!("{other:?}"),
    }
}

/// Something that is done to a tree, and what is said of it then.
type Change = (&'static str, fn(&Path));

#[test]
fn every_change_of_a_tree_is_found() {
    if !root("every_change_of_a_tree_is_found") {
        return;
    }
    let changes: [Change; 10] = [
        ("now is", |tree| {
            fs::write(tree.join("d/small"), "SMALL").expect("written");
        }),
        ("`/d/small`: it has another length", |tree| {
            let file = File::options().append(true).open(tree.join("d/small"));
            std::io::Write::write_all(&mut file.expect("opened"), b"!").expect("written");
        }),
        ("`/d/small`: it has another type or mode", |tree| {
            let mode = Permissions::from_mode(0o4755);
            fs::set_permissions(tree.join("d/small"), mode).expect("changed");
        }),
        ("`/d/small`: it has another owner", |tree| {
            chown(tree.join("d/small"), Some(1), None).expect("changed");
        }),
        ("`/d/small`: it has other extended attributes", |tree| {
            let flags = rustix::fs::XattrFlags::empty();
            let path = tree.join("d/small");
            rustix::fs::setxattr(&path, "trusted.more", b"x", flags).expect("set");
        }),
        ("`/link`: it leads elsewhere", |tree| {
            fs::remove_file(tree.join("link")).expect("removed");
            symlink("d/file", tree.join("link")).expect("made");
        }),
        ("`/d/gone`: it is gone", |tree| {
            fs::remove_file(tree.join("d/gone")).expect("removed");
        }),
        ("`/more`: there is more", |tree| {
            fs::create_dir(tree.join("more")).expect("made");
        }),
        ("it is a name of another file", |tree| {
            let name = tree.join("d/second-name");
            fs::copy(&name, tree.join("copy")).expect("copied");
            fs::rename(tree.join("copy"), &name).expect("renamed");
            let time = fs::metadata(tree.join("d/file")).expect("there").modified();
            let file = File::options().write(true).open(&name).expect("opened");
            file.set_modified(time.expect("a time")).expect("set");
        }),
        ("other extended attributes", |tree| {
            let path = tree.join("opaque");
            rustix::fs::removexattr(&path, "trusted.overlay.opaque").expect("removed");
        }),
    ];
    for (said, change) in changes {
        let text = damaged(Form::Directory, change);
        // A change of a directory's content is one of its time, too.
        let of_the_time = text.contains("it has another time");
        assert!(text.contains(said) || of_the_time, "{said}: {text}");
    }
}

#[test]
fn every_change_of_an_image_is_found() {
    let scratch = Scratch::new();
    let layer = unpack(&scratch, Form::Erofs);
    let bytes = fs::read(scratch.store.layers().tree(&layer.record)).expect("read");
    // The super block's label, an inode's mode or data, a name: whatever says something.
    let needles: [&[u8]; 3] = [b"content content", b"small", b"second-name"];
    for needle in needles {
        let found = bytes.windows(needle.len()).position(|part| part == needle);
        let at = found.expect("it is in the image") as u64;
        let text = damaged(Form::Erofs, |image| {
            let file = File::options().write(true).open(image).expect("opened");
            file.write_all_at(b"S", at).expect("written");
        });
        assert!(!text.is_empty());
    }
    let text = damaged(Form::Erofs, |image| {
        let file = File::options().write(true).open(image).expect("opened");
        file.set_len(4096).expect("cut");
    });
    assert!(!text.is_empty());
}

#[test]
fn without_a_record_nothing_is_proven() {
    for form in [Form::Directory, Form::Erofs] {
        let scratch = Scratch::new();
        let layer = unpack(&scratch, form);
        let tree = scratch.store.layers().tree(&layer.record);
        fs::remove_file(tree.with_file_name("tar-split.zst")).expect("removed");
        let verdict = scratch.store.verify_layer(&layer.record).expect("looked");
        assert_eq!(verdict, Verdict::Unproven);
        fs::remove_dir_all(tree.parent().expect("a directory")).expect("removed");
        let verdict = scratch.store.verify_layer(&layer.record).expect("looked");
        assert_eq!(verdict, Verdict::Missing);
        assert_eq!(listed(&scratch.root().join("layers")), ["base"]);
    }
}
