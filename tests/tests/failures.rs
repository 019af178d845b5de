//! Bad input gets a clear error with a hint, and leaves nothing behind: one test for each kind.

use gamut_tests::{
    Gamut, HostileRegistry, Image, ImageBuilder, Layer, Login, Mischief, census, patience,
};
use std::net::TcpListener;

fn small() -> Image {
    ImageBuilder::new()
        .layer(super::run::busybox_with(&["sh", "ls", "true"]))
        .env(&["PATH=/bin"])
        .cmd(&["true"])
        .build()
}

/// A pull that must fail, saying each of `words`; no image, no container and no unfinished file is left.
#[track_caller]
fn pull_fails(gamut: &Gamut, reference: &str, words: &[&str]) {
    gamut.call(&["pull", reference]).refused(1, words).hinted();
    gamut
        .call(&["run", "--rm", "--network", "none", reference, "true"])
        .refused(125, words);
    assert_eq!(gamut.call(&["images", "-q"]).ok().out, "");
    let big = gamut_tests::host::program(
        "find",
        &[
            gamut.root().to_str().unwrap(),
            "-type",
            "f",
            "-size",
            "+300k",
            "-not",
            "-name",
            "*.db*",
            "-not",
            "-name",
            "*.sqlite*",
        ],
    );
    assert_eq!(big, "", "an unfinished download is left");
    gamut.assert_untouched();
}

#[test]
fn an_unknown_image() {
    let Some(gamut) = Gamut::new() else { return };
    pull_fails(
        &gamut,
        &gamut.image("no-such-image"),
        &["no-such-image", "not found"],
    );
    gamut
        .call(&["pull", "UPPER/Case:tag"])
        .refused(1, &["UPPER/Case"]);
    gamut.call(&["pull", "bad tag"]).code(1);
}

#[test]
fn a_registry_that_is_not_there() {
    let Some(gamut) = Gamut::new() else { return };
    pull_fails(
        &gamut,
        "127.0.0.1:9/some/image:tag",
        &["127.0.0.1:9", "refused"],
    );
}

#[test]
fn a_registry_that_drops_the_connection() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::DropAlways, Login::Anyone);
    // Each answer is half of what is left: resuming comes ever closer, but a gzip layer of a megabyte needs
    // twenty answers, which no sensible number of retries gives.
    let reference = registry.shelve(&small(), "small:lab");
    gamut
        .call(&["pull", &reference])
        .refused(1, &[&registry.address])
        .hinted();
    gamut.assert_untouched();
}

#[test]
fn a_wrong_digest() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::WrongBytes, Login::Anyone);
    pull_fails(&gamut, &registry.shelve(&small(), "small:lab"), &["digest"]);
    // And nothing of it is trusted later.
    registry.turn(Mischief::None);
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "none",
            &format!("{}/small:lab", registry.address),
        ])
        .ok();
}

#[test]
fn a_manifest_that_is_not_what_its_digest_says() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::WrongManifest, Login::Anyone);
    let image = small();
    registry.shelve(&image, "small:lab");
    pull_fails(
        &gamut,
        &format!("{}/small@{}", registry.address, image.top.digest),
        &["digest"],
    );
}

#[test]
fn a_blob_without_end() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::Endless, Login::Anyone);
    gamut
        .call(&["pull", &registry.shelve(&small(), "small:lab")])
        .code(1);
    gamut.assert_untouched();
}

#[test]
fn a_registry_that_is_too_busy() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::TooMany, Login::Anyone);
    gamut
        .call(&["pull", &registry.shelve(&small(), "small:lab")])
        .refused(1, &["429"])
        .hinted();
    gamut.assert_untouched();
}

#[test]
fn a_corrupt_layer() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    // The digests are right: the bytes are not a layer.
    let noise: Vec<u8> = (0..40_000u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 24) as u8)
        .collect();
    pull_fails(
        &gamut,
        &registry.shelve(&ImageBuilder::new().tar(&noise).build(), "noise:lab"),
        &["layer"],
    );
    let mut cut = super::run::busybox_with(&["sh"]).into_tar();
    cut.truncate(cut.len() / 2);
    pull_fails(
        &gamut,
        &registry.shelve(&ImageBuilder::new().tar(&cut).build(), "cut:lab"),
        &["layer"],
    );
}

#[test]
fn a_layer_that_is_not_what_the_config_says() {
    let Some(gamut) = Gamut::new() else { return };
    let (honest, other) = (
        small(),
        ImageBuilder::new()
            .layer(Layer::new().file("x", 0o644, "x"))
            .build(),
    );
    // The manifest of one with the config of the other: every blob has its digest, the diff id is wrong.
    let mut manifest: serde_json::Value = serde_json::from_slice(&honest.top.bytes).unwrap();
    manifest["config"] = other.blobs[0].descriptor();
    let top =
        gamut_tests::image::Blob::new(&honest.top.media_type, manifest.to_string().into_bytes());
    let crossed = Image {
        top,
        manifests: Vec::new(),
        blobs: vec![other.blobs[0].clone(), honest.blobs[1].clone()],
    };
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    pull_fails(&gamut, &registry.shelve(&crossed, "crossed:lab"), &["diff"]);
}

#[test]
fn a_manifest_that_makes_no_sense() {
    let Some(gamut) = Gamut::new() else { return };
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    for (number, text) in [
        "not json",
        "{}",
        r#"{"schemaVersion":2,"layers":"none"}"#,
        r#"{"schemaVersion":1}"#,
    ]
    .iter()
    .enumerate()
    {
        let mut image = small();
        image.top = gamut_tests::image::Blob::new(&image.top.media_type, text.as_bytes().to_vec());
        gamut
            .call(&[
                "pull",
                &registry.shelve(&image, &format!("broken:{number}")),
            ])
            .refused(1, &["manifest"]);
    }
    gamut.assert_untouched();
}

#[test]
fn a_full_disk() {
    let Some(gamut) = Gamut::new() else { return };
    let root = gamut.root();
    std::fs::create_dir_all(root).unwrap();
    gamut_tests::host::program(
        "mount",
        &[
            "-t",
            "tmpfs",
            "-o",
            "size=6m",
            "tmpfs",
            root.to_str().unwrap(),
        ],
    );
    let noise: Vec<u8> = (0..20_000_000u32)
        .map(|number| (number.wrapping_mul(2_654_435_761) >> 21) as u8)
        .collect();
    let image = ImageBuilder::new()
        .layer(Layer::new().file("noise", 0o644, noise))
        .build();
    let registry = HostileRegistry::start(Mischief::None, Login::Anyone);
    gamut
        .call(&["pull", &registry.shelve(&image, "large:lab")])
        .refused(1, &["no space left"])
        .hinted();
    // What had come is gone again: a small image fits.
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "none",
            &registry.shelve(&small(), "small:lab"),
        ])
        .ok();
    gamut
        .call(&["rmi", &format!("{}/small:lab", registry.address)])
        .ok();
    gamut_tests::host::program("umount", &[root.to_str().unwrap()]);
    gamut.assert_untouched();
}

#[test]
fn a_port_in_use() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let taken = TcpListener::bind("0.0.0.0:8080").unwrap();
    gamut
        .call(&["run", "-d", "-p", "8080:80", &image, "sleep", "100"])
        .refused(125, &["8080", "in use"])
        .hinted();
    drop(taken);
    gamut.clear();
    gamut.assert_untouched();
    // By another container.
    let first = gamut
        .call(&["run", "-d", "-p", "8080:80", &image, "sleep", "100"])
        .ok()
        .text()
        .to_owned();
    gamut
        .call(&["run", "--rm", "-p", "8080:80", &image, "true"])
        .refused(125, &["8080"]);
    gamut
        .call(&["run", "--rm", "-p", "8081:80", &image, "true"])
        .ok();
    gamut.call(&["rm", "-f", &first]).ok();
    gamut
        .call(&["run", "--rm", "-p", "8080:80", &image, "true"])
        .ok();
}

#[test]
fn a_name_in_use() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--name", "taken"]);
    gamut
        .run(&["--name", "taken"], &["true"])
        .refused(125, &["taken", &id[..12]])
        .hinted();
    assert_eq!(gamut.call(&["ps", "-a", "-q"]).ok().lines().len(), 1);
    gamut.call(&["rm", "-f", "taken"]).ok();
    gamut.run(&["--name", "taken"], &["true"]).ok();
}

#[test]
fn limits_below_what_a_process_needs() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .run(&["--memory", "4k"], &["true"])
        .refused(125, &["memory"])
        .hinted();
    gamut
        .run(&["--memory", "1b"], &["true"])
        .refused(125, &["memory"]);
    gamut.run(&["--cpus", "0.00001"], &["true"]).code(125);
    gamut.run(&["--cpu-shares", "1"], &["true"]).code(125);
    gamut.assert_untouched();
}

#[test]
fn a_missing_binary() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .run(&[], &["no-such-binary"])
        .refused(127, &["no-such-binary"])
        .hinted();
    let image = gamut.image("busybox");
    gamut
        .call(&[
            "run",
            "-d",
            "--rm",
            "-p",
            "8080:80",
            &image,
            "no-such-binary",
        ])
        .refused(127, &["no-such-binary"]);
    gamut.assert_untouched();
}

#[test]
fn an_interpreter_that_is_missing() {
    let Some(gamut) = Gamut::new() else { return };
    let layer =
        super::run::busybox_with(&["sh"]).file("bin/script", 0o755, "#!/no/such/interpreter\n");
    let image = gamut.host.registry.push(
        &ImageBuilder::new()
            .layer(layer)
            .cmd(&["/bin/script"])
            .build(),
        "interpreter:lab",
    );
    gamut
        .call(&["run", "--rm", "--network", "none", &image])
        .refused(127, &["/bin/script"])
        .hinted();
    gamut.assert_untouched();
}

#[test]
fn a_directory_as_command() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .run(&[], &["/etc"])
        .refused(126, &["/etc", "directory"])
        .hinted();
    gamut.assert_untouched();
}

#[test]
fn a_program_for_another_machine() {
    let Some(gamut) = Gamut::new() else { return };
    let layer = Layer::new().file(
        "program",
        0o755,
        b"\x7fELF\x02\x01\x01 but of no known kind",
    );
    let image = gamut.host.registry.push(
        &ImageBuilder::new().layer(layer).cmd(&["/program"]).build(),
        "foreign-program:lab",
    );
    gamut
        .call(&["run", "--rm", "--network", "none", &image])
        .refused(126, &["exec format"])
        .hinted();
    gamut.assert_untouched();
}

#[test]
fn a_killed_keeper() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    gamut
        .call(&[
            "run", "-d", "--name", "bereft", "-p", "8080:80", "--memory", "64m", &image, "sleep",
            "1000",
        ])
        .ok();
    gamut.learn_ids();
    let inside = gamut.pid("bereft");
    let keepers: Vec<i32> = census::processes(&gamut)
        .into_iter()
        .map(|(pid, _)| pid)
        .filter(|pid| *pid != inside)
        .collect();
    assert!(!keepers.is_empty(), "no keeper");
    for keeper in keepers {
        kill(keeper);
    }
    // The next command says so and repairs.
    patience::until("the container is not shown as running", || {
        gamut.call(&["ps", "-q"]).ok().out.is_empty()
            && gamut.inspect("bereft")["State"]["Running"] == false
    });
    patience::until("its process is gone", || {
        !std::path::Path::new(&format!("/proc/{inside}")).exists()
    });
    gamut.assert_nothing_left();
    gamut.call(&["start", "bereft"]).ok();
    assert_eq!(gamut.inspect("bereft")["State"]["Running"], true);
    gamut.call(&["rm", "-f", "bereft"]).ok();
    gamut.assert_untouched();
}

fn kill(pid: i32) {
    let pid = rustix::process::Pid::from_raw(pid).unwrap();
    // Gone already is as good.
    let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
}

#[test]
fn two_rm_at_once() {
    let Some(gamut) = Gamut::new() else { return };
    for _ in 0..5 {
        gamut.idle(&["--name", "contested"]);
        let removals: Vec<_> = (0..4)
            .map(|_| gamut.spawn(&["rm", "-f", "contested"]))
            .collect();
        let ended: Vec<_> = removals
            .into_iter()
            .map(gamut_tests::Running::finish)
            .collect();
        assert!(
            ended.iter().any(|end| end.code == 0),
            "nobody could remove it\n{}",
            ended[0].told()
        );
        for end in ended.iter().filter(|end| end.code != 0) {
            end.clone().refused(1, &["contested"]);
        }
        gamut.assert_untouched();
    }
}
