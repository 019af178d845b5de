//! `--storage-opt erofs.compression`: layers that are kept compressed show, verify and give what others do.

use gamut_tests::{Gamut, ImageBuilder, Layer, Outcome};

/// Two layers with files that compress well, badly and not at all, around the sizes that matter.
fn sample() -> ImageBuilder {
    let mut state = 7_u32;
    let mut noise = |bytes: usize| -> Vec<u8> {
        std::iter::repeat_with(|| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .take(bytes)
        .collect()
    };
    let below = super::run::busybox_with(&["sh", "cat", "find", "sha256sum", "sort", "dd"])
        .dir("d", 0o755)
        .file("d/text", 0o644, "some words, ".repeat(100_000))
        .file("d/noise", 0o644, noise(200_000))
        .file("d/gone", 0o644, "x".repeat(70_000))
        .file("small", 0o644, "small");
    let mixed = [noise(65_000), b"mixed".repeat(30_000), noise(10)].concat();
    let above = Layer::new()
        .whiteout("d/gone")
        .file("d/mixed", 0o600, mixed)
        .hardlink("d/same", "d/mixed")
        .file("d/two-blocks", 0o644, "y".repeat(8192));
    ImageBuilder::new()
        .layer(below)
        .layer(above)
        .env(&["PATH=/bin"])
        .cmd(&["sh"])
}

/// What the files are.
const LOOK: &str = "find / -xdev -type f | grep -v ^/etc/ | sort | while read f; do sha256sum $f; done; \
                    dd if=/d/mixed bs=1000 skip=60 count=10 2>/dev/null | sha256sum";

/// `--storage-opt erofs.compression=HOW` before some words.
fn with(gamut: &Gamut, how: &str, words: &[&str]) -> Outcome {
    let option = format!("erofs.compression={how}");
    gamut.call(&[&["--storage-opt", &option], words].concat())
}

/// Whether the words were refused because this host cannot do it, which is said.
fn lacks(told: &Outcome) -> bool {
    let lacks = told.err.contains("cannot be compressed with");
    if lacks {
        gamut_tests::skip::skipped(told.err.trim());
    }
    lacks
}

fn look(gamut: &Gamut, image: &str) -> String {
    let words = ["run", "--rm", "--network", "none", image, "sh", "-c", LOOK];
    let seen = gamut.call(&words).ok().text().to_owned();
    assert!(
        seen.contains("/d/mixed") && !seen.contains("/d/gone"),
        "{seen}"
    );
    seen
}

/// The last column of the images of `system df -v`.
fn kept(gamut: &Gamut) -> Vec<String> {
    let told = gamut.call(&["system", "df", "-v"]).ok();
    let lines = told.lines().into_iter().map(str::to_owned);
    let images = lines.skip_while(|line| !line.starts_with("REPOSITORY"));
    let images = images.skip(1).take_while(|line| !line.is_empty());
    let last = |line: String| {
        line.rsplit("   ")
            .next()
            .unwrap_or_default()
            .trim()
            .to_owned()
    };
    images.map(last).collect()
}

#[test]
fn compressed_layers_show_the_same() {
    let Some(plain) = Gamut::new() else { return };
    let reference = plain
        .host
        .registry
        .push(&sample().build(), "compression:lab");
    plain.call(&["pull", "-q", &reference]).ok();
    let expected = look(&plain, &reference);
    drop(plain);
    for how in ["lz4", "zstd", "zstd:19"] {
        let Some(gamut) = Gamut::new() else { return };
        let reference = gamut
            .host
            .registry
            .push(&sample().build(), "compression:lab");
        let told = with(&gamut, how, &["pull", "-q", &reference]);
        if lacks(&told) {
            continue;
        }
        told.ok();
        assert_eq!(look(&gamut, &reference), expected, "{how}");
        let algorithm = how.split(':').next().unwrap();
        assert_eq!(kept(&gamut), [algorithm]);
        // It was told once.
        let status = gamut.call(&["info"]).ok();
        let line = format!(" Compression: {how}");
        assert!(status.lines().contains(&&*line), "{}", status.told());
        gamut.call(&["image", "verify"]).ok();
    }
}

#[test]
fn a_compressed_layer_gives_its_archive_again() {
    let Some(gamut) = Gamut::new() else { return };
    // Of this run only: the registry has nothing of it.
    let own = Layer::new().file("own", 0o644, gamut.marker().repeat(5000));
    let image = sample().layer(own).build();
    let reference = gamut.host.registry.push(&image, "compression-from:lab");
    let told = with(&gamut, "zstd", &["pull", "-q", &reference]);
    if lacks(&told) {
        return;
    }
    told.ok();
    let expected = look(&gamut, &reference);
    // Packed anew: whoever pulls it holds the archive against the same diff ids.
    let to = gamut.image("compression-to:lab");
    let words = ["push", "--compression", "zstd", &reference, &to];
    let pushed = gamut.call(&words).ok();
    assert!(pushed.err.contains(": Pushed\n"), "{}", pushed.told());
    drop(gamut);
    let Some(gamut) = Gamut::new() else { return };
    with(&gamut, "none", &["pull", "-q", &to]).ok();
    assert_eq!(look(&gamut, &to), expected);
    assert_eq!(kept(&gamut), ["none"]);
}

#[test]
fn layers_of_one_image_may_be_compressed_differently() {
    let Some(gamut) = Gamut::new() else { return };
    let base = || {
        let busybox = super::run::busybox_with(&["sh", "cat", "sha256sum", "dd"]);
        busybox.file("base", 0o644, "base ".repeat(50_000))
    };
    let image = |builder: ImageBuilder| builder.env(&["PATH=/bin"]).cmd(&["sh"]).build();
    let one = image(ImageBuilder::new().layer(base()));
    let above = Layer::new().file("above", 0o644, "above ".repeat(50_000));
    let both = image(ImageBuilder::new().layer(base()).layer(above));
    let one = gamut.host.registry.push(&one, "compression-one:lab");
    let both = gamut.host.registry.push(&both, "compression-both:lab");
    let told = with(&gamut, "lz4", &["pull", "-q", &one]);
    if lacks(&told) {
        return;
    }
    told.ok();
    let told = with(&gamut, "zstd", &["pull", "-q", &both]);
    if lacks(&told) {
        return;
    }
    told.ok();
    let script = "cat /base /above | sha256sum; dd if=/base bs=7 skip=20000 count=1 2>/dev/null";
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        &both,
        "sh",
        "-c",
        script,
    ];
    let told = gamut.call(&words).ok();
    assert!(told.text().ends_with("base ba"), "{}", told.told());
    let kept = kept(&gamut);
    assert!(kept.contains(&"lz4, zstd".into()), "{kept:?}");
}

#[test]
fn what_cannot_be_is_refused() {
    let Some(gamut) = Gamut::new() else { return };
    for option in [
        "erofs.compression=gzip",
        "erofs.compression=zstd:99",
        "size=10G",
        "erofs.compression",
    ] {
        let told = gamut.call(&["--storage-opt", option, "images"]).code(125);
        assert!(
            told.err.contains("storage option") || told.err.contains("compression"),
            "{}",
            told.told()
        );
    }
    let words = [
        "--storage-driver",
        "overlay",
        "--storage-opt",
        "erofs.compression=lz4",
        "images",
    ];
    let told = gamut.call(&words);
    assert!(
        told.err.contains("cannot be compressed with `lz4` here"),
        "{}",
        told.told()
    );
    assert!(
        told.err.contains("erofs.compression=none"),
        "{}",
        told.told()
    );
    // Nothing of it was kept.
    assert!(!gamut.root().join("storage-options.json").exists());
}
