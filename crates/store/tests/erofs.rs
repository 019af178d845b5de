//! A layer's EROFS image, mounted by the kernel, is the tree that the same archive is unpacked to.

use gamut_store::unpack::{OpaqueXattr, UnpackOptions, UnpackProblem};

use crate::bench::{Scratch, Tar};
use crate::mounted::{
    can_mount, compare, compare_with, fsck, image, image_options, mount, numbered, walk,
};

#[test]
fn every_kind_of_entry_is_the_same_in_an_image() {
    if !can_mount("every_kind_of_entry_is_the_same_in_an_image") {
        return;
    }
    let owned: [(&str, &[u8]); 3] = [
        ("uid", b"3000000"),
        ("gid", b"3000001"),
        ("mtime", b"1600000000.123456789"),
    ];
    let sizes = [0, 1, 1983, 1984, 1985, 4095, 4096, 4097, 8192, 300_000];
    let mut tar = Tar::new().raw(b'5', "./", "", b"", |h| {
        h[100..107].copy_from_slice(b"0000711")
    });
    for size in sizes {
        let text: String = (0..size)
            .map(|i| char::from(b'a' + (i % 23) as u8))
            .collect();
        tar = tar.file(&format!("sizes/{size}"), &text);
    }
    for mode in ["0006755", "0000000", "0001777"] {
        tar = tar.pax(&owned).raw(b'0', mode, "", b"x", |h| {
            h[100..107].copy_from_slice(mode.as_bytes())
        });
    }
    let device = |h: &mut [u8; 512]| {
        h[329..336].copy_from_slice(b"0000403");
        h[337..344].copy_from_slice(b"0210470");
    };
    let tar = tar
        .pax(&owned)
        .raw(b'5', "setgid", "", b"", |h| {
            h[100..107].copy_from_slice(b"0003770")
        })
        .file("setgid/inside", "")
        .symlink("absolute", "/setgid")
        .pax(&[("linkpath", "l".repeat(4095).as_bytes())])
        .symlink("long", "")
        .raw(b'3', "character", "", b"", device)
        .raw(b'4', "block", "", b"", device)
        .pax(&owned)
        .entry(b'6', "fifo", "", b"")
        .pax(&[("mtime", b"-1.5")])
        .file("old", "")
        .hardlink("linked", "sizes/300000")
        .hardlink("link to a link", "absolute")
        .hardlink("fifo again", "fifo")
        .pax(&[("path", "n".repeat(255).as_bytes())])
        .file("", "long name")
        .pax(&[("path", format!("{}deep", "d/".repeat(200)).as_bytes())])
        .file("", "deep")
        .end();
    compare(&tar);
}

/// Too deep for `fsck.erofs`, which calls itself for every directory.
#[test]
fn a_path_may_be_as_long_as_the_kernel_allows() {
    if !can_mount("a_path_may_be_as_long_as_the_kernel_allows") {
        return;
    }
    let path = format!("{}deep", "d/".repeat(1500));
    let tar = Tar::new()
        .pax(&[("path", path.as_bytes())])
        .file("", "deep")
        .end();
    let scratch = Scratch::new();
    let (image, _, _) = image(&scratch, &tar, &image_options());
    let seen = walk(mount(&image).root());
    assert_eq!(seen.len(), 1502);
    assert!(seen.contains_key(path.as_bytes()));
}

#[test]
fn names_are_found_by_the_kernel_in_directories_of_any_size() {
    if !can_mount("names_are_found_by_the_kernel_in_directories_of_any_size") {
        return;
    }
    // Names that sort before, between and after the dots.
    let odd = ["!", "-", "..-", "...", ".a", "~", "\u{fe}", "A"];
    let tar = odd.iter().fold(Tar::new(), |tar, name| {
        tar.file(&format!("odd/{name}"), name)
    });
    compare(&tar.end());
    for count in [1, 2, 89, 90, 91, 92, 93, 94, 340, 2000] {
        compare(&numbered(count, |i| format!("d/{:032}", i * 7919 % count)));
    }
    compare(&numbered(3000, |i| format!("{}/{}/{i}", i % 7, i % 61)));
}

#[test]
fn extended_attributes_are_the_same_in_an_image() {
    if !can_mount("extended_attributes_are_the_same_in_an_image") {
        return;
    }
    let capability = [
        1, 0, 0, 2, b'\n', 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
    ];
    let acl = |entries: &[(u8, u8, u32)]| {
        let mut bytes = vec![2, 0, 0, 0];
        for &(tag, permissions, id) in entries {
            bytes.extend([tag, 0, permissions, 0]);
            bytes.extend(id.to_le_bytes());
        }
        bytes
    };
    let none = u32::MAX;
    let named = acl(&[
        (1, 7, none),
        (2, 6, 1000),
        (4, 5, none),
        (16, 4, none),
        (32, 1, none),
    ]);
    let minimal = acl(&[(1, 6, none), (4, 0, none), (32, 4, none)]);
    let broken = acl(&[(1, 6, none)]);
    let (access, default) = (
        "SCHILY.xattr.system.posix_acl_access",
        "SCHILY.xattr.system.posix_acl_default",
    );
    let mut tar = Tar::new();
    for i in 0..50 {
        let label: &[u8] = if i % 2 == 0 {
            b"system_u:object_r:bin_t:s0"
        } else {
            b"other"
        };
        let own = i.to_string();
        tar = tar
            .pax(&[
                ("SCHILY.xattr.trusted.label", label),
                ("SCHILY.xattr.user.own", own.as_bytes()),
            ])
            .file(&format!("labelled/{i}"), &own);
    }
    let tar = tar
        .pax(&[
            ("SCHILY.xattr.security.capability", &capability),
            ("SCHILY.xattr.user.note", b"a\nb=c"),
            ("SCHILY.xattr.user.empty", b""),
            ("SCHILY.xattr.unknown.name", b"x"),
            ("SCHILY.xattr.user.", b"x"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/x"),
        ])
        .file("ping", "x")
        .pax(&[("SCHILY.xattr.security.capability", b"short")])
        .file("broken capability", "x")
        .pax(&[
            ("SCHILY.xattr.trusted.own", b"1"),
            ("SCHILY.xattr.user.no", b"1"),
        ])
        .symlink("link", "ping")
        .pax(&[("SCHILY.xattr.user.long", &[b'v'; 2500])])
        .file("long value", &"y".repeat(1900))
        .pax(&[(access, &named), (default, &named)])
        .directory("acl")
        .pax(&[(access, &minimal)])
        .file("acl/minimal", "")
        .pax(&[(access, &named), (default, &named)])
        .file("acl/named", "")
        .pax(&[(access, &broken)])
        .file("acl/broken", "")
        .pax(&[("SCHILY.xattr.trusted.root", &[b'r'; 2000])])
        .raw(b'5', "./", "", b"", |_| ())
        .end();
    compare(&tar);
}

/// Attributes that ext4 has no room for.
#[test]
fn attributes_may_take_several_blocks() {
    if !can_mount("attributes_may_take_several_blocks") {
        return;
    }
    let scratch = Scratch::new();
    let value = vec![7; 65_535];
    let records: [(&str, &[u8]); 3] = [
        ("SCHILY.xattr.user.a", &value),
        ("SCHILY.xattr.user.b", &value[1..]),
        ("SCHILY.xattr.user.c", b"last"),
    ];
    let tar = Tar::new()
        .pax(&records)
        .file("file", "data")
        .pax(&records)
        .directory("directory")
        .pax(&records)
        .file("again", &"more data".repeat(1000))
        .end();
    let (image, _, warnings) = image(&scratch, &tar, &image_options());
    assert_eq!(warnings.count, 0, "{warnings:?}");
    fsck(&image);
    let mounted = mount(&image);
    let seen = walk(mounted.root());
    assert_eq!(seen.len(), 4);
    for path in ["file", "directory", "again"] {
        let xattrs = &seen[path.as_bytes()].xattrs;
        assert_eq!(xattrs[&b"user.a"[..]], value, "{path}");
        assert_eq!(xattrs[&b"user.b"[..]], value[1..], "{path}");
        assert_eq!(xattrs[&b"user.c"[..]], b"last", "{path}");
    }
}

#[test]
fn whiteouts_and_what_they_meet_are_the_same_in_an_image() {
    if !can_mount("whiteouts_and_what_they_meet_are_the_same_in_an_image") {
        return;
    }
    let tar = Tar::new()
        .file("a/.wh.gone", "")
        .file("b/.wh..wh..opq", "")
        .file("b/new", "")
        .file("c/kept", "")
        .file("c/.wh.kept", "")
        .file("d/.wh.replaced", "")
        .file("d/replaced/file", "")
        .file("e/dir/file", "")
        .file("e/.wh.dir", "")
        .file("f/.wh.file", "")
        .file("f/file", "new")
        .file("g/.wh.dir", "")
        .directory("g/dir")
        .hardlink("h", "a/gone")
        .file(".wh..wh.aufs", "")
        .file(".wh..wh.plnk/x", "")
        .file("i/.wh.twice", "")
        .file("i/.wh.twice", "")
        .file(".wh..wh..opq", "")
        .end();
    for opaque in [OpaqueXattr::Trusted, OpaqueXattr::User] {
        let options = UnpackOptions {
            opaque,
            ..image_options()
        };
        compare_with(&tar, &options);
    }
}

#[test]
fn later_entries_win_in_an_image_as_in_a_tree() {
    if !can_mount("later_entries_win_in_an_image_as_in_a_tree") {
        return;
    }
    let tar = Tar::new()
        .file("f", "one")
        .file("f", "two")
        .directory("d")
        .file("d/kept", "")
        .raw(b'5', "d", "", b"", |h| {
            h[100..107].copy_from_slice(b"0000700")
        })
        .symlink("l", "d")
        .file("l/through the link", "")
        .directory("l")
        .file("l/own", "")
        .entry(b'0', "old-style/", "", b"")
        // A directory that is gone takes what is in it along.
        .file("r/x/y", "1")
        .file("r", "a file")
        .directory("r")
        .file("r/new", "")
        // Names of a file that is replaced keep the old one.
        .file("h1", "old")
        .hardlink("h2", "h1")
        .file("h1", "new")
        .hardlink("h3", "h2")
        .hardlink("h2", "h1")
        .hardlink("h2", "h2")
        .symlink("up", "../../../d/./../d")
        .file("up/by the root", "")
        .symlink("abs", "//usr/../l/")
        .directory("usr")
        .file("abs/absolute", "")
        .symlink("chain0", "d")
        .symlink("chain1", "chain0")
        .symlink("chain2", "/chain1/.")
        .file("chain2/three links on", "")
        .hardlink("chain2/linked", "chain1/three links on")
        .end();
    compare(&tar);
}

#[test]
fn the_same_archive_gives_the_same_bytes() {
    let tar = Tar::new()
        .pax(&[("SCHILY.xattr.user.a", b"x"), ("SCHILY.xattr.user.b", b"y")])
        .file("d/f", &"x".repeat(9000))
        .pax(&[("SCHILY.xattr.user.a", b"x"), ("SCHILY.xattr.user.b", b"y")])
        .file("d/g", "x")
        .hardlink("e/f", "d/f")
        .hardlink("e/g", "d/g")
        .symlink("s", "d")
        .end();
    let images = [(); 2].map(|()| {
        let scratch = Scratch::new();
        let (path, _, _) = image(&scratch, &tar, &image_options());
        std::fs::read(path).expect("read")
    });
    assert!(images[0] == images[1]);
    assert_eq!(images[0].len() % 4096, 0);
}

#[test]
fn what_a_tree_cannot_be_made_of_an_image_cannot_either() {
    let refused = |tar: Tar| {
        let tar = tar.end();
        let scratch = Scratch::new();
        let tree = scratch.refused_with(&tar, &UnpackOptions::default());
        let image = scratch.refused_with(&tar, &image_options());
        assert_eq!(image.to_string(), tree.to_string());
        image
    };
    let unsafe_ones = [
        Tar::new().file("../f", ""),
        Tar::new().symlink("l", "nowhere").file("l/f", ""),
        Tar::new().symlink("l", "l").file("l/f", ""),
        Tar::new().file("f", "").file("f/g", ""),
        Tar::new().file("d/.wh.w", "").hardlink("h", "d/w/x"),
        Tar::new().hardlink("h", "nothing"),
        Tar::new().hardlink("h", "d/nothing"),
        Tar::new().directory("d").hardlink("h", "d"),
        Tar::new().file(".wh.a/b", ""),
        Tar::new().file(".", ""),
    ];
    for tar in unsafe_ones {
        let problem = refused(tar);
        assert!(matches!(problem, UnpackProblem::Unsafe(_)), "{problem}");
    }
    refused(Tar::new().hardlink("h", ""));
    refused(Tar::new().symlink("l", ""));
    let name = "n".repeat(256);
    let long = Tar::new()
        .pax(&[("path", name.as_bytes())])
        .file("", "")
        .end();
    let scratch = Scratch::new();
    let problem = scratch.refused_with(&long, &image_options());
    assert!(
        problem.to_string().contains("File name too long"),
        "{problem}"
    );
}
