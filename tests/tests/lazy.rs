//! Lazy pull: a container runs before its image is here, and never sees anything else than what is in it.

use gamut_tests::patience::until;
use gamut_tests::skip::skipped;
use gamut_tests::{
    Compression, Gamut, HostileRegistry, Image, ImageBuilder, Layer, Login, Mischief, Running,
};
use rustix::process::{Pid, Signal};

const NAMES: [&str; 8] = [
    "sh", "cat", "echo", "find", "stat", "md5sum", "sort", "readlink",
];
/// Bytes of the file that is in the middle of its layer.
const BIG_BYTES: u32 = 6 << 20;
/// Prints all that there is to know of the files.
const TELL: &str = "cd /; find bin data stargz* -print | sort | while read f; do \
    stat -c '%n %F %a %u %g %s %Y %h %t' \"$f\"; [ ! -L \"$f\" ] || readlink \"$f\"; \
    [ ! -f \"$f\" ] || md5sum \"$f\"; done";

/// Bytes that do not compress: xorshift64 (G. Marsaglia, "Xorshift RNGs").
fn noise(bytes: u32) -> Vec<u8> {
    let mut state = u64::from(bytes);
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state as u8
    };
    (0..bytes).map(|_| next()).collect()
}

/// A layer whose middle is one large file, and one that changes some of it.
fn image(compression: Compression) -> Image {
    let lower = super::run::busybox_with(&NAMES)
        .dir("data", 0o750)
        .file("data/big", 0o640, noise(BIG_BYTES))
        .file("data/empty", 0o600, "")
        .file("data/gone", 0o644, "gone")
        .symlink("data/link", "big")
        .hardlink("data/again", "data/big")
        .file_with_xattr("data/marked", "user.mark", b"\x00\xff")
        .file("data/last", 0o4755, noise(200_000));
    let upper = Layer::new()
        .whiteout("data/gone")
        .file("data/second", 0o644, noise(300_000));
    ImageBuilder::new()
        .compression(compression)
        .layer(lower)
        .layer(upper)
        .env(&["PATH=/bin"])
        .build()
}

/// A registry with the image, whose large file's middle it holds back; its name there.
fn held(compression: Compression) -> Option<(Gamut, HostileRegistry, String)> {
    let gamut = Gamut::new()?;
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    if !comes_later(&gamut, &registry, compression) {
        skipped("this machine has no pre-content events (Linux 6.14) for EROFS images");
        return None;
    }
    let image = image(compression);
    let reference = registry.shelve(&image, "lazy:lab");
    if compression == Compression::Gzip {
        let made = gamut.call(&["image", "index", &reference]).ok();
        assert!(made.err.contains("Indexed"), "{}", made.told());
    }
    let layer = &image.layers()[0];
    let length = layer.bytes.len() as u64;
    registry.hold(&layer.digest, length / 2..length / 2 + length / 8);
    let pulled = gamut.call(&["pull", "--lazy", &reference]).ok();
    assert!(pulled.err.contains("Laid out"), "{}", pulled.told());
    // The program at least is here, whatever becomes of the registry.
    run(&gamut, &reference, "md5sum < /bin/busybox")
        .finish()
        .ok();
    Some((gamut, registry, reference))
}

/// Whether layers can come later here: tried with one that nobody holds back.
fn comes_later(gamut: &Gamut, registry: &HostileRegistry, compression: Compression) -> bool {
    let layer = Layer::new().file("probe", 0o644, noise(400_000));
    let builder = ImageBuilder::new().compression(compression).layer(layer);
    let reference = registry.shelve(&builder.build(), "probe:lab");
    let pulled = gamut.call(&["pull", "--lazy", &reference]).ok();
    gamut.call(&["rmi", &reference]).ok();
    !pulled.err.contains("layers are pulled whole")
}

fn run(gamut: &Gamut, reference: &str, script: &str) -> Running {
    gamut.spawn(&[
        "run",
        "--rm",
        "--network",
        "none",
        reference,
        "sh",
        "-c",
        script,
    ])
}

/// The processes that fill: first the one that does, then the one that sees to it.
fn fillers(gamut: &Gamut) -> Vec<Pid> {
    let root = gamut.root().display().to_string();
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc").expect("proc").flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let words: Vec<_> = line.split(|byte| *byte == 0).collect();
        let number = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let (Some(number), [b"gamut-filler", of, ..]) = (number, &words[..])
            && *of == root.as_bytes()
        {
            found.extend(Pid::from_raw(number).map(|pid| (!words.contains(&&b"work"[..]), pid)));
        }
    }
    found.sort_by_key(|(is_other, _)| *is_other);
    found.into_iter().map(|(_, pid)| pid).collect()
}

fn end(gamut: &Gamut) {
    until("the filler has ended", || fillers(gamut).is_empty());
    gamut.call(&["image", "verify", "-q"]).ok();
}

/// Waits until a container's reading of the held part has come to the filler: its journal knows.
fn until_somebody_waits(gamut: &Gamut) {
    let journal = gamut.runroot().join("filler/pending");
    until("somebody waits", || {
        let journal = std::fs::read(&journal).unwrap_or_default();
        journal.iter().any(|byte| *byte != 0)
    });
}

fn whole(compression: Compression) -> String {
    let gamut = Gamut::new().expect("there has been one");
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let reference = registry.shelve(&image(compression), "lazy:lab");
    gamut.call(&["pull", "-q", &reference]).ok();
    run(&gamut, &reference, TELL).finish().ok().out
}

fn runs_before_it_is_here(compression: Compression) {
    let Some((gamut, registry, reference)) = held(compression) else {
        return;
    };
    let says = run(&gamut, &reference, "echo it runs; cat /data/marked").finish();
    assert_eq!(says.ok().out, "it runs\nmarked");
    let seen = &gamut.call(&["image", "inspect", &reference]).ok().json()[0];
    let (present, size) = (&seen["PresentSize"], &seen["Size"]);
    assert!(present.as_u64() < size.as_u64(), "{present} of {size}");
    let all = run(&gamut, &reference, TELL);
    let another = run(&gamut, &reference, TELL);
    until_somebody_waits(&gamut);
    let pull = gamut.spawn(&["pull", &reference]);
    registry.release();
    pull.finish().ok();
    let (all, another) = (all.finish().ok().out, another.finish().ok().out);
    assert_eq!(all, another);
    assert_eq!(all, run(&gamut, &reference, TELL).finish().ok().out);
    end(&gamut);
    let seen = &gamut.call(&["image", "inspect", &reference]).ok().json()[0];
    assert_eq!(seen["PresentSize"], seen["Size"]);
    // The archive can be had again, as from any layer.
    let target = format!("{}/lazy-{:?}", gamut.host.registry.address, compression);
    let target = target.to_lowercase();
    gamut.call(&["push", &reference, &target]).ok();
    drop(gamut);
    assert_eq!(all, whole(compression));
}

#[test]
fn an_estargz_image_runs_before_it_is_here() {
    runs_before_it_is_here(Compression::Estargz);
}

#[test]
fn a_zstd_chunked_image_runs_before_it_is_here() {
    runs_before_it_is_here(Compression::ZstdChunked);
}

#[test]
fn an_indexed_image_runs_before_it_is_here() {
    runs_before_it_is_here(Compression::Gzip);
}

/// What the whole of the large file says, in a container.
fn big_sum(gamut: &Gamut, reference: &str) -> Running {
    run(gamut, reference, "md5sum < /data/big")
}

#[test]
fn wrong_bytes_are_an_error_and_never_seen() {
    let Some((gamut, registry, reference)) = held(Compression::ZstdChunked) else {
        return;
    };
    registry.turn(Mischief::WrongBytes);
    registry.release();
    let says = big_sum(&gamut, &reference).finish();
    assert_ne!(says.code, 0, "{}", says.told());
    assert!(says.err.contains("Input/output error"), "{}", says.told());
    let log = std::fs::read_to_string(gamut.runroot().join("filler/log")).expect("a log");
    assert!(log.contains("digest"), "{log}");
    gamut.call(&["pull", &reference]).refused(1, &["digest"]);
    registry.turn(Mischief::None);
    gamut.call(&["pull", "-q", &reference]).ok();
    let sum = big_sum(&gamut, &reference).finish().ok().out;
    end(&gamut);
    assert_eq!(sum, big_sum(&gamut, &reference).finish().ok().out);
}

#[test]
fn a_registry_that_is_gone_is_an_error_until_it_is_back() {
    let Some((gamut, registry, reference)) = held(Compression::Estargz) else {
        return;
    };
    // Refused at once: nobody waits for the patience of a minute.
    registry.turn(Mischief::TooMany);
    registry.release();
    let says = big_sum(&gamut, &reference).finish();
    assert!(says.err.contains("Input/output error"), "{}", says.told());
    registry.turn(Mischief::None);
    gamut.call(&["pull", "-q", &reference]).ok();
    big_sum(&gamut, &reference).finish().ok();
    end(&gamut);
}

fn survives(compression: Compression, kill: impl Fn(&Gamut)) {
    let Some((gamut, registry, reference)) = held(compression) else {
        return;
    };
    let reader = big_sum(&gamut, &reference);
    until_somebody_waits(&gamut);
    kill(&gamut);
    registry.release();
    gamut.call(&["pull", "-q", &reference]).ok();
    let seen = reader.finish().ok().out;
    end(&gamut);
    assert_eq!(seen, big_sum(&gamut, &reference).finish().ok().out);
}

fn kill(pid: Pid) {
    rustix::process::kill_process(pid, Signal::KILL).expect("it is there");
    let gone = || rustix::process::test_kill_process(pid).is_err();
    until("it is dead", || gone() || is_dead(pid));
}

fn is_dead(pid: Pid) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{}/stat", pid.as_raw_nonzero()));
    status.is_ok_and(|status| status.contains(") Z "))
}

#[test]
fn a_reader_outlives_the_filler() {
    survives(Compression::ZstdChunked, |gamut| {
        let [worker, _] = fillers(gamut)[..] else {
            panic!("there are two")
        };
        kill(worker);
    });
}

#[test]
fn a_reader_waits_while_nobody_fills() {
    survives(Compression::Estargz, |gamut| {
        let [worker, other] = fillers(gamut)[..] else {
            panic!("there are two")
        };
        kill(other);
        kill(worker);
        assert!(fillers(gamut).is_empty());
    });
}

#[test]
fn an_image_can_be_removed_while_it_comes() {
    let Some((gamut, registry, reference)) = held(Compression::Estargz) else {
        return;
    };
    run(&gamut, &reference, "echo").finish().ok();
    gamut.call(&["rmi", &reference]).ok();
    registry.release();
    until("the filler has ended", || fillers(&gamut).is_empty());
    gamut.call(&["system", "prune", "-a", "-f"]).ok();
    let left = ["system", "df", "--format", "{{.TotalCount}} {{.Size}}"];
    assert_eq!(gamut.call(&left).ok().lines(), ["0 0B"; 4]);
}

#[test]
fn what_cannot_come_later_comes_now() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    let reference = registry.shelve(&image(Compression::Zstd), "whole:lab");
    let pulled = gamut.call(&["pull", "--lazy", &reference]).ok();
    assert!(pulled.err.contains("pulled whole"), "{}", pulled.told());
    assert!(fillers(&gamut).is_empty());
    run(&gamut, &reference, "echo").finish().ok();
    // Its larger layer is one frame, and so can have no index.
    let made = gamut.call(&["image", "index", &reference]).ok();
    assert!(made.err.contains("one frame of zstd"), "{}", made.told());
    let pushed = registry.shelve(&image(Compression::Estargz), "itself:lab");
    let refused = gamut.call(&["image", "index", &pushed]);
    refused.refused(1, &["no layer that could have an index"]);
}
