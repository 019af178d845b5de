//! The v2 backend against a directory of made-up files: what it would write on a host that this
//! machine isn't.

use std::fs;
use std::path::PathBuf;

use gamut_container::cgroup::{Cgroup, CgroupError, ControllerSet, Hierarchies, Needs, Warning};
use oci_spec::runtime::LinuxResources;

const CONTROLLERS: &str = "cpuset cpu io memory hugetlb pids rdma";

/// A cgroup2 mount with the group `gamut/x` in it.
struct Fake {
    top: tempfile::TempDir,
    hierarchies: Hierarchies,
}

impl Fake {
    fn new(files: &[(&str, &str)]) -> Self {
        let top = tempfile::tempdir().expect("a temporary directory");
        let path = top.path().to_str().expect("a plain path").to_owned();
        let hierarchies = Hierarchies::unified_at(&path, ControllerSet::from_v2_names(CONTROLLERS));
        let fake = Self { top, hierarchies };
        fs::create_dir_all(fake.file("gamut/x")).expect("mkdir");
        for place in ["", "gamut/"] {
            fake.put(&format!("{place}cgroup.subtree_control"), CONTROLLERS);
        }
        fake.put("gamut/cpuset.cpus.effective", "0-3");
        for (file, text) in files {
            fake.put(&format!("gamut/x/{file}"), text);
        }
        fake
    }

    fn file(&self, file: &str) -> PathBuf {
        self.top.path().join(file)
    }

    fn put(&self, file: &str, text: &str) {
        fs::write(self.file(file), text).expect("write");
    }

    fn get(&self, file: &str) -> String {
        fs::read_to_string(self.file(&format!("gamut/x/{file}"))).expect("read")
    }

    fn open(&self) -> Cgroup {
        Cgroup::open(&self.hierarchies, "gamut/x").expect("open")
    }

    fn apply(&self, json: &str) -> Result<Vec<Warning>, CgroupError> {
        let limits: LinuxResources = serde_json::from_str(json).expect("limits");
        self.open().apply(&limits)
    }
}

#[test]
fn swap_is_written_alone_and_unlimited_is_max() {
    let fake = Fake::new(&[
        ("memory.max", ""),
        ("memory.swap.max", ""),
        ("memory.low", ""),
    ]);
    let json = r#"{"memory": {"limit": 104857600, "swap": 314572800, "reservation": 1048576}}"#;
    assert_eq!(fake.apply(json).expect("apply"), []);
    assert_eq!(fake.get("memory.max"), "104857600");
    assert_eq!(fake.get("memory.swap.max"), "209715200");
    assert_eq!(fake.get("memory.low"), "1048576");

    let fake = Fake::new(&[("memory.max", ""), ("memory.swap.max", "")]);
    fake.apply(r#"{"memory": {"limit": -1}}"#).expect("apply");
    assert_eq!(fake.get("memory.max"), "max");
    assert_eq!(fake.get("memory.swap.max"), "max");
}

#[test]
fn a_swap_limit_alone_counts_from_the_memory_limit_that_holds() {
    let fake = Fake::new(&[("memory.max", "1000\n"), ("memory.swap.max", "")]);
    fake.apply(r#"{"memory": {"swap": 1500}}"#).expect("apply");
    assert_eq!(fake.get("memory.swap.max"), "500");
}

#[test]
fn without_swap_accounting_only_a_real_limit_is_worth_a_warning() {
    let fake = Fake::new(&[("memory.max", "")]);
    let told = fake
        .apply(r#"{"memory": {"limit": 1000, "swap": 2000}}"#)
        .expect("apply");
    assert!(matches!(told[..], [Warning::NoFile { .. }]), "{told:?}");
    assert!(told[0].to_string().contains("swapaccount=1"), "{}", told[0]);
    let fake = Fake::new(&[("memory.max", "")]);
    let told = fake
        .apply(r#"{"memory": {"limit": 1000, "swap": -1}}"#)
        .expect("apply");
    assert_eq!(told, []);
}

#[test]
fn what_v2_has_not_got_is_a_warning() {
    let fake = Fake::new(&[("memory.max", "")]);
    let json = r#"{"memory": {"limit": 1000, "swappiness": 10, "disableOOMKiller": true},
                   "cpu": {"realtimeRuntime": 1000}, "network": {"classID": 1}}"#;
    let told = fake.apply(json).expect("apply");
    let not_on_v2 = |warning: &&Warning| matches!(warning, Warning::NotOnV2 { .. });
    assert_eq!(told.iter().filter(not_on_v2).count(), 3, "{told:?}");
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn cpu_limits_keep_the_part_that_is_not_asked_for() {
    let empty = Fake::new(&[("cpu.max", ""), ("cpu.weight", ""), ("cpu.max.burst", "")]);
    let json = r#"{"cpu": {"shares": 1024, "quota": 50000, "burst": 20000}}"#;
    empty.apply(json).expect("apply");
    assert_eq!(empty.get("cpu.max"), "50000 100000");
    assert_eq!(empty.get("cpu.weight"), "100");
    assert_eq!(empty.get("cpu.max.burst"), "20000");

    let set = Fake::new(&[("cpu.max", "50000 100000\n")]);
    set.apply(r#"{"cpu": {"period": 200000}}"#).expect("apply");
    assert_eq!(set.get("cpu.max"), "50000 200000\n");
    let lifted = Fake::new(&[("cpu.max", "50000 80000")]);
    lifted.apply(r#"{"cpu": {"quota": -1}}"#).expect("apply");
    assert!(lifted.get("cpu.max").starts_with("max 80000"));
}

#[test]
fn cpus_are_checked_against_the_group_above() {
    let fake = Fake::new(&[("cpuset.cpus", "")]);
    fake.apply(r#"{"cpu": {"cpus": "1-2"}}"#).expect("apply");
    assert_eq!(fake.get("cpuset.cpus"), "1-2");
    let refused = fake.apply(r#"{"cpu": {"cpus": "2-4"}}"#);
    assert!(
        matches!(refused, Err(CgroupError::NotInCpuset { .. })),
        "{refused:?}"
    );
}

#[test]
fn block_weights_take_the_file_that_is_there() {
    let bfq = Fake::new(&[("io.bfq.weight", ""), ("io.weight", "")]);
    bfq.apply(r#"{"blockIO": {"weight": 500}}"#).expect("apply");
    assert_eq!(
        (bfq.get("io.bfq.weight"), bfq.get("io.weight")),
        ("500".into(), "".into())
    );
    let cost = Fake::new(&[("io.weight", "")]);
    cost.apply(r#"{"blockIO": {"weight": 500}}"#)
        .expect("apply");
    assert_eq!(cost.get("io.weight"), "4950");
    let none = Fake::new(&[]);
    let told = none
        .apply(r#"{"blockIO": {"weight": 500}}"#)
        .expect("apply");
    assert!(matches!(told[..], [Warning::NoFile { .. }]), "{told:?}");
}

#[test]
fn pids_huge_pages_and_rdma_are_written() {
    let fake = Fake::new(&[
        ("pids.max", ""),
        ("hugetlb.2MB.max", ""),
        ("hugetlb.2MB.rsvd.max", ""),
        ("rdma.max", ""),
    ]);
    let json = r#"{"pids": {"limit": 0},
                   "hugepageLimits": [{"pageSize": "2MB", "limit": 4194304}],
                   "rdma": {"mlx5_0": {"hcaHandles": 3, "hcaObjects": 10000}}}"#;
    assert_eq!(fake.apply(json).expect("apply"), []);
    assert_eq!(fake.get("pids.max"), "1", "the first process alone");
    assert_eq!(fake.get("hugetlb.2MB.max"), "4194304");
    assert_eq!(fake.get("hugetlb.2MB.rsvd.max"), "4194304");
    assert_eq!(fake.get("rdma.max"), "mlx5_0 hca_handle=3 hca_object=10000");
    fake.apply(r#"{"pids": {"limit": -1}}"#).expect("apply");
    assert_eq!(fake.get("pids.max"), "max");
    for (size, missing) in [("1GB", true), ("2M", false), ("../2MB", false)] {
        let json = format!(r#"{{"hugepageLimits": [{{"pageSize": "{size}", "limit": 1}}]}}"#);
        match fake.apply(&json) {
            Err(CgroupError::NoSuchPageSize { .. }) => assert!(missing, "{size}"),
            Err(CgroupError::InvalidLimit { .. }) => assert!(!missing, "{size}"),
            other => panic!("{size}: {other:?}"),
        }
    }
}

#[test]
fn unified_values_go_to_their_files_and_nowhere_else() {
    let fake = Fake::new(&[("memory.high", ""), ("cgroup.procs", "")]);
    fake.apply(r#"{"unified": {"memory.high": "12345"}}"#)
        .expect("apply");
    assert_eq!(fake.get("memory.high"), "12345");
    for key in [
        "cgroup.procs",
        "../cgroup.subtree_control",
        "memory.nothing",
        "nothing",
    ] {
        let json = format!(r#"{{"unified": {{"{key}": "1"}}}}"#);
        let refused = fake.apply(&json);
        assert!(
            matches!(refused, Err(CgroupError::UnifiedKey { .. })),
            "{key}: {refused:?}"
        );
    }
}

#[test]
fn controllers_are_enabled_from_the_top_down() {
    let fake = Fake::new(&[]);
    for place in ["", "gamut/"] {
        fake.put(&format!("{place}cgroup.subtree_control"), "");
    }
    Cgroup::create(&fake.hierarchies, "gamut/new", &Needs::standard()).expect("create");
    for place in ["", "gamut/"] {
        let path = fake.file(&format!("{place}cgroup.subtree_control"));
        let text = fs::read_to_string(path).expect("read");
        assert_eq!(text, "+cpu +memory +io +pids", "{place}");
    }
    assert!(fake.file("gamut/new").is_dir());
}

#[test]
fn only_controllers_that_are_there_are_enabled() {
    let mut fake = Fake::new(&[]);
    fake.hierarchies.mounted[0].controllers = ControllerSet::from_v2_names("pids");
    fake.put("cgroup.subtree_control", "");
    fake.put("gamut/cgroup.subtree_control", "");
    Cgroup::create(&fake.hierarchies, "gamut/new", &Needs::standard()).expect("create");
    let text = fs::read_to_string(fake.file("cgroup.subtree_control")).expect("read");
    assert_eq!(text, "+pids");
    let told = fake.apply(r#"{"memory": {"limit": 1000}}"#).expect("apply");
    assert!(
        matches!(told[..], [Warning::NoController { .. }]),
        "{told:?}"
    );
}

#[test]
fn statistics_are_read() {
    let fake = Fake::new(&[
        (
            "cpu.stat",
            "usage_usec 3000\nuser_usec 2000\nsystem_usec 1000\nnr_periods 7\nnr_throttled 2\nthrottled_usec 9\n",
        ),
        ("memory.current", "5000\n"),
        ("memory.max", "max\n"),
        ("memory.peak", "6000\n"),
        ("memory.swap.current", "70\n"),
        ("memory.stat", "anon 1\nfile 2\ninactive_file 800\n"),
        ("memory.events", "low 0\nhigh 0\nmax 3\noom 2\noom_kill 2\n"),
        ("pids.current", "3\n"),
        ("pids.max", "9\n"),
        (
            "io.stat",
            "8:0 rbytes=10 wbytes=20 rios=1 wios=2 dbytes=0 dios=0\n9:0 rbytes=5 wbytes=0 rios=1 wios=0\n",
        ),
        (
            "cpu.pressure",
            "some avg10=1.00 avg60=2.00 avg300=3.00 total=4\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
        ),
    ]);
    let group = fake.open();
    let stats = group.stats().expect("stats");
    assert_eq!(
        (stats.cpu.usage_ns, stats.cpu.system_ns),
        (3_000_000, 1_000_000)
    );
    assert_eq!((stats.cpu.periods, stats.cpu.throttled_ns), (7, 9_000));
    assert_eq!(stats.memory.usage_bytes, 5000);
    assert_eq!(stats.memory.inactive_file_bytes, 800);
    assert_eq!(stats.memory.limit_bytes, None);
    assert_eq!(
        (stats.memory.peak_bytes, stats.memory.swap_bytes),
        (Some(6000), 70)
    );
    assert_eq!(stats.memory.oom_kills, 2);
    assert_eq!((stats.pids.current, stats.pids.limit), (3, Some(9)));
    assert_eq!((stats.block.read_bytes, stats.block.writes), (15, 2));
    let pressure = group.pressure().expect("pressure").expect("there");
    assert_eq!(pressure.cpu.some.total_us, 4);
    assert!(stats.read_at_ns > 0 && stats.networks.is_empty());
}

#[test]
fn a_file_that_says_nonsense_is_named() {
    let fake = Fake::new(&[
        ("pids.current", "many\n"),
        ("pids.max", "max"),
        ("cpu.stat", ""),
    ]);
    fake.put("gamut/x/memory.stat", "");
    for file in ["memory.current", "memory.max"] {
        fake.put(&format!("gamut/x/{file}"), "1");
    }
    fake.put("gamut/x/memory.events", "");
    let error = fake.open().stats().expect_err("not a number");
    assert!(error.to_string().contains("pids.current"), "{error}");
    assert!(error.to_string().contains("many"), "{error}");
}
