//! The root file system and what is mounted over it.

use gamut_tests::Gamut;
use gamut_tests::image::{ImageBuilder, Layer};
use gamut_tests::patience::until;
use std::os::unix::fs::MetadataExt;

#[test]
fn the_root_is_writable_and_each_containers_own() {
    let Some(gamut) = Gamut::new() else { return };
    let first = gamut.idle(&[]);
    gamut.exec(
        &first,
        "echo mine >/etc/new; rm /etc/group; echo changed >/etc/passwd",
    );
    assert_eq!(
        gamut
            .exec(
                &first,
                "cat /etc/new /etc/passwd; ls /etc/group 2>&1 || true"
            )
            .lines()
            .next(),
        Some("mine")
    );
    assert_eq!(
        gamut.inside(
            &[],
            "ls /etc/new 2>/dev/null; grep -c root /etc/group; head -c 4 /etc/passwd"
        ),
        "1\nroot"
    );
}

#[test]
fn read_only_makes_the_root_so_and_nothing_else() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "touch /x 2>&1; touch /etc/x 2>&1; echo a >/dev/shm/x && echo b >/dev/null && echo writable";
    let said = gamut.inside(&["--read-only"], script);
    assert_eq!(said.matches("Read-only file system").count(), 2, "{said}");
    assert!(said.ends_with("writable"), "{said}");
    assert_eq!(
        gamut.inside(
            &["--read-only", "--tmpfs", "/run", "-v", "data:/data"],
            "touch /run/x /data/x && echo ok"
        ),
        "ok"
    );
}

#[test]
fn tmpfs_has_dockers_defaults_and_its_options() {
    let Some(gamut) = Gamut::new() else { return };
    let line = gamut.inside(&["--tmpfs", "/t"], "grep ' /t ' /proc/mounts");
    for option in ["tmpfs", "rw", "nosuid", "nodev", "noexec"] {
        assert!(line.contains(option), "no {option} in {line}");
    }
    let line = gamut.inside(&["--tmpfs", "/t:size=2m,mode=0700,uid=33,exec"], "grep ' /t ' /proc/mounts; stat -c %a:%u /t; dd if=/dev/zero of=/t/x bs=1M count=3 2>/dev/null; stat -c %s /t/x");
    assert!(
        line.contains("size=2048k") && !line.contains("noexec"),
        "{line}"
    );
    assert!(line.ends_with("700:33\n2097152"), "{line}");
}

#[test]
fn a_bind_shows_both_sides_the_same_files() {
    let Some(gamut) = Gamut::new() else { return };
    let shared = gamut.dir().join("shared");
    std::fs::create_dir(&shared).unwrap();
    std::fs::write(shared.join("from-host"), "hello\n").unwrap();
    let volume = format!("{}:/mnt/in", shared.display());
    assert_eq!(
        gamut.inside(
            &["-v", &volume],
            "cat /mnt/in/from-host; echo back >/mnt/in/from-inside"
        ),
        "hello"
    );
    assert_eq!(
        std::fs::read_to_string(shared.join("from-inside")).unwrap(),
        "back\n"
    );
    let read_only = gamut
        .run(&["-v", &format!("{volume}:ro")], &["touch", "/mnt/in/x"])
        .code(1);
    assert!(read_only.err.contains("Read-only"), "{}", read_only.told());
    let mount = format!("type=bind,source={},target=/m,readonly", shared.display());
    gamut.run(&["--mount", &mount], &["touch", "/m/x"]).code(1);
}

#[test]
fn a_single_file_can_be_bound() {
    let Some(gamut) = Gamut::new() else { return };
    let file = gamut.dir().join("one");
    std::fs::write(&file, "one file").unwrap();
    assert_eq!(
        gamut.inside(
            &["-v", &format!("{}:/etc/deep/er/one:ro", file.display())],
            "cat /etc/deep/er/one"
        ),
        "one file"
    );
}

#[test]
fn v_makes_a_missing_directory_and_mount_refuses_it() {
    let Some(gamut) = Gamut::new() else { return };
    let missing = gamut.dir().join("missing");
    gamut
        .run(
            &[
                "--mount",
                &format!("type=bind,src={},dst=/x", missing.display()),
            ],
            &["true"],
        )
        .refused(125, &["missing"]);
    assert!(!missing.exists());
    gamut
        .run(&["-v", &format!("{}:/x", missing.display())], &["true"])
        .ok();
    assert!(missing.is_dir());
}

#[test]
fn a_bind_carries_the_mounts_below_it_and_hands_none_back() {
    let Some(gamut) = Gamut::new() else { return };
    let outer = gamut.dir().join("outer");
    let inner = outer.join("inner");
    std::fs::create_dir_all(&inner).unwrap();
    gamut_tests::host::program("mount", &["-t", "tmpfs", "tmpfs", inner.to_str().unwrap()]);
    std::fs::write(inner.join("below"), "seen").unwrap();
    let volume = format!("{}:/outer", outer.display());
    assert_eq!(gamut.inside(&["-v", &volume, "--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined"], "cat /outer/inner/below; mkdir /outer/own; mount -t tmpfs t /outer/own && touch /outer/own/x"), "seen");
    assert!(
        outer.join("own").is_dir() && !outer.join("own/x").exists(),
        "a mount of the container came out to the host"
    );
    gamut_tests::host::program("umount", &[inner.to_str().unwrap()]);
}

#[test]
fn a_named_volume_outlives_its_containers() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.inside(&["-v", "kept:/data"], "echo still here >/data/file");
    assert_eq!(
        gamut.inside(&["-v", "kept:/elsewhere"], "cat /elsewhere/file"),
        "still here"
    );
    assert_eq!(
        gamut.inside(&["--mount", "type=volume,src=kept,dst=/m"], "cat /m/file"),
        "still here"
    );
}

#[test]
fn a_new_volume_starts_with_the_images_files_and_owner() {
    let Some(gamut) = Gamut::new() else { return };
    let layer = super::run::busybox_with(&["sh", "cat", "stat", "ls"])
        .dir("data", 0o750)
        .file("data/seed", 0o640, "seed");
    let image = ImageBuilder::new()
        .layer(layer)
        .layer(Layer::new().dir("data", 0o750).symlink("data/link", "seed"))
        .env(&["PATH=/bin"]);
    let image = gamut.host.registry.push(
        &image
            .config("Volumes", serde_json::json!({"/data": {}}))
            .build(),
        "volume:lab",
    );
    let run = |flags: &[&str], script: &str| {
        gamut
            .call(
                &[
                    &["run", "--rm", "--network", "none"],
                    flags,
                    &[image.as_str(), "sh", "-c", script],
                ]
                .concat(),
            )
            .ok()
            .text()
            .to_owned()
    };
    assert_eq!(
        run(
            &["-v", "seeded:/data"],
            "cat /data/link; stat -c %a /data; echo more >/data/more"
        ),
        "seed750"
    );
    assert_eq!(run(&["-v", "seeded:/data"], "ls /data"), "link\nmore\nseed");
    assert_eq!(
        run(&[], "cat /data/seed; grep -c ' /data ' /proc/mounts"),
        "seed1"
    );
}

#[test]
fn an_anonymous_volume_goes_with_rm() {
    let Some(gamut) = Gamut::new() else { return };
    let files = || {
        let found = gamut_tests::host::program(
            "find",
            &[gamut.root().to_str().unwrap(), "-name", "needle"],
        );
        found.lines().count()
    };
    let keeper = gamut.idle(&["-v", "/anonymous"]);
    gamut.exec(&keeper, "touch /anonymous/needle");
    assert_eq!(files(), 1);
    gamut.call(&["rm", "-f", "-v", &keeper]).ok();
    assert_eq!(files(), 0);
    gamut
        .run(&["-v", "/anonymous"], &["touch", "/anonymous/needle"])
        .ok();
    // The keeper clears away when the container is forgotten, which ends `run`.
    until("the volume of a container with --rm goes", || files() == 0);
}

#[test]
fn targets_that_make_no_sense_are_refused() {
    let Some(gamut) = Gamut::new() else { return };
    for volume in ["/tmp:relative", "/tmp:/", "bad/name:/x", "/a:/b:nonsense"] {
        gamut.run(&["-v", volume], &["true"]).code(125);
    }
    gamut
        .run(&["--mount", "type=nonsense,dst=/x"], &["true"])
        .code(125);
    gamut.assert_untouched();
}

#[test]
fn a_link_in_the_image_cannot_lead_a_mount_out() {
    let Some(gamut) = Gamut::new() else { return };
    let outside = gamut.dir().join("outside");
    std::fs::create_dir(&outside).unwrap();
    let layer = super::run::busybox_with(&["sh", "touch", "ls"])
        .symlink("way-out", &outside.to_string_lossy());
    let image = gamut.host.registry.push(
        &ImageBuilder::new().layer(layer).env(&["PATH=/bin"]).build(),
        "way-out:lab",
    );
    // The link is followed inside the root, where a directory of that name is made.
    gamut
        .call(&[
            "run",
            "--rm",
            "--network",
            "none",
            "--tmpfs",
            "/way-out/mnt",
            &image,
            "touch",
            "/way-out/mnt/x",
        ])
        .ok();
    assert_eq!(
        std::fs::read_dir(&outside).unwrap().count(),
        0,
        "the mount point was made on the host"
    );
    assert_eq!(outside.metadata().unwrap().uid(), 0);
}

#[test]
fn shm_has_the_size_asked_for() {
    let Some(gamut) = Gamut::new() else { return };
    assert!(
        gamut
            .inside(&[], "grep ' /dev/shm ' /proc/mounts")
            .contains("size=65536k")
    );
    assert!(
        gamut
            .inside(&["--shm-size", "8m"], "grep ' /dev/shm ' /proc/mounts")
            .contains("size=8192k")
    );
}
