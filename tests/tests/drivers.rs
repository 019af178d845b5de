//! Storage drivers: whichever keeps the images, a container sees the same.

use gamut_tests::patience::until;
use gamut_tests::{Gamut, ImageBuilder, Layer};

const DRIVERS: [&str; 3] = ["erofs", "overlay", "copy"];

/// Two layers with everything that layers can say to each other.
pub(super) fn layered() -> ImageBuilder {
    let below = super::run::busybox_with(&[
        "sh", "cat", "ls", "stat", "find", "mkdir", "rm", "id", "sort", "sleep",
    ])
    .dir("a", 0o755)
    .file("a/gone", 0o644, "1")
    .file("a/kept", 0o4755, "2")
    .dir("b", 0o755)
    .file("b/old", 0o644, "o")
    .file("c", 0o644, "a file")
    .dir("d", 0o1777)
    .symlink("l", "a/kept")
    .hardlink("a/second-name", "a/kept");
    let above = Layer::new()
        .whiteout("a/gone")
        .dir("b", 0o700)
        .opaque("b")
        .file("b/new", 0o600, "n")
        .dir("c", 0o750)
        .file("c/now", 0o644, "a directory");
    ImageBuilder::new()
        .layer(below)
        .layer(above)
        .env(&["PATH=/bin"])
        .cmd(&["sh"])
}

/// Says everything of it.
pub(super) const LOOK: &str = "find /a /b /c /d /l | sort | while read f; do stat -c '%n %F %a %u:%g' $f; done; \
                    stat -c %Y /a/kept /b/new /l; cat /a/kept /a/second-name /b/new /c/now /l; stat -c %h /a/kept";

/// A root with this driver, if the host can have it.
fn with(driver: &'static str) -> Option<Gamut> {
    let gamut = Gamut::with_driver(driver)?;
    let told = gamut.call(&["pull", "-q", &gamut.image("busybox:lab")]);
    if told.err.contains("cannot be had here") {
        gamut_tests::skip::skipped(told.err.trim());
        return None;
    }
    told.ok();
    Some(gamut)
}

/// A root with each driver that the host and the level can have, one after the other: a machine takes images only.
pub(super) fn each() -> impl Iterator<Item = Gamut> {
    let of_level = match gamut_tests::level().as_deref() {
        Some("microvm") => &DRIVERS[..1],
        _ => &DRIVERS[..],
    };
    of_level.iter().copied().filter_map(with)
}

#[test]
fn every_driver_shows_the_same() {
    let mut seen: Option<String> = None;
    for driver in DRIVERS {
        let Some(gamut) = with(driver) else {
            continue;
        };
        let reference = gamut.host.registry.push(&layered().build(), "drivers:lab");
        let words = ["run", "--rm", "--network", "none", &reference, "sh", "-c"];
        let told = gamut.call(&[&words[..], &[LOOK]].concat()).ok();
        let told = told.text().to_owned();
        assert!(told.contains("/a/kept regular file 4755 0:0"), "{told}");
        assert!(!told.contains("gone") && !told.contains("old"), "{told}");
        match &seen {
            Some(before) => assert_eq!(*before, told, "{driver}"),
            None => seen = Some(told),
        }
        assert_eq!(
            gamut.call(&["info", "--format", "{{.Driver}}"]).ok().text(),
            driver
        );
    }
}

#[test]
fn every_driver_keeps_changes_and_keeps_them_apart() {
    for driver in DRIVERS {
        let Some(gamut) = with(driver) else {
            continue;
        };
        let reference = gamut.host.registry.push(&layered().build(), "drivers:lab");
        let change = "echo mine >/c/now; rm /a/kept; mkdir /new; cat /c/now";
        let id = gamut
            .call(&[
                "create",
                "--network",
                "none",
                &reference,
                "sh",
                "-c",
                &format!("ls / /a; {change}"),
            ])
            .ok()
            .text()
            .to_owned();
        let first = gamut.call(&["start", "-a", &id]).ok();
        assert!(first.out.contains("kept"), "{driver}: {}", first.told());
        // Stopped and started again, it has its changes.
        let second = gamut.call(&["start", "-a", &id]);
        assert!(second.out.contains("new\n"), "{driver}: {}", second.told());
        assert!(
            !second.out.contains("kept\n"),
            "{driver}: {}",
            second.told()
        );
        // Another container of the image has none of them, in a user namespace neither.
        for flags in [&[][..], &["--userns", "auto"], &["--read-only"]] {
            let words = [
                &["run", "--rm", "--network", "none"],
                flags,
                &[&reference, "sh", "-c", "cat /c/now; ls /a; id -u"],
            ];
            let other = gamut.call(&words.concat()).ok();
            assert_eq!(
                other.text(),
                "a directorykept\nsecond-name\n0",
                "{driver} {flags:?}"
            );
        }
        gamut.call(&["rm", &id]).ok();
    }
}

#[test]
fn volumes_begin_with_what_every_driver_shows() {
    for driver in DRIVERS {
        let Some(gamut) = with(driver) else {
            continue;
        };
        let reference = gamut.host.registry.push(&layered().build(), "drivers:lab");
        let words = ["run", "--rm", "--network", "none", "-v", "v:/a", "-v", "/b"];
        let look = "ls /a /b; stat -c '%a %h' /a/kept /b";
        let told = gamut
            .call(&[&words[..], &[&reference, "sh", "-c", look]].concat())
            .ok();
        assert_eq!(
            told.text(),
            "/a:\nkept\nsecond-name\n\n/b:\nnew\n4755 2\n700 2",
            "{driver}"
        );
    }
}

/// A store that was begun with one driver goes on under the others, and back: images, containers that
/// were made before, and their changes.
#[test]
fn drivers_may_change_over_one_store() {
    let Some(gamut) = Gamut::new() else { return };
    let lacks = |driver: &str| {
        let told = gamut.call(&["--storage-driver", driver, "info"]);
        told.err.contains("cannot be had here")
    };
    let drivers: Vec<&str> = DRIVERS
        .into_iter()
        .filter(|driver| !lacks(driver))
        .collect();
    if drivers.len() < DRIVERS.len() {
        gamut_tests::skip::skipped(&format!("only {drivers:?} can be had here"));
    }
    let call =
        |driver: &str, words: &[&str]| gamut.call(&[&["--storage-driver", driver], words].concat());
    let push = |builder: ImageBuilder, name: &str| gamut.host.registry.push(&builder.build(), name);
    let look = ["run", "--rm", "--network", "none"];
    let mut images: Vec<String> = Vec::new();
    let mut containers: Vec<(String, String)> = Vec::new();
    let mut seen: Option<String> = None;
    for (turn, driver) in drivers.iter().chain(&drivers).rev().enumerate() {
        // An image that this driver pulls: one layer of it is there already, of whatever form.
        let own = layered().layer(Layer::new().file("turn", 0o644, turn.to_string()));
        let reference = push(own, &format!("turn{turn}:lab"));
        call(driver, &["pull", "-q", &reference]).ok();
        images.push(reference);
        for image in &images {
            let told = call(driver, &[&look[..], &[image, "sh", "-c", LOOK]].concat()).ok();
            match &seen {
                Some(before) => assert_eq!(*before, told.text(), "{driver}: {image}"),
                None => seen = Some(told.text().to_owned()),
            }
        }
        // What was made under another driver is started under this one.
        for (id, wanted) in &containers {
            let told = call(driver, &["start", "-a", id]).ok();
            assert_eq!(told.text(), wanted, "{driver}");
        }
        let script = "cat /turn /log 2>/dev/null; echo . >>/log";
        let words = [
            "create",
            "--network",
            "none",
            &images[turn],
            "sh",
            "-c",
            script,
        ];
        let id = call(driver, &words).ok().text().to_owned();
        let told = call(driver, &["start", "-a", &id]).ok();
        assert_eq!(told.text(), turn.to_string(), "{driver}");
        for (_, wanted) in &mut containers {
            wanted.push_str("\n.");
        }
        containers.push((id, format!("{turn}.")));
    }
    call(drivers[0], &["image", "verify"]).ok();
    for (id, _) in &containers {
        call(drivers[0], &["rm", id]).ok();
    }
}

#[test]
fn a_damaged_layer_is_found_whatever_keeps_it() {
    for driver in DRIVERS {
        let Some(gamut) = with(driver) else {
            continue;
        };
        let content = Layer::new().file("big", 0o644, "content ".repeat(10_000));
        let image = layered().layer(content).build();
        let reference = gamut.host.registry.push(&image, "damaged:lab");
        gamut.call(&["pull", "-q", &reference]).ok();
        let told = gamut.call(&["image", "verify"]).ok();
        assert!(!told.out.contains("unproven"), "{driver}: {}", told.told());
        // The layer that has it, in its form.
        let layers = std::fs::read_dir(gamut.root().join("layers")).unwrap();
        let holds = |path: &std::path::Path| {
            let bytes = std::fs::read(path).unwrap_or_default();
            let needle = b"content content content";
            bytes.windows(needle.len()).position(|part| part == needle)
        };
        let found = layers.flatten().find_map(|layer| {
            let files = [
                layer.path().join("layer.erofs"),
                layer.path().join("fs/big"),
            ];
            files
                .into_iter()
                .find_map(|path| Some((holds(&path)?, path)))
        });
        let (at, path) = found.expect("some layer has it");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[at + 1000] ^= 1;
        std::fs::write(&path, bytes).unwrap();
        let told = gamut.call(&["image", "verify", "-q"]);
        told.refused(1, &["damaged"]).hinted();
        gamut.call(&["system", "check", "--repair"]).code(1);
        gamut.call(&["pull", "-q", &reference]).ok();
        gamut.call(&["system", "check"]).ok();
    }
}

/// What one container reads, the next one of the image has in memory.
#[test]
fn containers_of_one_image_share_its_page_cache() {
    for driver in ["erofs", "overlay"] {
        let Some(gamut) = with(driver) else {
            continue;
        };
        let big = Layer::new().file("big", 0o644, vec![7; 4 << 20]);
        let image = layered().layer(big).build();
        let reference = gamut.host.registry.push(&image, "cache:lab");
        let start = || {
            let words = [
                "run",
                "-d",
                "--network",
                "none",
                &reference,
                "sleep",
                "1000",
            ];
            gamut.call(&words).ok().text().to_owned()
        };
        // A container that never reads the file, and one that does.
        let (idle, reader) = (start(), start());
        // Pages of the file as that container would read it: fincore(1) asks mincore(2).
        let cached = || {
            let path = format!("/proc/{}/root/big", gamut.pid(&idle));
            let words = ["--noheadings", "--output", "PAGES", &path];
            let told = gamut_tests::host::program("fincore", &words);
            told.trim().parse::<u64>().unwrap()
        };
        let before = cached();
        // A tree's pages are there since it was unpacked.
        assert_eq!(before == 0, driver == "erofs", "{driver}: {before} pages");
        // A host that is short of memory lets pages go that were read only once.
        until(&format!("{driver}: the whole file is in memory"), || {
            gamut.exec(&reader, "cat /big >/dev/null");
            cached() == 1024
        });
    }
}

#[test]
fn an_unknown_driver_is_refused() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["--storage-driver", "zfs", "images"]).code(125);
    let Some(gamut) = Gamut::with_driver("vfs") else {
        return;
    };
    assert_eq!(
        gamut.call(&["info", "--format", "{{.Driver}}"]).ok().text(),
        "copy"
    );
}

/// A second container takes what it needs to know of the root directory from where the first one has it.
#[test]
fn the_root_directory_is_what_the_layers_say_in_every_container() {
    for (name, modes, expected) in [
        ("said", [Some(0o711), Some(0o751)], "751 0:0"),
        ("below", [Some(0o711), None], "711 0:0"),
        ("unsaid", [None, None], "755 0:0"),
    ] {
        let root = |layer: Layer, mode: Option<u32>| match mode {
            Some(mode) => layer.dir("./", mode),
            None => layer,
        };
        let image = ImageBuilder::new()
            .layer(root(super::run::busybox_with(&["stat"]), modes[0]))
            .layer(root(Layer::new().file("f", 0o644, name), modes[1]))
            .env(&["PATH=/bin"])
            .build();
        for driver in DRIVERS {
            let Some(gamut) = with(driver) else { continue };
            let reference = gamut
                .host
                .registry
                .push(&image, &format!("root-{name}:lab"));
            let words = ["run", "--rm", "--network", "none", &reference];
            let words = [&words[..], &["stat", "-c", "%a %u:%g", "/"]].concat();
            for container in ["first", "second"] {
                let told = gamut.call(&words).ok();
                assert_eq!(told.text(), expected, "{name}, {driver}, the {container}");
            }
        }
    }
}
