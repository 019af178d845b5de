//! What of the specification needs more than one line to be shown.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, fails};
use gamut_tests::cgroup;
use serde_json::{Value, json};
use std::fs;

/// Schedulers with a priority or a deadline need the host's leave, and time of the group's; both are said.
#[test]
fn real_time_where_the_host_has_any() {
    let Some(bundle) = Bundle::new() else { return };
    let policy = "cut -d' ' -f40,41 /proc/self/stat";
    let fifo = json!({"policy": "SCHED_FIFO", "priority": 3});
    let deadline = json!({
        "policy": "SCHED_DEADLINE", "runtime": 1_000_000, "deadline": 10_000_000, "period": 10_000_000,
    });
    for (scheduler, shown) in [(fifo, "3 1"), (deadline, "0 6")] {
        bundle.put("/process/scheduler", scheduler);
        let said = bundle.run(policy);
        if said.code == 0 {
            assert_eq!(said.text(), shown);
        } else {
            fails(said, &["scheduler", "not permitted"]);
        }
    }
    bundle.put("/process/scheduler", Value::Null);
    let time = json!({"cpu": {"realtimeRuntime": 1000, "realtimePeriod": 1_000_000}});
    bundle.put("/linux/resources", time);
    bundle.script("sleep 3600");
    let made = bundle.make("create", &[], ID);
    if made.code == 0 && cgroup::has("cpu", "cpu.rt_runtime_us", "cpu.rt_runtime_us") {
        let read = |file| cgroup::read(bundle.pid(ID), "cpu", file, file);
        assert_eq!(
            (read("cpu.rt_runtime_us"), read("cpu.rt_period_us")),
            ("1000".into(), "1000000".into())
        );
    } else if made.code == 0 {
        assert!(made.err.contains("warning"), "{}", made.told());
    } else {
        fails(made, &["real", "time"]);
    }
}

#[test]
fn an_added_process_runs_where_it_is_told() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.idle();
    let file = bundle.dir().join("process.json");
    let shown = |affinity: Value| {
        let process = json!({
            "args": ["grep", "Cpus_allowed_list", "/proc/self/status"], "cwd": "/", "execCPUAffinity": affinity,
        });
        fs::write(&file, process.to_string()).unwrap();
        let said = bundle.call(&["exec", "--process", file.to_str().unwrap(), ID]);
        said.ok()
            .text()
            .trim_start_matches("Cpus_allowed_list:\t")
            .to_owned()
    };
    assert_eq!(shown(json!({"initial": "0", "final": "0"})), "0");
    assert_eq!(shown(json!({"final": "0"})), "0");
}

#[test]
fn calls_that_are_filtered_by_what_they_are_given() {
    let Some(bundle) = Bundle::new() else { return };
    // kill(pid, 0) is one thing, kill(pid, 9) another; and what is masked counts alone.
    bundle.put(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [
                {"names": ["kill"], "action": "SCMP_ACT_ERRNO", "errnoRet": 38,
                 "args": [{"index": 1, "value": 0, "op": "SCMP_CMP_EQ"}]},
                {"names": ["mkdir"], "action": "SCMP_ACT_ERRNO", "errnoRet": 122,
                 "args": [{"index": 1, "value": 0o7, "valueTwo": 0o5, "op": "SCMP_CMP_MASKED_EQ"}]},
            ],
        }),
    );
    let said = bundle.inside(
        "kill -0 $$ 2>&1 | grep -o 'not implemented'; sleep 100 & kill -9 $! && echo killed; \
         umask 0; mkdir -m 750 /tmp/fine && echo made",
    );
    assert_eq!(said, "not implemented\nkilled\nmade");
    // What no rule is for is the default's, with its number.
    let allowed = [
        "execve",
        "exit_group",
        "brk",
        "arch_prctl",
        "set_tid_address",
        "set_robust_list",
        "rseq",
        "prlimit64",
        "readlink",
        "readlinkat",
        "getrandom",
        "mprotect",
        "write",
        "getuid",
        "geteuid",
        "getgid",
        "getegid",
        "mmap",
        "munmap",
        "fstat",
        "newfstatat",
        "ioctl",
        "prctl",
        "uname",
        "openat",
        "close",
        "read",
    ];
    bundle.put(
        "/linux/seccomp",
        json!({
            "defaultAction": "SCMP_ACT_ERRNO", "defaultErrnoRet": 122,
            "syscalls": [{"names": allowed, "action": "SCMP_ACT_ALLOW"}],
        }),
    );
    bundle.put("/process/noNewPrivileges", json!(true));
    bundle.put("/process/args", json!(["mkdir", "/tmp/other"]));
    let said = bundle.make("run", &[], ID).code(1);
    assert!(said.err.contains("quota"), "EDQUOT is 122\n{}", said.told());
}

#[test]
fn a_limit_below_what_is_used_is_refused_if_asked() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.idle();
    let file = bundle.dir().join("limits.json");
    fs::write(
        &file,
        r#"{"memory": {"limit": 4096, "checkBeforeUpdate": true}}"#,
    )
    .unwrap();
    fails(
        bundle.call(&["update", "--resources", file.to_str().unwrap(), ID]),
        &["4096"],
    );
    assert_eq!(bundle.status(ID), "running");
}

#[test]
fn marks_of_packets_where_the_host_has_them() {
    let Some(bundle) = Bundle::new() else { return };
    let marks = json!({"classID": 0x10_0001, "priorities": [{"name": "lo", "priority": 5}]});
    bundle.put("/linux/resources", json!({"network": marks}));
    bundle.script("sleep 3600");
    let made = bundle.make("create", &[], ID).ok();
    for (controller, file, value) in [
        ("net_cls", "net_cls.classid", "1048577"),
        ("net_prio", "net_prio.ifpriomap", "lo 5"),
    ] {
        if !cgroup::unified() && cgroup::has(controller, file, file) {
            let found = cgroup::read(bundle.pid(ID), controller, file, file);
            assert!(found.lines().any(|line| line == value), "{file}: {found}");
        } else {
            assert!(
                made.err.contains("warning"),
                "no warning of {controller}\n{}",
                made.told()
            );
        }
    }
}

/// "0 is a valid limit value": nothing can be started beside the first process. Before 1.3 it was written for none.
#[test]
fn no_process_more_is_a_limit() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.put("/linux/resources", json!({"pids": {"limit": 0}}));
    let said = bundle.run("echo first; (echo second) 2>&1; true");
    assert!(
        said.out.starts_with("first\n") && !said.out.contains("second\n"),
        "{}",
        said.told()
    );
    bundle.put("/ociVersion", json!("1.2.1"));
    assert_eq!(
        bundle.inside("echo first; (echo second); true"),
        "first\nsecond"
    );
}

#[test]
fn the_state_is_the_specifications() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.put("/ociVersion", json!("1.0.2"));
    let pid = bundle.idle();
    let state = bundle.state(ID);
    assert_eq!(
        state["ociVersion"], "1.3.0",
        "it is the state's, not the configuration's: {state}"
    );
    assert_eq!((&state["id"], &state["pid"]), (&json!(ID), &json!(pid)));
    assert_eq!(state["bundle"], bundle.path().to_str().unwrap());
    bundle.delete(ID);
    fails(bundle.call(&["state", ID]), &["does not exist"]);
}

#[test]
fn later_changes_of_the_configuration_change_nothing() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.script("hostname >/name; sleep 3600");
    bundle.make("create", &[], ID).ok();
    bundle.put("/hostname", json!("later"));
    bundle.put("/process/args", json!(["false"]));
    bundle.put("/hooks", json!({"poststart": [{"path": "/bin/false"}]}));
    bundle.call(&["start", ID]).ok();
    assert_eq!(bundle.exec("cat /name; hostname"), "gamut\ngamut");
}

/// "If any `poststart` hook fails, the runtime MUST generate an error, stop the container".
#[test]
fn a_failing_poststart_hook_stops_the_container() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.script("sleep 3600");
    bundle.put("/hooks", json!({"poststart": [{"path": "/bin/false"}]}));
    bundle.make("create", &[], ID).ok();
    fails(bundle.call(&["start", ID]), &["poststart", "status 1"]);
    bundle.until(ID, "stopped");
}

/// runtime-linux.md, "Dev symbolic links".
#[test]
fn links_of_dev_are_there() {
    let Some(bundle) = Bundle::new() else { return };
    let said = bundle.inside("for l in fd stdin stdout stderr ptmx; do readlink /dev/$l; done");
    assert_eq!(
        said,
        "/proc/self/fd\n/proc/self/fd/0\n/proc/self/fd/1\n/proc/self/fd/2\npts/ptmx"
    );
}
