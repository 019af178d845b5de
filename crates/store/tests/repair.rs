//! Leftovers of killed processes, imitated and real.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Command, Stdio};

use gamut_store::Store;
use gamut_store::repair::{Missing, RepairReport};
use gamut_store::snapshot::Driver;
use gamut_store::unpack::{LayerSource, UnpackOptions};

use crate::bench::{Scratch, TAR, Tar, listed, sha256};
use crate::images::{container, record};

const EMPTY: RepairReport = RepairReport {
    removed: Vec::new(),
    missing: Vec::new(),
};

#[test]
fn a_sound_store_needs_no_repair() {
    let mut scratch = Scratch::new();
    record(
        &mut scratch,
        "docker.io/library/a:1",
        &[&Tar::new().file("a", "").end()],
    );
    assert_eq!(scratch.store.repair().expect("repaired"), EMPTY);
}

#[test]
fn leftovers_are_removed_once() {
    let mut scratch = Scratch::new();
    let root = scratch.root().to_owned();
    for directory in [
        "layers/tmp-1/fs/a/b",
        "containers/tmp-2/upper",
        "containers/orphan/upper",
    ] {
        fs::create_dir_all(root.join(directory)).expect("made");
    }
    // Without a description, as after a power cut.
    fs::create_dir_all(root.join("layers/0123456789abcdef/fs")).expect("made");
    for file in ["layers/tmp-1/fs/a/f", "blobs/sha256/tmp-3", "ingest/tmp-4"] {
        fs::write(root.join(file), "x").expect("written");
    }
    // What a later pull can go on with stays.
    fs::write(root.join("ingest").join("a".repeat(64)), "x").expect("written");
    let report = scratch.store.repair().expect("repaired");
    let mut removed: Vec<_> = report
        .removed
        .iter()
        .map(|path| {
            path.strip_prefix(&root)
                .expect("ours")
                .display()
                .to_string()
        })
        .collect();
    removed.sort();
    let expected = [
        "blobs/sha256/tmp-3",
        "containers/orphan",
        "containers/tmp-2",
        "ingest/tmp-4",
        "layers/0123456789abcdef",
        "layers/tmp-1",
    ];
    assert_eq!(removed, expected);
    assert_eq!(scratch.layer_names(), [""; 0]);
    assert_eq!(listed(&root.join("containers")), [""; 0]);
    assert_eq!(listed(&root.join("ingest")).len(), 1);
    assert_eq!(scratch.store.repair().expect("again"), EMPTY);
}

#[test]
fn what_a_living_process_makes_is_left_alone() {
    let scratch = Scratch::new();
    let root = scratch.root().to_owned();
    let tar = Tar::new()
        .file("a", "x")
        .entry(b'0', "b", "", &vec![0; 2 << 20])
        .end();
    let (digest, bytes) = (sha256(&tar), tar.clone());
    let source = LayerSource {
        digest: &digest,
        size_bytes: None,
        media_type: TAR,
        diff_id: &digest,
    };
    // Half-way through the stream, another process repairs.
    let (first, second) = bytes.split_at(1 << 20);
    let repairs = RepairsAtEnd(&root);
    let stream = first.chain(repairs).chain(second);
    scratch
        .store
        .layers()
        .unpack(&source, stream, &UnpackOptions::default())
        .expect("undisturbed");
    assert_eq!(scratch.layer_names().len(), 1);
}

/// An empty stream; reading it repairs the store as another process would.
struct RepairsAtEnd<'r>(&'r std::path::Path);

impl Read for RepairsAtEnd<'_> {
    fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
        let mut other = Store::open(self.0).expect("opened");
        assert_eq!(other.repair().expect("repaired"), EMPTY);
        Ok(0)
    }
}

#[test]
fn a_layer_torn_by_a_power_cut_is_reported_and_unpacked_again() {
    let mut scratch = Scratch::new();
    let tar = Tar::new().file("a", "x").end();
    let image = record(&mut scratch, "docker.io/library/a:1", &[&tar]);
    let directory = scratch.layer_names().remove(0);
    let directory = scratch.root().join("layers").join(directory);
    fs::write(directory.join("layer.json"), "").expect("torn");
    fs::write(directory.join("fs/a"), "").expect("torn");
    let report = scratch.store.repair().expect("repaired");
    assert_eq!(report.missing, [Missing::Layer(image.layers[0].clone())]);
    assert_eq!(
        fs::read_to_string(scratch.tree(&tar).join("a")).expect("read"),
        "x"
    );
    assert_eq!(scratch.store.repair().expect("repaired"), EMPTY);
}

#[test]
fn what_is_gone_is_reported() {
    let mut scratch = Scratch::new();
    let image = record(
        &mut scratch,
        "docker.io/library/a:1",
        &[&Tar::new().file("a", "").end()],
    );
    let mut made = container("c", &image);
    made.id = "c".repeat(64);
    scratch
        .store
        .db_mut()
        .write(|tx| tx.insert_container(&made))
        .expect("recorded");
    let layer = scratch.store.db().layers().expect("listed").remove(0);
    fs::remove_dir_all(scratch.root().join("layers").join(&layer.directory)).expect("removed");
    fs::remove_file(scratch.root().join("blobs/sha256").join(image.id.hex())).expect("removed");
    let report = scratch.store.repair().expect("repaired");
    let expected = [
        Missing::Layer(layer.diff_id),
        Missing::Blob {
            image: image.id.clone(),
            blob: image.id.clone(),
        },
        Missing::Container {
            id: made.id.clone(),
            name: "c".into(),
        },
    ];
    assert_eq!(
        (report.removed.len(), &report.missing[..]),
        (0, &expected[..])
    );
    scratch
        .store
        .snapshots(Driver::Overlay)
        .prepare(&made.id, &[])
        .expect("prepared");
    assert_eq!(scratch.store.repair().expect("repaired").missing.len(), 2);
}

#[test]
fn layers_of_an_earlier_boot_are_trusted_when_recorded_only() {
    let mut scratch = Scratch::new();
    let image = record(
        &mut scratch,
        "docker.io/library/a:1",
        &[&Tar::new().file("a", "").end()],
    );
    // The pin goes with the layer.
    let orphan = {
        let unpacked = scratch.unpack(&Tar::new().file("b", "").end());
        unpacked.expect("unpacked").0.record.clone()
    };
    for name in scratch.layer_names() {
        let path = scratch.root().join("layers").join(name).join("layer.json");
        let text = fs::read_to_string(&path).expect("read");
        let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read");
        fs::write(&path, text.replace(boot.trim(), "an earlier boot")).expect("written");
    }
    let recorded = scratch.store.layer(&image.layers[0]).expect("looked up");
    assert!(recorded.is_some());
    let mut other = Store::open(scratch.root()).expect("opened");
    let report = other.repair().expect("repaired");
    assert_eq!(
        report.removed,
        [scratch.root().join("layers").join(&orphan.directory)]
    );
    // Without a repair, looking it up is enough.
    let (again, _) = scratch
        .unpack(&Tar::new().file("b", "").end())
        .expect("unpacked");
    let path = scratch
        .root()
        .join("layers")
        .join(&again.record.directory)
        .join("layer.json");
    let text = fs::read_to_string(&path).expect("read");
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").expect("read");
    fs::write(&path, text.replace(boot.trim(), "an earlier boot")).expect("written");
    drop(again);
    assert!(
        scratch
            .store
            .layer(&orphan.diff_id)
            .expect("looked up")
            .is_none()
    );
    assert_eq!(scratch.layer_names().len(), 1);
}

/// The test binary run again as another process; see [`killed_in_the_middle_of_a_layer`].
const CHILD: &str = "GAMUT_TEST_UNPACK_INTO";

#[test]
fn killed_in_the_middle_of_a_layer() {
    if let Some(root) = std::env::var_os(CHILD) {
        unpack_standard_input(std::path::Path::new(&root));
        return;
    }
    let mut scratch = Scratch::new();
    let tar = (0..200)
        .fold(Tar::new(), |tar, i| {
            tar.file(&format!("d{}/f{i}", i % 7), "content")
        })
        .end();
    for part in [1, 2, 5, 9] {
        let length = tar.len() * part / 10;
        let mut child = Command::new(std::env::current_exe().expect("ourselves"))
            .args([
                "--exact",
                "repair::killed_in_the_middle_of_a_layer",
                "--nocapture",
            ])
            .env(CHILD, scratch.root())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("started");
        let mut input = child.stdin.take().expect("a pipe");
        input.write_all(&tar[..length]).expect("written");
        // It says so when it has made its directory.
        let output = BufReader::new(child.stdout.take().expect("a pipe"));
        let ready = output
            .lines()
            .map_while(Result::ok)
            .any(|line| line.contains("unpacking"));
        assert!(ready, "the child ended early");
        child.kill().expect("killed");
        child.wait().expect("waited for");
        let left = scratch.layer_names();
        assert!(left.iter().all(|name| name.starts_with("tmp-")), "{left:?}");
        let report = scratch.store.repair().expect("repaired");
        assert_eq!(report.removed.len(), left.len());
        assert_eq!(scratch.layer_names(), [""; 0]);
    }
    scratch.tree(&tar);
}

fn unpack_standard_input(root: &std::path::Path) {
    let store = Store::open(root).expect("opened");
    let digest = sha256(b"never reached");
    let source = LayerSource {
        digest: &digest,
        size_bytes: None,
        media_type: TAR,
        diff_id: &digest,
    };
    let says = SaysWhenRead(std::io::stdin());
    let _ = store
        .layers()
        .unpack(&source, says, &UnpackOptions::default());
}

/// Standard input, announced: when it is first read, the directory has been made.
struct SaysWhenRead(std::io::Stdin);

impl Read for SaysWhenRead {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        println!("unpacking");
        self.0.read(buffer)
    }
}
