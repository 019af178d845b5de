//! What engines and people read of an OCI runtime: its words where something is refused, its debug log,
//! its readings; and small things that runc and crun do, and those who call them count on.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, exec_fails, fails};
use gamut_tests::cgroup;
use serde_json::json;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::process::Stdio;

/// A process that was made and not started ends on signals that end others, the first of its namespace
/// as it is; and what it becomes has its own way with them.
#[test]
fn what_waits_for_its_start_ends_on_a_signal() {
    let Some(bundle) = Bundle::new() else { return };
    for signal in ["TERM", "INT", "HUP", "QUIT"] {
        bundle.script("sleep 3600");
        bundle.make("create", &[], ID).ok();
        bundle.call(&["kill", ID, signal]).ok();
        bundle.until(ID, "stopped");
        bundle.call(&["delete", ID]).ok();
    }
    bundle.put(
        "/process/args",
        json!(["grep", "SigCgt", "/proc/self/status"]),
    );
    let said = bundle.make("run", &[], ID).ok();
    assert_eq!(said.text(), "SigCgt:\t0000000000000000");
}

#[test]
fn a_missing_interpreter_is_told_apart() {
    let Some(bundle) = Bundle::new() else { return };
    let file = bundle.rootfs().join("run.sh");
    fs::write(&file, "#!/no/such/interpreter\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
    bundle.put("/process/args", json!(["/run.sh"]));
    let words = "exec /run.sh: no such file or directory\n";
    assert_eq!(fails(bundle.make("run", &[], ID), &[]).err, words);
    bundle.idle();
    let said = exec_fails(bundle.call(&["exec", ID, "/run.sh"]), &[]).err;
    assert_eq!(said, words);
    let absent = "exec: \"/nosuch\": no such file or directory";
    let said = exec_fails(bundle.call(&["exec", ID, "/nosuch"]), &[]).err;
    assert_eq!(said.lines().next(), Some(absent));
}

#[test]
fn what_cannot_go_together_is_said() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.set(|config| {
        config["process"]["capabilities"]["inheritable"] = json!(["CAP_KILL"]);
        config["process"]["capabilities"]["ambient"] = json!(["CAP_KILL", "CAP_AUDIT_WRITE"]);
    });
    let told = bundle.run("grep CapAmb /proc/self/status").ok();
    assert_eq!(told.text(), "CapAmb:\t0000000000000020");
    let warned = "can't raise ambient capability CAP_AUDIT_WRITE: ";
    assert!(
        told.err.contains(warned) && !told.err.contains("CAP_KILL"),
        "{}",
        told.told()
    );
    bundle.put("/process/scheduler", json!({
        "policy": "SCHED_DEADLINE", "runtime": 42_000, "deadline": 1_000_000, "period": 1_000_000,
    }));
    bundle.put("/linux/resources", json!({"cpu": {"cpus": "0"}}));
    fails(
        bundle.make("run", &[], ID),
        &["process scheduler can't be used together with AllowedCPUs"],
    );
    bundle.put("/process/scheduler", json!(null));
    bundle.put("/linux/resources", json!({"unified": {"no.such": "1"}}));
    fails(
        bundle.make("run", &[], ID),
        &["invalid configuration", "no.such"],
    );
    bundle.put(
        "/linux/resources",
        json!({"devices": [{"allow": true, "access": "rwa"}]}),
    );
    fails(bundle.make("run", &[], ID), &["rwa", "letters"]);
    let denied = json!({"devices": [{"allow": true, "access": "rwm"}, {"allow": false, "type": "c", "major": 1, "minor": 11, "access": "rwa"}]});
    bundle.put("/linux/resources", denied);
    bundle.put(
        "/linux/devices",
        json!([{"path": "/dev/log", "type": "c", "major": 1, "minor": 11}]),
    );
    bundle.capabilities(&["CAP_SYSLOG", "CAP_DAC_OVERRIDE"]);
    let refused = bundle.inside("head -c1 /dev/log 2>&1; (: >/dev/log) 2>&1; true");
    assert_eq!(refused.matches("not permitted").count(), 2, "{refused}");
    bundle.assert_nothing_left();
}

#[test]
fn the_debug_log_tells_the_start() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.set(|config| {
        config["linux"]["seccomp"] =
            json!({"defaultAction": "SCMP_ACT_ALLOW", "flags": ["SECCOMP_FILTER_FLAG_LOG"]});
    });
    bundle.idle();
    let (file, process) = (bundle.dir().join("log"), bundle.dir().join("process.json"));
    let affinity = json!({"args": ["true"], "cwd": "/", "execCPUAffinity": {"initial": "0"}});
    fs::write(&process, affinity.to_string()).unwrap();
    let debug = ["--debug", "--log", file.to_str().unwrap()];
    let exec = ["exec", "--process", process.to_str().unwrap(), ID];
    bundle.call(&[&debug[..], &exec].concat()).ok();
    bundle.delete(ID);
    let path = bundle.path().to_string_lossy().into_owned();
    bundle.script("true");
    let said = bundle
        .call(&[&debug[..], &["run", "--bundle", &path, ID]].concat())
        .ok();
    assert_eq!(said.err, "", "it was said elsewhere, too");
    let log = fs::read_to_string(&file).unwrap();
    for words in [
        ": affinity: 0x1\"",
        "msg=\"seccomp filter flags: 2\"",
        "container: mounts made",
        "container: created",
    ] {
        assert!(log.contains(words), "no {words} in\n{log}");
    }
    assert!(
        log.lines().all(|line| line.contains("level=debug")),
        "{log}"
    );
}

/// A process can be put into groups that the container made, by controller.
#[test]
fn exec_into_groups_below() {
    let Some(bundle) = Bundle::new() else { return };
    let pid = bundle.idle();
    let below = cgroup::directory(pid, "pids").join("below");
    fs::create_dir(&below).unwrap();
    let put = |group: &str| {
        let pid_file = bundle.dir().join("pid");
        let path = pid_file.to_str().unwrap();
        let words = [
            "exec",
            "--detach",
            "--pid-file",
            path,
            "--cgroup",
            group,
            ID,
            "sleep",
            "3600",
        ];
        bundle.call(&words).ok();
        fs::read_to_string(pid_file)
            .unwrap()
            .parse::<i32>()
            .unwrap()
    };
    let inside = put("pids:below");
    assert_eq!(cgroup::directory(inside, "pids"), below);
    if !cgroup::unified() {
        assert_eq!(
            cgroup::directory(inside, "memory"),
            cgroup::directory(pid, "memory")
        );
        // It is below in one hierarchy, and missing in the others.
        exec_fails(
            bundle.call(&["exec", "--cgroup", "below", ID, "true"]),
            &["no cgroup", "below"],
        );
    }
    assert_eq!(
        cgroup::directory(put("/"), "pids"),
        cgroup::directory(pid, "pids")
    );
    exec_fails(
        bundle.call(&["exec", "--cgroup", "pids:nosuch", ID, "true"]),
        &["nosuch"],
    );
    exec_fails(
        bundle.call(&["exec", "--cgroup", "whaaat:/", ID, "true"]),
        &["unknown controller"],
    );
    exec_fails(
        bundle.call(&["exec", "--cgroup", "..", ID, "true"]),
        &["not a usable cgroup path"],
    );
}

/// A group that is there keeps the limits that it has, and one with processes is nobody's to take.
#[test]
fn a_group_that_is_there_is_taken_as_it_is() {
    let Some(bundle) = Bundle::new() else { return };
    let pid = bundle.idle();
    let group = cgroup::directory(pid, "pids");
    bundle.delete(ID);
    fs::create_dir(&group).unwrap();
    fs::write(group.join("pids.max"), "33").unwrap();
    let pid = bundle.idle();
    assert_eq!(cgroup::read(pid, "pids", "pids.max", "pids.max"), "33");
    fails(
        bundle.make("create", &[], "other"),
        &["cgroup is not empty"],
    );
}

#[test]
fn exec_raises_capabilities_as_far_as_they_go() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.put("/process/capabilities", json!({
        "bounding": ["CAP_KILL", "CAP_SYSLOG"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"],
        "inheritable": ["CAP_SYSLOG"],
    }));
    bundle.idle();
    let sets = [
        "sh",
        "-c",
        "grep -E '^Cap(Prm|Eff|Amb)' /proc/self/status | cut -f2",
    ];
    let of = |cap: &str| {
        bundle
            .call(&[&["exec", "--cap", cap, ID][..], &sets].concat())
            .ok()
    };
    let syslog = of("CAP_SYSLOG");
    assert_eq!(
        syslog.text(),
        "0000000400000020\n0000000400000020\n0000000400000000"
    );
    assert!(
        of("CHOWN")
            .text()
            .ends_with("0000000000000021\n0000000000000000")
    );
    let unknown = of("CAP_NO_SUCH");
    assert!(
        unknown
            .text()
            .ends_with("0000000000000020\n0000000000000000")
    );
    assert!(unknown.err.contains("CAP_NO_SUCH"), "{}", unknown.told());
}

#[test]
fn readings_without_a_limit() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.idle();
    let event = bundle.call(&["events", "--stats", ID]).ok().json();
    let limit = event["data"]["memory"]["usage"]["limit"].as_u64().unwrap();
    if cgroup::unified() {
        assert_eq!(limit, u64::MAX);
    } else {
        assert_eq!(limit, 9_223_372_036_854_771_712);
        let used = &event["data"]["cpu"]["usage"];
        let each = used["percpu"].as_array().unwrap();
        let sum: u64 = each.iter().filter_map(serde_json::Value::as_u64).sum();
        assert!(!each.is_empty() && sum > 0, "{event}");
    }
}

/// Sockets of a service manager, and groups that an engine asks to keep.
#[test]
fn what_the_caller_hands_on() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.script("echo $LISTEN_FDS $LISTEN_PID; cat <&3; id -G");
    fs::write(bundle.dir().join("three"), "three\n").unwrap();
    let command = bundle.command(&["run", "--bundle"]);
    let mut shell = std::process::Command::new("setpriv");
    shell.args(["--groups", "7,8", "sh", "-c", "exec \"$@\" 3<three", "sh"]);
    shell.arg(command.get_program()).args(command.get_args());
    shell.arg(bundle.path()).arg(ID).current_dir(bundle.dir());
    shell.env("LISTEN_FDS", "1");
    bundle.put("/annotations", json!({"run.oci.keep_original_groups": "1"}));
    let said = bundle.spawn(shell, Stdio::null()).finish().ok();
    assert_eq!(said.out, "1 1\nthree\n0 7 8\n", "{}", said.told());
}

#[test]
fn where_the_time_goes_is_told() {
    let Some(bundle) = Bundle::new() else { return };
    let said = bundle
        .call(&[
            "--trace",
            "run",
            "--bundle",
            &bundle.path().to_string_lossy(),
            ID,
        ])
        .ok()
        .err;
    let phases = [
        "arguments read",
        "cgroup made",
        "root changed",
        "started",
        "command over",
    ];
    let lines: Vec<&str> = said.lines().skip(1).collect();
    let places = phases.map(|phase| lines.iter().position(|line| line.ends_with(phase)));
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{said}"
    );
    let times: Vec<u64> = lines
        .iter()
        .map(|line| line.split_whitespace().next().unwrap().parse().unwrap())
        .collect();
    assert!(times.is_sorted(), "{said}");
    bundle.idle();
    let said = bundle.call(&["--trace", "exec", ID, "true"]).ok().err;
    assert!(
        said.contains("container joined, program executed"),
        "{said}"
    );
}
