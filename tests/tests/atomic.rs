//! A pull is whole or it has not been: killed at any moment, or on a full disk, it leaves the old image
//! or the new one under the name, and nothing half-made once the next command has looked.

use gamut_tests::host::program;
use gamut_tests::{Gamut, HostileRegistry, Image, ImageBuilder, Layer, Login, Mischief};
use rustix::process::Signal;
use std::time::Instant;

/// Moments of a pull at which it is killed.
const MOMENTS: u32 = 32;

/// What does not compress.
fn noise(bytes: u32, seed: u32) -> Vec<u8> {
    (0..bytes)
        .map(|number| ((number ^ seed).wrapping_mul(2_654_435_761) >> 15) as u8)
        .collect()
}

/// Some layers with files that do not compress, and one that says `content`.
fn image(content: &str) -> Image {
    builder(content).build()
}

fn builder(content: &str) -> ImageBuilder {
    let seed = content.len() as u32 * 7919 + u32::from(content.as_bytes()[0]);
    (0..4)
        .fold(
            ImageBuilder::new().layer(super::run::busybox_with(&["sh", "cat"])),
            |image, layer| {
                let files = (0..40).fold(Layer::new(), |files, file| {
                    files.file(&format!("{content}-{layer}-{file}"), 0o644, content)
                });
                let noise = noise(200_000, seed + layer);
                image.layer(files.file(&format!("noise{layer}"), 0o644, noise))
            },
        )
        .layer(Layer::new().file("content", 0o644, content))
        .env(&["PATH=/bin"])
        .cmd(&["cat", "/content"])
}

/// What a pull was making. (Keepers remove the roots of containers in their own time.)
fn temporaries(gamut: &Gamut) -> Vec<String> {
    let mut found = Vec::new();
    for directory in ["blobs/sha256", "ingest", "layers"] {
        let entries = std::fs::read_dir(gamut.root().join(directory));
        for entry in entries.into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("tmp-") {
                found.push(format!("{directory}/{name}"));
            }
        }
    }
    found
}

fn says(gamut: &Gamut, reference: &str) -> String {
    let words = ["run", "--rm", "--network", "none", "--pull", "never"];
    let told = gamut.call(&[&words[..], &[reference]].concat()).ok();
    told.text().to_owned()
}

#[test]
fn a_pull_that_is_killed_leaves_the_old_image_or_the_new_one() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let [old, new] = ["old", "new"].map(image);
    let reference = registry.shelve(&new, "atomic:lab");
    let began = Instant::now();
    gamut.call(&["pull", "-q", &reference]).ok();
    let whole = began.elapsed();
    let (mut cut, mut done) = (0, 0);
    for moment in 0..MOMENTS {
        // The old image under the name, and nothing of the new one.
        gamut.call(&["rmi", &reference]).ok();
        gamut.call(&["system", "prune", "-a", "-f"]).ok();
        registry.shelve(&old, "atomic:lab");
        gamut.call(&["pull", "-q", &reference]).ok();
        registry.shelve(&new, "atomic:lab");
        let pull = gamut.spawn(&["pull", "-q", &reference]);
        std::thread::sleep(whole * moment / (MOMENTS - 8));
        // One that has ended already is whole.
        pull.signal(Signal::KILL);
        let ended = pull.finish();
        match says(&gamut, &reference).as_str() {
            "old" => cut += 1,
            "new" => done += 1,
            other => panic!("killed at {moment}/{MOMENTS}, it says {other:?}"),
        }
        gamut.call(&["ps"]).ok();
        let left = temporaries(&gamut);
        assert!(left.is_empty(), "{moment}: {left:?}\n{}", ended.told());
        gamut.call(&["image", "verify", "-q"]).ok();
        // Sometimes the next pull goes on where that one was.
        if moment % 4 == 0 {
            gamut.call(&["pull", "-q", &reference]).ok();
            assert_eq!(says(&gamut, &reference), "new");
        }
    }
    eprintln!("{cut} pulls were cut, {done} were not, of {whole:?} each");
    gamut.call(&["rmi", &reference]).ok();
    gamut.call(&["system", "prune", "-a", "-f"]).ok();
    let left = gamut
        .call(&["system", "df", "--format", "{{.TotalCount}} {{.Size}}"])
        .ok();
    assert_eq!(left.lines(), ["0 0B"; 4]);
}

#[test]
fn a_download_that_a_power_cut_tore_is_fetched_again() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let image = image("whole");
    let reference = registry.shelve(&image, "torn:lab");
    gamut.call(&["images"]).ok();
    let ingest = gamut.root().join("ingest");
    for layer in image.layers() {
        // Of a file's last blocks only the length has reached the disk.
        let mut half = layer.bytes[..layer.bytes.len() / 2].to_vec();
        let written = half.len() / 2;
        half[written..].fill(0);
        let name = layer.digest.trim_start_matches("sha256:");
        std::fs::write(ingest.join(name), half).unwrap();
    }
    gamut.call(&["pull", "-q", &reference]).ok();
    assert_eq!(says(&gamut, &reference), "whole");
    assert_eq!(std::fs::read_dir(ingest).unwrap().count(), 0);
}

#[test]
fn a_pull_onto_a_full_disk_leaves_the_old_image() {
    let Some(gamut) = Gamut::new() else { return };
    let root = gamut.root();
    std::fs::create_dir_all(root).unwrap();
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let reference = registry.shelve(&image("old"), "full:lab");
    // Room for the old image, and not for all of the new one, wherever the end comes; how much that is
    // depends on the storage driver. The new one needs more than what the old one's downloads took.
    let more = Layer::new().file("more", 0o644, noise(2_500_000, 7));
    let new = builder("new").layer(more).build();
    let (mut fitted, mut refused) = (0, 0);
    for size_kib in (1000..8000).step_by(250) {
        let size = format!("size={size_kib}k");
        program(
            "mount",
            &["-t", "tmpfs", "-o", &size, "tmpfs", root.to_str().unwrap()],
        );
        registry.shelve(&image("old"), "full:lab");
        if gamut.call(&["pull", "-q", &reference]).code == 0 {
            fitted += 1;
            registry.shelve(&new, "full:lab");
            let told = gamut.call(&["pull", "-q", &reference]);
            let is_refused = told.code != 0;
            if is_refused {
                refused += 1;
                told.refused(1, &["no space left"]).hinted();
            }
            // A container writes too, and so does a removal: what the old image left may be less than that takes.
            let grow = ["-o", "remount,size=20000k", root.to_str().unwrap()];
            program("mount", &grow);
            if is_refused {
                assert_eq!(says(&gamut, &reference), "old");
            }
        }
        gamut.call(&["ps"]).ok();
        assert_eq!(temporaries(&gamut), Vec::<String>::new());
        gamut.call(&["system", "prune", "-a", "-f"]).ok();
        program("umount", &[root.to_str().unwrap()]);
    }
    assert!(
        fitted > 0 && refused > 0,
        "{fitted} fitted, {refused} did not"
    );
}
