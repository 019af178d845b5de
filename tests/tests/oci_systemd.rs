//! `gamut oci --systemd-cgroup`: a container's control group is a scope of systemd, as systemd itself
//! tells and as the files say.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, fails};
use gamut_tests::cgroup;
use gamut_tests::host::program;
use gamut_tests::outcome::Outcome;
use gamut_tests::skip::skipped;
use serde_json::json;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

/// A bundle for a scope in `lab-test.slice`. `None`: systemd is not here; it has been said.
fn bundle() -> Option<Bundle> {
    if !Path::new("/run/systemd/system").is_dir() {
        skipped("systemd is not the first process here: lab/vm run --systemd");
        return None;
    }
    let bundle = Bundle::new()?;
    let path = format!("lab-test.slice:t:{}", bundle.name());
    bundle.put("/linux/cgroupsPath", json!(path));
    Some(bundle)
}

fn unit(bundle: &Bundle) -> String {
    format!("t-{}.scope", bundle.name())
}

/// The group's directory; on a hybrid host that of its memory.
fn group(bundle: &Bundle) -> PathBuf {
    let top = match cgroup::unified() {
        true => "/sys/fs/cgroup",
        false => "/sys/fs/cgroup/memory",
    };
    let slices = "lab.slice/lab-test.slice";
    Path::new(top).join(slices).join(unit(bundle))
}

/// What systemd says of a unit.
fn told(unit: &str, property: &str) -> String {
    let words = ["show", "--value", "--property", property, unit];
    program("systemctl", &words).trim().to_owned()
}

fn file(bundle: &Bundle, name: &str) -> String {
    let path = group(bundle).join(name);
    let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path:?}: {error}"));
    text.trim().to_owned()
}

/// `gamut oci --systemd-cgroup VERB FLAGS --bundle … ID`.
#[track_caller]
fn make(bundle: &Bundle, verb: &str, flags: &[&str], id: &str) -> Outcome {
    let path = bundle.path().to_string_lossy().into_owned();
    let words = ["--systemd-cgroup", verb, "--bundle", &path];
    bundle.call(&[&words, flags, &[id]].concat())
}

/// A container that waits for its end.
#[track_caller]
fn idle(bundle: &Bundle) -> i32 {
    bundle.script("trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done");
    make(bundle, "run", &["--detach"], ID).ok();
    bundle.pid(ID)
}

/// Neither loaded, nor failed, nor a group of its own.
#[track_caller]
fn assert_gone(bundle: &Bundle) {
    assert_eq!(told(&unit(bundle), "ActiveState"), "inactive");
    assert_eq!(told(&unit(bundle), "LoadState"), "not-found");
    assert!(!group(bundle).exists());
}

#[test]
fn without_systemd_it_is_said() {
    if Path::new("/run/systemd/system").is_dir() {
        skipped("systemd is the first process here");
        return;
    }
    let Some(bundle) = Bundle::new() else { return };
    bundle.put("/linux/cgroupsPath", json!("system.slice:t:x"));
    let words = [
        "systemd does not run this host",
        "hint: ",
        "cgroupfs driver",
    ];
    fails(make(&bundle, "run", &[], ID), &words);
    bundle.assert_nothing_left();
}

#[test]
fn a_container_is_a_scope() {
    let Some(bundle) = bundle() else { return };
    let pid = idle(&bundle);
    let unit = unit(&bundle);
    assert_eq!(told(&unit, "ActiveState"), "active");
    assert_eq!(told(&unit, "Slice"), "lab-test.slice");
    assert_eq!(told(&unit, "Delegate"), "yes");
    assert_eq!(told(&unit, "Transient"), "yes");
    let path = format!("/lab.slice/lab-test.slice/{unit}");
    assert_eq!(told(&unit, "ControlGroup"), path);
    for accounting in ["MemoryAccounting", "CPUAccounting", "TasksAccounting"] {
        assert_eq!(told(&unit, accounting), "yes", "{accounting}");
    }
    // In every hierarchy with limits, those that systemd knows nothing of included.
    for controller in ["memory", "pids", "devices", "freezer", "cpuset"] {
        let group = cgroup::directory(pid, controller);
        assert!(group.ends_with(&path[1..]), "{controller}: {group:?}");
    }
    // What is added goes there, too, and sees it as the root.
    let inside = bundle.exec("cat /proc/self/cgroup");
    assert!(inside.lines().all(|line| line.ends_with(":/")), "{inside}");
    let listed = bundle.call(&["ps", "--format", "json", ID]).ok().json();
    assert!(listed.as_array().unwrap().contains(&json!(pid)), "{listed}");
    bundle.call(&["pause", ID]).ok();
    assert_eq!(bundle.status(ID), "paused");
    bundle.call(&["resume", ID]).ok();
    assert_eq!(
        bundle.call(&["events", "--stats", ID]).ok().json()["id"],
        ID
    );
    bundle.call(&["kill", ID, "KILL"]).ok();
    bundle.until(ID, "stopped");
    bundle.call(&["delete", ID]).ok();
    assert_gone(&bundle);
}

#[test]
fn limits_are_properties_and_files() {
    let Some(bundle) = bundle() else { return };
    bundle.set(|config| {
        let resources = &mut config["linux"]["resources"];
        resources["memory"] = json!({"limit": 64 << 20, "reservation": 32 << 20});
        resources["cpu"] = json!({"shares": 2048, "quota": 5000, "period": 10_000, "cpus": "0"});
        resources["pids"] = json!({"limit": 33});
    });
    idle(&bundle);
    let unit = unit(&bundle);
    let v2 = cgroup::unified();
    let limit = (64 << 20).to_string();
    assert_eq!(told(&unit, "TasksMax"), "33");
    assert_eq!(told(&unit, "CPUQuotaPerSecUSec"), "500ms");
    if v2 {
        assert_eq!(told(&unit, "MemoryMax"), limit);
        assert_eq!(told(&unit, "MemoryLow"), (32 << 20).to_string());
        assert_eq!(told(&unit, "AllowedCPUs"), "0");
        assert_ne!(told(&unit, "CPUWeight"), "[not set]");
        assert_eq!(file(&bundle, "memory.max"), limit);
        assert_eq!(file(&bundle, "cpu.max"), "5000 10000");
        assert_eq!(file(&bundle, "cpuset.cpus"), "0");
        assert_eq!(bundle.exec("cat /sys/fs/cgroup/memory.max"), limit);
    } else {
        assert_eq!(told(&unit, "MemoryLimit"), limit);
        assert_eq!(told(&unit, "CPUShares"), "2048");
        assert_eq!(file(&bundle, "memory.limit_in_bytes"), limit);
    }
    let update = [
        "update",
        "--memory",
        "96m",
        "--pids-limit",
        "44",
        "--cpu-quota",
        "2500",
        ID,
    ];
    bundle.call(&update).ok();
    let limit = (96 << 20).to_string();
    let (property, name) = match v2 {
        true => ("MemoryMax", "memory.max"),
        false => ("MemoryLimit", "memory.limit_in_bytes"),
    };
    // systemd sets what it knows once more when it reads its units again.
    for _ in 0..2 {
        assert_eq!(told(&unit, property), limit);
        assert_eq!(told(&unit, "TasksMax"), "44");
        assert_eq!(told(&unit, "CPUQuotaPerSecUSec"), "250ms");
        assert_eq!(file(&bundle, name), limit);
        if v2 {
            assert_eq!(file(&bundle, "cpu.max"), "2500 10000");
            assert_eq!(file(&bundle, "pids.max"), "44");
        }
        program("systemctl", &["daemon-reload"]);
    }
    bundle.delete(ID);
    assert_gone(&bundle);
}

#[test]
fn devices_stay_closed_when_systemd_reads_its_units_again() {
    let Some(bundle) = bundle() else { return };
    bundle.capabilities(&["CAP_MKNOD"]);
    idle(&bundle);
    for _ in 0..2 {
        let tried = "mknod /tmp/n b 254 0; echo made; dd if=/tmp/n of=/dev/null count=1 2>&1 | tail -n 1; rm /tmp/n; \
                     echo a >/dev/null && head -c 1 /dev/zero | wc -c";
        let said = bundle.exec(tried);
        assert!(
            said.contains("made") && said.contains("not permitted"),
            "{said}"
        );
        assert!(said.ends_with('1'), "{said}");
        program("systemctl", &["daemon-reload"]);
    }
    assert_eq!(told(&unit(&bundle), "DevicePolicy"), "strict");
}

#[test]
fn annotations_are_properties() {
    let Some(bundle) = bundle() else { return };
    bundle.put(
        "/annotations",
        json!({
            "org.systemd.property.TimeoutStopUSec": "uint64 123000000",
            "org.systemd.property.CollectMode": "'inactive-or-failed'",
            "org.systemd.property.Description": "'a test'",
            "org.example": "not for systemd",
        }),
    );
    idle(&bundle);
    let unit = unit(&bundle);
    assert_eq!(told(&unit, "TimeoutStopUSec"), "2min 3s");
    assert_eq!(told(&unit, "CollectMode"), "inactive-or-failed");
    assert_eq!(told(&unit, "Description"), "a test");
    bundle.delete(ID);
    for (name, value, words) in [
        (
            "CollectMode",
            "inactive-or-failed",
            "hint: it is in GVariant's text form",
        ),
        ("No-Name", "1", "letters"),
        ("NoSuchProperty", "1", "NoSuchProperty"),
    ] {
        let name = format!("org.systemd.property.{name}");
        bundle.put("/annotations", json!({ name: value }));
        fails(make(&bundle, "run", &[], ID), &[words]);
        assert_gone(&bundle);
    }
}

#[test]
fn a_path_is_slice_prefix_and_name() {
    let Some(bundle) = bundle() else { return };
    bundle.put("/linux/cgroupsPath", json!(format!(":x:{}", bundle.name())));
    bundle.script("exit 7");
    let own = format!("x-{}.scope", bundle.name());
    bundle.script("trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done");
    make(&bundle, "create", &[], ID).ok();
    assert_eq!(told(&own, "Slice"), "system.slice");
    bundle.delete(ID);
    let id = format!("{}-by-id", bundle.name());
    bundle.put("/linux/cgroupsPath", json!(""));
    make(&bundle, "create", &[], &id).ok();
    assert_eq!(told(&format!("gamut-{id}.scope"), "Slice"), "system.slice");
    bundle.delete(&id);
    for (path, words) in [
        ("/a/b", "slice:prefix:name"),
        ("a:b", "slice:prefix:name"),
        ("a.slice:b:../../c", "slice:prefix:name"),
        ("a:b:c", "slice"),
        ("a/b.slice:c:d", "slice"),
    ] {
        bundle.put("/linux/cgroupsPath", json!(path));
        fails(make(&bundle, "run", &[], ID), &[words]);
    }
    bundle.assert_nothing_left();
}

#[test]
fn a_scope_in_use_is_left_alone() {
    let Some(bundle) = bundle() else { return };
    let pid = idle(&bundle);
    fails(make(&bundle, "run", &[], "second"), &[]);
    assert_eq!(told(&unit(&bundle), "ActiveState"), "active");
    assert_eq!(bundle.status(ID), "running");
    assert_eq!(bundle.pid(ID), pid);
}

#[test]
fn the_end_of_a_program_is_the_end_of_its_scope() {
    let Some(bundle) = bundle() else { return };
    bundle.script("cat /proc/self/cgroup >/dev/null; exit 7");
    make(&bundle, "run", &[], ID).code(7);
    assert_gone(&bundle);
    bundle.put("/process/args", json!(["/no/such/program"]));
    fails(make(&bundle, "run", &[], ID), &["/no/such/program"]);
    assert_gone(&bundle);
}

#[test]
fn a_scope_that_systemd_stopped_is_deleted_all_the_same() {
    let Some(bundle) = bundle() else { return };
    idle(&bundle);
    program("systemctl", &["stop", &unit(&bundle)]);
    bundle.until(ID, "stopped");
    bundle.call(&["delete", ID]).ok();
    bundle.call(&["delete", "--force", ID]).ok();
    assert_gone(&bundle);
}

#[test]
fn a_unit_that_failed_makes_place() {
    let Some(bundle) = bundle() else { return };
    let unit = unit(&bundle);
    let killed = Command::new("systemd-run")
        .args([
            "--scope",
            "--slice=lab-test.slice",
            "-p",
            "RuntimeMaxSec=1",
            "--unit",
            &unit,
        ])
        .args(["sleep", "1000"])
        .stderr(Stdio::null())
        .status();
    assert!(killed.is_ok_and(|status| !status.success()));
    gamut_tests::patience::until("the scope has failed", || {
        told(&unit, "ActiveState") == "failed"
    });
    bundle.script("echo here");
    let said = make(&bundle, "run", &[], ID).ok();
    assert_eq!(said.text(), "here");
    assert_gone(&bundle);
}

#[test]
fn whenever_its_maker_dies_delete_clears_up() {
    let Some(bundle) = bundle() else { return };
    bundle.script("sleep 3600");
    let path = bundle.path().to_string_lossy().into_owned();
    // Some of these die before there is a scope, some while it is made, some after it.
    for step in 0..12 {
        let words = ["--systemd-cgroup", "create", "--bundle", &path, ID];
        let mut maker = bundle.spawn(bundle.command(&words), Stdio::null());
        std::thread::sleep(Duration::from_millis(step * 16));
        let _ = maker.child.kill();
        let _ = maker.child.wait();
        bundle.call(&["delete", "--force", ID]).ok();
        assert_gone(&bundle);
        bundle.assert_nothing_left();
    }
    // While its hooks run the scope is there for certain.
    let waiting = bundle.dir().join("waiting");
    bundle.put(
        "/hooks",
        json!({"createRuntime": [{
            "path": "/bin/sh",
            "args": ["sh", "-c", format!("touch {}; sleep 3600", waiting.display())],
        }]}),
    );
    let words = ["--systemd-cgroup", "create", "--bundle", &path, ID];
    let mut maker = bundle.spawn(bundle.command(&words), Stdio::null());
    gamut_tests::patience::until("the hook runs", || waiting.exists());
    assert_eq!(told(&unit(&bundle), "ActiveState"), "active");
    let _ = maker.child.kill();
    let _ = maker.child.wait();
    bundle.call(&["delete", "--force", ID]).ok();
    assert_gone(&bundle);
}
