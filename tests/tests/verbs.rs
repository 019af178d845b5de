//! What is done to a container that is there: restart, pause, rename, top, update.

use gamut_tests::Gamut;
use gamut_tests::patience::until;

fn state(gamut: &Gamut, name: &str) -> String {
    let state = gamut
        .call(&["inspect", "-f", "{{.State.Status}}", name])
        .ok();
    state.text().to_owned()
}

#[test]
fn restart_is_a_stop_and_a_start() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "echo up; trap 'echo down; exit 0' TERM; while :; do sleep 0.1; done";
    gamut.detached(&["--name", "box"], &["sh", "-c", script]);
    until("it is up", || {
        gamut.call(&["logs", "box"]).out.contains("up")
    });
    gamut.exec("box", "touch /kept");
    let began = gamut.inspect("box")["State"]["StartedAt"].clone();
    gamut.call(&["restart", "box"]).ok().prints("box");
    assert_ne!(gamut.inspect("box")["State"]["StartedAt"], began);
    until("it is up again", || {
        gamut.call(&["logs", "box"]).out == "up\ndown\nup\n"
    });
    assert_eq!(gamut.exec("box", "ls /kept"), "/kept");
    gamut.call(&["stop", "box"]).ok();
    gamut.call(&["restart", "--running", "--all"]).ok();
    assert_eq!(state(&gamut, "box"), "exited");
    gamut
        .call(&["restart", "-t", "0", "-s", "KILL", "box"])
        .ok()
        .prints("box");
    assert_eq!(state(&gamut, "box"), "running");
    gamut
        .call(&["container", "restart", "nosuch"])
        .refused(1, &["nosuch"]);
    gamut.idle(&["--rm", "--name", "brief"]);
    gamut.call(&["restart", "brief"]).refused(1, &["--rm"]);
    assert_eq!(state(&gamut, "brief"), "running");
}

#[test]
fn a_paused_container_stands_still() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.detached(
        &["--name", "box"],
        &["sh", "-c", "while :; do echo tick; sleep 0.05; done"],
    );
    let ticks = || gamut.call(&["logs", "box"]).ok().lines().len();
    until("it ticks", || ticks() > 2);
    gamut.call(&["pause", "box"]).ok().prints("box");
    assert_eq!(state(&gamut, "box"), "paused");
    let listed = gamut.call(&[
        "ps",
        "--filter",
        "status=paused",
        "--format",
        "{{.Names}} {{.Status}}",
    ]);
    let listed = listed.ok();
    assert!(
        listed.out.starts_with("box Up ") && listed.out.ends_with("(Paused)\n"),
        "{}",
        listed.told()
    );
    // What was on its way is there.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let before = ticks();
    std::thread::sleep(std::time::Duration::from_millis(300));
    assert_eq!(ticks(), before);
    gamut.call(&["exec", "box", "true"]).refused(1, &["paused"]);
    gamut.call(&["pause", "box"]).refused(1, &["paused"]);
    gamut.call(&["unpause", "--all"]).ok();
    until("it goes on", || ticks() > before);
    gamut.call(&["unpause", "box"]).refused(1, &["not paused"]);
    // A paused one can be stopped, and killed.
    gamut.call(&["pause", "box"]).ok();
    gamut.call(&["stop", "-t", "0", "box"]).ok();
    gamut.call(&["pause", "box"]).refused(1, &["not running"]);
    gamut.call(&["start", "box"]).ok();
    gamut.call(&["pause", "--latest"]).ok();
    gamut.call(&["kill", "box"]).ok();
    gamut.call(&["wait", "box"]).ok().prints("137");
    gamut
        .call(&["container", "unpause", "nosuch"])
        .refused(1, &["nosuch"]);
}

#[test]
fn a_new_name_is_the_only_one() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--name", "old"]);
    gamut.idle(&["--name", "other"]);
    gamut
        .call(&["rename", "old", "other"])
        .refused(1, &["other"]);
    gamut
        .call(&["rename", "old", "not a name"])
        .refused(1, &["not a name"]);
    gamut.call(&["rename", "old", "x"]).refused(1, &["x"]);
    gamut
        .call(&["rename", "nosuch", "new"])
        .refused(1, &["nosuch"]);
    assert!(gamut.call(&["rename", "old", "new"]).ok().out.is_empty());
    gamut.call(&["inspect", "old"]).refused(1, &["old"]);
    assert_eq!(gamut.inspect("new")["Id"], id.as_str());
    assert_eq!(gamut.inspect("new")["Name"], "/new");
    gamut.call(&["stop", "-t", "0", "new"]).ok();
    gamut.call(&["container", "rename", "new", "/slashed"]).ok();
    gamut.call(&["start", "slashed"]).ok();
    // The old name is free.
    gamut.idle(&["--name", "old"]);
}

#[test]
fn top_lists_the_processes() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.detached(&["--name", "box"], &["sh", "-c", "sleep 1234 & wait"]);
    let listed = |words: &[&str]| gamut.call(&[&["top"], words].concat()).ok();
    until("its child is there", || {
        listed(&["box"]).out.contains("sleep 1234")
    });
    let all = listed(&["box"]);
    let lines = all.lines();
    assert!(
        lines[0].contains("PID") && lines[0].contains("CMD"),
        "{}",
        all.told()
    );
    let first = gamut.pid("box").to_string();
    assert!(
        lines[1].split_whitespace().any(|word| word == first),
        "{}",
        all.told()
    );
    assert_eq!(lines.len(), 3, "{}", all.told());
    let some = listed(&["box", "-o", "pid,comm"]);
    assert!(
        some.lines()[0].trim().starts_with("PID") && some.lines().len() == 3,
        "{}",
        some.told()
    );
    assert_eq!(listed(&["--latest"]).lines().len(), 3);
    gamut
        .call(&["top", "box", "-o", "comm"])
        .refused(1, &["PID"]);
    gamut.call(&["stop", "-t", "0", "box"]).ok();
    gamut.call(&["top", "box"]).refused(1, &["not running"]);
    gamut.call(&["top", "nosuch"]).refused(1, &["nosuch"]);
}

#[test]
fn other_limits_count_at_once_and_after_the_next_start() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.idle(&["--name", "box", "--memory", "64m", "--pids-limit", "40"]);
    let limits = || gamut.inspect("box")["HostConfig"].clone();
    let words = [
        "update",
        "--memory",
        "96m",
        "--memory-swap",
        "-1",
        "--cpus",
        "0.5",
        "--cpu-shares",
        "512",
        "--pids-limit",
        "30",
        "box",
    ];
    gamut.call(&words).ok().prints("box");
    assert_eq!(limits()["Memory"], 96 << 20);
    assert_eq!(limits()["NanoCpus"], 500_000_000);
    assert_eq!(limits()["CpuShares"], 512);
    assert_eq!(limits()["PidsLimit"], 30);
    let seen = "cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/memory/memory.limit_in_bytes \
                /sys/fs/cgroup/pids.max /sys/fs/cgroup/pids/pids.max 2>/dev/null; true";
    let expected = format!("{}\n30", 96 << 20);
    assert_eq!(gamut.exec("box", seen.trim()), expected);
    gamut.call(&["restart", "-t", "0", "box"]).ok();
    assert_eq!(gamut.exec("box", seen), expected);
    // What cannot be is not half done.
    gamut
        .call(&["update", "--memory", "1m", "--pids-limit", "20", "box"])
        .refused(125, &["memory"]);
    gamut
        .call(&["update", "--memory", "80m", "--memory-swap", "70m", "box"])
        .refused(1, &["swap"]);
    gamut
        .call(&[
            "update",
            "--memory-reservation",
            "200m",
            "--pids-limit",
            "20",
            "box",
        ])
        .refused(1, &["reservation"]);
    gamut
        .call(&["update", "--ulimit", "nofile=10", "box"])
        .refused(125, &["--ulimit"]);
    assert_eq!(limits()["PidsLimit"], 30);
    assert_eq!(gamut.exec("box", seen), expected);
    gamut.call(&["stop", "-t", "0", "box"]).ok();
    gamut
        .call(&[
            "container",
            "update",
            "--memory-reservation",
            "32m",
            "--latest",
        ])
        .ok();
    gamut.call(&["start", "box"]).ok();
    assert_eq!(limits()["MemoryReservation"], 32 << 20);
    gamut
        .call(&["update", "--memory", "64m", "nosuch"])
        .refused(1, &["nosuch"]);
}

#[test]
fn a_stop_that_waits_for_ever_does_not_kill() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.detached(
        &["--stop-timeout", "0"],
        &[
            "sh",
            "-c",
            "trap 'sleep 1; exit 4' TERM; echo ready; while :; do sleep 0.05; done",
        ],
    );
    until("it is ready", || {
        gamut.call(&["logs", &id]).out.contains("ready")
    });
    gamut.call(&["stop", "-t", "-1", &id]).ok();
    assert_eq!(gamut.inspect(&id)["State"]["ExitCode"], 4);
}

#[test]
fn a_paused_container_goes_on_for_its_stop_signal() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.detached(
        &[],
        &[
            "sh",
            "-c",
            "trap 'exit 5' TERM; echo ready; while :; do sleep 0.05; done",
        ],
    );
    until("it is ready", || {
        gamut.call(&["logs", &id]).out.contains("ready")
    });
    gamut.call(&["pause", &id]).ok();
    gamut.call(&["kill", "-s", "TERM", &id]).ok();
    gamut.call(&["wait", &id]).ok().prints("5");
}

#[test]
fn who_is_required_is_started_before() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let idle = "trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done";
    let make = |name: &str, flags: &[&str]| {
        let words = ["create", "--network", "none", "--name", name];
        gamut
            .call(&[&words, flags, &[&*image, "sh", "-c", idle]].concat())
            .ok();
    };
    make("disk", &[]);
    make("base", &["--requires", "disk"]);
    make("shop", &["--requires", "base,disk"]);
    let states = || {
        let names = ["disk", "base", "shop"];
        let told = gamut.call(&[&["inspect", "-f", "{{.State.Status}}"], &names[..]].concat());
        told.ok().lines().join(" ")
    };
    assert_eq!(states(), "created created created");
    gamut.call(&["start", "shop"]).ok();
    assert_eq!(states(), "running running running");
    let id = gamut.inspect("disk")["Id"].clone();
    assert_eq!(gamut.inspect("base")["Dependencies"][0], id);
    gamut.call(&["stop", "-t", "0", "disk", "base"]).ok();
    gamut.run(&["--requires", "base"], &["true"]).ok();
    assert_eq!(states(), "running running running");
    gamut
        .run(&["--requires", "nobody"], &["true"])
        .refused(125, &["nobody"]);
    // What is gone cannot be started.
    gamut.call(&["rm", "-f", "disk", "base"]).ok();
    gamut.call(&["stop", "-t", "0", "shop"]).ok();
    gamut.call(&["start", "shop"]).code(1);
}
