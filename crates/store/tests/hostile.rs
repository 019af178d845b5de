//! Archives that attackers write, one by one. What they aim at lies in `outside`, beside the
//! store, and in /etc.

use std::fs;
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use gamut_store::unpack::{Limits, UnpackOptions, UnpackProblem};

use crate::bench::{Scratch, Tar, listed, root};

fn is_unsafe(problem: &UnpackProblem) {
    assert!(matches!(problem, UnpackProblem::Unsafe(_)), "{problem}");
}

#[test]
fn paths_that_lead_up_are_refused() {
    let scratch = Scratch::new();
    for name in ["../x", "a/../../x", "a/..", "..", "/../x", "./.././x"] {
        is_unsafe(&scratch.refused(&Tar::new().file(name, "x").end()));
        is_unsafe(&scratch.refused(&Tar::new().directory(name).end()));
        is_unsafe(
            &scratch.refused(
                &Tar::new()
                    .pax(&[("path", name.as_bytes())])
                    .file("a", "")
                    .end(),
            ),
        );
    }
    assert_eq!(listed(scratch.directory.path()), ["store"]);
}

#[test]
fn absolute_paths_stay_inside() {
    let scratch = Scratch::new();
    let tree = scratch.tree(&Tar::new().file("/etc/gamut-test-file", "x").end());
    assert_eq!(
        fs::read_to_string(tree.join("etc/gamut-test-file")).expect("inside"),
        "x"
    );
    assert!(!std::path::Path::new("/etc/gamut-test-file").exists());
}

#[test]
fn nothing_is_written_through_a_link_to_outside() {
    let scratch = Scratch::new();
    let outside = scratch.directory.path().join("outside");
    fs::create_dir(&outside).expect("made");
    for target in [
        outside.to_str().expect("text"),
        "../../../outside",
        "../../../../../../../../etc",
    ] {
        let direct = Tar::new().symlink("l", target).file("l/planted", "x").end();
        is_unsafe(&scratch.refused(&direct));
        let by_way = Tar::new()
            .symlink("l", target)
            .symlink("m", "l")
            .file("m/planted", "x")
            .end();
        is_unsafe(&scratch.refused(&by_way));
        let directory = Tar::new().symlink("l", target).directory("l/planted").end();
        is_unsafe(&scratch.refused(&directory));
        let whiteout = Tar::new()
            .symlink("l", target)
            .file("l/.wh.passwd", "")
            .end();
        is_unsafe(&scratch.refused(&whiteout));
        let opaque = Tar::new()
            .symlink("l", target)
            .file("l/.wh..wh..opq", "")
            .end();
        is_unsafe(&scratch.refused(&opaque));
    }
    assert_eq!(listed(&outside), [""; 0]);
}

#[test]
fn a_link_to_an_absolute_path_leads_into_the_layer() {
    let scratch = Scratch::new();
    let tar = Tar::new()
        .directory("etc")
        .symlink("l", "/etc")
        .symlink("up", "../../../../etc")
        .file("l/one", "1")
        .file("up/two", "2")
        .end();
    let tree = scratch.tree(&tar);
    assert_eq!(listed(&tree.join("etc")), ["one", "two"]);
    assert!(!std::path::Path::new("/etc/one").exists());
}

#[test]
fn a_file_in_the_place_of_a_link_does_not_go_through_it() {
    let scratch = Scratch::new();
    let victim = scratch.directory.path().join("victim");
    fs::write(&victim, "kept").expect("written");
    let target = victim.to_str().expect("text");
    let tree = scratch.tree(&Tar::new().symlink("f", target).file("f", "new").end());
    assert_eq!(fs::read_to_string(tree.join("f")).expect("a file"), "new");
    assert_eq!(fs::read_to_string(&victim).expect("there"), "kept");
}

#[test]
fn modes_and_owners_do_not_go_through_links() {
    let scratch = Scratch::new();
    let victim = scratch.directory.path().join("victim");
    fs::create_dir(&victim).expect("made");
    let before = fs::metadata(&victim).expect("there");
    let target = victim.to_str().expect("text");
    let link = Tar::new()
        .raw(b'2', "l", target, b"", |header| {
            header[108..115].copy_from_slice(b"0001750")
        })
        .end();
    if root("modes_and_owners_do_not_go_through_links") {
        scratch.tree(&link);
    }
    // A directory that a link replaces must not get its attributes by way of the link.
    let tar = Tar::new()
        .raw(b'5', "d", "", b"", |header| {
            header[100..107].copy_from_slice(b"0000777")
        })
        .symlink("d", target)
        .end();
    scratch.tree(&tar);
    let after = fs::metadata(&victim).expect("there");
    assert_eq!(
        (before.mode(), before.uid(), before.mtime()),
        (after.mode(), after.uid(), after.mtime())
    );
}

#[test]
fn hard_links_reach_files_of_the_layer_only() {
    let scratch = Scratch::new();
    for target in [
        "/etc/passwd",
        "etc/passwd",
        "../../../../../../../../etc/passwd",
        "absent",
    ] {
        is_unsafe(&scratch.refused(&Tar::new().hardlink("h", target).end()));
    }
    let through = Tar::new()
        .symlink("l", "/etc")
        .hardlink("h", "l/passwd")
        .end();
    is_unsafe(&scratch.refused(&through));
    let directory = Tar::new().directory("d").hardlink("h", "d").end();
    is_unsafe(&scratch.refused(&directory));
}

#[test]
fn a_hard_link_to_a_link_does_not_follow_it() {
    let scratch = Scratch::new();
    let victim = scratch.directory.path().join("victim");
    fs::write(&victim, "kept").expect("written");
    let tar = Tar::new()
        .symlink("l", victim.to_str().expect("text"))
        .hardlink("h", "l")
        .file("h", "overwritten")
        .end();
    let tree = scratch.tree(&tar);
    assert_eq!(
        fs::read_to_string(tree.join("h")).expect("a file"),
        "overwritten"
    );
    assert_eq!(fs::read_to_string(&victim).expect("there"), "kept");
    assert_eq!(fs::metadata(&victim).expect("there").nlink(), 1);
}

#[test]
fn a_hard_link_to_itself_changes_nothing() {
    let scratch = Scratch::new();
    let tree = scratch.tree(&Tar::new().file("f", "x").hardlink("f", "f").end());
    assert_eq!(fs::read_to_string(tree.join("f")).expect("a file"), "x");
}

#[test]
fn a_directory_becomes_a_link_becomes_a_place_for_files() {
    let scratch = Scratch::new();
    let outside = scratch.directory.path().join("outside");
    fs::create_dir(&outside).expect("made");
    // The directory is cached by its path; the link that replaces it must not be followed out.
    let tar = Tar::new()
        .file("d/one", "1")
        .symlink("d", outside.to_str().expect("text"))
        .file("d/two", "2")
        .end();
    is_unsafe(&scratch.refused(&tar));
    let tar = Tar::new()
        .file("d/one", "1")
        .file("d", "now a file")
        .directory("d")
        .file("d/three", "3")
        .end();
    let tree = scratch.tree(&tar);
    assert_eq!(listed(&tree.join("d")), ["three"]);
    assert_eq!(listed(&outside), [""; 0]);
}

#[test]
fn a_cached_directory_is_forgotten_when_a_part_of_its_path_is_replaced() {
    let scratch = Scratch::new();
    let tar = Tar::new()
        .file("a/b/one", "1")
        .directory("c/b")
        .symlink("a", "c")
        .file("a/b/two", "2")
        .end();
    let tree = scratch.tree(&tar);
    assert_eq!(listed(&tree.join("c/b")), ["two"]);
}

#[test]
fn a_file_is_no_directory() {
    let scratch = Scratch::new();
    is_unsafe(&scratch.refused(&Tar::new().file("f", "").file("f/g", "").end()));
}

#[test]
fn the_root_stays_a_directory() {
    let scratch = Scratch::new();
    for name in [".", "./", "/", "//"] {
        is_unsafe(&scratch.refused(&Tar::new().symlink(name, "/etc").end()));
        is_unsafe(&scratch.refused(&Tar::new().entry(b'3', name, "", b"").end()));
    }
}

#[test]
fn overlayfs_attributes_of_an_archive_are_dropped() {
    let scratch = Scratch::new();
    let tar = Tar::new()
        .pax(&[
            ("SCHILY.xattr.trusted.overlay.redirect", &b"/../../etc"[..]),
            ("SCHILY.xattr.user.overlay.redirect", b"/etc"),
            ("SCHILY.xattr.trusted.overlay.opaque", b"y"),
        ])
        .directory("d")
        .pax(&[("SCHILY.xattr.trusted.overlay.metacopy", b"")])
        .file("d/f", "")
        .end();
    let (layer, warnings) = scratch.unpack(&tar).expect("unpacked");
    assert_eq!(warnings.count, 4);
    let tree = scratch.store.layers().tree(&layer.record);
    for path in [tree.join("d"), tree.join("d/f")] {
        let mut names = [0; 1024];
        let length = rustix::fs::llistxattr(&path, &mut names).expect("listed");
        assert!(!names[..length].windows(8).any(|w| w == b".overlay"));
    }
}

#[test]
fn whiteouts_of_no_name_are_refused() {
    let scratch = Scratch::new();
    for name in [".wh.", "a/.wh.", ".wh..", "a/.wh...", "a/.wh.b/c"] {
        is_unsafe(&scratch.refused(&Tar::new().file(name, "").end()));
    }
    let tree = scratch.tree(
        &Tar::new()
            .file(".wh..wh.plnk/1.2", "x")
            .file("kept", "")
            .end(),
    );
    assert_eq!(listed(&tree), ["kept"]);
}

#[test]
fn a_device_whose_number_has_no_room_is_no_other_device() {
    if !root("a_device_whose_number_has_no_room_is_no_other_device") {
        return;
    }
    // 4096:0 would come out as 0:0, a whiteout; 1:1048579 as 1:3.
    for (major, minor) in [(b"0010000", b"0000000"), (b"0000001", b"4000003")] {
        let tar = Tar::new().raw(b'3', "device", "", b"", |header| {
            header[329..336].copy_from_slice(major);
            header[337..344].copy_from_slice(minor);
        });
        let problem = Scratch::new().refused(&tar.end()).to_string();
        assert!(problem.starts_with("cannot make the device"), "{problem}");
    }
}

#[test]
fn devices_stay_in_their_place() {
    if !root("devices_stay_in_their_place") {
        return;
    }
    let scratch = Scratch::new();
    let tar = Tar::new()
        .raw(b'4', "dev/sda", "", b"", |header| {
            header[329..336].copy_from_slice(b"0000010")
        })
        .file("dev/sda", "a file now")
        .entry(b'6', "fifo", "", b"")
        .end();
    let tree = scratch.tree(&tar);
    assert_eq!(
        fs::read_to_string(tree.join("dev/sda")).expect("a file"),
        "a file now"
    );
    assert!(
        fs::symlink_metadata(tree.join("fifo"))
            .expect("there")
            .file_type()
            .is_fifo()
    );
    for path in [
        tree,
        scratch.root().join("layers"),
        scratch.root().join("containers"),
    ] {
        let mode = fs::metadata(
            path.ancestors()
                .find(|p| p.ends_with("layers"))
                .unwrap_or(&path),
        )
        .expect("there")
        .mode();
        assert_eq!(
            mode & 0o077,
            0,
            "the host's users cannot reach what images bring"
        );
    }
}

#[test]
fn every_limit_is_named() {
    let scratch = Scratch::new();
    let options = |change: fn(&mut Limits)| {
        let mut options = UnpackOptions::default();
        change(&mut options.limits);
        options
    };
    let limit = |options: &UnpackOptions, tar: &[u8], what: &str| {
        let problem = scratch.refused_with(tar, options);
        assert!(matches!(&problem, UnpackProblem::Limit { .. }), "{problem}");
        assert!(problem.to_string().ends_with(what), "{problem}");
    };
    let many = (0..20)
        .fold(Tar::new(), |tar, i| tar.file(&format!("f{i}"), ""))
        .end();
    limit(&options(|limits| limits.entries = 10), &many, "entries");
    limit(
        &options(|limits| limits.unpacked_bytes = 4096),
        &many,
        "bytes of uncompressed data",
    );
    let long = Tar::new()
        .pax(&[("path", "a/".repeat(3000).as_bytes())])
        .file("a", "")
        .end();
    limit(&UnpackOptions::default(), &long, "bytes in a path");
    let large = vec![b'x'; 70_000];
    let xattr = Tar::new()
        .pax(&[("SCHILY.xattr.user.a", &large)])
        .file("a", "")
        .end();
    limit(
        &UnpackOptions::default(),
        &xattr,
        "bytes in an extended attribute",
    );
    let deep = (0..50)
        .fold(Tar::new(), |tar, i| tar.directory(&format!("directory{i}")))
        .end();
    let memory = options(|limits| limits.directory_memory_bytes = 1000);
    limit(&memory, &deep, "bytes of directory names and attributes");
    let claims = Tar::new()
        .raw(b'L', "l", "", b"", |header| {
            header[124..135].copy_from_slice(b"77777777777")
        })
        .end();
    limit(
        &UnpackOptions::default(),
        &claims,
        "bytes in an extended header",
    );
    let huge = Tar::new()
        .raw(b'0', "f", "", b"", |header| {
            header[124..136].copy_from_slice(b"\x80\0\0\0\x0f\0\0\0\0\0\0\0");
        })
        .end();
    limit(&UnpackOptions::default(), &huge, "bytes in one file");
}

#[test]
fn a_bomb_ends_at_the_limit() {
    let scratch = Scratch::new();
    let options = UnpackOptions {
        limits: Limits {
            unpacked_bytes: 64 << 20,
            ..Limits::default()
        },
        ..UnpackOptions::default()
    };
    let tar = Tar::new()
        .entry(b'0', "zeros", "", &vec![0; 65 << 20])
        .end();
    let bomb = crate::bench::gzip(&tar);
    assert!(bomb.len() < 1 << 20);
    let result = crate::bench::unpack(&scratch.store, &tar, &bomb, crate::bench::TAR, &options);
    let problem = crate::bench::problem(result, &scratch);
    assert!(matches!(problem, UnpackProblem::Limit { .. }), "{problem}");
}

#[test]
fn malformed_headers_are_refused() {
    let scratch = Scratch::new();
    let refused = |tar: Vec<u8>| {
        let problem = scratch.refused(&tar);
        assert!(
            matches!(
                problem,
                UnpackProblem::Archive(_) | UnpackProblem::EntryType(_)
            ),
            "{problem}"
        );
    };
    refused(b"this is no tar at all, but long enough to be a header. ".repeat(20));
    refused(Tar::new().entry(b'?', "f", "", b"").end());
    refused(Tar::new().entry(b'2', "l", "", b"").end());
    refused(
        Tar::new()
            .raw(b'0', "f", "", b"", |h| {
                h[108..115].copy_from_slice(b"zzzzzzz")
            })
            .end(),
    );
    refused(
        Tar::new()
            .pax(&[("uid", b"4294967295")])
            .file("f", "")
            .end(),
    );
    refused(Tar::new().pax(&[("path", b"a\0b")]).file("f", "").end());
    refused(
        Tar::new()
            .pax(&[("GNU.sparse.major", b"1")])
            .file("f", "")
            .end(),
    );
    refused(Tar::new().pax(&[("path", b"a")]).end());
    refused(
        Tar::new()
            .entry(b'x', "x", "", b"999 path=a\n")
            .file("f", "")
            .end(),
    );
    let endless = (0..50)
        .fold(Tar::new(), |tar, _| tar.pax(&[("path", b"a")]))
        .file("f", "")
        .end();
    refused(endless);
    let mut wrong = Tar::new().file("f", "").end();
    wrong[0] = b'g';
    refused(wrong);
}
