//! The life of a container, command by command.

use gamut_tests::Gamut;
use gamut_tests::patience::until;

fn status(gamut: &Gamut, name: &str) -> String {
    gamut.inspect(name)["State"]["Status"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[track_caller]
fn create(gamut: &Gamut, flags: &[&str], words: &[&str]) -> String {
    let image = gamut.image("busybox");
    let id = gamut
        .call(
            &[
                &["create", "--network", "none"],
                flags,
                &[image.as_str()],
                words,
            ]
            .concat(),
        )
        .ok()
        .text()
        .to_owned();
    gamut.learn_ids();
    id
}

#[test]
fn created_started_stopped_started_removed() {
    let Some(gamut) = Gamut::new() else { return };
    let id = create(
        &gamut,
        &["--name", "life"],
        &[
            "sh",
            "-c",
            "trap 'echo bye; exit 3' TERM; echo hello; while :; do sleep 0.1; done",
        ],
    );
    assert_eq!(status(&gamut, &id), "created");
    gamut.call(&["start", "life"]).ok().prints("life");
    assert_eq!(status(&gamut, "life"), "running");
    until("it has said hello", || {
        gamut.call(&["logs", "life"]).out.contains("hello")
    });
    gamut.call(&["stop", "life"]).ok().prints("life");
    assert_eq!(status(&gamut, "life"), "exited");
    assert_eq!(gamut.inspect("life")["State"]["ExitCode"], 3);
    gamut.call(&["start", &id[..8]]).ok();
    until("it has said hello again", || {
        gamut.call(&["logs", "life"]).out.matches("hello").count() == 2
    });
    gamut
        .call(&["rm", "life"])
        .refused(1, &["running"])
        .hinted();
    gamut.call(&["rm", "-f", "life"]).ok().prints("life");
    gamut.assert_untouched();
}

#[test]
fn what_a_container_wrote_is_there_after_a_restart() {
    let Some(gamut) = Gamut::new() else { return };
    let id = create(
        &gamut,
        &[],
        &[
            "sh",
            "-c",
            "cat /etc/kept 2>/dev/null; echo kept >/etc/kept",
        ],
    );
    gamut.call(&["start", "-a", &id]).ok();
    gamut.call(&["start", "-a", &id]).ok().prints("kept");
}

#[test]
fn start_a_passes_output_and_exit_code() {
    let Some(gamut) = Gamut::new() else { return };
    let id = create(&gamut, &[], &["sh", "-c", "echo out; echo err >&2; exit 6"]);
    let started = gamut.call(&["start", "-a", &id]).code(6);
    assert_eq!(
        (started.out.as_str(), started.err.as_str()),
        ("out\n", "err\n")
    );
}

#[test]
fn stop_kills_after_its_patience() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.detached(
        &[],
        &["sh", "-c", "trap '' TERM; while :; do sleep 0.1; done"],
    );
    gamut.call(&["stop", "-t", "1", &id]).ok();
    assert_eq!(gamut.inspect(&id)["State"]["ExitCode"], 137);
    let id = gamut.detached(
        &["--stop-signal", "USR2"],
        &[
            "sh",
            "-c",
            "trap 'exit 22' USR2; echo ready; while :; do sleep 0.1; done",
        ],
    );
    until("it is ready", || {
        gamut.call(&["logs", &id]).out.contains("ready")
    });
    gamut.call(&["stop", &id]).ok();
    assert_eq!(gamut.inspect(&id)["State"]["ExitCode"], 22);
}

#[test]
fn how_long_a_stop_waits_is_the_containers_own() {
    let Some(gamut) = Gamut::new() else { return };
    let deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 1; done"];
    let id = gamut.detached(&["--stop-timeout", "1"], &deaf);
    assert_eq!(gamut.inspect(&id)["Config"]["StopTimeout"], 1);
    let began = std::time::Instant::now();
    gamut.call(&["stop", &id]).ok();
    let took = began.elapsed();
    assert_eq!(gamut.inspect(&id)["State"]["ExitCode"], 137);
    assert!(took.as_millis() >= 1000, "killed at once: {took:?}");
    // The default is ten seconds; patience is for slow machines.
    assert!(took.as_secs() < 9, "{took:?}");
}

#[test]
fn the_restart_policy_is_no_and_another_does_not_go_with_rm() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--restart", "no"]);
    let told = gamut.inspect(&id)["HostConfig"]["RestartPolicy"]["Name"].clone();
    assert_eq!(told, "no");
    gamut
        .run(&["--restart", "always"], &["true"])
        .refused(125, &["restart"]);
}

#[test]
fn kill_and_wait() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--name", "victim"]);
    let waiting = gamut.spawn(&["wait", "victim"]);
    gamut.call(&["kill", "victim"]).ok().prints("victim");
    waiting.finish().ok().prints("137");
    gamut.call(&["wait", &id]).ok().prints("137");
    gamut.call(&["kill", "victim"]).refused(1, &["not running"]);
    gamut.call(&["kill", "-s", "NOSUCH", "victim"]).code(1);
}

#[test]
fn several_at_once_and_one_that_is_not_there() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.idle(&["--name", "one"]);
    gamut.idle(&["--name", "two"]);
    let stopped = gamut
        .call(&["stop", "one", "nobody", "two"])
        .refused(1, &["nobody"]);
    assert_eq!(stopped.lines(), ["one", "two"]);
    let removed = gamut.call(&["rm", "one", "two"]).ok();
    assert_eq!(removed.lines(), ["one", "two"]);
}

#[test]
fn ps_lists_filters_and_formats() {
    let Some(gamut) = Gamut::new() else { return };
    let running = gamut.idle(&["--name", "up", "--label", "tier=web", "--label", "lab"]);
    let ended = gamut.detached(&["--name", "down"], &["sh", "-c", "exit 3"]);
    gamut.call(&["wait", "down"]).ok();
    let names = |words: &[&str]| {
        let listed = gamut
            .call(&[&["ps", "--format", "{{.Names}}"], words].concat())
            .ok();
        let mut names: Vec<String> = listed
            .lines()
            .iter()
            .map(|name| (*name).to_owned())
            .collect();
        names.sort();
        names.join(" ")
    };
    assert_eq!(names(&[]), "up");
    assert_eq!(names(&["-a"]), "down up");
    for (filter, expected) in [
        ("name=do", "down"),
        ("status=running", "up"),
        ("status=exited", "down"),
        ("exited=3", "down"),
        ("label=tier=web", "up"),
        ("label=tier", "up"),
        ("label=tier=db", ""),
        (&format!("id={}", &ended[..6]), "down"),
        (&format!("ancestor={}", gamut.image("busybox")), "down up"),
    ] {
        assert_eq!(
            names(&["-a", "--filter", filter]),
            expected,
            "--filter {filter}"
        );
    }
    assert_eq!(
        names(&[
            "-a",
            "--filter",
            "status=running",
            "--filter",
            "status=exited"
        ]),
        "down up"
    );
    assert_eq!(names(&["-n", "1"]), "down");
    assert_eq!(names(&["-l"]), "down");
    gamut.call(&["ps", "--filter", "nonsense=1"]).code(1);
    gamut.call(&["ps", "-q"]).ok().prints(&running[..12]);
    gamut
        .call(&["ps", "-q", "--no-trunc"])
        .ok()
        .prints(&running);
    let table = gamut.call(&["ps", "-a"]).ok();
    assert!(
        table.out.starts_with("CONTAINER ID   IMAGE"),
        "{}",
        table.told()
    );
    assert!(
        table.out.contains("Exited (3) ") && table.out.contains("Up "),
        "{}",
        table.told()
    );
    let json = gamut.call(&["ps", "--format", "json"]).ok().json_lines();
    assert_eq!(json[0]["Names"], "up");
    gamut
        .call(&["ps", "--format", "table {{.Names}}\t{{.Label \"tier\"}}"])
        .ok();
}

#[test]
fn names_are_unique_and_made_up_when_missing() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&[]);
    let name = gamut.inspect(&id)["Name"]
        .as_str()
        .unwrap()
        .trim_start_matches('/')
        .to_owned();
    assert!(!name.is_empty() && gamut.inspect(&name)["Id"] == id.as_str());
    for bad in ["-dash", "with space", "a/b"] {
        gamut.run(&["--name", bad], &["true"]).code(125);
    }
    // An ambiguous beginning of an ID is no name.
    gamut.call(&["inspect", "zzzz"]).refused(1, &["zzzz"]);
}

#[test]
fn exists_answers_by_the_exit_code() {
    let Some(gamut) = Gamut::new() else { return };
    let id = create(&gamut, &["--name", "here"], &["true"]);
    let image = gamut.image("busybox");
    for name in ["here", &id, &id[..12]] {
        let said = gamut.call(&["container", "exists", name]).ok();
        assert_eq!((said.out.as_str(), said.err.as_str()), ("", ""));
    }
    gamut.call(&["image", "exists", &image]).ok();
    // One is not the other.
    gamut.call(&["container", "exists", &image]).code(1);
    gamut.call(&["image", "exists", "here"]).code(1);
    gamut.call(&["rm", "here"]).ok();
    gamut.call(&["container", "exists", "here"]).code(1);
    gamut.call(&["rmi", &image]).ok();
    let gone = gamut.call(&["image", "exists", &image]).code(1);
    assert_eq!((gone.out.as_str(), gone.err.as_str()), ("", ""));
}

#[test]
fn inspect_tells_what_was_asked_for() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&[
        "--name",
        "told",
        "--label",
        "a=b",
        "-e",
        "X=1",
        "--memory",
        "32m",
        "-v",
        "vol:/v",
        "--hostname",
        "h",
    ]);
    let told = gamut.inspect("told");
    assert_eq!(told["Id"], id.as_str());
    assert_eq!(told["Name"], "/told");
    assert_eq!(told["Config"]["Labels"]["a"], "b");
    assert_eq!(told["Config"]["Hostname"], "h");
    assert_eq!(told["HostConfig"]["NetworkMode"], "none");
    assert_eq!(told["Mounts"][0]["Destination"], "/v");
    assert!(
        told["Config"]["Env"]
            .as_array()
            .unwrap()
            .iter()
            .any(|pair| pair == "X=1")
    );
    assert!(std::path::Path::new(&format!("/proc/{}", told["State"]["Pid"])).exists());
    gamut
        .call(&[
            "inspect",
            "-f",
            "{{.State.Status}} {{.Config.Labels.a}} {{json .HostConfig.Memory}}",
            "told",
        ])
        .ok()
        .prints("running b 33554432");
    gamut
        .call(&[
            "inspect",
            "-f",
            "{{range .Mounts}}{{.Name}}={{.Destination}};{{end}}",
            "told",
        ])
        .ok()
        .prints("vol=/v;");
    gamut.call(&["inspect", "-f", "{{.Nope", "told"]).code(1);
    gamut
        .call(&["inspect", "no-such-thing"])
        .refused(1, &["no-such-thing"]);
}

#[test]
fn explain_shows_the_real_thing() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--name", "shown", "--memory", "48m"]);
    let told = gamut.call(&["explain", "shown"]).ok();
    let pid_namespace = std::fs::read_link(format!("/proc/{}/ns/pid", gamut.pid(&id))).unwrap();
    let number = pid_namespace
        .to_string_lossy()
        .trim_matches(|digit: char| !digit.is_ascii_digit())
        .to_owned();
    for part in [number.as_str(), "memory", "/proc", "seccomp", "cap"] {
        assert!(
            told.out.to_lowercase().contains(part),
            "explain does not show {part:?}\n{}",
            told.told()
        );
    }
}

#[test]
fn doctor_info_and_version_speak() {
    let Some(gamut) = Gamut::new() else { return };
    let doctor = gamut.call(&["doctor"]);
    for level in ["container", "sandbox", "microvm", "vm"] {
        assert!(
            doctor.out.contains(level),
            "doctor does not mention {level}\n{}",
            doctor.told()
        );
    }
    assert!(
        gamut
            .call(&["version"])
            .ok()
            .out
            .contains(env!("CARGO_PKG_VERSION"))
    );
    gamut.call(&["info", "--format", "{{json .}}"]).ok().json();
}

#[test]
fn many_at_the_same_time() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.call(&["pull", "-q", &gamut.image("busybox")]).ok();
    let image = gamut.image("busybox");
    let runs: Vec<_> = (0..16)
        .map(|number| {
            gamut.spawn(&[
                "run",
                "--rm",
                "--network",
                "none",
                &image,
                "echo",
                &number.to_string(),
            ])
        })
        .collect();
    for (number, run) in runs.into_iter().enumerate() {
        run.finish().ok().prints(&number.to_string());
    }
    gamut.assert_untouched();
}
