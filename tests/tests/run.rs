//! `run`: the exit code, the streams, and the process as its flags ask for it.

use gamut_tests::Gamut;
use gamut_tests::image::{ImageBuilder, Layer};

#[test]
fn the_exit_code_is_the_commands() {
    let Some(gamut) = Gamut::new() else { return };
    for code in [0, 1, 42, 124, 255] {
        gamut
            .run(&[], &["sh", "-c", &format!("exit {code}")])
            .code(code);
    }
}

#[test]
fn a_signal_counts_from_128() {
    let Some(gamut) = Gamut::new() else { return };
    for (signal, code) in [("KILL", "137"), ("USR1", "7")] {
        let id = gamut.detached(
            &[],
            &[
                "sh",
                "-c",
                "trap 'exit 7' USR1; echo ready; while :; do sleep 0.1; done",
            ],
        );
        gamut_tests::patience::until("it is ready", || {
            gamut.call(&["logs", &id]).out.contains("ready")
        });
        gamut.call(&["kill", "-s", signal, &id]).ok();
        gamut.call(&["wait", &id]).ok().prints(code);
    }
}

#[test]
fn a_command_that_is_not_there_is_127() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .run(&[], &["no-such-command"])
        .refused(127, &["no-such-command", "not found"]);
    gamut
        .run(&[], &["/bin/no-such-command"])
        .refused(127, &["/bin/no-such-command"]);
    gamut.assert_untouched();
}

#[test]
fn a_command_that_cannot_be_executed_is_126() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .run(&[], &["/etc/passwd"])
        .refused(126, &["/etc/passwd", "permission denied"]);
    gamut.run(&[], &["/etc"]).refused(126, &["/etc"]);
    gamut.assert_untouched();
}

#[test]
fn what_gamut_itself_refuses_is_125() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["run", "--no-such-flag", "busybox"]).code(125);
    // Docker's own status for a missing word.
    gamut.call(&["run"]).code(1);
    gamut.run(&["--memory", "a lot"], &["true"]).code(125);
    gamut.assert_untouched();
}

#[test]
fn output_and_error_stay_apart() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["pull", "-q", &gamut.image("busybox")]).ok();
    let both = gamut.run(&[], &["sh", "-c", "echo out; echo err >&2"]).ok();
    assert_eq!((both.out.as_str(), both.err.as_str()), ("out\n", "err\n"));
}

#[test]
fn no_byte_of_the_output_is_lost() {
    let Some(gamut) = Gamut::new() else { return };
    let numbers = gamut.run(&[], &["seq", "1", "300000"]).ok();
    assert_eq!(numbers.out.lines().count(), 300_000);
    assert!(numbers.out.ends_with("\n300000\n"));
}

#[test]
fn input_reaches_the_command_only_with_i() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let with = gamut.call_with_input(
        &["run", "--rm", "-i", "--network", "none", &image, "cat"],
        "to the inside\n",
    );
    with.ok().prints("to the inside");
    let without = gamut.call_with_input(
        &["run", "--rm", "--network", "none", &image, "cat"],
        "not to be seen\n",
    );
    assert_eq!(without.ok().out, "");
}

#[test]
fn much_input_comes_back_whole() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let input = "0123456789abcdef\n".repeat(200_000);
    let output = gamut
        .call_with_input(
            &["run", "--rm", "-i", "--network", "none", &image, "cat"],
            &input,
        )
        .ok();
    assert!(
        output.out == input,
        "{} bytes in, {} out",
        input.len(),
        output.out.len()
    );
}

#[test]
fn the_environment_is_the_images_changed_by_the_flags() {
    let Some(gamut) = Gamut::new() else { return };
    let file = gamut.dir().join("env");
    std::fs::write(&file, "# a comment\nFROM_FILE=spaces are kept \nHOME\n\n").unwrap();
    let env = gamut.inside(
        &[
            "-e",
            "ONE=1",
            "-e",
            "EMPTY=",
            "--env-file",
            &file.to_string_lossy(),
            "-e",
            "HOME",
        ],
        "env",
    );
    let home = gamut.dir().join("home");
    for line in [
        "ONE=1",
        "EMPTY=",
        "FROM_FILE=spaces are kept ",
        &format!("HOME={}", home.display()),
    ] {
        assert!(
            env.lines().any(|found| found == line),
            "no {line:?} in\n{env}"
        );
    }
    assert!(env.contains("PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"));
    assert!(
        !env.contains("GAMUT_TEST"),
        "the host's environment leaked in:\n{env}"
    );
}

#[test]
fn what_docker_always_sets_is_set() {
    let Some(gamut) = Gamut::new() else { return };
    let env = gamut.inside(&["--hostname", "box"], "env");
    for line in ["HOSTNAME=box", "HOME=/root"] {
        assert!(
            env.lines().any(|found| found == line),
            "no {line:?} in\n{env}"
        );
    }
    assert_eq!(gamut.inside(&["-u", "www-data"], "echo $HOME"), "/var/www");
}

#[test]
fn the_working_directory_is_made_if_missing() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(gamut.inside(&["-w", "/tmp"], "pwd"), "/tmp");
    assert_eq!(
        gamut.inside(&["-w", "/made/just/now"], "pwd; stat -c %u:%a ."),
        "/made/just/now\n0:755"
    );
    gamut
        .run(&["-w", "not/absolute"], &["pwd"])
        .refused(125, &["not/absolute"]);
}

#[test]
fn the_user_is_a_number_or_a_name_of_the_image() {
    let Some(gamut) = Gamut::new() else { return };
    for (user, id) in [
        ("1234", "uid=1234 gid=0(root) groups=0(root)"),
        ("1234:4321", "uid=1234 gid=4321 groups=4321"),
        (
            "www-data",
            "uid=33(www-data) gid=33(www-data) groups=33(www-data),29(audio)",
        ),
        (
            "www-data:audio",
            "uid=33(www-data) gid=29(audio) groups=29(audio)",
        ),
    ] {
        assert_eq!(
            sorted_groups(&gamut.inside(&["-u", user], "id")),
            sorted_groups(id),
            "--user {user}"
        );
    }
    let more = gamut.inside(
        &["-u", "nobody", "--group-add", "audio", "--group-add", "777"],
        "id -G",
    );
    for group in ["65534", "29", "777"] {
        assert!(
            more.split(' ').any(|found| found == group),
            "no {group} in {more}"
        );
    }
    gamut
        .run(&["-u", "nosuchuser"], &["true"])
        .refused(125, &["nosuchuser"]);
}

/// `id`'s line with its groups in order: the order of supplementary groups means nothing.
fn sorted_groups(line: &str) -> Vec<String> {
    let (ids, groups) = line.split_once("groups=").unwrap_or((line, ""));
    let mut groups: Vec<String> = groups.split(',').map(str::to_owned).collect();
    groups.sort();
    groups.dedup();
    groups.insert(0, ids.to_owned());
    groups
}

#[test]
fn entrypoint_and_command_combine_as_in_docker() {
    let Some(gamut) = Gamut::new() else { return };
    let image = ImageBuilder::new()
        .layer(busybox_with(&["echo", "sh", "cat"]))
        .env(&["PATH=/bin"])
        .entrypoint(&["echo", "entry"])
        .cmd(&["cmd"])
        .build();
    let image = gamut.host.registry.push(&image, "entrypoint:lab");
    let run = |flags: &[&str], words: &[&str]| {
        gamut.call(
            &[
                &["run", "--rm", "--network", "none"],
                flags,
                &[image.as_str()],
                words,
            ]
            .concat(),
        )
    };
    run(&[], &[]).ok().prints("entry cmd");
    run(&[], &["other"]).ok().prints("entry other");
    // A new entrypoint drops the image's command with its own.
    run(&["--entrypoint", "echo"], &[]).ok().prints("");
    run(&["--entrypoint", "echo"], &["x"]).ok().prints("x");
    run(&["--entrypoint", ""], &["echo", "bare"])
        .ok()
        .prints("bare");
    run(&["--entrypoint", ""], &[]).refused(125, &["no command"]);
}

/// This machine's static busybox under some of its names.
pub(crate) fn busybox_with(names: &[&str]) -> Layer {
    let program = ["/bin/busybox", "/usr/bin/busybox"]
        .iter()
        .find_map(|path| std::fs::read(path).ok())
        .expect("busybox-static is installed");
    let layer = Layer::new()
        .dir("bin", 0o755)
        .file("bin/busybox", 0o755, program);
    names.iter().fold(layer, |layer, name| {
        layer.hardlink(&format!("bin/{name}"), "bin/busybox")
    })
}

#[test]
fn rm_removes_and_its_absence_keeps() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.run(&[], &["true"]).ok();
    assert_eq!(gamut.call(&["ps", "-a", "-q"]).ok().out, "");
    let image = gamut.image("busybox");
    gamut
        .call(&[
            "run",
            "--network",
            "none",
            "--name",
            "kept",
            &image,
            "sh",
            "-c",
            "echo said; exit 3",
        ])
        .code(3);
    gamut
        .call(&["ps", "-a", "--format", "{{.Names}}"])
        .ok()
        .prints("kept");
    gamut.call(&["logs", "kept"]).ok().prints("said");
    assert_eq!(gamut.inspect("kept")["State"]["ExitCode"], 3);
}

#[test]
fn d_prints_the_id_and_lets_go() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--name", "background"]);
    assert_eq!(gamut.inspect("background")["Id"], id.as_str());
    assert_eq!(gamut.inspect("background")["State"]["Running"], true);
}

#[test]
fn cidfile_holds_the_id_and_must_be_new() {
    let Some(gamut) = Gamut::new() else { return };
    let file = gamut.dir().join("cid");
    let file = file.to_str().unwrap();
    let id = gamut.idle(&["--cidfile", file]);
    assert_eq!(std::fs::read_to_string(file).unwrap(), id);
    gamut
        .run(&["--cidfile", file], &["true"])
        .refused(125, &[file]);
}

#[test]
fn pull_never_needs_the_image_here() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .run(&["--pull", "never"], &["true"])
        .refused(125, &["busybox"])
        .hinted();
    gamut.run(&[], &["true"]).ok();
    gamut.run(&["--pull", "never"], &["true"]).ok();
    gamut.run(&["--pull", "always"], &["true"]).ok();
}

#[test]
fn limits_of_setrlimit_are_set_or_lowered_with_a_warning() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(
        gamut.inside(&["--ulimit", "nofile=100:200"], "ulimit -Sn; ulimit -Hn"),
        "100\n200"
    );
    assert_eq!(gamut.inside(&["--ulimit", "core=0"], "ulimit -c"), "0");
    // More than the host may give: never an error.
    let much = gamut
        .run(
            &["--ulimit", "nofile=900000000:900000000"],
            &["sh", "-c", "ulimit -Hn"],
        )
        .ok();
    let got: u64 = much.text().parse().unwrap();
    assert!(
        got == 900_000_000 || much.err.contains("warning"),
        "lowered to {got} without a word\n{}",
        much.told()
    );
}

#[test]
fn oom_score_adj_is_set() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(
        gamut.inside(&["--oom-score-adj", "500"], "cat /proc/self/oom_score_adj"),
        "500"
    );
}

#[test]
fn dry_run_prints_the_plan_and_does_nothing() {
    let Some(gamut) = Gamut::new() else { return };
    let plan = gamut
        .run(
            &["--dry-run", "--memory", "64m"],
            &["echo", "never printed"],
        )
        .ok();
    let text = plan.json().to_string();
    assert!(
        text.contains("67108864") && text.contains("never printed"),
        "{}",
        plan.told()
    );
    gamut.assert_untouched();
}

#[test]
fn trace_names_the_phases_in_microseconds() {
    let Some(gamut) = Gamut::new() else { return };
    let traced = gamut.run(&["--trace"], &["echo", "ran"]).ok().prints("ran");
    assert!(
        traced.err.lines().count() >= 3 && traced.err.contains("µs"),
        "{}",
        traced.told()
    );
}

#[test]
fn levels_that_are_not_there_are_refused_with_the_reason() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.run(&["--isolation", "container"], &["true"]).ok();
    gamut.run(&["--isolation", "auto"], &["true"]).ok();
    let kernel = ["--isolation", "microvm", "--kernel", "/there/is/none"];
    gamut.run(&kernel, &["true"]).code(125);
    for level in ["sandbox", "vm"] {
        gamut
            .run(&["--isolation", level], &["true"])
            .refused(125, &[level]);
        gamut
            .run(
                &["--isolation", "auto", "--min-isolation", level],
                &["true"],
            )
            .refused(125, &[level]);
    }
    gamut.run(&["--isolation", "castle"], &["true"]).code(125);
    gamut.assert_untouched();
}

#[test]
fn labels_come_from_files_and_annotations_go_into_the_specification() {
    let Some(gamut) = Gamut::new() else { return };
    let file = gamut.dir().join("labels");
    std::fs::write(&file, "# what it is\ntier=web\n\nlab\n").unwrap();
    let flags = [
        "--label-file",
        file.to_str().unwrap(),
        "--annotation",
        "org.example.owner=lab",
    ];
    let id = gamut.idle(&flags);
    let told = gamut.inspect(&id);
    assert_eq!(told["Config"]["Labels"]["tier"], "web");
    assert_eq!(told["Config"]["Labels"]["lab"], "");
    assert_eq!(
        told["HostConfig"]["Annotations"]["org.example.owner"],
        "lab"
    );
    let plan = gamut.run(&[&flags[..], &["--dry-run"]].concat(), &["true"]);
    let plan = plan.ok().json();
    assert_eq!(plan["spec"]["annotations"]["org.example.owner"], "lab");
    // Inside, nothing of it shows: labels and annotations are for those who look from outside.
    let inside = gamut.exec(&id, "env; cat /proc/1/cmdline");
    assert!(
        !inside.contains("tier") && !inside.contains("owner"),
        "{inside}"
    );
}

#[test]
fn a_quiet_run_says_nothing_of_its_pull() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let words = [
        "--network",
        "none",
        "--pull",
        "always",
        &image,
        "echo",
        "out",
    ];
    let said = gamut.call(&[&["run", "--rm", "--quiet"], &words[..]].concat());
    let said = said.ok();
    assert_eq!((said.text(), said.err.as_str()), ("out", ""));
    let loud = gamut.call(&[&["run", "--rm"], &words[..]].concat()).ok();
    assert!(loud.err.contains("Digest: "), "{}", loud.told());
}

/// What is opened before the program begins would take the places of streams that are not there, and
/// be read from as input.
#[test]
fn closed_streams_stay_closed() {
    let Some(gamut) = Gamut::new() else { return };
    let script = format!(
        "exec '{}' --root '{}' --runroot '{}' run --rm -i --network none -v '{}:/seen' {} sh -c 'cat; echo end >/seen/it' <&- >&- 2>&-",
        gamut_tests::gamut::binary().display(),
        gamut.root().display(),
        gamut.runroot().display(),
        gamut.dir().display(),
        gamut.image("busybox"),
    );
    let status = std::process::Command::new("sh")
        .args(["-c", &script])
        .status();
    assert!(status.unwrap().success());
    assert_eq!(
        std::fs::read_to_string(gamut.dir().join("it")).unwrap(),
        "end\n"
    );
}
