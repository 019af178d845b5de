//! Sealed layers: what the kernel checks whenever it is read.

use gamut_tests::disk::Disk;
use gamut_tests::{Gamut, ImageBuilder, Layer};
use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

/// What is in a file of the image, and in no other.
const NEEDLE: &str = "a sentence that stands in one place of the disk only; ";

fn image() -> ImageBuilder {
    ImageBuilder::new()
        .layer(super::run::busybox_with(&["sh", "cat", "sleep"]))
        .layer(Layer::new().file("content", 0o644, NEEDLE.repeat(2000)))
        .env(&["PATH=/bin"])
        .cmd(&["cat", "/content"])
}

/// A disk for a root where layers can be sealed, and what has them sealed, by `kind`.
fn sealing<'g>(gamut: &'g Gamut, kind: &str, mkfs: &[&str]) -> Option<(Disk<'g>, [String; 2])> {
    let disk = Disk::new(gamut, 128, mkfs)?;
    let option = ["--storage-opt".to_owned(), format!("erofs.verity={kind}")];
    let words = [
        &option[0],
        &option[1],
        "pull",
        "-q",
        &gamut.image("busybox:lab"),
    ];
    let told = gamut.call(&words);
    if told.err.contains("cannot be had here") {
        gamut_tests::skip::skipped(told.err.trim());
        return None;
    }
    told.ok();
    Some((disk, option))
}

/// The EROFS image of the layer with the needle.
fn layer(gamut: &Gamut) -> PathBuf {
    let layers = fs::read_dir(gamut.root().join("layers")).expect("layers");
    let mut files = layers
        .flatten()
        .map(|entry| entry.path().join("layer.erofs"));
    let has = |path: &PathBuf| find(&fs::read(path).unwrap_or_default()).is_some();
    files.find(has).expect("some layer has it")
}

fn find(bytes: &[u8]) -> Option<usize> {
    let needle = NEEDLE.as_bytes();
    bytes.windows(needle.len()).position(|part| part == needle)
}

/// Changes a byte of the needle where the disk has it.
fn fail(disk: &Disk<'_>) {
    disk.offline(|disk| {
        let bytes = fs::read(disk).expect("the disk is read");
        let at = find(&bytes).expect("it is on the disk") as u64;
        let file = fs::File::options().write(true).open(disk).expect("opened");
        file.write_all_at(b"A", at).expect("changed");
    });
}

/// The container gets an error, and never other bytes.
#[track_caller]
fn cannot_be_read(gamut: &Gamut, words: &[&str]) {
    let told = gamut.call(words);
    assert_ne!(told.code, 0, "{}", told.told());
    assert!(!told.out.contains(NEEDLE), "{}", told.told());
    let said = ["I/O error", "Input/output error"];
    let said = said.iter().any(|said| told.err.contains(said));
    assert!(said, "{}", told.told());
    gamut
        .call(&["image", "verify", "-q"])
        .refused(1, &["damaged"])
        .hinted();
}

/// Takes the damaged layer away and fetches it again.
fn mend(gamut: &Gamut, option: &[String; 2], reference: &str) {
    gamut.call(&["system", "check", "--repair"]).code(1);
    let words = [&option[0], &option[1], "pull", "-q", reference];
    gamut.call(&words).ok();
    let words = ["run", "--rm", "--network", "none", reference];
    assert!(gamut.call(&words).ok().out.starts_with(NEEDLE));
    gamut.call(&["system", "check"]).ok();
}

#[test]
fn a_layer_under_fs_verity_is_never_read_when_it_has_changed() {
    let Some(gamut) = Gamut::new() else { return };
    let mkfs = ["mke2fs", "-q", "-t", "ext4", "-b", "4096", "-O", "verity"];
    let Some((disk, option)) = sealing(&gamut, "fs", &mkfs) else {
        return;
    };
    let reference = gamut.host.registry.push(&image().build(), "sealed:lab");
    let words = [&option[0], &option[1], "pull", "-q", &reference];
    gamut.call(&words).ok();
    let words = ["run", "--rm", "--network", "none", &reference];
    assert!(gamut.call(&words).ok().out.starts_with(NEEDLE));
    gamut.call(&["image", "verify"]).ok();
    let path = layer(&gamut);
    let description = fs::read_to_string(path.with_file_name("layer.json")).expect("read");
    assert!(description.contains("\"fs-verity\""), "{description}");
    // Nobody can write to it, root neither.
    assert!(fs::File::options().write(true).open(&path).is_err());
    // The disk fails, or somebody who has it elsewhere changes it.
    let whole = fs::read(&path).expect("read");
    fail(&disk);
    cannot_be_read(&gamut, &words);
    // Another file in its place, even with the right bytes, is not what was sealed.
    disk.offline(|_| {});
    fs::remove_file(&path).expect("removed");
    fs::write(&path, whole).expect("written");
    gamut.call(&words).refused(125, &["sealed"]).hinted();
    let copy = [&["--storage-driver", "copy"], &words[..]].concat();
    gamut.call(&copy).refused(125, &["sealed"]).hinted();
    gamut
        .call(&["image", "verify", "-q"])
        .refused(1, &["damaged"]);
    mend(&gamut, &option, &reference);
}

#[test]
fn a_layer_under_dm_verity_is_never_read_when_it_has_changed() {
    let Some(gamut) = Gamut::new() else { return };
    let mkfs = ["mke2fs", "-q", "-t", "ext4", "-b", "4096"];
    let Some((disk, option)) = sealing(&gamut, "dm", &mkfs) else {
        return;
    };
    let reference = gamut.host.registry.push(&image().build(), "sealed:lab");
    let words = [&option[0], &option[1], "pull", "-q", &reference];
    gamut.call(&words).ok();
    let words = ["run", "--rm", "--network", "none", &reference];
    assert!(gamut.call(&words).ok().out.starts_with(NEEDLE));
    // One device for the merged image, and one for each of its two layers.
    assert_eq!(devices(), 3);
    let idle = [
        "run",
        "-d",
        "--network",
        "none",
        &reference,
        "sh",
        "-c",
        "while :; do sleep 9; done",
    ];
    gamut.call(&idle).ok();
    gamut.call(&["image", "verify"]).ok();
    super::disk::agree(&gamut, "sealed");
    fail(&disk);
    // What was mounted is gone, and the devices with it.
    assert_eq!(devices(), 0);
    cannot_be_read(&gamut, &words);
    mend(&gamut, &option, &reference);
    // Somebody writes to the file, or to the tree.
    for name in ["layer.erofs", "layer.verity"] {
        disk.offline(|_| {});
        let path = layer(&gamut).with_file_name(name);
        let mut bytes = fs::read(&path).expect("read");
        let at = find(&bytes).unwrap_or(40);
        bytes[at] ^= 1;
        fs::write(&path, bytes).expect("written");
        gamut
            .call(&["image", "verify", "-q"])
            .refused(1, &["damaged"]);
        let copy = [&["--storage-driver", "copy"], &words[..]].concat();
        gamut.call(&copy).refused(125, &["sealed"]).hinted();
        assert_ne!(gamut.call(&words).code, 0);
        disk.offline(|_| {});
        mend(&gamut, &option, &reference);
    }
}

/// How many devices the device mapper has on this machine.
fn devices() -> usize {
    let names = fs::read_dir("/sys/block").into_iter().flatten().flatten();
    names
        .filter(|entry| entry.file_name().to_string_lossy().starts_with("dm-"))
        .count()
}

#[test]
fn what_a_host_lacks_for_seals_is_refused_or_done_without() {
    let Some(gamut) = Gamut::new() else { return };
    let busybox = gamut.image("busybox:lab");
    let pull = |option: &str| gamut.call(&["--storage-opt", option, "pull", "-q", &busybox]);
    pull("erofs.verity=auto").ok();
    gamut.call(&["rmi", "-f", &busybox]).ok();
    let directories = ["--storage-driver", "overlay", "--storage-opt"];
    let words = [&directories[..], &["erofs.verity=fs", "pull", &busybox]].concat();
    gamut
        .call(&words)
        .refused(1, &["cannot be had here"])
        .hinted();
    for wrong in ["erofs.verity=yes", "erofs.color=blue", "erofs"] {
        pull(wrong)
            .refused(125, &[wrong.split('=').next().unwrap()])
            .hinted();
    }
}
