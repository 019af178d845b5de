//! Hooks of an OCI container: when, where and with what each is run, and what a failing one ends.
//! Runtime specification, "POSIX-platform Hooks" and "Lifecycle".

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, fails};
use serde_json::{Value, json};
use std::fs;
use std::path::Path;

const STAGES: [&str; 6] = [
    "prestart",
    "createRuntime",
    "createContainer",
    "startContainer",
    "poststart",
    "poststop",
];

fn hook(script: &str) -> Value {
    json!([{"path": "/bin/sh", "args": ["sh", "-c", script], "env": ["PATH=/bin:/usr/bin", "SAID=by the hook"]}])
}

/// Each stage writes its state, its namespaces and its turn to a directory: the host's, but for
/// startContainer, which has only the container's.
fn tell_everything(bundle: &Bundle) {
    let host = bundle.rootfs().join("told");
    fs::create_dir(&host).unwrap();
    let mut hooks = json!({});
    for stage in STAGES {
        let dir = match stage {
            "startContainer" => Path::new("/told"),
            _ => host.as_path(),
        };
        let dir = dir.display();
        let script = format!(
            "cat >{dir}/{stage}.json; for n in mnt pid net; do readlink /proc/self/ns/$n; done >{dir}/{stage}.ns; \
             echo $SAID >{dir}/{stage}.env; echo {stage} >>{dir}/order"
        );
        hooks[stage] = hook(&script);
    }
    bundle.put("/hooks", hooks);
}

#[test]
fn hooks_run_in_order_where_they_belong() {
    let Some(bundle) = Bundle::new() else { return };
    tell_everything(&bundle);
    let read = |name: &str| {
        fs::read_to_string(bundle.rootfs().join("told").join(name)).unwrap_or_default()
    };
    bundle.script("echo program >>/told/order; sleep 3600");
    bundle.put("/annotations", json!({"a": "b"}));
    bundle.make("create", &[], ID).ok();
    assert_eq!(read("order"), "prestart\ncreateRuntime\ncreateContainer\n");
    let pid = bundle.pid(ID);
    let of = |who: &str| {
        ["mnt", "pid", "net"].map(|kind| {
            fs::read_link(format!("/proc/{who}/ns/{kind}"))
                .unwrap()
                .display()
                .to_string()
        })
    };
    let (host, inside) = (of("thread-self"), of(&pid.to_string()));
    bundle.call(&["start", ID]).ok();
    gamut_tests::patience::until("the program runs", || read("order").contains("program"));
    let order = read("order").replace("program\n", "");
    assert_eq!(
        order,
        "prestart\ncreateRuntime\ncreateContainer\nstartContainer\npoststart\n"
    );
    assert!(!read("order").starts_with("program"));
    bundle.delete(ID);
    assert!(read("order").ends_with("poststop\n"));
    for stage in STAGES {
        let state: Value = serde_json::from_str(&read(&format!("{stage}.json"))).expect(stage);
        let status = match stage {
            "prestart" | "createRuntime" | "createContainer" => "creating",
            "startContainer" => "created",
            "poststart" => "running",
            _ => "stopped",
        };
        assert_eq!(state["status"], status, "{stage}: {state}");
        // "As seen by the container" in its namespaces; a container's first process is 1 there.
        let expected = match stage {
            "poststop" => 0,
            "createContainer" | "startContainer" => 1,
            _ => pid,
        };
        assert_eq!(
            state["pid"].as_i64().unwrap_or(0),
            i64::from(expected),
            "{stage}: {state}"
        );
        assert_eq!(state["id"], ID, "{stage}");
        assert_eq!(state["bundle"], bundle.path().to_str().unwrap(), "{stage}");
        assert_eq!(state["annotations"]["a"], "b", "{stage}");
        assert_eq!(read(&format!("{stage}.env")), "by the hook\n", "{stage}");
        let names = read(&format!("{stage}.ns"));
        let names: Vec<&str> = names.lines().collect();
        match stage {
            "createContainer" | "startContainer" => assert_eq!(names, inside, "{stage}"),
            _ => assert_eq!(names, host, "{stage}"),
        }
    }
    bundle.assert_nothing_left();
}

#[test]
fn a_failing_hook_ends_the_creation() {
    let Some(bundle) = Bundle::new() else { return };
    let marker = bundle.dir().join("stopped");
    for stage in ["prestart", "createRuntime", "createContainer"] {
        let undone = hook(&format!("echo x >{}", marker.display()));
        bundle.put("/hooks", json!({stage: hook("exit 3"), "poststop": undone}));
        bundle.script("echo never");
        fails(
            bundle.make("create", &[], ID),
            &[stage, "/bin/sh", "status 3"],
        );
        bundle.assert_nothing_left();
    }
    bundle.put("/hooks", json!({"createRuntime": hook("kill -9 $$")}));
    fails(bundle.make("run", &[], ID), &["createRuntime", "signal 9"]);
    bundle.put("/hooks", json!({"createRuntime": [{"path": "/nosuch"}]}));
    fails(bundle.make("run", &[], ID), &["createRuntime", "/nosuch"]);
    bundle.assert_nothing_left();
    // Inside, before the program.
    bundle.put("/hooks", json!({"startContainer": hook("exit 4")}));
    let run = fails(bundle.make("run", &[], ID), &["startContainer", "status 4"]);
    assert!(!run.out.contains("never"), "{}", run.told());
    bundle.assert_nothing_left();
}

#[test]
fn a_hook_that_takes_too_long_is_killed() {
    let Some(bundle) = Bundle::new() else { return };
    let pid = bundle.dir().join("hook-pid");
    let mut slow = hook(&format!("echo $$ >{}; exec sleep 3600", pid.display()));
    slow[0]["timeout"] = json!(1);
    bundle.put("/hooks", json!({"createRuntime": slow}));
    bundle.script("echo never");
    fails(bundle.make("create", &[], ID), &["createRuntime", "1 s"]);
    let pid = fs::read_to_string(pid).unwrap();
    assert!(
        !Path::new("/proc").join(pid.trim()).exists(),
        "the hook lives on"
    );
    bundle.assert_nothing_left();
}

#[test]
fn a_failing_poststop_hook_only_warns() {
    let Some(bundle) = Bundle::new() else { return };
    let marker = bundle.dir().join("second");
    let mut both = hook("exit 5");
    both.as_array_mut().unwrap().extend(
        hook(&format!("echo x >{}", marker.display()))
            .as_array()
            .unwrap()
            .clone(),
    );
    bundle.put("/hooks", json!({"poststop": both}));
    bundle.script("sleep 3600");
    bundle.make("run", &["--detach"], ID).ok();
    let deleted = bundle.call(&["delete", "--force", ID]).ok();
    assert!(
        deleted.err.contains("poststop") && deleted.err.contains("status 5"),
        "{}",
        deleted.told()
    );
    assert!(marker.exists(), "the hooks after it were not run");
    bundle.assert_nothing_left();
}

/// Those of the creation begin in the bundle and in the root, and find the root at its place on the host
/// when they enter the container's namespaces: that is how drivers put their libraries there.
#[test]
fn hooks_of_the_creation_can_mount_into_the_root() {
    let Some(bundle) = Bundle::new() else { return };
    let root = bundle.rootfs();
    for name in ["from-host", "from-inside"] {
        fs::write(bundle.path().join(name), format!("{name}\n")).unwrap();
        fs::write(root.join(name), "").unwrap();
    }
    let (outside, inside) = (
        bundle.path().display().to_string(),
        root.display().to_string(),
    );
    let entered = format!(
        "pwd >{outside}/where; pid=$(sed 's/.*\"pid\":\\([0-9]*\\).*/\\1/'); \
         nsenter -m -t $pid mount --bind {outside}/from-host {inside}/from-host"
    );
    let joined = format!("pwd >>{outside}/where; mount --bind {outside}/from-inside ./from-inside");
    bundle.put(
        "/hooks",
        json!({"createRuntime": hook(&entered), "createContainer": hook(&joined)}),
    );
    assert_eq!(
        bundle.inside("cat /from-host /from-inside"),
        "from-host\nfrom-inside"
    );
    let places = fs::read_to_string(bundle.path().join("where")).unwrap();
    assert_eq!(places, format!("{outside}\n{inside}\n"));
    // Nothing of it on the host.
    assert_eq!(fs::read_to_string(root.join("from-host")).unwrap(), "");
}

/// startContainer hooks are run as the program would be: its user, its capabilities, its variables, its
/// groups, and its filter.
#[test]
fn a_hook_of_the_start_is_as_its_program() {
    let Some(bundle) = Bundle::new() else { return };
    let told = bundle.rootfs().join("told");
    fs::create_dir(&told).unwrap();
    std::os::unix::fs::chown(&told, Some(33), Some(44)).unwrap();
    let script = "{ id -u; id -g; grep -E '^Cap(Eff|Bnd)' /proc/self/status; echo $WHO $HOME; cat /proc/self/cgroup; } >/told/hook";
    bundle.set(|config| {
        config["process"]["user"] = json!({"uid": 33, "gid": 44});
        config["process"]["env"] = json!(["PATH=/bin", "WHO=program"]);
        config["hooks"] =
            json!({"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]});
    });
    bundle
        .run(&script.replace("/told/hook", "/told/program"))
        .ok();
    let read = |name: &str| fs::read_to_string(told.join(name)).unwrap();
    assert_eq!(read("hook"), read("program"));
    assert!(
        read("hook").contains("\nprogram /var/www\n"),
        "{}",
        read("hook")
    );
    bundle.set(|config| {
        config["linux"]["seccomp"] = json!({
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_KILL_PROCESS"}],
        });
        config["process"]["rlimits"] = json!([{"type": "RLIMIT_CORE", "soft": 0, "hard": 0}]);
        config["hooks"]["startContainer"] =
            json!([{"path": "/bin/mkdir", "args": ["mkdir", "/told/x"]}]);
    });
    fails(
        bundle.make("run", &[], ID),
        &["startContainer", "bad system call"],
    );
    assert!(!told.join("x").exists());
    bundle.assert_nothing_left();
}
