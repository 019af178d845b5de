//! What single controllers accept, refuse and lack on this host.

use super::*;

#[test]
fn a_limit_added_later_brings_its_group() {
    let Some(host) = host() else { return };
    let Some(block) = version(&host, Controller::Block) else {
        return;
    };
    let Some(device) = whole_disk() else {
        eprintln!("skipped: no block device here");
        return;
    };
    let group = Group::new(&host, &Needs::standard());
    let mut child = start_in(&group.cgroup, "exec sleep 1000");
    let (major, minor) = device;
    let json = format!(
        r#"{{"blockIO": {{"throttleReadBpsDevice":
            [{{"major": {major}, "minor": {minor}, "rate": 1048576}}]}}}}"#
    );
    assert_eq!(group.cgroup.apply(&limits(&json)).expect("apply"), []);
    match block {
        Version::V1 => {
            let rates = group.value("blkio.throttle.read_bps_device");
            assert_eq!(rates, format!("{major}:{minor} 1048576"));
            let own = std::fs::read_to_string(format!("/proc/{}/cgroup", child.id()));
            let own = own.expect("read");
            let line = own.lines().find(|line| line.contains("blkio"));
            assert!(
                line.is_some_and(|line| line.ends_with(group.cgroup.path())),
                "{own}"
            );
        }
        Version::V2 => {
            let rates = group.value("io.max");
            assert!(rates.starts_with(&format!("{major}:{minor} rbps=1048576")));
        }
    }
    let none =
        r#"{"blockIO": {"throttleReadBpsDevice": [{"major": 251, "minor": 77, "rate": 1}]}}"#;
    let refused = group.cgroup.apply(&limits(none));
    assert!(
        matches!(
            refused,
            Err(CgroupError::Write {
                cause: Cause::NoSuchDevice,
                ..
            })
        ),
        "{refused:?}"
    );
    group.cgroup.kill_all().expect("kill");
    child.wait().expect("wait");
    group.cgroup.remove().expect("remove");
}

fn whole_disk() -> Option<(u32, u32)> {
    let disks = std::fs::read_dir("/sys/block").ok()?;
    for disk in disks.flatten() {
        let name = disk.file_name();
        if name
            .to_str()
            .is_some_and(|name| name.starts_with("vd") || name.starts_with("sd"))
        {
            let text = std::fs::read_to_string(disk.path().join("dev")).ok()?;
            let (major, minor) = text.trim().split_once(':')?;
            return Some((major.parse().ok()?, minor.parse().ok()?));
        }
    }
    None
}

#[test]
fn cpus_are_pinned_and_those_that_are_not_there_refused() {
    let Some(host) = host() else { return };
    if version(&host, Controller::Cpuset).is_none() {
        return;
    }
    let asked = limits(r#"{"cpu": {"cpus": "0", "mems": "0"}}"#);
    let group = Group::new(&host, &Needs::of(&asked));
    assert_eq!(group.cgroup.apply(&asked).expect("apply"), []);
    let mut child = start_in(&group.cgroup, "grep Cpus_allowed_list /proc/self/status");
    assert!(child.wait().expect("wait").success());
    let out = std::io::read_to_string(child.stdout.take().expect("a pipe")).expect("read");
    assert_eq!(out.trim().split_ascii_whitespace().last(), Some("0"));
    let refused = group
        .cgroup
        .apply(&limits(r#"{"cpu": {"cpus": "0,4000"}}"#));
    assert!(
        matches!(refused, Err(CgroupError::NotInCpuset { .. })),
        "{refused:?}"
    );
    let refused = group.cgroup.apply(&limits(r#"{"cpu": {"cpus": "0-x"}}"#));
    assert!(
        matches!(refused, Err(CgroupError::InvalidLimit { .. })),
        "{refused:?}"
    );
}

#[test]
fn values_out_of_range_name_what_is_accepted() {
    let Some(host) = host() else { return };
    if version(&host, Controller::Cpu).is_none() {
        return;
    }
    let group = Group::new(&host, &Needs::standard());
    let refused = group
        .cgroup
        .apply(&limits(r#"{"cpu": {"quota": 10, "period": 100000}}"#));
    let error = refused.expect_err("10 µs are too few");
    assert!(error.to_string().contains("at least 1000 µs"), "{error}");
    let below = limits(r#"{"memory": {"limit": 67108864, "swap": 33554432}}"#);
    let refused = group.cgroup.apply(&below);
    assert!(
        matches!(refused, Err(CgroupError::InvalidLimit { .. })),
        "{refused:?}"
    );
}

#[test]
fn what_the_host_lacks_is_a_warning() {
    let Some(host) = host() else { return };
    let group = Group::new(&host, &Needs::standard());
    let asked = limits(r#"{"network": {"classID": 7}, "memory": {"kernel": 1048576}}"#);
    let warnings = group.cgroup.apply(&asked).expect("apply");
    if host.find(Controller::NetCls).is_none() {
        let expected = |warning: &Warning| {
            matches!(
                warning,
                Warning::NoController {
                    controller: Controller::NetCls,
                    ..
                }
            )
        };
        assert!(warnings.iter().any(expected), "{warnings:?}");
    }
    if host.mode == Mode::V1 {
        return;
    }
    let refused = group
        .cgroup
        .apply(&limits(r#"{"unified": {"cgroup.procs": "1"}}"#));
    assert!(
        matches!(refused, Err(CgroupError::UnifiedKey { .. })),
        "{refused:?}"
    );
}

#[test]
fn a_v2_group_can_be_cloned_into_and_shows_pressure() {
    let Some(host) = v2_host() else { return };
    let group = Group::new(&host, &Needs::standard());
    assert!(group.cgroup.clone_into().is_some());
    assert_eq!(group.cgroup.attach_files().expect("none").len(), 0);
    match group.cgroup.pressure().expect("pressure") {
        Some(pressure) => assert!(pressure.cpu.some.avg10 >= 0.0),
        None => eprintln!("skipped: no PSI here"),
    }
    assert!(group.cgroup.stats().is_ok());
}

#[test]
fn a_parent_that_cannot_share_out_is_explained() {
    let Some(host) = host() else { return };
    if host.mode != Mode::V2 || host.find(Controller::Memory).is_none() {
        eprintln!("skipped: needs memory on cgroup v2");
        return;
    }
    let crowded = Group::new(&host, &Needs::standard());
    let mut child = start_in(&crowded.cgroup, "exec sleep 1000");
    let below = format!("{}/below", crowded.cgroup.path());
    let error = Cgroup::create(&host, &below, &Needs::standard()).expect_err("internal processes");
    let cause = |error: &CgroupError| match error {
        CgroupError::Enable { cause, .. } => cause.clone(),
        other => panic!("{other:?}"),
    };
    assert_eq!(cause(&error), Cause::InternalProcesses);
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains("cgroup.procs"))
    );
    crowded.cgroup.kill_all().expect("kill");
    child.wait().expect("wait");

    let threaded = Group::new(&host, &Needs::standard());
    let mount = &host.mounted[0].mount_point;
    let thread = format!("{mount}/{}/thread", threaded.cgroup.path());
    std::fs::create_dir(&thread).expect("mkdir");
    std::fs::write(format!("{thread}/cgroup.type"), "threaded").expect("type");
    let below = format!("{}/below", threaded.cgroup.path());
    let error = Cgroup::create(&host, &below, &Needs::standard()).expect_err("threaded");
    assert_eq!(cause(&error), Cause::Threaded);
}

/// Prints; judges nothing.
#[test]
fn how_long_it_takes() {
    let Some(host) = host() else { return };
    let spread = |mut times: Vec<f64>| {
        times.sort_by(f64::total_cmp);
        format!(
            "p10 {:.0} p50 {:.0} µs",
            times[times.len() / 10],
            times[times.len() / 2]
        )
    };
    let micros = |since: Instant| since.elapsed().as_secs_f64() * 1e6;
    let mut discover = Vec::new();
    let (mut create, mut limit, mut enter, mut stats, mut remove) =
        (Vec::new(), Vec::new(), Vec::new(), Vec::new(), Vec::new());
    let mut asked = limits(
        r#"{"memory": {"limit": 67108864, "swap": 134217728},
            "cpu": {"quota": 50000, "period": 100000}, "pids": {"limit": 77}}"#,
    );
    asked.set_devices(Some(default_rules()));
    // The group above is there from the second on.
    let keep = Group::new(&host, &Needs::standard());
    for _ in 0..100 {
        let start = Instant::now();
        Hierarchies::discover().expect("discover");
        discover.push(micros(start));
        let start = Instant::now();
        let path = format!("{}/x", keep.top);
        let group = Cgroup::create(&host, &path, &Needs::of(&asked)).expect("create");
        create.push(micros(start));
        let start = Instant::now();
        group.apply(&asked).expect("apply");
        limit.push(micros(start));
        let files = group.attach_files().expect("open");
        let thread = std::thread::spawn(move || {
            let start = Instant::now();
            for file in &files {
                rustix::io::write(file.as_fd(), b"0").expect("enter");
            }
            micros(start)
        });
        enter.push(thread.join().expect("the thread"));
        let start = Instant::now();
        group.stats().expect("stats");
        stats.push(micros(start));
        let start = Instant::now();
        group.remove().expect("remove");
        remove.push(micros(start));
    }
    eprintln!("discover {}", spread(discover));
    eprintln!("create   {}", spread(create));
    eprintln!("apply    {}", spread(limit));
    eprintln!("enter    {}", spread(enter));
    eprintln!("stats    {}", spread(stats));
    eprintln!("remove   {}", spread(remove));
}
