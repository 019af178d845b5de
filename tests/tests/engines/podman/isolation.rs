//! podman's ways to share with the host or with another container, and to keep apart from it.

use super::{inside, podman};
use gamut_tests::engine::{namespace, status};

#[test]
fn namespaces_are_shared_as_asked() {
    let Some(podman) = podman("share") else {
        return;
    };
    podman.idle("--pid host --network host --ipc host --uts host --cgroupns host");
    let pid = podman.pid("@");
    for name in ["pid", "net", "ipc", "uts", "cgroup"] {
        let hosts = podman
            .beside(&format!("readlink /proc/self/ns/{name}"))
            .ok();
        assert_eq!(
            namespace(pid, name).to_string_lossy(),
            hosts.text(),
            "{name}"
        );
    }
    podman.says("rm -f -t 0 @");
    podman.idle("--network none --ipc shareable");
    podman.at_end("rm -f -t 0 @-two");
    podman.says("run -d --name @-two --pid container:@ --ipc container:@ --network container:@ localhost/bb sleep 100");
    let (one, two) = (podman.pid("@"), podman.pid("@-two"));
    for name in ["pid", "net", "ipc"] {
        assert_eq!(namespace(one, name), namespace(two, name), "{name}");
    }
    for name in ["mnt", "uts"] {
        assert_ne!(namespace(one, name), namespace(two, name), "{name}");
    }
    assert!(podman.says("exec @-two ps").contains("sleep 100000"));
}

#[test]
fn users_are_mapped() {
    let Some(podman) = podman("users") else {
        return;
    };
    podman.file("given/file", "x");
    podman.idle("--network none --uidmap 0:100000:65536 --gidmap 0:100000:65536 -v /peers/@/given:/given:idmap");
    let pid = podman.pid("@");
    assert_eq!(status(pid, "Uid"), "100000\t100000\t100000\t100000");
    let seen = podman
        .says("exec @ sh -c 'id -u; cat /proc/self/uid_map; ls -ln /given/file; touch /given/new'");
    assert!(
        seen.starts_with("0\n") && seen.contains("100000      65536"),
        "{seen}"
    );
    // The mount maps as well: the host's root is the container's.
    let file = seen.lines().last().unwrap_or_default();
    assert_eq!(file.split_whitespace().nth(2), Some("0"), "{seen}");
    podman
        .beside("ls -ln /peers/@/given/new | cut -d' ' -f3")
        .ok()
        .prints("0");
    podman.at_end("rm -f -t 0 @-two");
    podman.says("run -d --name @-two --network none --userns container:@ localhost/bb sleep 100");
    assert_eq!(
        namespace(podman.pid("@-two"), "user"),
        namespace(pid, "user")
    );
}

#[test]
fn privilege_is_all_or_what_is_asked() {
    let Some(podman) = podman("privileged") else {
        return;
    };
    let devices = inside(&podman, "--network none --privileged", "ls /dev | wc -l");
    let fewer = inside(&podman, "--network none", "ls /dev | wc -l");
    let number = |text: &str| text.parse::<u32>().expect("a number");
    assert!(number(&devices) > number(&fewer), "{devices} {fewer}");
    let script = "mount -t tmpfs none /mnt && echo mounted";
    assert_eq!(
        inside(&podman, "--network none --privileged", script),
        "mounted"
    );
    let masked = "cat /proc/keys | wc -c; echo 1 >/proc/sys/kernel/panic";
    let kept = podman.call(&format!(
        "run --rm --network none localhost/bb sh -c '{masked}'"
    ));
    assert_eq!(kept.code(1).out, "0\n");
    let shown = inside(
        &podman,
        "--network none --security-opt unmask=/proc/acpi --security-opt mask=/etc/passwd",
        "wc -c </etc/passwd",
    );
    assert_eq!(shown, "0");
}

#[test]
fn a_filter_of_ones_own_is_used() {
    let Some(podman) = podman("filter") else {
        return;
    };
    let profile = r#"{"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [
        {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": 52}]}"#;
    podman.file("filter.json", profile);
    let flags = "--network none --security-opt seccomp=/peers/@/filter.json";
    let refused = podman.call(&format!("run --rm {flags} localhost/bb mkdir /tmp/x"));
    let refused = refused.code(1);
    assert!(refused.err.contains("Invalid exchange"), "{}", refused.err);
    let none = "--network none --security-opt seccomp=unconfined";
    let field = inside(&podman, none, "grep ^Seccomp: /proc/self/status");
    assert_eq!(field, "Seccomp:\t0");
}
