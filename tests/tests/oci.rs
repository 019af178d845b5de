//! The life of an OCI container and runc's command line: create, start, state, kill, delete, and what
//! is refused. Runtime specification, "Lifecycle" and "Operations".

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, exec_fails, fails};
use gamut_tests::cgroup;
use gamut_tests::patience::{eventually, until};
use serde_json::json;
use std::fs;
use std::process::Stdio;
use std::thread::sleep;
use std::time::Duration;

#[test]
fn a_life_from_create_to_delete() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.set(|config| config["annotations"] = json!({"org.example.key": "value"}));
    bundle.script("echo begun >/begun; cat /fifo");
    assert!(
        std::process::Command::new("mkfifo")
            .arg(bundle.rootfs().join("fifo"))
            .status()
            .unwrap()
            .success()
    );
    bundle.make("create", &[], ID).ok();
    let state = bundle.state(ID);
    assert_eq!(state["status"], "created", "{state}");
    assert_eq!(state["id"], ID);
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
    assert_eq!(state["rootfs"], bundle.rootfs().to_str().unwrap());
    assert_eq!(state["annotations"]["org.example.key"], "value");
    assert!(state["ociVersion"].as_str().unwrap().starts_with("1."));
    let pid = bundle.pid(ID);
    assert!(!bundle.rootfs().join("begun").exists());
    // From outside: its process is there, in namespaces and in the group of its own.
    let of = |who: &str, kind: &str| fs::read_link(format!("/proc/{who}/ns/{kind}")).unwrap();
    for kind in ["mnt", "pid", "net", "uts", "ipc", "cgroup"] {
        let theirs = of(&pid.to_string(), kind);
        assert_ne!(theirs, of("thread-self", kind), "{kind}");
    }
    assert!(cgroup::directory(pid, "memory").ends_with(bundle.name()));

    bundle.call(&["start", ID]).ok();
    let begun = bundle.rootfs().join("begun");
    until("the program has begun", || begun.exists());
    assert_eq!(bundle.status(ID), "running");
    assert_eq!(bundle.pid(ID), pid);
    fails(bundle.call(&["start", ID]), &["cannot start", "running"]);
    fs::write(bundle.rootfs().join("fifo"), "").unwrap();
    bundle.until(ID, "stopped");
    assert_eq!(bundle.state(ID)["pid"], 0);
    fails(bundle.call(&["start", ID]), &["cannot start", "stopped"]);
    exec_fails(bundle.call(&["exec", ID, "true"]), &["stopped"]);
    fails(bundle.call(&["kill", ID, "KILL"]), &["not running"]);
    bundle.call(&["delete", ID]).ok();
    fails(bundle.call(&["state", ID]), &["does not exist"]);
    fails(bundle.call(&["delete", ID]), &["does not exist"]);
    bundle.call(&["delete", "--force", ID]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn run_gives_the_programs_status() {
    let Some(bundle) = Bundle::new() else { return };
    assert_eq!(
        bundle.run("echo out; echo err >&2; exit 7").code(7).out,
        "out\n"
    );
    bundle.assert_nothing_left();
    bundle.run("sh -c 'kill -TERM $$'; exit $?").code(143);
    bundle.make("run", &["--keep"], ID).code(143);
    assert_eq!(bundle.status(ID), "stopped");
    bundle.call(&["delete", ID]).ok();
    // From outside: inside nothing can kill the first process of a pid namespace.
    bundle.script("sleep 3600");
    let path = bundle.path().to_string_lossy().into_owned();
    let foreground = bundle.command(&["run", "--bundle", &path, ID]);
    let foreground = bundle.spawn(foreground, Stdio::null());
    until("it runs", || {
        let state = bundle.call(&["state", ID]);
        state.code == 0 && state.json()["status"] == "running"
    });
    bundle.call(&["kill", ID, "9"]).ok();
    foreground.finish().code(137);
    // The link's name makes it a runtime, too.
    let link = bundle.dir().join("gamut-oci");
    std::os::unix::fs::symlink(fs::canonicalize(bundle.binary()).unwrap(), &link).unwrap();
    let mut called = std::process::Command::new(&link);
    called.arg("--root").arg(bundle.state_dir()).arg("run");
    called.arg("--bundle").arg(bundle.path()).arg("linked");
    bundle.script("exit 3");
    bundle.spawn(called, Stdio::null()).finish().code(3);
    let mut version = std::process::Command::new(&link);
    version.arg("--version");
    let said = bundle.spawn(version, Stdio::null()).finish().ok();
    assert!(said.out.contains("spec: 1."), "{}", said.told());
    bundle.assert_nothing_left();
}

#[test]
fn ids_are_checked_and_unique() {
    let Some(bundle) = Bundle::new() else { return };
    for id in ["", ".", "..", "a/b", "a b", "../c", "é"] {
        fails(bundle.make("create", &[], id), &["container id"]);
        fails(bundle.call(&["delete", "--force", id]), &["container id"]);
    }
    bundle.assert_nothing_left();
    let pid = bundle.idle();
    bundle.put("/linux/cgroupsPath", json!(format!("/{}-2", bundle.name())));
    fails(bundle.make("create", &[], ID), &["already exists", ID]);
    assert_eq!(
        (bundle.status(ID).as_str(), bundle.pid(ID)),
        ("running", pid)
    );
    // Another name, but a group with somebody's processes in it: taking it would hit them with every limit.
    bundle.put("/linux/cgroupsPath", json!(format!("/{}", bundle.name())));
    fails(bundle.make("create", &[], "other"), &["cgroup"]);
    assert_eq!(bundle.status(ID), "running");
}

#[test]
fn delete_spares_what_runs_unless_forced() {
    let Some(bundle) = Bundle::new() else { return };
    let pid = bundle.idle();
    fails(bundle.call(&["delete", ID]), &["not stopped", "running"]);
    assert_eq!(bundle.pid(ID), pid);
    // A second process, that does not die with a polite signal either.
    bundle
        .call(&[
            "exec",
            "--detach",
            ID,
            "sh",
            "-c",
            "trap '' TERM; sleep 3600",
        ])
        .ok();
    bundle.call(&["delete", "--force", ID]).ok();
    bundle.assert_nothing_left();
    // What was made and never started may go.
    bundle.make("create", &[], ID).ok();
    bundle.call(&["delete", ID]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn signals_by_name_and_number() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.script("for s in HUP USR1 TERM; do trap \"echo $s >>/caught\" $s; done; echo ready >>/caught; while :; do sleep 3600 & wait $!; done");
    bundle.make("run", &["--detach"], ID).ok();
    let caught = || fs::read_to_string(bundle.rootfs().join("caught")).unwrap_or_default();
    until("the traps are set", || caught() == "ready\n");
    let mut expected = "ready\n".to_owned();
    for (signal, name) in [("SIGHUP", "HUP"), ("usr1", "USR1"), ("15", "TERM")] {
        bundle.call(&["kill", ID, signal]).ok();
        expected += &format!("{name}\n");
        until(signal, || caught() == expected);
    }
    bundle.call(&["kill", ID]).ok();
    expected += "TERM\n";
    until("the default is TERM", || caught() == expected);
    fails(bundle.call(&["kill", ID, "NOSUCH"]), &["nosuch"]);
    bundle.call(&["kill", "--all", ID, "KILL"]).ok();
    bundle.until(ID, "stopped");
    fails(bundle.call(&["kill", ID, "TERM"]), &["not running"]);
    bundle.call(&["delete", ID]).ok();
}

#[test]
fn a_program_that_cannot_run_ends_the_creation() {
    let Some(bundle) = Bundle::new() else { return };
    fs::write(bundle.rootfs().join("bin/text"), "no program").unwrap();
    let cases = [
        ("/bin/nosuch", &["/bin/nosuch", "no such file"][..]),
        ("nosuch", &["nosuch", "not found"]),
        ("/etc", &["/etc", "directory"]),
        ("/bin/text", &["/bin/text", "permission denied"]),
    ];
    for (program, words) in cases {
        bundle.put("/process/args", json!([program]));
        fails(bundle.make("create", &[], ID), words);
        bundle.assert_nothing_left();
        fails(bundle.make("run", &[], ID), words);
        bundle.assert_nothing_left();
    }
}

#[test]
fn a_bundle_that_is_wrong_is_refused() {
    let Some(bundle) = Bundle::new() else { return };
    let config = bundle.path().join("config.json");
    let good = fs::read(&config).unwrap();
    fs::remove_file(&config).unwrap();
    fails(
        bundle.make("create", &[], ID),
        &["config.json", "no such file"],
    );
    fs::write(&config, "{ not json").unwrap();
    fails(bundle.make("create", &[], ID), &["config.json"]);
    fails(
        bundle.call(&["create", "--bundle", "/nosuch", ID]),
        &["/nosuch"],
    );
    fs::write(&config, good).unwrap();
    let twice = json!([{"type": "RLIMIT_NOFILE", "hard": 9, "soft": 9}, {"type": "RLIMIT_NOFILE", "hard": 8, "soft": 8}]);
    let wrong = [
        ("/ociVersion", json!("2.0.0"), "2.0.0"),
        ("/root", json!(null), "root"),
        ("/root/path", json!("nosuch"), "nosuch"),
        ("/process/args", json!([]), "args"),
        ("/process/cwd", json!("relative"), "cwd"),
        ("/process/rlimits", twice, "rlimit"),
        (
            "/linux/namespaces",
            json!([{"type": "mount"}, {"type": "mount"}]),
            "twice",
        ),
        ("/linux/namespaces", json!([{"type": "mount"}]), "hostname"),
        ("/linux/rootfsPropagation", json!("sideways"), "sideways"),
    ];
    for (pointer, value, word) in wrong {
        let mut before = json!(null);
        bundle.set(|config| before = config.clone());
        bundle.put(pointer, value);
        fails(bundle.make("create", &[], ID), &[word]);
        bundle.assert_nothing_left();
        bundle.set(|config| *config = before);
    }
    assert_eq!(bundle.inside("echo fine"), "fine");
}

#[test]
fn the_pid_file_and_the_descriptors() {
    let Some(bundle) = Bundle::new() else { return };
    let file = bundle.dir().join("pid");
    let path = file.to_string_lossy().into_owned();
    bundle.script("sleep 3600");
    bundle.make("create", &["--pid-file", &path], ID).ok();
    assert_eq!(
        fs::read_to_string(&file).unwrap(),
        bundle.pid(ID).to_string()
    );
    bundle.delete(ID);
    // Two descriptors are handed over, the third is not.
    bundle.script("cat <&3; cat <&4; ls /proc/self/fd | wc -w; (: <&5) 2>/dev/null || echo none");
    fs::write(bundle.dir().join("three"), "three\n").unwrap();
    fs::write(bundle.dir().join("four"), "four\n").unwrap();
    let command = bundle.command(&["run", "--preserve-fds", "2", "--bundle"]);
    let mut shell = std::process::Command::new("sh");
    shell.args(["-c", "exec \"$@\" 3<three 4<four 5<four", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.arg(bundle.path()).arg(ID).current_dir(bundle.dir());
    let said = bundle.spawn(shell, Stdio::null()).finish().ok();
    assert_eq!(said.out, "three\nfour\n6\nnone\n", "{}", said.told());
}

#[test]
fn pause_and_resume() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.script("n=0; while :; do n=$((n+1)); echo $n >/count; done");
    bundle.make("run", &["--detach"], ID).ok();
    let count = || fs::read_to_string(bundle.rootfs().join("count")).unwrap_or_default();
    until("it counts", || !count().is_empty());
    fails(bundle.call(&["resume", ID]), &["cannot resume", "running"]);
    bundle.call(&["pause", ID]).ok();
    assert_eq!(bundle.status(ID), "paused");
    let before = count();
    sleep(Duration::from_millis(50));
    assert_eq!(count(), before, "it goes on counting");
    fails(bundle.call(&["pause", ID]), &["paused"]);
    exec_fails(bundle.call(&["exec", ID, "true"]), &["paused"]);
    fails(bundle.call(&["delete", ID]), &["paused"]);
    bundle.call(&["resume", ID]).ok();
    assert_eq!(bundle.status(ID), "running");
    until("it counts again", || {
        !["", before.as_str()].contains(&count().as_str())
    });
    // A frozen container can be killed.
    bundle.call(&["pause", ID]).ok();
    bundle.call(&["delete", "--force", ID]).ok();
    bundle.assert_nothing_left();
}

#[test]
fn update_changes_the_limits() {
    let Some(bundle) = Bundle::new() else { return };
    let limits = json!({"memory": {"limit": 64 << 20}, "pids": {"limit": 40}, "devices": [{"allow": false, "access": "rwm"}]});
    bundle.put("/linux/resources", limits);
    let pid = bundle.idle();
    let memory = || cgroup::read(pid, "memory", "memory.limit_in_bytes", "memory.max");
    let pids = || cgroup::read(pid, "pids", "pids.max", "pids.max");
    assert_eq!((memory(), pids()), ((64 << 20).to_string(), "40".into()));
    bundle
        .call(&["update", "--memory", "96M", "--pids-limit", "20", ID])
        .ok();
    assert_eq!((memory(), pids()), ((96 << 20).to_string(), "20".into()));
    let file = bundle.dir().join("limits.json");
    fs::write(&file, r#"{"pids": {"limit": 8}}"#).unwrap();
    bundle
        .call(&["update", "--resources", file.to_str().unwrap(), ID])
        .ok();
    assert_eq!((memory(), pids()), ((96 << 20).to_string(), "8".into()));
    let crowded = "for i in 1 2 3 4 5 6 7 8 9 10; do sleep 3600 & done";
    let refused = bundle.call(&["exec", ID, "sh", "-c", crowded]);
    assert_ne!(refused.code, 0, "{}", refused.told());
    assert!(refused.err.contains("fork"), "{}", refused.told());
    // What was started before the limit hit.
    bundle.call(&["kill", "--all", ID, "KILL"]).ok();
    bundle.until(ID, "stopped");
    fails(
        bundle.call(&["update", "--pids-limit", "3", ID]),
        &["not running"],
    );
}

#[test]
fn events_and_processes() {
    let Some(bundle) = Bundle::new() else { return };
    let pid = bundle.idle();
    // The shell, and its sleep.
    let processes = || bundle.call(&["ps", "--format", "json", ID]).ok().json();
    let two = eventually("both processes are there", || {
        let list = processes().as_array().cloned().unwrap();
        (list.len() == 2).then_some(list)
    });
    assert!(two.contains(&json!(pid)), "{two:?} lacks {pid}");
    let table = bundle.call(&["ps", ID]).ok();
    assert!(table.out.contains("PID") && table.out.contains(&pid.to_string()));
    let event = bundle.call(&["events", "--stats", ID]).ok().json();
    assert_eq!(
        (&event["type"], &event["id"]),
        (&json!("stats"), &json!(ID))
    );
    let data = &event["data"];
    assert_eq!(data["pids"]["current"], 2, "{event}");
    for pointer in [
        "/cpu/usage/total",
        "/memory/usage/usage",
        "/memory/usage/limit",
    ] {
        assert!(
            data.pointer(pointer).unwrap().as_u64().unwrap() > 0,
            "{pointer}: {event}"
        );
    }
    for pointer in [
        "/cpu/throttling/periods",
        "/memory/swap/usage",
        "/blkio/ioServicedRecursive",
    ] {
        assert!(data.pointer(pointer).is_some(), "{pointer}: {event}");
    }
}

#[test]
fn the_list() {
    let Some(bundle) = Bundle::new() else { return };
    assert_eq!(bundle.call(&["list", "-q"]).ok().out, "");
    assert_eq!(
        bundle.call(&["list", "--format", "json"]).ok().json(),
        json!([])
    );
    let pid = bundle.idle();
    bundle.put("/linux/cgroupsPath", json!(format!("/{}-2", bundle.name())));
    bundle.make("create", &[], "b").ok();
    assert_eq!(bundle.call(&["list", "-q"]).ok().out, "b\nc\n");
    let rows = bundle.call(&["list", "--format", "json"]).ok().json();
    assert_eq!(rows[1]["pid"], pid, "{rows}");
    assert_eq!(
        (&rows[0]["status"], &rows[1]["status"]),
        (&json!("created"), &json!("running"))
    );
    let table = bundle.call(&["list"]).ok();
    let lines = table.lines();
    let words: Vec<&str> = lines[0].split_whitespace().collect();
    assert_eq!(words, ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]);
    assert!(lines.len() == 3 && lines[1].starts_with("b ") && lines[2].contains("running"));
}

#[test]
fn spec_and_features() {
    let Some(bundle) = Bundle::new() else { return };
    let again = bundle.call(&["spec", "--bundle", bundle.path().to_str().unwrap()]);
    fails(again, &["config.json", "exists"]);
    assert_eq!(bundle.inside("hostname; id -u"), "gamut\n0");
    let features = bundle.call(&["features"]).ok().json();
    let has = |pointer: &str, value: &str| {
        let list = features.pointer(pointer).and_then(|list| list.as_array());
        list.is_some_and(|list| list.contains(&json!(value)))
    };
    for hook in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
        "poststart",
        "poststop",
    ] {
        assert!(has("/hooks", hook), "{hook}");
    }
    for kind in [
        "cgroup", "ipc", "mount", "network", "pid", "time", "user", "uts",
    ] {
        assert!(has("/linux/namespaces", kind), "{kind}");
    }
    for option in ["ro", "rbind", "rslave", "rshared"] {
        assert!(has("/mountOptions", option), "{option}");
    }
    assert!(has("/linux/capabilities", "CAP_SYS_ADMIN"));
    assert!(has("/linux/seccomp/actions", "SCMP_ACT_ERRNO"));
    assert_eq!(features["linux"]["cgroup"]["v2"], true);
    assert_eq!(features["ociVersionMin"], "1.0.0");
    assert_eq!(features["linux"]["cgroup"]["systemd"], true);
    bundle.call(&["--systemd-cgroup", "list"]).ok();
}

#[test]
fn errors_go_to_the_log() {
    let Some(bundle) = Bundle::new() else { return };
    let file = bundle.dir().join("log");
    let path = file.to_str().unwrap();
    let failed = bundle.call(&["--log", path, "--log-format", "json", "state", "nosuch"]);
    fails(failed, &["does not exist"]);
    let text = fs::read_to_string(&file).unwrap();
    let line: serde_json::Value = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!(line["level"], "error", "{text}");
    assert!(
        line["msg"].as_str().unwrap().contains("does not exist"),
        "{text}"
    );
    assert!(line["time"].as_str().unwrap().contains('T'), "{text}");
    fails(
        bundle.call(&["--log", path, "state", "nosuch"]),
        &["does not exist"],
    );
    let text = fs::read_to_string(&file).unwrap();
    assert!(
        text.lines().nth(1).unwrap().contains("level=error msg=\""),
        "{text}"
    );
}

/// Whatever instant it dies at, one forced delete takes all of it away, and the name is free again.
#[test]
fn a_creation_that_is_killed_can_be_deleted() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.script("sleep 3600");
    let path = bundle.path().to_string_lossy().into_owned();
    for round in 0..20u64 {
        let words = ["create", "--bundle", &path, ID];
        let mut spoken = bundle.spawn(bundle.command(&words), Stdio::null());
        sleep(Duration::from_micros(round * 1500));
        let _ = spoken.child.kill();
        spoken.child.wait().unwrap();
        bundle.delete(ID);
        bundle.assert_nothing_left();
    }
    // The first instant of all: the directory is there, and nothing in it.
    fs::create_dir_all(bundle.state_dir().join(ID)).unwrap();
    bundle.delete(ID);
    bundle.assert_nothing_left();
    bundle.make("create", &[], ID).ok();
}
