//! What takes the disk, and how to get it back: `system df`, the prunes, `image verify`.

use gamut_tests::host::program;
use gamut_tests::{Gamut, HostileRegistry, ImageBuilder, Layer, Login, Mischief};
use std::path::Path;

/// An image of its own content, with a label.
fn labelled(content: &str, label: &str) -> ImageBuilder {
    ImageBuilder::new()
        .layer(super::run::busybox_with(&[
            "sh", "cat", "true", "dd", "sleep",
        ]))
        .layer(Layer::new().file("content", 0o644, content.repeat(10_000)))
        .config("Labels", serde_json::json!({ "of": label }))
        .env(&["PATH=/bin"])
        .cmd(&["cat", "/content"])
}

/// What du(1) says of a directory, and what `df --explain` does: bytes.
fn sums(gamut: &Gamut) -> (u64, u64) {
    let told = gamut
        .call(&["system", "df", "--explain", "--format", "{{.Bytes}}"])
        .ok();
    let bytes = |line: &&str| line.parse::<u64>().unwrap();
    let explained = told.lines().iter().map(bytes).sum();
    let du = program("du", &["-s", "-x", "-B1", gamut.root().to_str().unwrap()]);
    let du = du.split_whitespace().next().unwrap().parse().unwrap();
    (du, explained)
}

#[track_caller]
pub(crate) fn agree(gamut: &Gamut, when: &str) {
    let (du, explained) = sums(gamut);
    assert!(
        du.abs_diff(explained) * 100 <= du,
        "{when}: du says {du}, df --explain {explained}"
    );
}

#[test]
fn every_byte_is_explained() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["images"]).ok();
    agree(&gamut, "empty");
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let one = registry.shelve(&labelled("one", "one").build(), "one:lab");
    let two = registry.shelve(&labelled("two", "two").build(), "two:lab");
    gamut.call(&["pull", "-q", &one]).ok();
    gamut.call(&["pull", "-q", &two]).ok();
    agree(&gamut, "two images");
    let script = "dd if=/dev/zero of=/x bs=1k count=700 2>/dev/null; echo log; \
                  dd if=/dev/zero of=/v/x bs=1k count=300 2>/dev/null; sleep 1000";
    let words = [
        "run",
        "-d",
        "--name",
        "user",
        "--network",
        "none",
        "-v",
        "named:/v",
    ];
    gamut
        .call(&[&words[..], &["-v", "/anonymous", &one, "sh", "-c", script]].concat())
        .ok();
    gamut_tests::patience::until("the container has written", || {
        gamut.call(&["logs", "user"]).out.contains("log")
            && gamut.root().join("volumes/named/_data/x").exists()
    });
    agree(&gamut, "a container");
    let pieces = gamut
        .call(&["system", "df", "--explain", "--format", "json"])
        .ok()
        .json_lines();
    let owner = |kind: &str| {
        let of: Vec<&str> = pieces
            .iter()
            .filter(|piece| piece["Kind"] == kind)
            .map(|piece| piece["BelongsTo"].as_str().unwrap())
            .collect();
        of.join("; ")
    };
    assert_eq!(owner("changes of a container"), "user");
    assert_eq!(owner("log of a container"), "user");
    assert_eq!(owner("volume"), "user; user");
    let layers = owner("layer");
    // The one that both have, and one for each.
    assert_eq!(layers.matches(&one).count(), 2, "{layers}");
    assert_eq!(layers.matches(&two).count(), 2, "{layers}");
    assert_eq!(layers.split("; ").count(), 3, "{layers}");
    assert_eq!(owner("not gamut's"), "");
    let summary = gamut
        .call(&["system", "df", "--format", "json"])
        .ok()
        .json_lines();
    let counts: Vec<String> = summary
        .iter()
        .map(|line| format!("{} {}/{}", line["Type"], line["Active"], line["TotalCount"]))
        .map(|line| line.replace('"', ""))
        .collect();
    assert_eq!(
        counts[..3],
        ["Images 1/2", "Containers 1/1", "Local Volumes 2/2"],
        "{counts:?}"
    );
    let verbose = gamut.call(&["system", "df", "-v"]).ok();
    for title in [
        "Images space usage:",
        "Containers space usage:",
        "Local Volumes space usage:",
        "Cache usage: ",
    ] {
        assert!(verbose.out.contains(title), "{}", verbose.told());
    }
}

#[test]
fn a_download_that_was_cut_is_cache() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let noise: Vec<u8> = (0..900_000u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 13) as u8)
        .collect();
    let image = ImageBuilder::new().layer(Layer::new().file("noise", 0o644, noise));
    let image = image.build();
    gamut.call(&["images"]).ok();
    // Half of the layer, as a pull leaves it that is cut there.
    let layer = &image.layers()[0];
    let name = layer.digest.trim_start_matches("sha256:");
    let half = &layer.bytes[..layer.bytes.len() / 2];
    std::fs::write(gamut.root().join("ingest").join(name), half).unwrap();
    let reference = registry.shelve(&image, "cut:lab");
    agree(&gamut, "a cut download");
    let line = || {
        let words = ["system", "df", "--format", "{{.Type}} {{.TotalCount}}"];
        gamut.call(&words).ok().lines()[3].to_owned()
    };
    assert_eq!(line(), "Cache 1");
    let told = gamut.call(&["system", "prune", "--force"]).ok();
    assert!(told.out.contains("ingest/"), "{}", told.told());
    assert!(
        !told.out.contains("Total reclaimed space: 0B"),
        "{}",
        told.told()
    );
    assert_eq!(line(), "Cache 0");
    gamut.call(&["pull", &reference]).ok();
}

#[test]
fn prunes_take_what_nobody_uses_and_nothing_else() {
    let Some(gamut) = Gamut::new() else { return };
    let push = |content: &str| {
        let image = labelled(content, content).build();
        gamut
            .host
            .registry
            .push(&image, &format!("prune-{content}:lab"))
    };
    let [used, unused, other] = ["used", "unused", "other"].map(push);
    let tags = || -> Vec<String> {
        let told = gamut.call(&["images", "--format", "{{.Repository}}:{{.Tag}}"]);
        let mut tags: Vec<String> = told.ok().lines().iter().map(|&t| t.to_owned()).collect();
        tags.sort();
        tags
    };
    for reference in [&unused, &other] {
        gamut.call(&["pull", "-q", reference]).ok();
    }
    let run = |flags: &[&str], words: &[&str]| {
        let words = [&["run", "--network", "none"], flags, &[&used], words].concat();
        gamut.call(&words).ok().text().to_owned()
    };
    let running = run(&["-d"], &["sleep", "1000"]);
    run(&["--name", "ended", "--label", "keep=1"], &["true"]);
    // Not asked, nothing happens; a prompt that is answered with no neither.
    gamut
        .call(&["container", "prune"])
        .refused(1, &["nobody has said"])
        .hinted();
    gamut
        .call_with_input(&["image", "prune", "-a"], "n\n")
        .code(1);
    assert_eq!(tags().len(), 3);
    // Filters.
    let told = gamut
        .call(&["container", "prune", "-f", "--filter", "label!=keep"])
        .ok();
    assert_eq!(told.text(), "Total reclaimed space: 0B");
    gamut
        .call(&["container", "prune", "-f", "--filter", "until=1h"])
        .ok()
        .prints("Total reclaimed space: 0B");
    let told = gamut.call(&["container", "prune", "--force"]).ok();
    assert!(
        told.out.starts_with("Deleted Containers:\n"),
        "{}",
        told.told()
    );
    assert_eq!(
        gamut.call(&["ps", "-aq", "--no-trunc"]).ok().text(),
        running
    );
    // A dangling image is one that has lost its tag.
    gamut
        .call(&["image", "prune", "-f"])
        .ok()
        .prints("Total reclaimed space: 0B");
    gamut
        .call(&["image", "prune", "-a", "-f", "--filter", "label=of=other"])
        .ok();
    assert_eq!(tags(), sorted([&used, &unused]));
    let told = gamut.call_with_input(&["image", "prune", "-a"], "y\n").ok();
    assert!(told.out.contains("untagged: "), "{}", told.told());
    assert!(told.out.contains("\ndeleted: sha256:"), "{}", told.told());
    assert!(!told.out.contains("space: 0B"), "{}", told.told());
    assert_eq!(tags(), sorted([&used]));
    // The layer that both have is there still.
    gamut.call(&["exec", &running, "cat", "/content"]).ok();
    gamut.call(&["rm", "-f", &running]).ok();
    gamut
        .call(&["system", "prune", "-a", "-f", "--volumes"])
        .ok();
    assert_eq!(tags(), Vec::<String>::new());
    let left = |directory: &str| {
        let names = std::fs::read_dir(gamut.root().join(directory)).unwrap();
        let names: Vec<_> = names.flatten().map(|entry| entry.file_name()).collect();
        names
    };
    assert_eq!(left("layers"), ["base"]);
    for directory in ["blobs/sha256", "ingest", "containers"] {
        assert!(left(directory).is_empty(), "{directory}");
    }
    agree(&gamut, "after all");
}

fn sorted<const N: usize>(names: [&String; N]) -> Vec<String> {
    let mut names = names.map(String::clone).to_vec();
    names.sort();
    names
}

#[test]
fn what_is_damaged_is_found_and_fetched_again() {
    let Some(gamut) = Gamut::new() else { return };
    let reference = gamut
        .host
        .registry
        .push(&labelled("sound", "x").build(), "verify:lab");
    gamut.call(&["pull", "-q", &reference]).ok();
    let told = gamut.call(&["image", "verify", &reference]).ok();
    assert!(told.out.contains("sound"), "{}", told.told());
    assert!(!told.out.contains("damaged"), "{}", told.told());
    let id = gamut
        .call(&["images", "-q", "--no-trunc"])
        .ok()
        .text()
        .replace("sha256:", "");
    damage(&gamut.root().join("blobs/sha256").join(&id));
    let told = gamut
        .call(&["image", "verify", "-q"])
        .refused(1, &["damaged"]);
    assert!(told.out.contains(&id[..12]), "{}", told.told());
    told.hinted();
    gamut.call(&["system", "check", "--repair"]).code(1);
    gamut.call(&["pull", "-q", &reference]).ok();
    gamut.call(&["system", "check"]).ok();
    let words = ["run", "--rm", "--network", "none", &reference];
    assert!(gamut.call(&words).ok().out.starts_with("sound"));
}

#[test]
fn a_merged_image_that_is_torn_or_gone_is_made_again() {
    let Some(gamut) = Gamut::new() else { return };
    let reference = gamut
        .host
        .registry
        .push(&labelled("whole", "x").build(), "merged:lab");
    gamut.call(&["pull", "-q", &reference]).ok();
    let entries = std::fs::read_dir(gamut.root().join("merged")).unwrap();
    let files: Vec<_> = entries.flatten().map(|entry| entry.path()).collect();
    let [file] = &files[..] else {
        gamut_tests::skip::skipped("images are not kept as EROFS here");
        return;
    };
    let words = ["run", "--rm", "--network", "none", &reference];
    let whole = std::fs::read(file).unwrap();
    // As a power cut leaves a file: its length is there, its content is not.
    std::fs::write(file, vec![0; whole.len()]).unwrap();
    assert!(gamut.call(&words).ok().out.starts_with("whole"));
    assert_eq!(std::fs::read(file).unwrap(), whole);
    // Not mounted any more, as after a restart, and gone.
    let mount = gamut
        .runroot()
        .join("images")
        .join(file.file_name().unwrap());
    program("umount", &[mount.to_str().unwrap()]);
    std::fs::remove_file(file).unwrap();
    assert!(gamut.call(&words).ok().out.starts_with("whole"));
    assert_eq!(std::fs::read(file).unwrap(), whole);
}

/// Flips one bit in the middle.
fn damage(path: &Path) {
    let mut bytes = std::fs::read(path).expect("it is there");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    std::fs::write(path, bytes).expect("it can be written to");
}
