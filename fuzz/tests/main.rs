//! The fuzz targets with a fixed number of inputs, which are the same every time. For more, see
//! docs/development.md, "Fuzz". `GAMUT_FUZZ_ROUNDS=N` feeds N times as many, each round from another
//! seed.

use gamut_fuzz::{Mutations, Target};

/// Feeds a target with its seeds, then with so many mutations of them. What panics is kept in a
/// file whose name is in the message.
fn feed(name: &str, mutations: usize) {
    let target = Target::named(name).expect("there is such a target");
    let seeds = target.seeds().expect("the seeds can be read");
    assert!(!seeds.is_empty(), "{name} has no seeds");
    let mutated = rounds().flat_map(|round| Mutations::new(seeds.clone(), round).take(mutations));
    for input in seeds.iter().cloned().chain(mutated) {
        let run = std::panic::catch_unwind(|| (target.run)(&input));
        if let Err(panic) = run {
            let kept = std::env::temp_dir().join(format!("gamut-fuzz-{name}"));
            let written = std::fs::write(&kept, &input);
            eprintln!("the input is in {} ({written:?})", kept.display());
            std::panic::resume_unwind(panic);
        }
    }
}

fn rounds() -> std::ops::RangeInclusive<u64> {
    let rounds = std::env::var("GAMUT_FUZZ_ROUNDS").map(|rounds| rounds.parse());
    1..=rounds.map_or(1, |rounds| rounds.expect("GAMUT_FUZZ_ROUNDS is a number"))
}

#[test]
fn references() {
    feed("reference", 60_000);
}

#[test]
fn manifests() {
    feed("manifest", 20_000);
}

#[test]
fn configs() {
    feed("config", 20_000);
}

#[test]
fn challenges() {
    feed("challenge", 60_000);
}

#[test]
fn tokens() {
    feed("token", 60_000);
}

#[test]
fn images() {
    feed("image", 20_000);
}

#[test]
fn merges() {
    feed("merge", 3_000);
}

#[test]
fn archives() {
    feed("tar", 4_000);
}

#[test]
fn pax_records() {
    feed("pax", 60_000);
}

#[test]
fn loaded_archives() {
    feed("archive", 4_000);
}

#[test]
fn openpgp() {
    feed("openpgp", 4_000);
}

#[test]
fn sigstore() {
    feed("sigstore", 4_000);
}

#[test]
fn virtio_disks() {
    feed("virtio-block", 3_000);
}

#[test]
fn virtio_fs() {
    feed("virtio-fs", 1_000);
}

#[test]
fn virtio_entropy() {
    feed("virtio-entropy", 4_000);
}

#[test]
fn virtio_consoles() {
    feed("virtio-console", 4_000);
}

#[test]
fn virtio_network_cards() {
    feed("virtio-net", 4_000);
}

#[test]
fn virtio_balloons() {
    feed("virtio-balloon", 3_000);
}

#[test]
fn virtio_sockets_to_the_host() {
    feed("virtio-vsock", 1_500);
}

#[test]
fn virtio_persistent_memory() {
    feed("virtio-pmem", 1_000);
}

#[test]
fn firecracker_requests() {
    feed("firecracker-api", 20_000);
}

#[test]
fn firecracker_metadata() {
    feed("firecracker-metadata", 4_000);
}

#[test]
fn tables_of_contents() {
    feed("toc", 20_000);
}

#[test]
fn lazy_indexes() {
    feed("lazy-index", 10_000);
}

#[test]
fn lazy_blobs() {
    feed("lazy-blob", 10_000);
}
