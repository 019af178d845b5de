//! Processes of a group: frozen, killed, nested, moved in.

use super::*;

fn check_freezing(host: &Hierarchies) {
    let group = Group::new(host, &Needs::standard());
    let place = tempfile::tempdir().expect("a temporary directory");
    let file = place.path().join("count");
    let script = format!("while :; do echo >>{}; done", file.display());
    let mut child = start_in(&group.cgroup, &script);
    let count = || std::fs::metadata(&file).map_or(0, |meta| meta.len());
    eventually("the first count", || count() > 0);
    assert!(!group.cgroup.is_frozen().expect("state"));
    group.cgroup.freeze().expect("freeze");
    assert!(group.cgroup.is_frozen().expect("state"));
    let frozen = count();
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(count(), frozen);
    group.cgroup.thaw().expect("thaw");
    eventually("the next count", || count() > frozen);
    // A frozen workload can be killed, also by somebody who opens the group anew.
    group.cgroup.freeze().expect("freeze");
    let again = Cgroup::open(host, group.cgroup.path()).expect("open");
    again.kill_all().expect("kill");
    assert_eq!(child.wait().expect("wait").signal(), Some(9));
    again.remove().expect("remove");
    assert_eq!(
        Cgroup::list(host, &group.top).expect("list"),
        Vec::<String>::new()
    );
}

#[test]
fn freezing_stops_and_thawing_goes_on() {
    let Some(host) = host() else { return };
    check_freezing(&host);
}

#[test]
fn freezing_and_killing_work_on_the_v2_side() {
    let Some(host) = v2_host() else { return };
    check_freezing(&host);
}

fn check_nested(host: &Hierarchies) {
    let group = Group::new(host, &Needs::standard());
    let mut nested = Vec::new();
    for hierarchy in &host.mounted {
        let path = format!("{}/{}", hierarchy.mount_point, group.cgroup.path());
        if std::path::Path::new(&path).is_dir() {
            std::fs::create_dir_all(format!("{path}/a/b")).expect("mkdir");
            std::fs::create_dir_all(format!("{path}/c")).expect("mkdir");
            nested.push(format!("{path}/a/b/cgroup.procs"));
        }
    }
    let mut child = start_in(&group.cgroup, "exec sleep 1000");
    for procs in &nested {
        std::fs::write(procs, child.id().to_string()).expect("move");
    }
    let pid = i32::try_from(child.id()).expect("a pid");
    assert_eq!(group.cgroup.processes().expect("list"), [pid]);
    match group.cgroup.remove() {
        Err(CgroupError::Remove { processes, .. }) => assert_eq!(processes, [pid]),
        other => panic!("removed a living group: {other:?}"),
    }
    group.cgroup.kill_all().expect("kill");
    child.wait().expect("wait");
    group.cgroup.remove().expect("remove");
    assert_eq!(
        Cgroup::list(host, &group.top).expect("list"),
        Vec::<String>::new()
    );
}

#[test]
fn groups_that_the_workload_made_are_seen_and_removed() {
    let Some(host) = host() else { return };
    check_nested(&host);
}

#[test]
fn groups_that_the_workload_made_on_v2_are_seen_and_removed() {
    let Some(host) = v2_host() else { return };
    check_nested(&host);
}

#[test]
fn forking_does_not_escape_killing() {
    let Some(host) = host() else { return };
    if version(&host, Controller::Pids).is_none() {
        return;
    }
    let group = Group::new(&host, &Needs::standard());
    group
        .cgroup
        .apply(&limits(r#"{"pids": {"limit": 64}}"#))
        .expect("apply");
    let storm = "while :; do sh -c 'while :; do sleep 0.01 & done' & done";
    let mut child = start_in(&group.cgroup, storm);
    eventually("a crowd", || {
        group.cgroup.processes().expect("list").len() > 10
    });
    group.cgroup.kill_all().expect("kill");
    assert!(group.cgroup.processes().expect("list").is_empty());
    child.wait().expect("wait");
}

#[test]
fn a_single_thread_enters_through_the_open_files() {
    let Some(host) = host() else { return };
    if host.mode == Mode::V2 {
        eprintln!("skipped: no v1 hierarchy here");
        return;
    }
    let group = Group::new(&host, &Needs::standard());
    let files = group.cgroup.attach_files().expect("open");
    // Joined controllers are one hierarchy.
    let controllers = Needs::standard().controllers();
    let hierarchies = host.mounted.iter().filter(|at| {
        at.version == Version::V1 && !at.controllers.intersection(controllers).is_empty()
    });
    let expected = hierarchies.count();
    assert_eq!(files.len(), expected);
    assert!(group.cgroup.clone_into().is_none());
    let own = std::thread::spawn(move || {
        for file in &files {
            rustix::io::write(file.as_fd(), b"0").expect("enter");
        }
        std::fs::read_to_string("/proc/thread-self/cgroup").expect("read")
    });
    let own = own.join().expect("the thread");
    let inside = own.matches(group.cgroup.path()).count();
    assert_eq!(inside, expected, "{own}");
    group.cgroup.remove().expect("remove");
}
