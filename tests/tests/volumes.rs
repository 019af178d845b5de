//! Volumes as things of their own: made, listed, looked at, removed.

use gamut_tests::Gamut;

fn names(gamut: &Gamut, flags: &[&str]) -> Vec<String> {
    let listed = gamut.call(&[&["volume", "ls", "-q"], flags].concat()).ok();
    listed.lines().iter().map(|&line| line.to_owned()).collect()
}

#[test]
fn a_volumes_life() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .call(&["volume", "create", "--label", "team=blue", "one"])
        .ok()
        .prints("one");
    gamut.call(&["volume", "create", "one"]).ok().prints("one");
    let made = gamut.call(&["volume", "create"]).ok().text().to_owned();
    assert!(
        made.len() == 64 && made.bytes().all(|byte| byte.is_ascii_hexdigit()),
        "{made}"
    );
    // One that a run names is there from then on.
    gamut
        .run(&["-v", "two:/v"], &["sh", "-c", "echo text >/v/file"])
        .ok();
    let mut all = vec!["one".to_owned(), "two".to_owned(), made.clone()];
    all.sort();
    assert_eq!(names(&gamut, &[]), all);
    assert_eq!(gamut.inside(&["-v", "two:/v"], "cat /v/file"), "text");

    let listed = gamut.call(&[
        "volume",
        "ls",
        "--filter",
        "name=one",
        "--format",
        "{{.Name}} {{.Driver}} {{.Scope}} {{.Labels}}",
    ]);
    listed.ok().prints("one local local team=blue");
    assert_eq!(names(&gamut, &["--filter", "label=team"]), ["one"]);
    assert!(names(&gamut, &["--filter", "driver=other"]).is_empty());
    let found = &gamut.call(&["volume", "inspect", "one"]).ok().json()[0];
    assert_eq!(found["Name"], "one");
    assert_eq!(found["Driver"], "local");
    assert_eq!(found["Labels"]["team"], "blue");
    assert!(
        found["CreatedAt"]
            .as_str()
            .is_some_and(|time| time.starts_with("20")),
        "{found}"
    );
    let at = gamut
        .call(&["volume", "inspect", "-f", "{{.Mountpoint}}", "two"])
        .ok();
    let file = std::path::Path::new(at.text()).join("file");
    assert_eq!(
        std::fs::read_to_string(file).expect("it is there"),
        "text\n"
    );

    gamut.call(&["volume", "exists", "one"]).ok();
    gamut.call(&["volume", "exists", "nosuch"]).code(1);
    gamut.call(&["volume", "inspect", "nosuch"]).code(1);
    gamut
        .call(&["volume", "rm", "one", &made])
        .ok()
        .prints(&format!("one\n{made}"));
    gamut.call(&["volume", "rm", "one"]).refused(1, &["one"]);
    gamut.call(&["volume", "rm", "-f", "one"]).ok();
    assert_eq!(names(&gamut, &[]), ["two"]);
    for wrong in ["a/b", ".x", "of-mine", "tmp-x"] {
        gamut
            .call(&["volume", "create", wrong])
            .refused(1, &[wrong]);
    }
    gamut
        .call(&["volume", "create", "-d", "nosuch", "three"])
        .refused(1, &["nosuch"]);
}

#[test]
fn a_volume_that_is_used_stays() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--name", "box", "-v", "kept:/v"]);
    gamut.call(&["volume", "create", "loose"]).ok();
    gamut.call(&["volume", "create"]).ok();
    gamut
        .call(&["volume", "rm", "kept"])
        .refused(1, &["in use", &id]);
    assert_eq!(names(&gamut, &["--filter", "dangling=false"]), ["kept"]);
    gamut.call(&["stop", "-t", "0", "box"]).ok();
    gamut
        .call(&["volume", "rm", "-f", "kept"])
        .refused(1, &["in use"]);
    // Only what nobody named; then all that nobody uses.
    let pruned = gamut.call(&["volume", "prune", "-f"]).ok();
    assert!(
        pruned.out.starts_with("Deleted Volumes:\n")
            && pruned.out.contains("Total reclaimed space: "),
        "{}",
        pruned.told()
    );
    assert_eq!(names(&gamut, &[]), ["kept", "loose"]);
    gamut
        .call(&["volume", "prune", "-f", "--all", "--filter", "label=nosuch"])
        .ok();
    assert_eq!(names(&gamut, &[]), ["kept", "loose"]);
    gamut
        .call(&["volume", "prune", "-f", "--filter", "all=1"])
        .ok();
    assert_eq!(names(&gamut, &[]), ["kept"]);
    gamut.call(&["rm", "box"]).ok();
    gamut.call(&["volume", "rm", "--all"]).ok().prints("kept");
}

#[test]
fn what_is_mounted_over_a_volume() {
    let Some(gamut) = Gamut::new() else { return };
    let dir = gamut.dir().join("outside");
    std::fs::create_dir(&dir).expect("made");
    std::fs::write(dir.join("file"), "outside").expect("written");
    let device = format!("device={}", dir.display());
    let bind = [
        "volume",
        "create",
        "-o",
        "type=none",
        "-o",
        &device,
        "-o",
        "o=bind,ro",
        "bound",
    ];
    gamut.call(&bind).ok();
    gamut
        .call(&[
            "volume",
            "create",
            "-o",
            "type=tmpfs",
            "-o",
            "device=tmpfs",
            "-o",
            "o=size=64k",
            "small",
        ])
        .ok();
    let size = "df -k /s | tail -n 1 | awk '{print $2}'; cat /b/file; touch /b/new 2>/dev/null || echo refused";
    let seen = gamut.inside(&["-v", "bound:/b", "-v", "small:/s"], size);
    assert_eq!(seen, "64\noutsiderefused");
    gamut
        .call(&["volume", "create", "small"])
        .refused(1, &["options"]);
    gamut
        .call(&["volume", "create", "--ignore", "small"])
        .ok()
        .prints("small");
    gamut
        .call(&["volume", "create", "-o", "type=tmpfs", "other"])
        .refused(1, &["device"]);
    gamut
        .call(&["volume", "create", "-o", "bogus=1", "other"])
        .refused(1, &["bogus"]);
    assert_eq!(names(&gamut, &["--filter", "opt=type=tmpfs"]), ["small"]);
    gamut.call(&["volume", "rm", "bound", "small"]).ok();
    assert!(dir.join("file").exists());
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("read");
    assert!(
        !mounts.contains(&gamut.root().join("volumes").display().to_string()),
        "{mounts}"
    );
}

#[test]
fn volumes_are_told_of() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["volume", "create", "one"]).ok();
    gamut.call(&["volume", "create", "one"]).ok();
    gamut.call(&["volume", "rm", "one"]).ok();
    let told = gamut.call(&[
        "events",
        "--stream=false",
        "--filter",
        "type=volume",
        "--format",
        "{{.Action}} {{.Actor.ID}}",
    ]);
    told.ok().prints("create one\ndestroy one");
}

#[test]
fn inspect_finds_volumes_too() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["volume", "create", "vol"]).ok();
    for kind in [&[][..], &["--type", "volume"]] {
        let words = [&["inspect"], kind, &["-f", "{{.Name}} {{.Driver}}", "vol"]].concat();
        gamut.call(&words).ok().prints("vol local");
    }
    gamut
        .call(&["inspect", "--type", "volume", "nosuch"])
        .refused(1, &["nosuch"]);
}

#[test]
fn a_volume_that_is_wanted_is_not_removed_meanwhile() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    for round in 0..12 {
        let removal = gamut.spawn(&["volume", "rm", "shared"]);
        let name = format!("box{round}");
        let made = ["create", "--name", &name, "--network", "none"];
        let words = ["-v", "shared:/v", &image, "true"];
        gamut.call(&[&made[..], &words].concat()).ok();
        removal.finish();
        // Who has been made has it.
        gamut.call(&["volume", "exists", "shared"]).ok();
        gamut
            .call(&["volume", "rm", "shared"])
            .refused(1, &["shared"]);
        gamut.call(&["start", "-a", &name]).ok();
        gamut.call(&["rm", &name]).ok();
    }
}
