//! Namespaces: which are new, which are shared, and what they show.

use gamut_tests::Gamut;

fn host(kind: &str) -> String {
    // The thread's: a test has a network and a mount namespace of its own.
    std::fs::read_link(format!("/proc/thread-self/ns/{kind}"))
        .unwrap()
        .to_string_lossy()
        .into_owned()
}

fn inside(gamut: &Gamut, flags: &[&str], kind: &str) -> String {
    gamut.inside(flags, &format!("readlink /proc/self/ns/{kind}"))
}

#[test]
fn a_container_has_its_own() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&[]);
    let pid = gamut.pid(&id);
    for kind in ["pid", "mnt", "net", "uts", "ipc", "cgroup"] {
        let outside = std::fs::read_link(format!("/proc/{pid}/ns/{kind}"))
            .unwrap()
            .to_string_lossy()
            .into_owned();
        assert_ne!(outside, host(kind), "{kind} is the host's");
        assert_eq!(
            gamut.exec(&id, &format!("readlink /proc/1/ns/{kind}")),
            outside,
            "{kind} inside and outside"
        );
    }
    assert_eq!(
        std::fs::read_link(format!("/proc/{pid}/ns/user"))
            .unwrap()
            .to_string_lossy(),
        host("user")
    );
}

#[test]
fn pid_one_is_the_command_and_sees_only_its_own() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(
        gamut.inside(&[], "echo $$; echo /proc/[0-9]*"),
        "1\n/proc/1"
    );
    assert_eq!(inside(&gamut, &["--pid", "host"], "pid"), host("pid"));
}

#[test]
fn host_namespaces_on_request() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(inside(&gamut, &["--uts", "host"], "uts"), host("uts"));
    assert_eq!(inside(&gamut, &["--ipc", "host"], "ipc"), host("ipc"));
    assert_eq!(
        inside(&gamut, &["--cgroupns", "host"], "cgroup"),
        host("cgroup")
    );
    gamut
        .run(&["--uts", "host", "--hostname", "x"], &["true"])
        .code(125);
}

#[test]
fn another_containers_namespaces() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--name", "first", "--ipc", "shareable"]);
    let of_first = |kind: &str| gamut.exec(&id, &format!("readlink /proc/1/ns/{kind}"));
    assert_eq!(
        inside(&gamut, &["--pid", "container:first"], "pid"),
        of_first("pid")
    );
    assert_eq!(
        inside(&gamut, &["--ipc", "container:first"], "ipc"),
        of_first("ipc")
    );
    gamut
        .run(&["--pid", "container:nobody"], &["true"])
        .refused(125, &["nobody"]);
}

#[test]
fn shared_memory_goes_with_the_ipc_namespace() {
    let Some(gamut) = Gamut::new() else { return };
    let flags = ["--name", "first", "--ipc", "shareable", "--shm-size", "7m"];
    let id = gamut.idle(&flags);
    gamut.exec(&id, "echo theirs > /dev/shm/known");
    let second = ["--ipc", "container:first"];
    let script = "cat /dev/shm/known; df -k /dev/shm | awk 'END { print $2 }'; \
        echo ours > /dev/shm/known; grep ' /dev/shm ' /proc/mounts | cut -d' ' -f3,4 | cut -d, -f1-4";
    assert_eq!(
        gamut.inside(&second, script),
        "theirs\n7168\ntmpfs rw,nosuid,nodev,noexec"
    );
    assert_eq!(gamut.exec(&id, "cat /dev/shm/known"), "ours");
    // Where the user mounts something, that is there.
    let own = ["--ipc", "container:first", "--tmpfs", "/dev/shm"];
    assert_eq!(gamut.inside(&own, "ls /dev/shm"), "");
    // Of one that has none there is nothing to be had.
    gamut.idle(&["--name", "bare", "--ipc", "none"]);
    gamut
        .run(&["--ipc", "container:bare"], &["true"])
        .refused(125, &["/dev/shm"]);
}

#[test]
fn namespaces_of_others_by_their_paths() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--hostname", "lender"]);
    let pid = gamut.inspect(&id)["State"]["Pid"].to_string();
    for (flag, kind) in [
        ("--pid", "pid"),
        ("--ipc", "ipc"),
        ("--uts", "uts"),
        ("--cgroupns", "cgroup"),
    ] {
        let path = format!("/proc/{pid}/ns/{kind}");
        let theirs = std::fs::read_link(&path).unwrap();
        let mode = format!("ns:{path}");
        assert_eq!(
            inside(&gamut, &[flag, &mode], kind),
            theirs.to_string_lossy(),
            "{flag}"
        );
        gamut
            .run(&[flag, "ns:/nowhere"], &["true"])
            .refused(125, &["/nowhere"])
            .hinted();
        gamut
            .run(&[flag, "ns:nowhere"], &["true"])
            .refused(125, &["ns:nowhere"])
            .hinted();
    }
    let uts = format!("ns:/proc/{pid}/ns/uts");
    assert_eq!(gamut.inside(&["--uts", &uts], "hostname"), "lender");
    gamut
        .run(&["--uts", &uts, "--hostname", "x"], &["true"])
        .refused(125, &["host name"]);
    let pids = format!("ns:/proc/{pid}/ns/pid");
    let guest = gamut.idle(&["--pid", &pids]);
    assert_eq!(gamut.inspect(&guest)["HostConfig"]["PidMode"], *pids);
    // An exec is beside them both, and a stop ends its own only.
    let seen = gamut.exec(&guest, "cat /proc/[0-9]*/comm | grep -c sleep");
    assert_eq!(seen, "2");
    gamut.call(&["stop", "-t", "1", &guest]).ok();
    assert_eq!(gamut.inspect(&id)["State"]["Running"], true);
}

#[test]
fn the_host_name_is_the_short_id_or_the_one_given() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&[]);
    assert_eq!(
        gamut.exec(&id, "hostname; cat /etc/hostname"),
        format!("{0}\n{0}", &id[..12])
    );
    assert_eq!(
        gamut.inside(
            &["--hostname", "box", "--domainname", "lab.example"],
            "hostname; cat /proc/sys/kernel/domainname"
        ),
        "box\nlab.example"
    );
    let before = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    gamut.inside(&["--cap-add", "SYS_ADMIN"], "hostname changed; hostname");
    assert_eq!(
        std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap(),
        before
    );
}

#[test]
fn the_control_group_looks_like_the_root() {
    let Some(gamut) = Gamut::new() else { return };
    let lines = gamut.inside(&[], "cat /proc/self/cgroup");
    for line in lines.lines() {
        assert_eq!(line.splitn(3, ':').nth(2), Some("/"), "{line}");
    }
    let listed = gamut.inside(&[], "grep cgroup /proc/mounts");
    assert!(
        !listed.is_empty()
            && listed
                .lines()
                .all(|line| line.contains(" ro,") || line.starts_with("tmpfs")),
        "writable from inside:\n{listed}"
    );
}

#[test]
fn a_user_namespace_maps_root_to_nobody_special() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--userns", "auto"]);
    let pid = gamut.pid(&id);
    assert_ne!(
        std::fs::read_link(format!("/proc/{pid}/ns/user"))
            .unwrap()
            .to_string_lossy(),
        host("user")
    );
    assert_eq!(gamut.exec(&id, "id -u"), "0");
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let uid = status
        .lines()
        .find(|line| line.starts_with("Uid:"))
        .unwrap()
        .split_whitespace()
        .nth(1)
        .unwrap();
    assert_ne!(uid, "0", "root inside is root outside");
    assert_eq!(
        gamut.exec(
            &id,
            "stat -c %u /etc/passwd; touch /etc/new && stat -c %u /etc/new"
        ),
        "0\n0"
    );
}

#[test]
fn kernel_settings_of_its_namespaces() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(
        gamut.inside(
            &["--sysctl", "net.ipv4.ip_default_ttl=99"],
            "cat /proc/sys/net/ipv4/ip_default_ttl"
        ),
        "99"
    );
    assert_eq!(
        gamut.inside(
            &["--sysctl", "kernel.msgmax=4096"],
            "cat /proc/sys/kernel/msgmax"
        ),
        "4096"
    );
    // Not of any namespace: would be the host's.
    gamut
        .run(&["--sysctl", "vm.swappiness=1"], &["true"])
        .refused(125, &["vm.swappiness"]);
    gamut
        .run(
            &["--network", "host", "--sysctl", "net.ipv4.ip_forward=1"],
            &["true"],
        )
        .code(125);
}

#[test]
fn mounts_of_the_host_are_out_of_sight() {
    let Some(gamut) = Gamut::new() else { return };
    let mounts = gamut.inside(&[], "cat /proc/self/mountinfo");
    let dir = gamut.dir().to_string_lossy().into_owned();
    for line in mounts.lines() {
        let target = line.split(' ').nth(4).unwrap();
        assert!(
            !target.starts_with(&dir),
            "a mount of the host is inside: {line}"
        );
        let (own, _) = line.split_once(" - ").unwrap();
        assert!(!own.contains("shared:"), "the mount would travel: {line}");
    }
}

#[test]
fn clocks_are_shifted_in_a_time_namespace() {
    let Some(gamut) = Gamut::new() else { return };
    let uptime = |text: &str| -> f64 { text.split(' ').next().unwrap().parse().unwrap() };
    let id = gamut.idle(&["--time-offset", "boottime=24h"]);
    let pid = gamut.pid(&id);
    let outside = uptime(&std::fs::read_to_string("/proc/uptime").unwrap());
    let inside = uptime(&gamut.exec(&id, "cat /proc/uptime"));
    assert!(
        inside > outside + 86_000.0 && inside < outside + 87_000.0,
        "{inside} inside, {outside} outside"
    );
    assert_ne!(
        std::fs::read_link(format!("/proc/{pid}/ns/time"))
            .unwrap()
            .to_string_lossy(),
        host("time")
    );
}
