//! Limits, each seen from inside the container's own view of its control group and from outside.

use gamut_tests::{Gamut, cgroup, skip};

/// Reads a control file inside a running container, where the group is the root of what is mounted.
fn within(gamut: &Gamut, id: &str, controller: &str, v1: &str, v2: &str) -> String {
    let path = match cgroup::unified() {
        true => format!("/sys/fs/cgroup/{v2}"),
        false => format!("/sys/fs/cgroup/{controller}/{v1}"),
    };
    gamut.exec(id, &format!("cat {path}"))
}

/// The value both inside and outside.
#[track_caller]
fn both(gamut: &Gamut, id: &str, controller: &str, files: (&str, &str), v1: &str, v2: &str) {
    let expected = if cgroup::unified() { v2 } else { v1 };
    let outside = cgroup::read(gamut.pid(id), controller, files.0, files.1);
    assert_eq!(outside, expected, "{controller} outside");
    assert_eq!(
        within(gamut, id, controller, files.0, files.1),
        expected,
        "{controller} inside"
    );
}

#[test]
fn memory() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--memory", "64m"]);
    both(
        &gamut,
        &id,
        "memory",
        ("memory.limit_in_bytes", "memory.max"),
        "67108864",
        "67108864",
    );
    assert_eq!(gamut.inspect(&id)["HostConfig"]["Memory"], 67_108_864);
}

#[test]
fn a_process_past_its_memory_is_killed_and_it_shows() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let words = [
        "run",
        "--network",
        "none",
        "--name",
        "glutton",
        "--memory",
        "16m",
        "--memory-swap",
        "16m",
        &image,
    ];
    let eaten = gamut.call(
        &[
            &words[..],
            &["sh", "-c", "exec tail -c 200000000 /dev/zero"],
        ]
        .concat(),
    );
    eaten.code(137);
    assert_eq!(gamut.inspect("glutton")["State"]["OOMKilled"], true);
}

#[test]
fn memory_and_swap_together() {
    if !cgroup::has("memory", "memory.memsw.limit_in_bytes", "memory.swap.max") {
        return skip::skipped("this kernel does not account swap");
    }
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--memory", "32m", "--memory-swap", "48m"]);
    both(
        &gamut,
        &id,
        "memory",
        ("memory.memsw.limit_in_bytes", "memory.swap.max"),
        "50331648",
        "16777216",
    );
    // No word about swap: as much as memory again.
    let id = gamut.idle(&["--memory", "32m"]);
    both(
        &gamut,
        &id,
        "memory",
        ("memory.memsw.limit_in_bytes", "memory.swap.max"),
        "67108864",
        "33554432",
    );
    gamut
        .run(&["--memory", "32m", "--memory-swap", "16m"], &["true"])
        .refused(125, &["swap"]);
}

#[test]
fn memory_reservation() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--memory", "64m", "--memory-reservation", "32m"]);
    both(
        &gamut,
        &id,
        "memory",
        ("memory.soft_limit_in_bytes", "memory.low"),
        "33554432",
        "33554432",
    );
}

#[test]
fn cpus_are_a_quota() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--cpus", "0.5"]);
    both(
        &gamut,
        &id,
        "cpu",
        ("cpu.cfs_quota_us", "cpu.max"),
        "50000",
        "50000 100000",
    );
    let id = gamut.idle(&["--cpu-period", "20000", "--cpu-quota", "5000"]);
    both(
        &gamut,
        &id,
        "cpu",
        ("cpu.cfs_quota_us", "cpu.max"),
        "5000",
        "5000 20000",
    );
}

#[test]
fn a_quota_holds_a_busy_process_back() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.detached(&["--cpus", "0.1"], &["sh", "-c", "while :; do :; done"]);
    let pid = gamut.pid(&id);
    gamut_tests::patience::until("it is throttled", || {
        let stat = cgroup::read(pid, "cpu", "cpu.stat", "cpu.stat");
        stat.lines().any(|line| {
            line.strip_prefix("nr_throttled ")
                .is_some_and(|count| count != "0")
        })
    });
}

#[test]
fn cpu_shares_are_a_weight() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--cpu-shares", "512"]);
    if cgroup::unified() {
        // 1 + ((512 - 2) * 9999) / 262142, as runc and crun up to 1.22 convert; newer ones map 1024 to 100.
        let weight: u64 = cgroup::read(gamut.pid(&id), "cpu", "", "cpu.weight")
            .parse()
            .unwrap();
        assert!((20..=59).contains(&weight), "weight {weight}");
    } else {
        both(&gamut, &id, "cpu", ("cpu.shares", ""), "512", "");
    }
}

#[test]
fn cpuset() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--cpuset-cpus", "0", "--cpuset-mems", "0"]);
    both(
        &gamut,
        &id,
        "cpuset",
        ("cpuset.cpus", "cpuset.cpus"),
        "0",
        "0",
    );
    assert_eq!(gamut.exec(&id, "nproc"), "1");
    assert_eq!(
        gamut.exec(&id, "grep Cpus_allowed_list /proc/self/status"),
        "Cpus_allowed_list:\t0"
    );
    gamut
        .run(&["--cpuset-cpus", "4095"], &["true"])
        .refused(125, &["4095"]);
    gamut
        .run(&["--cpus", "4095"], &["true"])
        .refused(125, &["4095"]);
}

#[test]
fn pids() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--pids-limit", "20"]);
    both(&gamut, &id, "pids", ("pids.max", "pids.max"), "20", "20");
    let bomb = gamut.call(&[
        "exec",
        &id,
        "sh",
        "-c",
        "for i in $(seq 40); do sleep 5 & done; wait",
    ]);
    assert!(
        bomb.err.contains("fork"),
        "forty processes fit under a limit of twenty\n{}",
        bomb.told()
    );
    let id = gamut.idle(&["--pids-limit", "-1"]);
    both(&gamut, &id, "pids", ("pids.max", "pids.max"), "max", "max");
}

/// A block device of this machine: its path and `major:minor`.
fn block_device() -> Option<(String, String)> {
    ["vda", "sda", "nvme0n1", "xvda"].iter().find_map(|name| {
        let number = std::fs::read_to_string(format!("/sys/block/{name}/dev")).ok()?;
        let path = format!("/dev/{name}");
        std::path::Path::new(&path)
            .exists()
            .then(|| (path, number.trim().to_owned()))
    })
}

#[test]
fn block_io_rates() {
    let Some((device, number)) = block_device() else {
        return skip::skipped("no disk that this test knows the name of");
    };
    if !cgroup::has("blkio", "blkio.throttle.read_bps_device", "io.max") {
        return skip::skipped("this kernel does not throttle block I/O");
    }
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&[
        "--device-read-bps",
        &format!("{device}:1mb"),
        "--device-write-bps",
        &format!("{device}:2mb"),
        "--device-read-iops",
        &format!("{device}:40"),
        "--device-write-iops",
        &format!("{device}:50"),
    ]);
    if cgroup::unified() {
        let line = format!("{number} rbps=1048576 wbps=2097152 riops=40 wiops=50");
        both(&gamut, &id, "io", ("", "io.max"), "", &line);
        return;
    }
    for (file, value) in [
        ("read_bps", "1048576"),
        ("write_bps", "2097152"),
        ("read_iops", "40"),
        ("write_iops", "50"),
    ] {
        let file = format!("blkio.throttle.{file}_device");
        let line = format!("{number} {value}");
        both(&gamut, &id, "blkio", (&file, ""), &line, "");
    }
}

#[test]
fn block_io_weight() {
    let Some(gamut) = Gamut::new() else { return };
    let started = gamut.run(&["--blkio-weight", "300"], &["true"]);
    let there = cgroup::has("blkio", "blkio.bfq.weight", "io.weight")
        || cgroup::has("blkio", "blkio.weight", "io.bfq.weight");
    // What the host lacks is said, and does not stop the container.
    let started = started.ok();
    assert!(
        there || started.err.contains("warning"),
        "dropped without a word\n{}",
        started.told()
    );
    gamut.run(&["--blkio-weight", "5"], &["true"]).code(125);
}

#[test]
fn block_io_weight_of_a_device() {
    let Some((device, number)) = block_device() else {
        return skip::skipped("no disk that this test knows the name of");
    };
    let Some(gamut) = Gamut::new() else { return };
    let weight = format!("{device}:300");
    let flags = ["--blkio-weight-device", &weight];
    let id = gamut.idle(&[&flags[..], &["--name", "weighed"]].concat());
    let told = &gamut.inspect(&id)["HostConfig"]["BlkioWeightDevice"][0];
    assert_eq!(told["Weight"], 300);
    assert_eq!(told["Path"], device);
    // BFQ's own file, or on v2 that of io.cost, which counts differently.
    let (controller, files) = match cgroup::unified() {
        true => ("io", ["io.bfq.weight", "io.weight"]),
        false => ("blkio", ["blkio.bfq.weight_device", "blkio.weight_device"]),
    };
    let directory = cgroup::directory(gamut.pid(&id), controller);
    let set = files.iter().any(|file| {
        let text = std::fs::read_to_string(directory.join(file)).unwrap_or_default();
        let mut lines = text.lines();
        lines.any(|line| line.split(' ').next() == Some(&number))
    });
    // What the host lacks is said, and does not stop the container.
    let said = gamut.run(&flags, &["true"]).ok();
    let told = said.err.contains("warning") && said.err.contains("BFQ");
    assert!(set != told, "set: {set}, told: {told}\n{}", said.told());
    gamut
        .run(&["--blkio-weight-device", "/dev/null:300"], &["true"])
        .refused(125, &["/dev/null"]);
}

#[test]
fn devices_are_denied_but_for_the_usual_ones() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "mknod /tmp/null c 1 3 && echo x >/tmp/null && echo usual; \
        mknod /tmp/mem c 1 1 2>&1 && head -c 1 /tmp/mem 2>&1; mknod /tmp/disk b 254 0 2>&1 && head -c 1 /tmp/disk 2>&1; true";
    let said = gamut.inside(&[], script);
    assert!(said.starts_with("usual"), "{said}");
    assert_eq!(said.matches("not permitted").count(), 2, "{said}");
}

#[test]
fn a_device_that_is_asked_for_works() {
    let Some(gamut) = Gamut::new() else { return };
    if !std::path::Path::new("/dev/kmsg").exists() {
        return skip::skipped("this machine has no /dev/kmsg");
    }
    gamut.run(&[], &["ls", "/dev/kmsg"]).code(1);
    assert_eq!(
        gamut.inside(
            &["--device", "/dev/kmsg:/dev/log-of-host:w"],
            "echo '<7>gamut test' >/dev/log-of-host && echo written"
        ),
        "written"
    );
    gamut
        .run(
            &["--device", "/dev/kmsg:/dev/log-of-host:w"],
            &["head", "-c", "1", "/dev/log-of-host"],
        )
        .code(1);
    gamut
        .run(&["--device", "/dev/no-such-device"], &["true"])
        .refused(125, &["/dev/no-such-device"]);
}

#[test]
fn stats_show_the_limits_and_the_use() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--memory", "64m", "--pids-limit", "33"]);
    let stats = gamut
        .call(&["stats", "--no-stream", "--format", "{{json .}}", &id])
        .ok()
        .json();
    assert_eq!(
        stats["PIDs"]
            .as_str()
            .map(|count| count.parse::<u32>().unwrap() >= 1),
        Some(true),
        "{stats}"
    );
    assert!(
        stats["MemUsage"].as_str().unwrap().ends_with("/ 64MiB"),
        "{stats}"
    );
    assert!(stats["CPUPerc"].as_str().unwrap().ends_with('%'), "{stats}");
}
