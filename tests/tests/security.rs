//! What a container may not do.

use gamut_tests::Gamut;

/// CapEff etc. of `/proc/self/status`, as numbers.
fn capabilities(gamut: &Gamut, flags: &[&str], set: &str) -> u64 {
    let text = gamut.inside(flags, &format!("grep {set} /proc/self/status"));
    u64::from_str_radix(text.split_whitespace().last().unwrap(), 16).unwrap()
}

/// Docker's default set (moby, oci/caps/defaults.go): chown, dac_override, fsetid, fowner, mknod, net_raw, setgid, setuid,
/// setfcap, setpcap, net_bind_service, sys_chroot, kill, audit_write.
const DEFAULT: u64 = 0x0000_0000_a804_25fb;

#[test]
fn capabilities_are_dockers_default() {
    let Some(gamut) = Gamut::new() else { return };
    for set in ["CapEff", "CapPrm", "CapBnd"] {
        assert_eq!(capabilities(&gamut, &[], set), DEFAULT, "{set}");
    }
    for set in ["CapInh", "CapAmb"] {
        assert_eq!(capabilities(&gamut, &[], set), 0, "{set}");
    }
    // A user that is not root has none, but keeps the bound.
    assert_eq!(capabilities(&gamut, &["-u", "33"], "CapEff"), 0);
    assert_eq!(capabilities(&gamut, &["-u", "33"], "CapBnd"), DEFAULT);
}

#[test]
fn capabilities_are_added_and_dropped() {
    let Some(gamut) = Gamut::new() else { return };
    let net_admin = 1 << 12;
    assert_eq!(
        capabilities(&gamut, &["--cap-add", "NET_ADMIN"], "CapEff"),
        DEFAULT | net_admin
    );
    assert_eq!(
        capabilities(
            &gamut,
            &["--cap-add", "CAP_NET_ADMIN", "--cap-drop", "chown"],
            "CapEff"
        ),
        (DEFAULT | net_admin) & !1
    );
    assert_eq!(capabilities(&gamut, &["--cap-drop", "ALL"], "CapEff"), 0);
    assert_eq!(
        capabilities(
            &gamut,
            &["--cap-drop", "all", "--cap-add", "kill"],
            "CapEff"
        ),
        1 << 5
    );
    gamut
        .run(&["--cap-add", "NO_SUCH"], &["true"])
        .refused(125, &["NO_SUCH"]);
    // exec has the container's, not more.
    let id = gamut.idle(&["--cap-drop", "ALL"]);
    assert!(
        gamut
            .exec(&id, "grep CapEff /proc/self/status")
            .ends_with("0000000000000000")
    );
}

#[test]
fn no_new_privileges() {
    let Some(gamut) = Gamut::new() else { return };
    assert!(
        gamut
            .inside(
                &["--security-opt", "no-new-privileges"],
                "grep NoNewPrivs /proc/self/status"
            )
            .ends_with('1')
    );
    assert!(
        gamut
            .inside(
                &["--security-opt", "no-new-privileges=true"],
                "grep NoNewPrivs /proc/self/status"
            )
            .ends_with('1')
    );
    assert!(
        gamut
            .inside(&[], "grep NoNewPrivs /proc/self/status")
            .ends_with('0')
    );
}

#[test]
fn the_system_call_filter_is_on() {
    let Some(gamut) = Gamut::new() else { return };
    assert!(
        gamut
            .inside(&[], "grep Seccomp: /proc/self/status")
            .ends_with('2')
    );
    assert!(
        gamut
            .inside(
                &["--security-opt", "seccomp=unconfined"],
                "grep Seccomp: /proc/self/status"
            )
            .ends_with('0')
    );
    let id = gamut.idle(&[]);
    assert!(
        gamut
            .exec(&id, "grep Seccomp: /proc/self/status")
            .ends_with('2'),
        "exec is not filtered"
    );
    // A new user namespace would need no capability: only the filter stands before it.
    let unshared = gamut.run(&["-u", "33"], &["unshare", "-U", "true"]);
    if !unshared.err.contains("not found") {
        assert_ne!(unshared.code, 0, "unshare(CLONE_NEWUSER) went through");
    }
}

#[test]
fn a_filter_of_ones_own() {
    let Some(gamut) = Gamut::new() else { return };
    let file = gamut.dir().join("profile.json");
    let profile = r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":38}]}"#;
    std::fs::write(&file, profile).unwrap();
    let option = format!("seccomp={}", file.display());
    let refused = gamut
        .run(&["--security-opt", &option], &["mkdir", "/tmp/x"])
        .code(1);
    assert!(
        refused.err.contains("not implemented"),
        "{}",
        refused.told()
    );
    std::fs::write(&file, "{ not json").unwrap();
    gamut
        .run(&["--security-opt", &option], &["true"])
        .refused(125, &["profile.json"]);
    std::fs::write(&file, r#"{"defaultAction":"SCMP_ACT_NONSENSE"}"#).unwrap();
    gamut.run(&["--security-opt", &option], &["true"]).code(125);
    gamut.assert_untouched();
}

#[test]
fn masked_and_read_only_paths() {
    let Some(gamut) = Gamut::new() else { return };
    let masked = "for f in /proc/kcore /proc/keys /proc/timer_list /proc/latency_stats /proc/sched_debug; do [ ! -e $f ] || head -c 1 $f | wc -c; done; \
        for d in /proc/acpi /proc/scsi /sys/firmware; do [ ! -e $d ] || ls $d | wc -l; done";
    let said = gamut.inside(&[], masked);
    assert!(
        !said.is_empty() && said.lines().all(|count| count == "0"),
        "something shows through:\n{said}"
    );
    let written = "for f in /proc/sys/kernel/hostname /proc/sysrq-trigger /proc/irq/default_smp_affinity /proc/fs/x /proc/bus/x; do \
        echo h 2>/dev/null >$f && echo wrote $f; done; touch /sys/x 2>/dev/null && echo wrote /sys; true";
    assert_eq!(gamut.inside(&[], written), "");
    let open = gamut.inside(
        &["--security-opt", "systempaths=unconfined"],
        "ls /sys/firmware | wc -l; grep -c ' /proc/sys ' /proc/mounts || true",
    );
    assert!(open.ends_with('0'), "{open}");
}

#[test]
fn dev_has_what_it_should_and_no_more() {
    let Some(gamut) = Gamut::new() else { return };
    let listed = gamut.inside(&[], "ls /dev");
    let expected = [
        "core", "fd", "full", "mqueue", "null", "ptmx", "pts", "random", "shm", "stderr", "stdin",
        "stdout", "tty", "urandom", "zero",
    ];
    assert_eq!(listed.lines().collect::<Vec<_>>(), expected);
    let nodes = gamut.inside(
        &[],
        "stat -c '%n %t:%T %a' /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty",
    );
    assert_eq!(
        nodes,
        "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n/dev/tty 5:0 666"
    );
    assert_eq!(
        gamut.inside(
            &[],
            "for link in fd stdin ptmx; do readlink /dev/$link; done"
        ),
        "/proc/self/fd\n/proc/self/fd/0\npts/ptmx"
    );
}

#[test]
fn privileged_is_everything() {
    let Some(gamut) = Gamut::new() else { return };
    let own = std::fs::read_to_string("/proc/self/status").unwrap();
    let own = own
        .lines()
        .find(|line| line.starts_with("CapBnd"))
        .unwrap()
        .split_whitespace()
        .last()
        .unwrap()
        .to_owned();
    let said = gamut.inside(&["--privileged"], "grep -E 'CapEff|Seccomp:' /proc/self/status; ls /dev/kmsg; mount -t tmpfs t /mnt 2>&1 || mkdir /mnt && mount -t tmpfs t /mnt && echo mounted");
    assert!(
        said.contains(&own)
            && said.contains("Seccomp:\t0")
            && said.contains("/dev/kmsg")
            && said.ends_with("mounted"),
        "{said}"
    );
}

#[test]
fn no_descriptor_of_the_host_comes_along() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(
        gamut.inside(&[], "ls /proc/self/fd | wc -l"),
        "4",
        "0, 1, 2 and the directory being read"
    );
    let id = gamut.idle(&[]);
    assert_eq!(gamut.exec(&id, "ls /proc/self/fd | wc -l"), "4");
    for link in std::fs::read_dir(format!("/proc/{}/fd", gamut.pid(&id)))
        .unwrap()
        .flatten()
    {
        let target = std::fs::read_link(link.path()).unwrap_or_default();
        assert!(
            !target.starts_with(gamut.dir()),
            "{} is open inside",
            target.display()
        );
    }
}

#[test]
fn the_hosts_files_cannot_be_reached() {
    let Some(gamut) = Gamut::new() else { return };
    let marker = gamut.dir().join("secret");
    std::fs::write(&marker, "secret").unwrap();
    let script = format!(
        "cat {0} /proc/1/root{0} /proc/self/cwd/../../../../..{0} 2>/dev/null; ls -di / | cut -d' ' -f1 >/dev/null; echo done",
        marker.display()
    );
    assert_eq!(gamut.inside(&[], &script), "done");
    // The classic way out of chroot(2).
    let script = format!(
        "mkdir /jail; chroot /jail /bin/true 2>/dev/null; cd ../../../../../../..; cat .{} 2>/dev/null; echo done",
        marker.display()
    );
    assert_eq!(gamut.inside(&["--cap-add", "SYS_CHROOT"], &script), "done");
}

/// CVE-2024-21626: a working directory that is a descriptor of ours leads out by `..`.
#[test]
fn no_working_directory_is_a_descriptor() {
    let Some(gamut) = Gamut::new() else { return };
    let marker = gamut.dir().join("secret");
    std::fs::write(&marker, "secret").unwrap();
    let up = ["..", "../..", "../../..", "../../../..", "../../../../.."];
    let reach = format!(
        "for up in {}; do cat $up{} 2>/dev/null; done; true",
        up.join(" "),
        marker.display()
    );
    let id = gamut.idle(&[]);
    for number in 3..32 {
        let cwd = format!("/proc/self/fd/{number}");
        let said = gamut.call(&["exec", "-w", &cwd, &id, "sh", "-c", &reach]);
        assert!(!said.out.contains("secret"), "{}", said.told());
    }
}
