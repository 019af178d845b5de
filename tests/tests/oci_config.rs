//! What an OCI configuration says of the process and its namespaces, seen from inside.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, Receiver, fails};
use gamut_tests::cgroup;
use gamut_tests::skip::skipped;
use serde_json::json;
use std::fs;
use std::os::fd::AsFd;

/// The lines of `/proc/self/status` with these names.
fn status(names: &str) -> String {
    format!("grep -E '^({names}):' /proc/self/status")
}

#[test]
fn names_limits_and_masks() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.set(|config| {
        config["hostname"] = json!("inside");
        config["domainname"] = json!("example.org");
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_forward": "1", "kernel.msgmax": "4242"});
        config["process"]["rlimits"] = json!([
            {"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200},
            {"type": "RLIMIT_CORE", "soft": 0, "hard": 0},
        ]);
        config["process"]["user"]["umask"] = json!(0o27);
        config["process"]["cwd"] = json!("/made/for/it");
    });
    let said = bundle.inside(
        "hostname; cat /proc/sys/kernel/domainname /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax; \
         ulimit -Sn; ulimit -Hn; ulimit -c; umask; pwd",
    );
    assert_eq!(
        said,
        "inside\nexample.org\n1\n4242\n100\n200\n0\n0027\n/made/for/it"
    );
    bundle.put("/linux/sysctl", json!({"kernel.no_such": "1"}));
    fails(bundle.make("run", &[], ID), &["kernel.no_such", "separate"]);
    bundle.assert_nothing_left();
}

#[test]
fn the_oom_score_is_what_this_host_gives() {
    let Some(bundle) = Bundle::new() else { return };
    let own = fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    let own: i32 = own.trim().parse().unwrap();
    bundle.put("/process/oomScoreAdj", json!(own + 100));
    assert_eq!(
        bundle.inside("cat /proc/self/oom_score_adj"),
        (own + 100).to_string()
    );
    let asked = own - 1;
    bundle.put("/process/oomScoreAdj", json!(asked));
    let run = bundle.run("cat /proc/self/oom_score_adj").ok();
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status
        .lines()
        .find(|line| line.starts_with("CapEff"))
        .unwrap();
    let caps = u64::from_str_radix(line.split_whitespace().last().unwrap(), 16).unwrap();
    // CAP_SYS_RESOURCE is number 24.
    if caps & 1 << 24 != 0 {
        assert_eq!(run.text(), asked.to_string());
    } else {
        assert_eq!(run.text(), own.to_string());
        assert!(
            run.err.contains("warning"),
            "clamped in silence\n{}",
            run.told()
        );
    }
}

/// `additionalGids` and nothing else: /etc/group of the root lists root and www in 777.
#[test]
fn groups_are_exactly_those_listed() {
    let Some(bundle) = Bundle::new() else { return };
    assert_eq!(bundle.inside(&status("Groups")).trim(), "Groups:");
    bundle.put(
        "/process/user",
        json!({"uid": 33, "gid": 34, "additionalGids": [5, 6]}),
    );
    let ids = status("Uid|Gid|Groups");
    assert_eq!(
        bundle.inside(&ids),
        "Uid:\t33\t33\t33\t33\nGid:\t34\t34\t34\t34\nGroups:\t5 6"
    );
    bundle.idle();
    assert_eq!(bundle.exec(&status("Groups")), "Groups:\t5 6");
}

#[test]
fn capabilities_are_exactly_those_listed() {
    let Some(bundle) = Bundle::new() else { return };
    let sets = status("CapInh|CapPrm|CapEff|CapBnd|CapAmb|NoNewPrivs");
    let shown = |numbers: [u64; 5], privileges: u8| {
        let [inh, prm, eff, bnd, amb] = numbers;
        format!(
            "CapInh:\t{inh:016x}\nCapPrm:\t{prm:016x}\nCapEff:\t{eff:016x}\nCapBnd:\t{bnd:016x}\nCapAmb:\t{amb:016x}\nNoNewPrivs:\t{privileges}"
        )
    };
    // A user that is not root: what it is given stays only by the ambient set.
    bundle.set(|config| {
        config["process"]["user"] = json!({"uid": 33, "gid": 33});
        config["process"]["noNewPrivileges"] = json!(true);
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NET_RAW"],
            "permitted": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_KILL"],
            "inheritable": ["CAP_CHOWN"], "ambient": ["CAP_CHOWN"],
        });
    });
    // execve(2) of a plain program: the ambient set becomes the permitted and effective one.
    assert_eq!(bundle.inside(&sets), shown([1, 1, 1, 0x2021, 1], 1));
    bundle.set(|config| {
        config["process"]["user"] = json!({"uid": 0, "gid": 0});
        config["process"]["noNewPrivileges"] = json!(false);
        config["process"]["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL"], "permitted": ["CAP_CHOWN", "CAP_KILL"], "effective": ["CAP_CHOWN", "CAP_KILL"],
        });
    });
    assert_eq!(bundle.inside(&sets), shown([0, 0x21, 0x21, 0x21, 0], 0));
    bundle.set(|config| config["process"]["capabilities"] = json!({}));
    assert_eq!(bundle.inside(&sets), shown([0, 0, 0, 0, 0], 0));
    bundle.set(|config| {
        config["process"]
            .as_object_mut()
            .unwrap()
            .remove("capabilities");
    });
    assert_eq!(
        bundle.inside(&sets),
        shown([0, 0, 0, 0, 0], 0),
        "none listed is none given"
    );
}

#[test]
fn a_user_namespace_with_mappings() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.set(|config| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        config["linux"]["namespaces"]
            .as_array_mut()
            .unwrap()
            .push(json!({"type": "user"}));
    });
    let pid = bundle.idle();
    let owner = std::os::unix::fs::MetadataExt::uid(&fs::metadata(format!("/proc/{pid}")).unwrap());
    assert_eq!(owner, 100_000);
    let said = bundle
        .exec("id -u; id -g; cat /proc/self/uid_map | tr -s ' '; echo x >/dev/null && echo null");
    assert_eq!(said, "0\n0\n 0 100000 65536\nnull");
    let mapped = fs::read_to_string(format!("/proc/{pid}/gid_map")).unwrap();
    assert_eq!(
        mapped.split_whitespace().collect::<Vec<_>>(),
        ["0", "100000", "65536"]
    );
}

#[test]
fn namespaces_are_joined_by_path() {
    let Some(bundle) = Bundle::new() else { return };
    let pid = bundle.idle();
    bundle.set(|config| {
        config["linux"]["cgroupsPath"] = json!(format!("/{}-2", bundle.name()));
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            match namespace["type"].as_str().unwrap() {
                "network" => namespace["path"] = json!(format!("/proc/{pid}/ns/net")),
                "ipc" => namespace["path"] = json!(format!("/proc/{pid}/ns/ipc")),
                "pid" => namespace["path"] = json!(format!("/proc/{pid}/ns/pid")),
                _ => {}
            }
        }
    });
    bundle.script("for n in net ipc uts pid; do readlink /proc/self/ns/$n; done; cat /proc/1/comm");
    let said = bundle.make("run", &[], "second").ok();
    let of = |kind: &str| {
        fs::read_link(format!("/proc/{pid}/ns/{kind}"))
            .unwrap()
            .display()
            .to_string()
    };
    let lines = said.lines();
    assert_eq!(
        (lines[0], lines[1], lines[3]),
        (of("net").as_str(), of("ipc").as_str(), of("pid").as_str())
    );
    assert_ne!(lines[2], of("uts"));
    assert_eq!(lines[4], "sh");
    bundle.set(|config| config["linux"]["namespaces"][1]["path"] = json!("/nosuch"));
    fails(bundle.make("run", &[], "third"), &["/nosuch"]);
    assert_eq!(bundle.status(ID), "running");
}

#[test]
fn clocks_with_offsets() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.set(|config| {
        config["linux"]["namespaces"].as_array_mut().unwrap().push(json!({"type": "time"}));
        config["linux"]["timeOffsets"] = json!({"monotonic": {"secs": 7200, "nanosecs": 5}, "boottime": {"secs": 1_000_000, "nanosecs": 0}});
    });
    bundle.idle();
    let script = "cut -d. -f1 /proc/uptime; readlink /proc/self/ns/time";
    let said = bundle.exec(script);
    let uptime: u64 = said.lines().next().unwrap().parse().unwrap();
    let host: f64 = fs::read_to_string("/proc/uptime")
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .parse()
        .unwrap();
    assert!(
        uptime >= 1_000_000 && uptime <= host as u64 + 1_000_000,
        "{said}"
    );
    let own = fs::read_link("/proc/self/ns/time").unwrap();
    assert_ne!(said.lines().nth(1).unwrap(), own.to_str().unwrap());
}

#[test]
fn system_calls_are_filtered() {
    let Some(bundle) = Bundle::new() else { return };
    let filter = |action: &str| {
        json!({
            "defaultAction": "SCMP_ACT_ALLOW", "architectures": ["SCMP_ARCH_X86_64", "SCMP_ARCH_AARCH64"],
            "syscalls": [{"names": ["mkdir", "mkdirat"], "action": action, "errnoRet": 38}],
        })
    };
    bundle.put("/linux/seccomp", filter("SCMP_ACT_ERRNO"));
    let run = bundle
        .run("grep Seccomp: /proc/self/status; mkdir /tmp/x")
        .code(1);
    assert!(
        run.out.contains("Seccomp:\t2") && run.err.contains("not implemented"),
        "{}",
        run.told()
    );
    bundle.idle();
    fails(
        bundle.call(&["exec", ID, "mkdir", "/tmp/x"]),
        &["not implemented"],
    );
    bundle.delete(ID);
    let mut wrong = filter("SCMP_ACT_NONSENSE");
    wrong["syscalls"][0]["errnoRet"] = json!(null);
    bundle.put("/linux/seccomp", wrong);
    fails(bundle.make("create", &[], ID), &["SCMP_ACT_NONSENSE"]);
    bundle.assert_nothing_left();
}

/// Whoever supervises gets the listener with the state, and nothing runs before.
#[test]
fn a_supervisor_gets_the_listener() {
    let Some(bundle) = Bundle::new() else { return };
    let socket = Receiver::new(&bundle.dir().join("agent"));
    bundle.put("/linux/seccomp", json!({
        "defaultAction": "SCMP_ACT_ALLOW", "listenerPath": socket.path, "listenerMetadata": "mine",
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_NOTIFY"}],
    }));
    bundle.script("echo begun >/begun; mkdir /tmp/x; echo code $? >/done");
    bundle.make("run", &["--detach"], ID).ok();
    let (state, listener) = socket.receive();
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(
        (&state["metadata"], &state["state"]["id"]),
        (&json!("mine"), &json!(ID)),
        "{state}"
    );
    assert_eq!(state["pid"], bundle.pid(ID), "{state}");
    assert_eq!(state["fds"], json!(["seccompFd"]), "{state}");
    // A call that asks makes it readable; nobody answers, and the caller waits.
    let mut asked = [rustix::event::PollFd::new(
        &listener,
        rustix::event::PollFlags::IN,
    )];
    let patience = rustix::event::Timespec {
        tv_sec: 30,
        tv_nsec: 0,
    };
    assert_eq!(rustix::event::poll(&mut asked, Some(&patience)).unwrap(), 1);
    assert!(bundle.rootfs().join("begun").exists() && !bundle.rootfs().join("done").exists());
    let link = fs::read_link(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&listener.as_fd())
    ))
    .unwrap();
    assert!(
        link.to_string_lossy().contains("seccomp notify"),
        "{}",
        link.display()
    );
    bundle.delete(ID);
    bundle.put("/linux/seccomp/listenerPath", json!("/nosuch"));
    fails(bundle.make("run", &[], ID), &["/nosuch"]);
    bundle.assert_nothing_left();
}

/// Runtime specification, "Cgroup ownership".
#[test]
fn a_group_that_may_be_written_is_the_users() {
    let Some(bundle) = Bundle::new() else { return };
    if !cgroup::unified() {
        skipped("groups of cgroup version 1 are nobody's to give away");
        return;
    }
    bundle.set(|config| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
    });
    let mounted = |options: &[&str]| {
        let options = json!(options);
        bundle.set(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/sys/fs/cgroup");
            mounts.push(json!({"destination": "/sys/fs/cgroup", "type": "cgroup",
                "source": "cgroup", "options": options}));
        });
    };
    mounted(&["nosuid", "noexec", "nodev"]);
    let said = bundle.inside(
        "cd /sys/fs/cgroup; stat -c %u . cgroup.procs cgroup.subtree_control pids.max; \
         mkdir own && echo $$ >own/cgroup.procs && cat /proc/self/cgroup; echo 5 >pids.max || echo no",
    );
    assert_eq!(said, "0\n0\n0\n65534\n0::/own\nno");
    // Who has left the group, so as to share its controllers out, is joined where it went.
    bundle.script(
        "cd /sys/fs/cgroup; mkdir own && echo $$ >own/cgroup.procs && echo +pids >cgroup.subtree_control; \
         trap 'exit 0' TERM; while :; do sleep 3600 & wait $!; done",
    );
    bundle.make("run", &["--detach"], ID).ok();
    let pid = bundle.pid(ID);
    gamut_tests::patience::until("it has left and shared its controllers out", || {
        let group = cgroup::directory(pid, "pids");
        let shared = fs::read_to_string(group.join("../cgroup.subtree_control"));
        group.ends_with("own") && shared.is_ok_and(|names| names.contains("pids"))
    });
    assert_eq!(bundle.exec("cat /proc/self/cgroup"), "0::/own");
    bundle.delete(ID);
    bundle.put("/process/user", json!({"uid": 7, "gid": 7}));
    let user = bundle.inside("cd /sys/fs/cgroup; stat -c %u . cgroup.procs");
    assert_eq!(user, "7\n7");
    mounted(&["nosuid", "noexec", "nodev", "ro"]);
    let user = bundle.inside("cd /sys/fs/cgroup; stat -c %u . cgroup.procs");
    assert_eq!(user, "65534\n65534");
}
