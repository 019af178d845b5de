//! Cgroups on the real host, whatever its version: each limit is seen to bite.

mod controllers;
mod processes;

use std::io::Write;
use std::os::fd::AsFd;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use gamut_container::cgroup::device_policy::default_rules;
use gamut_container::cgroup::{
    Cause, Cgroup, CgroupError, Controller, ControllerSet, Hierarchies, Mode, Needs, Version,
    Warning,
};
use gamut_spec::Fault;
use oci_spec::runtime::LinuxResources;
use rustix::process::Pid;

const MIB: u64 = 1 << 20;

/// A group of our own, taken away whatever happens.
struct Group {
    cgroup: Cgroup,
    hierarchies: Hierarchies,
    top: String,
}

impl Group {
    fn new(hierarchies: &Hierarchies, needs: &Needs) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let top = format!("gamut-test-{}-{count}", std::process::id());
        let cgroup = Cgroup::create(hierarchies, &format!("{top}/box"), needs).expect("create");
        Self {
            cgroup,
            hierarchies: hierarchies.clone(),
            top,
        }
    }

    fn value(&self, file: &str) -> String {
        let files = self.cgroup.files().expect("files");
        let found = files.iter().find(|at| at.path.ends_with(file));
        found.map_or_else(|| panic!("no {file} in {files:?}"), |at| at.value.clone())
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Ok(top) = Cgroup::open(&self.hierarchies, &self.top) {
            top.kill_all().expect("kill");
            top.remove().expect("remove");
        }
    }
}

fn host() -> Option<Hierarchies> {
    if !rustix::process::geteuid().is_root() {
        eprintln!("skipped: needs root");
        return None;
    }
    match Hierarchies::discover() {
        Ok(found) => Some(found),
        Err(error) => {
            eprintln!("skipped: {error}");
            None
        }
    }
}

/// The version of a controller; `None`, said aloud, if the host hasn't got it.
fn version(hierarchies: &Hierarchies, controller: Controller) -> Option<Version> {
    let found = hierarchies.find(controller).map(|at| at.version);
    if found.is_none() {
        eprintln!("skipped: no controller {controller} here");
    }
    found
}

/// The v2 part of a hybrid host, as if it were alone; or the host itself.
fn v2_host() -> Option<Hierarchies> {
    let host = host()?;
    match (host.mode, host.mounted.last()) {
        (Mode::V2, _) => Some(host),
        (Mode::Hybrid, Some(v2)) => Some(Hierarchies::unified_at(
            &v2.mount_point,
            ControllerSet::NONE,
        )),
        _ => {
            eprintln!("skipped: no cgroup v2 here");
            None
        }
    }
}

fn limits(json: &str) -> LinuxResources {
    serde_json::from_str(json).expect("limits")
}

/// A shell that waits for a line before it does anything.
fn shell(script: &str) -> Child {
    Command::new("sh")
        .args(["-c", &format!("read line; {script}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("sh")
}

fn pid(child: &Child) -> Pid {
    Pid::from_child(child)
}

fn start_in(group: &Cgroup, script: &str) -> Child {
    let mut child = shell(script);
    group.attach(pid(&child)).expect("attach");
    let mut stdin = child.stdin.take().expect("a pipe");
    stdin.write_all(b"go\n").expect("the shell reads");
    child
}

fn eventually(what: &str, mut is: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(60);
    while !is() {
        assert!(Instant::now() < deadline, "{what} did not happen");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn limits_stand_in_the_files_change_and_go() {
    let Some(host) = host() else { return };
    let Some(memory) = version(&host, Controller::Memory) else {
        return;
    };
    let group = Group::new(&host, &Needs::standard());
    let asked = limits(
        r#"{"memory": {"limit": 67108864, "swap": 134217728, "reservation": 33554432},
            "cpu": {"shares": 512, "quota": 50000, "period": 100000},
            "pids": {"limit": 77}}"#,
    );
    let warnings = group.cgroup.apply(&asked).expect("apply");
    assert_eq!(warnings, []);
    let (limit, swap) = match memory {
        Version::V1 => ("memory.limit_in_bytes", "memory.memsw.limit_in_bytes"),
        Version::V2 => ("memory.max", "memory.swap.max"),
    };
    assert_eq!(group.value(limit), "67108864");
    let total = match memory {
        Version::V1 => 128 * MIB,
        Version::V2 => 64 * MIB,
    };
    assert_eq!(group.value(swap), total.to_string());
    assert_eq!(group.value("pids.max"), "77");
    match memory {
        Version::V1 => {
            assert_eq!(group.value("cpu.shares"), "512");
            assert_eq!(group.value("cpu.cfs_quota_us"), "50000");
        }
        Version::V2 => {
            assert_eq!(group.value("cpu.weight"), "59");
            assert_eq!(group.value("cpu.max"), "50000 100000");
        }
    }
    // Up beyond the old sum, down below the old limit: the kernel wants opposite orders.
    for (limit_bytes, sum) in [(256 * MIB, 512 * MIB), (32 * MIB, 48 * MIB)] {
        let json = format!(r#"{{"memory": {{"limit": {limit_bytes}, "swap": {sum}}}}}"#);
        assert_eq!(group.cgroup.apply(&limits(&json)).expect("update"), []);
        assert_eq!(group.value(limit), limit_bytes.to_string());
    }
    let stats = group.cgroup.stats().expect("stats");
    assert_eq!(stats.memory.limit_bytes, Some(32 * MIB));
    assert_eq!(stats.pids.limit, Some(77));
    let lifted = r#"{"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}"#;
    assert_eq!(group.cgroup.apply(&limits(lifted)).expect("lift"), []);
    let stats = group.cgroup.stats().expect("stats");
    assert_eq!(stats.memory.limit_bytes, None);
    assert_eq!(stats.pids.limit, None);

    assert_eq!(Cgroup::list(&host, &group.top).expect("list"), ["box"]);
    group.cgroup.remove().expect("remove");
    group.cgroup.remove().expect("remove again");
    let left = Cgroup::list(&host, &group.top).expect("list");
    assert_eq!(left, Vec::<String>::new());
    let path = format!("{}/box", group.top);
    let gone = Cgroup::open(&host, &path);
    assert!(matches!(gone, Err(CgroupError::NotFound { .. })));
}

#[test]
fn a_name_in_use_is_a_conflict_and_leaves_the_group_alone() {
    let Some(host) = host() else { return };
    let group = Group::new(&host, &Needs::standard());
    let path = group.cgroup.path().to_owned();
    let second = Cgroup::create(&host, &path, &Needs::standard());
    assert!(
        matches!(second, Err(CgroupError::Exists { .. })),
        "{second:?}"
    );
    assert!(Cgroup::open(&host, &path).is_ok());
}

#[test]
fn a_memory_hog_is_killed_and_counted() {
    let Some(host) = host() else { return };
    if version(&host, Controller::Memory).is_none() {
        return;
    }
    let group = Group::new(&host, &Needs::standard());
    let asked = limits(r#"{"memory": {"limit": 16777216, "swap": 16777216}}"#);
    group.cgroup.apply(&asked).expect("apply");
    let hog = "exec dd if=/dev/zero of=/dev/null bs=128M count=1";
    let mut child = start_in(&group.cgroup, hog);
    let status = child.wait().expect("wait");
    assert_eq!(status.signal(), Some(9), "{status:?}");
    let kills = group.cgroup.oom_kills().expect("read");
    assert_eq!(kills, Some(1));
    let memory = group.cgroup.stats().expect("stats").memory;
    assert_eq!(memory.oom_kills, 1);
    assert!(memory.peak_bytes.is_none_or(|peak| peak > 8 * MIB));
}

#[test]
fn a_limit_below_what_is_used_is_explained() {
    let Some(host) = host() else { return };
    let Some(memory) = version(&host, Controller::Memory) else {
        return;
    };
    let group = Group::new(&host, &Needs::standard());
    group
        .cgroup
        .apply(&limits(r#"{"memory": {"swap": -1}}"#))
        .expect("apply");
    // tail keeps its input in memory and cannot hand it on.
    let holder = "head -c 33554432 /dev/zero | tail -c 33554432 | sleep 1000";
    let mut child = start_in(&group.cgroup, holder);
    eventually("the memory's filling", || {
        group.cgroup.stats().expect("stats").memory.usage_bytes > 30 * MIB
    });
    let checked = r#"{"memory": {"limit": 8388608, "checkBeforeUpdate": true}}"#;
    let refused = group.cgroup.apply(&limits(checked));
    assert!(
        matches!(refused, Err(CgroupError::LimitBelowUse { .. })),
        "{refused:?}"
    );
    if memory == Version::V1 {
        let refused = group
            .cgroup
            .apply(&limits(r#"{"memory": {"limit": 8388608}}"#))
            .expect_err("v1 cannot reclaim it");
        let message = refused.to_string();
        assert!(
            matches!(
                refused,
                CgroupError::Write {
                    cause: Cause::InUse { used_bytes },
                    ..
                } if used_bytes > 8 * MIB
            ),
            "{message}"
        );
    }
    group.cgroup.kill_all().expect("kill");
    child.wait().expect("wait");
}

#[test]
fn the_pids_limit_bites() {
    let Some(host) = host() else { return };
    if version(&host, Controller::Pids).is_none() {
        return;
    }
    let group = Group::new(&host, &Needs::standard());
    group
        .cgroup
        .apply(&limits(r#"{"pids": {"limit": 4}}"#))
        .expect("apply");
    let forks = "for i in 1 2 3 4 5 6 7 8; do sleep 1000 & done; exit 0";
    let mut child = start_in(&group.cgroup, forks);
    assert!(!child.wait().expect("wait").success());
    assert!(group.cgroup.stats().expect("stats").pids.current <= 4);
    group.cgroup.kill_all().expect("kill");
    assert!(group.cgroup.processes().expect("list").is_empty());
}

fn check_devices(host: &Hierarchies) {
    let group = Group::new(host, &Needs::standard());
    let mut asked = LinuxResources::default();
    asked.set_devices(Some(default_rules()));
    assert_eq!(group.cgroup.apply(&asked).expect("apply"), []);
    // Once more: the second time replaces the first.
    assert_eq!(group.cgroup.apply(&asked).expect("apply again"), []);
    let place = tempfile::tempdir().expect("a temporary directory");
    let node = place.path().join("node");
    // The first memory-backed block device; that it can be made and not opened is what counts.
    let script = format!(
        "cat </dev/null || exit 2; \
         mknod {node} b 1 0 || exit 3; \
         if true <{node}; then exit 4; fi; \
         if true </dev/kmsg; then exit 5; fi; \
         exit 42",
        node = node.display()
    );
    let mut child = start_in(&group.cgroup, &script);
    assert_eq!(child.wait().expect("wait").code(), Some(42));

    let mut more = default_rules();
    let kmsg = r#"{"allow": true, "type": "c", "major": 1, "minor": 11, "access": "rw"}"#;
    more.push(serde_json::from_str(kmsg).expect("a rule"));
    asked.set_devices(Some(more));
    assert_eq!(group.cgroup.apply(&asked).expect("apply"), []);
    let mut child = start_in(&group.cgroup, "true </dev/kmsg || exit 5; exit 42");
    assert_eq!(child.wait().expect("wait").code(), Some(42));
    let mut child = {
        asked.set_devices(Some(default_rules()));
        group.cgroup.apply(&asked).expect("apply");
        start_in(
            &group.cgroup,
            "if true </dev/kmsg; then exit 5; fi; exit 42",
        )
    };
    assert_eq!(child.wait().expect("wait").code(), Some(42));
}

#[test]
fn devices_outside_of_the_list_are_denied() {
    let Some(host) = host() else { return };
    check_devices(&host);
}

#[test]
fn devices_outside_of_the_list_are_denied_by_an_ebpf_program() {
    let Some(host) = v2_host() else { return };
    let probe = Group::new(&host, &Needs::standard());
    let mut asked = LinuxResources::default();
    asked.set_devices(Some(default_rules()));
    if let Err(CgroupError::DeviceProgram { step, error, .. }) = probe.cgroup.apply(&asked) {
        eprintln!("skipped: {step}: {error}");
        return;
    }
    check_devices(&host);
}
