//! OCI containers of an ordinary user, who has no privileges at all.

use gamut_tests::bundle::{ID, Receiver, fails};
use gamut_tests::cgroup;
use gamut_tests::host::program;
use gamut_tests::patience::until;
use gamut_tests::rootless::{USER, map_ranges, rootless};
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::process::{Command, Stdio};

#[test]
fn a_user_runs_a_container() {
    let Some(bundle) = rootless() else { return };
    let script =
        "id -u; id -g; cat /proc/self/uid_map; echo x >/dev/null && head -c 3 /dev/zero | wc -c;
        touch /made; ls /proc/1/ns | wc -l; hostname; mount -t tmpfs t /tmp 2>&1; echo $?";
    let said = bundle.inside(script);
    let lines: Vec<_> = said.lines().collect();
    assert_eq!(&lines[..2], ["0", "0"], "{said}");
    let map: Vec<_> = lines[2].split_whitespace().collect();
    assert_eq!(map, ["0", "65534", "1"]);
    assert_eq!(lines[3], "3", "the devices are the host's: {said}");
    assert_eq!(lines[5], "gamut");
    assert_ne!(lines.last(), Some(&"0"), "it may not mount: {said}");
    assert_eq!(
        fs::metadata(bundle.rootfs().join("made")).unwrap().uid(),
        USER
    );
}

#[test]
fn its_life_from_create_to_delete() {
    let Some(bundle) = rootless() else { return };
    bundle.script("trap 'exit 0' TERM; echo here >/began; while :; do sleep 0.1; done");
    bundle.make("create", &[], ID).ok();
    assert_eq!(bundle.status(ID), "created");
    assert_eq!(
        bundle.exec("id -u"),
        "0",
        "exec finds one that has not begun"
    );
    assert!(!bundle.rootfs().join("began").exists());
    bundle.call(&["start", ID]).ok();
    until("it runs", || bundle.rootfs().join("began").exists());
    assert_eq!(bundle.status(ID), "running");
    let pid = bundle.pid(ID);
    let inside = bundle.exec("for kind in user mnt pid; do readlink /proc/self/ns/$kind; done");
    let outside: String = ["user", "mnt", "pid"]
        .iter()
        .map(|kind| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap())
        .map(|link| format!("{}\n", link.display()))
        .collect();
    assert_eq!(inside, outside.trim(), "exec is where the container is");
    bundle.call(&["exec", ID, "sh", "-c", "exit 9"]).code(9);
    fails(bundle.call(&["delete", ID]), &["not stopped"]);
    assert!(bundle.call(&["list", "--quiet"]).ok().text().contains(ID));
    bundle.call(&["kill", ID, "TERM"]).ok();
    bundle.until(ID, "stopped");
    bundle.call(&["delete", ID]).ok();
    fails(bundle.call(&["state", ID]), &["does not exist"]);
}

#[test]
fn terminals_of_the_first_process_and_of_a_further_one() {
    let Some(bundle) = rootless() else { return };
    let receiver = Receiver::new(&bundle.dir().join("console"));
    fs::set_permissions(&receiver.path, fs::Permissions::from_mode(0o777)).unwrap();
    let shown = |receiver: &Receiver| {
        let (_, master) = receiver.receive();
        let mut bytes = Vec::new();
        let _ = File::from(master).read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).replace('\r', "")
    };
    bundle.put("/process/terminal", json!(true));
    bundle.script("tty; test -t 0 && test -c /dev/console && echo both");
    bundle
        .make("run", &["--detach", "--console-socket", &receiver.path], ID)
        .ok();
    assert_eq!(shown(&receiver), "/dev/pts/0\nboth\n");
    bundle.delete(ID);
    bundle.put("/process/terminal", json!(false));
    bundle.idle();
    let words = [
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        &receiver.path,
        ID,
        "tty",
    ];
    bundle.call(&words).ok();
    assert_eq!(shown(&receiver), "/dev/pts/0\n");
    bundle.delete(ID);
}

#[test]
fn states_are_in_the_users_own_directory() {
    let Some(bundle) = rootless() else { return };
    bundle.script("sleep 1000");
    let path = bundle.path().to_string_lossy().into_owned();
    let words = ["create", "--bundle", &path, ID];
    bundle
        .spawn(bundle.plain(&words), Stdio::null())
        .finish()
        .ok();
    let root = bundle.dir().join("run/gamut-oci");
    assert!(root.join(ID).join("state.json").exists());
    let there = fs::metadata(&root).unwrap();
    assert_eq!(
        (there.mode() & 0o7777, there.uid()),
        (0o1700, USER),
        "sticky: it is in use"
    );
    let words = ["delete", "--force", ID];
    bundle
        .spawn(bundle.plain(&words), Stdio::null())
        .finish()
        .ok();
    assert!(!root.join(ID).exists());
}

#[test]
fn what_a_user_cannot_have_is_refused_by_name() {
    let Some(bundle) = rootless() else { return };
    bundle.script("true");
    bundle.put("/process/user/additionalGids", json!([7]));
    let refused = fails(
        bundle.make("run", &[], ID),
        &["cannot set any additional groups"],
    );
    assert!(refused.err.contains("hint: "), "{}", refused.err);
    bundle.put("/process/user/additionalGids", json!([]));
    bundle.put("/process/user/uid", json!(5));
    fails(bundle.make("run", &[], ID), &["the user", "mapped"]);
    bundle.put("/process/user/uid", json!(0));
    bundle.idle();
    let refused = bundle
        .call(&["exec", "--user", "5:5", ID, "true"])
        .code(255);
    assert!(
        refused.err.contains("hint: the id must be mapped"),
        "{}",
        refused.err
    );
    bundle.delete(ID);
    bundle.script("true");
    let maps = json!([{"containerID": 0, "hostID": 0, "size": 1}]);
    bundle.put("/linux/uidMappings", maps);
    // The host's root is nobody's to give.
    fails(bundle.make("run", &[], ID), &["newuidmap"]);
    bundle.put("/linux/uidMappings", json!([]));
    fails(bundle.make("run", &[], ID), &["at least one UID mapping"]);
    bundle.put("/linux/gidMappings", json!([]));
    bundle.set(|config| {
        let list = config["linux"]["namespaces"].as_array_mut().unwrap();
        list.retain(|one| one["type"] != "user");
    });
    fails(
        bundle.make("run", &[], ID),
        &["requires user namespaces", "--rootless"],
    );
    let left = fs::read_dir(bundle.state_dir()).unwrap().flatten();
    assert_eq!(left.filter(|one| one.file_name() != ".filters").count(), 0);
}

#[test]
fn ranges_of_ids_come_by_newuidmap() {
    let Some(bundle) = rootless() else { return };
    if !map_ranges(&bundle) {
        return;
    }
    bundle.put(
        "/process/user",
        json!({"uid": 33, "gid": 44, "additionalGids": [55]}),
    );
    program(
        "chmod",
        &["777", bundle.rootfs().join("tmp").to_str().unwrap()],
    );
    let said = bundle.inside("id -u; id -g; id -G; touch /tmp/own");
    assert_eq!(said, "33\n44\n44 55");
    let own = fs::metadata(bundle.rootfs().join("tmp/own")).unwrap();
    assert_eq!((own.uid(), own.gid()), (100_032, 100_043));
    bundle.put("/process/user", json!({"uid": 0, "gid": 0}));
    bundle.capabilities(&["CAP_CHOWN", "CAP_DAC_OVERRIDE"]);
    assert_eq!(
        bundle.inside("id -G; chown 9 /tmp/own && stat -c %u /tmp/own"),
        "0\n9"
    );
}

/// Somebody who makes a container for a user whose root is another id than his own.
/// Of what the container mounts itself, whose user namespace is the user's own; the host's files are not.
#[test]
fn a_users_own_mounts_are_shown_with_other_owners() {
    if gamut_tests::skip::without_mapped_tmpfs() {
        return;
    }
    let Some(bundle) = rootless() else { return };
    if !map_ranges(&bundle) {
        return;
    }
    let root = bundle.rootfs().display().to_string();
    let map = json!([{"containerID": 0, "hostID": 500, "size": 10}]);
    let mapped = |source: &str| {
        json!({"destination": "/again", "source": source, "options": ["bind", "idmap"],
               "uidMappings": map, "gidMappings": map})
    };
    bundle.mount("/own", "tmpfs", "tmpfs", &[]);
    bundle.set(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(mapped(&format!("{root}/own")));
    });
    assert_eq!(
        bundle.inside("touch /own/file; stat -c %u:%g /again/file"),
        "500:500"
    );
    bundle.set(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        *mounts.last_mut().unwrap() = mapped(&root);
    });
    fails(
        bundle.make("run", &[], ID),
        &[root.as_str(), "not permitted", "other owners"],
    );
}

#[test]
fn the_containers_root_may_be_another_than_the_caller() {
    let Some(bundle) = rootless() else { return };
    if !map_ranges(&bundle) {
        return;
    }
    let maps = json!([{"containerID": 0, "hostID": 100_000, "size": 1000}]);
    bundle.put("/linux/uidMappings", maps.clone());
    bundle.put("/linux/gidMappings", maps);
    program("chmod", &["755", bundle.dir().to_str().unwrap()]);
    program(
        "chown",
        &["-R", "100000:100000", bundle.rootfs().to_str().unwrap()],
    );
    bundle.put("/process/oomScoreAdj", json!(500));
    bundle.script("sleep 1000");
    bundle.make("create", &[], ID).ok();
    assert_eq!(bundle.exec("id -u; cat /proc/self/oom_score_adj"), "0\n500");
    bundle.call(&["start", ID]).ok();
    let pid = bundle.pid(ID);
    assert_eq!(fs::metadata(format!("/proc/{pid}")).unwrap().uid(), 100_000);
    assert_eq!(bundle.exec("id -u; cat /proc/self/oom_score_adj"), "0\n500");
    bundle.delete(ID);
}

/// The caller's PATH says where newuidmap is; root's is never asked.
#[test]
fn newuidmap_is_the_callers_and_never_roots() {
    let Some(bundle) = rootless() else { return };
    if !map_ranges(&bundle) {
        return;
    }
    let bin = bundle.dir().join("bin");
    fs::create_dir(&bin).unwrap();
    let marker = bundle.dir().join("called");
    fs::write(&marker, "").unwrap();
    for name in ["newuidmap", "newgidmap"] {
        let script = format!("#!/bin/sh\necho $0 >>{}\nexit 1\n", marker.display());
        fs::write(bin.join(name), script).unwrap();
    }
    program(
        "chmod",
        &[
            "-R",
            "a+rwx",
            bin.to_str().unwrap(),
            marker.to_str().unwrap(),
        ],
    );
    bundle.script("true");
    let path = bundle.path().to_string_lossy().into_owned();
    let call = |path_variable: &str, by_user: bool| {
        let state = bundle.state_dir().to_string_lossy().into_owned();
        let words = ["--root", &state, "run", "--bundle", &path, ID];
        let mut command = bundle.plain(&words);
        if !by_user {
            command = Command::new(bundle.binary());
            command.arg("oci").args(words);
        }
        command.env("PATH", path_variable);
        bundle.spawn(command, Stdio::null()).finish()
    };
    let system = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    let first = format!("{}:{system}", bin.display());
    fails(call(&first, true), &["newuidmap"]);
    assert!(fs::read_to_string(&marker).unwrap().contains("newuidmap"));
    fs::write(&marker, "").unwrap();
    call(&first, false).ok();
    assert_eq!(
        fs::read_to_string(&marker).unwrap(),
        "",
        "root has called it"
    );
    // Ranges that are not the user's.
    fs::write(bundle.dir().join("subuid"), "nobody:5000:10\n").unwrap();
    fails(call(system, true), &["newuidmap", "/etc/subuid"]);
}

#[test]
fn no_group_where_none_can_be_made_and_none_is_asked_for() {
    let Some(bundle) = rootless() else { return };
    let pid = bundle.idle();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap();
    assert_eq!(
        fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap(),
        own
    );
    let refused = fails(
        bundle.call(&["pause", ID]),
        &["no control group of its own"],
    );
    assert!(refused.err.contains("hint: "), "{}", refused.err);
    assert_eq!(bundle.status(ID), "running");
    bundle.delete(ID);
    bundle.script("true");
    bundle.put("/linux/resources", json!({"pids": {"limit": 9}}));
    let refused = fails(bundle.make("run", &[], ID), &["cgroup", "permission"]);
    assert!(refused.err.contains("hint: "), "{}", refused.err);
    bundle.put("/linux/resources", json!({}));
    bundle.put("/linux/cgroupsPath", json!("/not-mine"));
    fails(bundle.make("run", &[], ID), &["cgroup", "permission"]);
}

/// Groups that are the user's: on version 2 all of a subtree, in which the caller is as well.
#[test]
fn a_delegated_group_holds_limits() {
    let Some(mut bundle) = rootless() else { return };
    let name = bundle.name();
    let unified = cgroup::unified();
    let tops: Vec<_> = match unified {
        true => vec!["/sys/fs/cgroup".into()],
        false => fs::read_dir("/sys/fs/cgroup")
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.is_dir())
            .collect(),
    };
    for top in &tops {
        let group = top.join(&name);
        fs::create_dir(&group).unwrap();
        for file in ["cpuset.cpus", "cpuset.mems"] {
            if let (false, Ok(value)) = (unified, fs::read(top.join(file))) {
                fs::write(group.join(file), value).unwrap();
            }
        }
        for file in [
            "",
            "cgroup.procs",
            "tasks",
            "cgroup.subtree_control",
            "cgroup.threads",
        ] {
            let path = group.join(file);
            if path.exists() {
                std::os::unix::fs::chown(path, Some(USER), Some(USER)).unwrap();
            }
        }
    }
    if unified {
        fs::write("/sys/fs/cgroup/cgroup.subtree_control", "+pids").unwrap();
        let own = Path::new("/sys/fs/cgroup").join(&name).join("own");
        fs::create_dir(&own).unwrap();
        let enter = format!("echo $$ >{}/cgroup.procs; exec \"$@\"", own.display());
        let mut by = ["sh", "-c", &enter, "sh"].map(str::to_owned).to_vec();
        by.append(&mut bundle.by);
        bundle.by = by;
    } else {
        bundle.put("/linux/cgroupsPath", json!(format!("/{name}/container")));
    }
    bundle.put("/linux/resources", json!({"pids": {"limit": 77}}));
    let pid = bundle.idle();
    assert_eq!(cgroup::read(pid, "pids", "pids.max", "pids.max"), "77");
    let of = fs::read_to_string(format!("/proc/{pid}/cgroup")).unwrap();
    assert!(of.contains(&name), "{of}");
    assert_eq!(bundle.exec("echo in"), "in");
    bundle.call(&["pause", ID]).ok();
    assert_eq!(bundle.status(ID), "paused");
    bundle.call(&["resume", ID]).ok();
    bundle.delete(ID);
    for top in tops {
        let group = top.join(&name);
        for below in ["own", "gamut-oci"] {
            let _ = fs::remove_dir(group.join(below));
        }
        until("the group is empty", || {
            fs::remove_dir(&group).is_ok() || !group.exists()
        });
    }
}

/// Hooks of the host run as the caller and outside of all namespaces, the others inside.
#[test]
fn hooks_run_where_they_belong() {
    let Some(bundle) = rootless() else { return };
    let out = bundle.dir().join("hooks");
    fs::write(&out, "").unwrap();
    program("chmod", &["666", out.to_str().unwrap()]);
    let hook = |stage: &str| {
        let told = format!(
            "cat >/dev/null; echo {stage} $(id -u) $(readlink /proc/self/ns/user) >>{}",
            out.display()
        );
        json!([{"path": "/bin/sh", "args": ["sh", "-c", told], "env": ["PATH=/usr/bin:/bin"]}])
    };
    let inside = json!([{"path": "/bin/sh", "args": ["sh", "-c", "id -u >/hook"],
        "env": ["PATH=/bin"]}]);
    bundle.set(|config| {
        config["hooks"] = json!({
            "createRuntime": hook("createRuntime"),
            "createContainer": hook("createContainer"),
            "startContainer": inside,
            "poststop": hook("poststop"),
        });
    });
    bundle.run("cat /hook").ok().prints("0");
    let outside = fs::read_link("/proc/self/ns/user").unwrap();
    let told = fs::read_to_string(out).unwrap();
    let lines: Vec<Vec<_>> = told.lines().map(|l| l.split(' ').collect()).collect();
    let host = outside.to_str().unwrap();
    assert_eq!(lines[0], ["createRuntime", "65534", host], "{told}");
    assert_eq!(lines[1][..2], ["createContainer", "0"], "{told}");
    assert_ne!(lines[1][2], host, "{told}");
    assert_eq!(lines[2], ["poststop", "65534", host], "{told}");
}

/// A hook that fails ends the creation, and both processes of it.
#[test]
fn a_failed_creation_leaves_nothing() {
    let Some(bundle) = rootless() else { return };
    bundle.set(|config| {
        config["hooks"] = json!({"createRuntime": [{"path": "/bin/false"}]});
    });
    bundle.script("true");
    fails(bundle.make("run", &[], ID), &["createRuntime hook #0"]);
    bundle.put("/hooks", json!({}));
    bundle.mount("/x", "bind", "/not/there", &["bind"]);
    fails(bundle.make("run", &[], ID), &["cannot bind /not/there"]);
    bundle.assert_nothing_left();
}

/// CVE-2019-5736 where no read-only mount can be made: the program is the user's own file.
#[test]
fn the_users_program_cannot_be_overwritten() {
    let Some(bundle) = rootless() else { return };
    let binary = bundle.binary().to_owned();
    assert_eq!(
        fs::metadata(&binary).unwrap().uid(),
        USER,
        "it is the user's to write"
    );
    bundle.script("true");
    bundle.make("create", &[], ID).ok();
    // The first process is ours until its start.
    let exe = format!("/proc/{}/exe", bundle.pid(ID));
    let runs = fs::read_link(&exe).unwrap();
    assert!(
        runs.to_string_lossy().contains("memfd:gamut"),
        "{}",
        runs.display()
    );
    let opened = File::options().write(true).open(&exe);
    let written = opened.and_then(|mut file| file.write(b"x"));
    assert!(written.is_err(), "the copy is sealed");
    bundle.delete(ID);
    // Root's own file needs none.
    program("chown", &["0:0", binary.to_str().unwrap()]);
    program("chmod", &["755", binary.to_str().unwrap()]);
    bundle.make("create", &[], ID).ok();
    let file = |path: &Path| fs::metadata(path).map(|it| (it.dev(), it.ino())).unwrap();
    let exe = format!("/proc/{}/exe", bundle.pid(ID));
    assert_eq!(file(Path::new(&exe)), file(&binary));
    bundle.delete(ID);
}
