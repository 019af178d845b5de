//! Layers that attack whoever unpacks them: what they write is refused or lands inside the root.

use gamut_tests::{Gamut, HostileRegistry, ImageBuilder, Layer, Login, Mischief};
use tar::EntryType;

/// A layer that tries to write `evil` outside of the root. It is refused, or it lands inside: never outside.
#[track_caller]
fn cannot_escape(gamut: &Gamut, name: &str, layers: Vec<Layer>) {
    let outside = gamut.dir().join("outside");
    std::fs::create_dir_all(&outside).unwrap();
    std::fs::write(outside.join("precious"), "untouched").unwrap();
    let image = layers.into_iter().fold(
        ImageBuilder::new().layer(super::run::busybox_with(&["true"])),
        ImageBuilder::layer,
    );
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let reference = registry.shelve(&image.cmd(&["/bin/true"]).build(), &format!("{name}:lab"));
    let pulled = gamut.call(&["pull", &reference]);
    if pulled.code != 0 {
        pulled.refused(1, &["layer"]);
    } else {
        gamut.call(&["rmi", &reference]).ok();
    }
    let left: Vec<_> = std::fs::read_dir(&outside)
        .unwrap()
        .flatten()
        .map(|entry| entry.file_name())
        .collect();
    assert_eq!(left, ["precious"], "{name} changed the host");
    assert_eq!(
        std::fs::read_to_string(outside.join("precious")).unwrap(),
        "untouched",
        "{name}"
    );
    gamut.assert_untouched();
}

#[test]
fn a_layer_with_dots() {
    let Some(gamut) = Gamut::new() else { return };
    let up = format!("{}var/tmp", "../".repeat(20));
    let target = gamut.dir().join("outside/evil");
    let target = target.to_str().unwrap();
    for (name, path) in [
        ("up", format!("{up}/evil")),
        ("middle", "etc/../../../../evil".to_owned()),
        ("absolute", target[..target.len().min(99)].to_owned()),
    ] {
        cannot_escape(
            &gamut,
            name,
            vec![Layer::new().entry(EntryType::Regular, &path, 0o644, "", b"evil")],
        );
    }
    assert!(!std::path::Path::new("/var/tmp/evil").exists());
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let image = ImageBuilder::new()
        .layer(Layer::new().entry(EntryType::Regular, "../evil", 0o644, "", b"evil"))
        .build();
    gamut
        .call(&["pull", &registry.shelve(&image, "refused:lab")])
        .refused(1, &["../evil"])
        .hinted();
}

#[test]
fn a_layer_with_a_link_out_of_the_tree() {
    let Some(gamut) = Gamut::new() else { return };
    let outside = gamut.dir().join("outside");
    let outside = outside.to_str().unwrap();
    let dotted = format!("{}{}", "../".repeat(20), outside.trim_start_matches('/'));
    for (name, target) in [("absolute-link", outside), ("dotted-link", dotted.as_str())] {
        if target.len() > 100 {
            continue;
        }
        let link = || Layer::new().symlink("way", target);
        cannot_escape(
            &gamut,
            name,
            vec![link().entry(EntryType::Regular, "way/evil", 0o644, "", b"evil")],
        );
        cannot_escape(
            &gamut,
            name,
            vec![
                link(),
                Layer::new().entry(EntryType::Regular, "way/evil", 0o644, "", b"evil"),
            ],
        );
        cannot_escape(
            &gamut,
            name,
            vec![
                link(),
                Layer::new()
                    .dir("way", 0o777)
                    .file("way/evil", 0o644, "evil"),
            ],
        );
        cannot_escape(
            &gamut,
            name,
            vec![
                link().hardlink("stolen", "way/precious"),
                Layer::new().file("stolen", 0o644, "overwritten"),
            ],
        );
        cannot_escape(
            &gamut,
            name,
            vec![link(), Layer::new().whiteout("way/precious")],
        );
        cannot_escape(
            &gamut,
            name,
            vec![link(), Layer::new().file("way/.wh..wh..opq", 0o644, "")],
        );
    }
    let precious = format!("{outside}/precious");
    cannot_escape(
        &gamut,
        "link-as-file",
        vec![Layer::new().symlink("way", &precious).entry(
            EntryType::Regular,
            "way",
            0o644,
            "",
            b"evil",
        )],
    );
    cannot_escape(
        &gamut,
        "hard-link",
        vec![Layer::new().hardlink("stolen", &precious).entry(
            EntryType::Regular,
            "stolen",
            0o644,
            "",
            b"evil",
        )],
    );
}

#[test]
fn a_layer_with_dangerous_whiteouts() {
    let Some(gamut) = Gamut::new() else { return };
    for (name, path) in [
        ("wh-dots", ".wh..."),
        ("wh-dot", ".wh.."),
        ("wh-nothing", ".wh."),
        ("wh-up", "etc/../../.wh.precious"),
    ] {
        cannot_escape(
            &gamut,
            name,
            vec![Layer::new().entry(EntryType::Regular, path, 0o644, "", b"")],
        );
    }
}

#[test]
fn a_bomb_of_a_layer_is_bounded_by_the_disk_not_by_memory() {
    let Some(gamut) = Gamut::new() else { return };
    // 256 MiB of zeros in a few hundred kilobytes; on a disk of 64.
    let root = gamut.root();
    std::fs::create_dir_all(root).unwrap();
    gamut_tests::host::program(
        "mount",
        &[
            "-t",
            "tmpfs",
            "-o",
            "size=64m",
            "tmpfs",
            root.to_str().unwrap(),
        ],
    );
    let image = ImageBuilder::new()
        .layer(Layer::new().file("zeros", 0o644, vec![0; 256 << 20]))
        .build();
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    gamut
        .call(&["pull", &registry.shelve(&image, "bomb:lab")])
        .refused(1, &["no space left"]);
    gamut_tests::host::program("umount", &[root.to_str().unwrap()]);
    gamut.assert_untouched();
}
