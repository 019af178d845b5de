//! Whole systems in a container: Debian boots with systemd as its first process.

use gamut_tests::Gamut;
use gamut_tests::patience::until;
use gamut_tests::skip::skipped;

/// A fresh root, on a host that has version 2 of control groups in some place: systemd wants it.
fn root() -> Option<Gamut> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").expect("it is there");
    if !mounts.contains(" - cgroup2 ") {
        skipped("version 2 of control groups is mounted nowhere");
        return None;
    }
    Gamut::new()
}

fn boot(gamut: &Gamut, flags: &[&str]) -> String {
    let image = gamut.image("system");
    let name = ["run", "-d", "--name", "box", "--network", "none"];
    let id = gamut
        .call(&[&name, flags, &[&image]].concat())
        .ok()
        .text()
        .to_owned();
    gamut.learn_ids();
    // Its bus comes first: until then there is nobody to ask, or nobody who knows.
    until("it has booted", || {
        let asked = gamut.call(&["exec", "box", "systemctl", "is-system-running", "--wait"]);
        matches!(asked.text(), "running" | "degraded")
    });
    id
}

#[test]
fn a_system_boots_serves_and_ends_in_order() {
    let Some(gamut) = root() else { return };
    boot(&gamut, &["--system"]);
    let state = gamut.call(&["exec", "box", "systemctl", "is-system-running", "--wait"]);
    let failed = gamut.call(&["exec", "box", "systemctl", "--failed"]);
    assert_eq!(state.text(), "running", "{}", failed.told());
    assert_eq!(gamut.exec("box", "cat /proc/1/comm"), "systemd");
    assert_eq!(
        gamut.exec("box", "systemd-detect-virt --container || true"),
        "container-other"
    );
    // Ids of its own, and its group the top of what it sees.
    let map = gamut.exec("box", "cat /proc/self/uid_map");
    let fields: Vec<&str> = map.split_whitespace().collect();
    assert!(
        fields[0] == "0" && fields[1] != "0" && fields[2] == "65536",
        "{map}"
    );
    assert_eq!(
        gamut.exec("box", "grep ^0: /proc/1/cgroup"),
        "0::/init.scope"
    );

    gamut.exec("box", "systemd-run --unit worker sleep 1000");
    assert_eq!(gamut.exec("box", "systemctl is-active worker"), "active");
    assert!(
        gamut
            .exec("box", "cat /proc/$(pidof sleep)/cgroup")
            .contains("/system.slice/worker.service")
    );
    let journal = gamut.exec("box", "journalctl --no-pager -u worker");
    assert!(journal.contains("Started worker"), "{journal}");

    let script = "printf '[Service]\\nType=oneshot\\nRemainAfterExit=yes\\nExecStart=true\\nExecStop=touch /ended\\n\
                  [Install]\\nWantedBy=multi-user.target\\n' >/etc/systemd/system/witness.service; \
                  systemctl enable -q --now witness; cat /etc/machine-id";
    let machine = gamut.exec("box", script);
    gamut.call(&["stop", "box"]).ok();
    let ended = &gamut.inspect("box")["State"];
    assert_eq!(ended["Status"], "exited");
    // It powered itself off (reboot(2), "Behavior inside PID namespaces"); it was not killed.
    assert_eq!(ended["ExitCode"], 130);

    gamut.call(&["start", "box"]).ok();
    until("it is up again", || {
        gamut
            .call(&["exec", "box", "systemctl", "is-active", "witness"])
            .text()
            == "active"
    });
    assert_eq!(
        gamut.exec("box", "ls /ended; cat /etc/machine-id"),
        format!("/ended\n{machine}")
    );
    gamut.call(&["exec", "box", "systemctl", "poweroff"]);
    gamut.call(&["wait", "box"]).ok().prints("130");
    gamut.call(&["rm", "box"]).ok();
    gamut.assert_nothing_left();
}

#[test]
fn a_systems_volume_has_its_own_users() {
    let Some(gamut) = root() else { return };
    let image = gamut.image("busybox");
    let words = [
        "run",
        "--rm",
        "--system",
        "--network",
        "none",
        "-v",
        "kept:/v",
        &image,
    ];
    let write = [
        words.as_slice(),
        &["sh", "-c", "echo text >/v/file; chown 7:8 /v/file"],
    ]
    .concat();
    gamut.call(&write).ok();
    let read = [words.as_slice(), &["stat", "-c", "%u %g", "/v", "/v/file"]].concat();
    gamut.call(&read).ok().prints("0 0\n7 8");
}

#[test]
fn gamut_runs_in_a_system() {
    let Some(gamut) = root() else { return };
    let binary = gamut_tests::gamut::binary();
    let dir = binary
        .parent()
        .expect("it lies somewhere")
        .display()
        .to_string();
    let store = "inner:/var/lib/gamut";
    boot(
        &gamut,
        &[
            "--system",
            "-v",
            &format!("{dir}:/opt/gamut:ro"),
            "-v",
            store,
        ],
    );
    let image = gamut.image("busybox");
    let file = gamut.dir().join("image.tar").display().to_string();
    gamut.call(&["pull", "-q", &image]).ok();
    gamut.call(&["save", "-o", &file, &image]).ok();
    gamut.call(&["cp", &file, "box:/root/image.tar"]).ok();
    gamut.exec("box", "/opt/gamut/gamut load -q -i /root/image.tar");
    let inner = |flags: &str| {
        gamut.exec("box", &format!("/opt/gamut/gamut run --rm {flags} {image} sh -c 'echo inside; id -u; ls /sys/class/net'"))
    };
    assert_eq!(inner("--network none"), "inside\n0\nlo");
    assert_eq!(inner(""), "inside\n0\neth0\nlo");
    assert_eq!(inner("--memory 64m --network none"), "inside\n0\nlo");
    assert_eq!(gamut.exec("box", "/opt/gamut/gamut ps -aq"), "");
}

#[test]
fn systemd_as_podman_sets_it_up() {
    let Some(gamut) = root() else { return };
    let image = gamut.image("system");
    let words = [
        "run",
        "-d",
        "--name",
        "box",
        "--network",
        "none",
        &image,
        "/sbin/init",
    ];
    gamut.call(&words).ok();
    gamut.learn_ids();
    until("it answers", || {
        let asked = gamut.call(&["exec", "box", "systemctl", "is-system-running", "--wait"]);
        !asked.text().is_empty()
    });
    assert_eq!(
        gamut.exec(
            "box",
            "cat /proc/1/comm; grep -c . /proc/self/uid_map; awk '{print $2}' /proc/self/uid_map"
        ),
        "systemd\n1\n0"
    );
    gamut.call(&["stop", "box"]).ok();
    // Without the capability to power off it just ends.
    assert_eq!(gamut.inspect("box")["State"]["ExitCode"], 0);

    let seen = |when: &str| {
        let words = ["--systemd", when];
        gamut
            .run(
                &words,
                &["sh", "-c", "echo $container; grep -c ' /run ' /proc/mounts"],
            )
            .out
    };
    assert_eq!(seen("always"), "gamut\n1\n");
    assert_eq!(seen("true"), "\n0\n");
    assert_eq!(seen("false"), "\n0\n");
    gamut
        .call(&["run", "--system", "--systemd=true", &image])
        .refused(125, &["--systemd"]);
}
