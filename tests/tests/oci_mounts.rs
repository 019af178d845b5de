//! The mounts of an OCI configuration, their options, and what passes between them and the host's.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, fails};
use gamut_tests::skip::skipped;
use rustix::mount::{
    MountFlags, MountPropagationFlags, UnmountFlags, mount, mount_change, unmount,
};
use serde_json::json;
use std::fs;

fn mount_tmpfs(path: &str) {
    mount("test", path, "tmpfs", MountFlags::empty(), None).unwrap();
}

#[test]
fn options_of_mounts() {
    let Some(bundle) = Bundle::new() else { return };
    let source = bundle.dir().join("source");
    fs::create_dir_all(source.join("below")).unwrap();
    fs::write(source.join("file"), "from the host").unwrap();
    let path = source.to_str().unwrap();
    mount_tmpfs(source.join("below").to_str().unwrap());
    bundle.mount("/ro", "bind", path, &["rbind", "ro"]);
    bundle.mount("/rro", "bind", path, &["rbind", "rro"]);
    bundle.mount("/one", "none", path, &["bind", "nosuid", "nodev", "noexec"]);
    bundle.mount(
        "/some/file",
        "bind",
        source.join("file").to_str().unwrap(),
        &["bind"],
    );
    bundle.mount(
        "/data",
        "tmpfs",
        "tmpfs",
        &["size=64k", "mode=700", "noexec", "nosymfollow"],
    );
    let said = bundle.inside(
        "for f in /ro/x /ro/below/x /rro/x /rro/below/x /one/x; do (echo >$f) 2>/dev/null && echo $f; done; \
         cat /some/file; echo; stat -c %a /data; grep -c ' /one/below ' /proc/self/mountinfo; \
         grep -E ' /(one|data) ' /proc/self/mountinfo | cut -d' ' -f5,6",
    );
    let expected = "/ro/below/x\n/one/x\nfrom the host\n700\n0\n/one rw,nosuid,nodev,noexec,relatime\n/data rw,noexec,relatime,nosymfollow";
    assert_eq!(said, expected);
    bundle.mount("/x", "bind", "/nosuch", &["bind"]);
    fails(bundle.make("run", &[], ID), &["/nosuch"]);
    bundle.set(|config| {
        config["mounts"].as_array_mut().unwrap().pop();
    });
    bundle.mount("/x", "nosuchfs", "x", &[]);
    fails(bundle.make("run", &[], ID), &["/x"]);
    unmount(
        source.join("below").to_str().unwrap(),
        UnmountFlags::empty(),
    )
    .unwrap();
}

#[test]
fn a_tmpfs_begins_with_what_was_there() {
    let Some(bundle) = Bundle::new() else { return };
    let dir = bundle.rootfs().join("data/deep");
    fs::create_dir_all(&dir).unwrap();
    fs::write(dir.join("file"), "kept").unwrap();
    std::os::unix::fs::symlink("deep/file", bundle.rootfs().join("data/link")).unwrap();
    std::os::unix::fs::chown(&dir, Some(33), Some(44)).unwrap();
    bundle.mount("/data", "tmpfs", "tmpfs", &["tmpcopyup"]);
    let said = bundle.inside("cat /data/link; echo; stat -c '%u %g' /data/deep; echo new >/data/deep/file; stat -f -c %T /data");
    assert_eq!(said, "kept\n33 44\ntmpfs");
    assert_eq!(
        fs::read_to_string(dir.join("file")).unwrap(),
        "kept",
        "it was written through"
    );
}

#[test]
fn what_is_mounted_later_passes_as_told() {
    let Some(bundle) = Bundle::new() else { return };
    let source = bundle.dir().join("source");
    fs::create_dir(&source).unwrap();
    let path = source.to_str().unwrap();
    // A mount of its own, that shares onward.
    mount_tmpfs(path);
    mount_change(path, MountPropagationFlags::SHARED).unwrap();
    for name in ["late", "inner"] {
        fs::create_dir(source.join(name)).unwrap();
    }
    bundle.mount("/slave", "bind", path, &["rbind", "rslave"]);
    bundle.mount("/shared", "bind", path, &["rbind", "rshared"]);
    bundle.mount("/private", "bind", path, &["rbind", "rprivate"]);
    bundle.capabilities(&["CAP_SYS_ADMIN"]);
    bundle.idle();
    let late = source.join("late");
    mount_tmpfs(late.to_str().unwrap());
    fs::write(late.join("seen"), "").unwrap();
    assert_eq!(
        bundle.exec("ls -d /*/late/seen"),
        "/shared/late/seen\n/slave/late/seen"
    );
    // And back, from the shared one only.
    bundle.exec("mount -t tmpfs inner /slave/inner; echo x >/slave/inner/slave; mount -t tmpfs inner /shared/inner; echo x >/shared/inner/shared");
    assert!(source.join("inner/shared").exists() && !source.join("inner/slave").exists());
    bundle.delete(ID);
    unmount(
        source.join("inner").to_str().unwrap(),
        UnmountFlags::empty(),
    )
    .unwrap();
    unmount(late.to_str().unwrap(), UnmountFlags::empty()).unwrap();
    unmount(path, UnmountFlags::empty()).unwrap();
}

#[test]
fn the_roots_own_propagation_and_readonly() {
    let Some(bundle) = Bundle::new() else { return };
    let fields = |word: &str| {
        bundle.put("/linux/rootfsPropagation", json!(word));
        bundle.inside("awk '$5 == \"/\" {print $6, $7}' /proc/self/mountinfo; touch /x || true")
    };
    assert!(fields("shared").contains(" shared:"));
    assert!(fields("rshared").contains(" shared:"));
    for word in ["private", "rprivate"] {
        let said = fields(word);
        assert!(
            said.ends_with(" -") && !said.contains("shared:"),
            "{word}: {said}"
        );
    }
    assert!(fields("unbindable").contains(" unbindable"));
    bundle.put("/root/readonly", json!(true));
    let run = bundle.run("awk '$5 == \"/\" {print $6}' /proc/self/mountinfo; touch /y; echo x >/dev/shm/z && echo shm").ok();
    assert!(
        run.out.starts_with("ro,") && run.out.ends_with("shm\n"),
        "{}",
        run.told()
    );
    assert!(run.err.contains("Read-only"), "{}", run.told());
    assert!(!bundle.rootfs().join("y").exists());
}

#[test]
fn masked_and_read_only_paths() {
    let Some(bundle) = Bundle::new() else { return };
    fs::create_dir(bundle.rootfs().join("secret")).unwrap();
    fs::write(bundle.rootfs().join("secret/file"), "secret").unwrap();
    fs::write(bundle.rootfs().join("word"), "secret").unwrap();
    fs::create_dir(bundle.rootfs().join("fixed")).unwrap();
    bundle.put(
        "/linux/maskedPaths",
        json!(["/secret", "/word", "/proc/keys", "/nosuch"]),
    );
    bundle.put(
        "/linux/readonlyPaths",
        json!(["/fixed", "/proc/sys", "/nosuch"]),
    );
    let script = "ls /secret | wc -l; wc -c </word; wc -c </proc/keys; for f in /secret/x /fixed/x /proc/sys/kernel/hostname; do (echo y >$f) 2>/dev/null && echo wrote $f; done; true";
    assert_eq!(bundle.inside(script), "0\n0\n0");
    bundle.idle();
    assert_eq!(bundle.exec("wc -c </word"), "0");
    assert_eq!(
        fs::read_to_string(bundle.rootfs().join("word")).unwrap(),
        "secret"
    );
}

#[test]
fn devices_are_the_default_and_those_listed() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.put("/linux/devices", json!([
        {"path": "/dev/mine", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "uid": 33, "gid": 44},
        {"path": "/dev/mem", "type": "c", "major": 1, "minor": 1},
    ]));
    bundle.capabilities(&["CAP_SYS_RAWIO", "CAP_DAC_OVERRIDE"]);
    let said = bundle.inside(
        "for d in null zero full random urandom tty; do stat -c '%n %t:%T %a' /dev/$d; done; stat -c '%a %u %g' /dev/mine; \
         head -c 3 /dev/mine | wc -c; echo x >/dev/null && echo null; head -c 1 /dev/urandom | wc -c; \
         head -c 1 /dev/mem 2>&1 | grep -c 'not permitted'",
    );
    let nodes = "/dev/null 1:3 666\n/dev/zero 1:5 666\n/dev/full 1:7 666\n/dev/random 1:8 666\n/dev/urandom 1:9 666\n/dev/tty 5:0 666";
    assert_eq!(said, format!("{nodes}\n640 33 44\n3\nnull\n1\n1"));
}

/// The options of one mount inside, as mountinfo has them.
fn shown(bundle: &Bundle) -> String {
    bundle.inside("awk '$5 == \"/there\" {print $6}' /proc/self/mountinfo")
}

/// A bind has the flags that are asked for, and no others of its source's; none asked for are all kept.
#[test]
fn flags_of_a_bind_are_those_asked_for() {
    let Some(bundle) = Bundle::new() else { return };
    let source = bundle.dir().join("source");
    fs::create_dir(&source).unwrap();
    let path = source.to_str().unwrap();
    mount_tmpfs(path);
    let have = |flags: MountFlags| {
        rustix::mount::mount_remount(path, MountFlags::BIND | flags, "").unwrap();
    };
    let strict = MountFlags::RDONLY | MountFlags::NOEXEC | MountFlags::NODEV | MountFlags::NOATIME;
    let of = |options: &[&str]| {
        bundle.set(|config| {
            let mounts = config["mounts"].as_array_mut().unwrap();
            mounts.retain(|mount| mount["destination"] != "/there");
            mounts.push(json!({"destination": "/there", "type": "bind", "source": path, "options": options}));
        });
    };
    let both: [(&[&str], &str, &str); 6] = [
        // What is asked for; what comes of it; and in a user namespace, which may not clear what is there.
        (
            &["bind"],
            "ro,nodev,noexec,noatime",
            "ro,nodev,noexec,noatime",
        ),
        (
            &["bind", "nosuid"],
            "rw,nosuid,noatime",
            "ro,nosuid,nodev,noexec,noatime",
        ),
        (&["bind", "suid"], "rw,noatime", "ro,nodev,noexec,noatime"),
        (&["bind", "rw", "strictatime"], "rw", ""),
        (
            &["bind", "ro", "nodev", "noexec", "relatime"],
            "ro,nodev,noexec,relatime",
            "",
        ),
        (&["bind", "dev"], "rw,noatime", ""),
    ];
    have(strict);
    for (options, plain, _) in both {
        of(options);
        assert_eq!(shown(&bundle), plain, "{options:?}");
    }
    bundle.set(|config| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
    });
    for (options, _, mapped) in both {
        of(options);
        if mapped.is_empty() {
            fails(bundle.make("run", &[], ID), &[path, "not permitted"]);
        } else {
            assert_eq!(shown(&bundle), mapped, "{options:?} in a user namespace");
        }
    }
    unmount(path, UnmountFlags::empty()).unwrap();
}

#[test]
fn flags_with_an_r_are_those_of_all_below() {
    let Some(bundle) = Bundle::new() else { return };
    let source = bundle.dir().join("source");
    fs::create_dir_all(source.join("below")).unwrap();
    let below = source.join("below");
    mount_tmpfs(below.to_str().unwrap());
    let path = source.to_str().unwrap();
    bundle.mount(
        "/there",
        "bind",
        path,
        &["rbind", "rnosuid", "rnodev", "rstrictatime"],
    );
    let said = bundle.inside("awk '$5 ~ \"^/there\" {print $5, $6}' /proc/self/mountinfo | sort");
    assert_eq!(said, "/there rw,nosuid,nodev\n/there/below rw,nosuid,nodev");
    unmount(below.to_str().unwrap(), UnmountFlags::empty()).unwrap();
}

/// Mounts are made in the order of the list: the source of a bind can be one that was made before.
#[test]
fn a_bind_of_what_the_container_has_mounted() {
    let Some(bundle) = Bundle::new() else { return };
    let source = bundle.dir().join("source");
    fs::create_dir_all(source.join("deep")).unwrap();
    fs::write(source.join("deep/file"), "of the host").unwrap();
    let root = bundle.rootfs();
    fs::create_dir_all(root.join("first/deep")).unwrap();
    let (inside, outside) = (root.display().to_string(), source.display().to_string());
    // Before: what is in the image. After: what is mounted over it.
    bundle.mount(
        "/before",
        "bind",
        &format!("{inside}/first"),
        &["bind", "ro"],
    );
    bundle.mount("/first", "bind", &outside, &["bind"]);
    bundle.mount(
        "/after",
        "bind",
        &format!("{inside}/first/deep"),
        &["bind", "ro", "nosuid"],
    );
    // A destination by its place on the host is one in the root.
    bundle.mount(
        &format!("{inside}/file"),
        "bind",
        &format!("{inside}/after/file"),
        &["bind"],
    );
    let said = bundle.inside(
        "ls /before/deep | wc -l; cat /after/file /file; echo; touch /after/x 2>/dev/null || echo ro; \
         awk '$5 == \"/after\" {print $6}' /proc/self/mountinfo",
    );
    assert_eq!(said, "0\nof the hostof the host\nro\nro,nosuid,relatime");
    // What leads out of the root is followed inside.
    std::os::unix::fs::symlink("/etc", source.join("out")).unwrap();
    bundle.mount("/last", "bind", &format!("{inside}/first/out"), &["bind"]);
    assert_eq!(
        bundle.inside("cat /last/passwd | head -n1 | cut -d: -f1,7"),
        "root:/bin/sh"
    );
}

/// Of the host's files and of what the container has mounted itself, without a user namespace of its own and with
/// one, whose root may map nobody's ids.
#[test]
fn files_are_shown_with_other_owners() {
    if gamut_tests::skip::without_mapped_tmpfs() {
        return;
    }
    let Some(bundle) = Bundle::new() else { return };
    let source = bundle.dir().join("source");
    fs::create_dir(&source).unwrap();
    fs::write(source.join("file"), "").unwrap();
    let (root, path) = (
        bundle.rootfs().display().to_string(),
        source.display().to_string(),
    );
    let map = |to: u32| json!([{"containerID": 0, "hostID": to, "size": 1000}]);
    let mapped = |destination: &str, source: &str, to: Option<u32>| {
        let mut mount =
            json!({"destination": destination, "source": source, "options": ["rbind", "idmap"]});
        if let Some(to) = to {
            (mount["uidMappings"], mount["gidMappings"]) = (map(to), map(to));
        }
        bundle.set(|config| config["mounts"].as_array_mut().unwrap().push(mount));
    };
    bundle.mount("/own", "tmpfs", "tmpfs", &[]);
    mapped("/host", &path, Some(500));
    mapped("/own-again", &format!("{root}/own"), Some(700));
    bundle.mount("/bound", "bind", &path, &["bind"]);
    mapped("/bound-again", &format!("{root}/bound"), Some(900));
    let script =
        "touch /own/file; for at in host own-again bound-again; do stat -c '%u:%g' /$at/file; done";
    assert_eq!(bundle.inside(script), "500:500\n700:700\n900:900");
    bundle.set(|config| {
        let all = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        config["linux"]["uidMappings"] = all.clone();
        config["linux"]["gidMappings"] = all;
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| {
            !mount["options"]
                .as_array()
                .is_some_and(|all| all.contains(&json!("idmap")))
        });
    });
    // By the container's own ids, what is root's on the host is root's inside.
    mapped("/host", &path, None);
    mapped("/bound-again", &format!("{root}/bound"), None);
    let script = "stat -c '%u:%g' /bound/file; for at in host bound-again; do stat -c '%u:%g' /$at/file; done";
    assert_eq!(bundle.inside(script), "65534:65534\n0:0\n0:0");
    // Hooks wait for the mounts, and the mounts for whoever maps them.
    bundle.put("/hooks", json!({"createRuntime": [{"path": "/bin/true"}]}));
    assert_eq!(bundle.inside(script), "65534:65534\n0:0\n0:0");
    mapped("/nosuch", &format!("{root}/own/nosuch"), None);
    fails(bundle.make("run", &[], ID), &["/nosuch"]);
    bundle.assert_nothing_left();
}

#[test]
fn devices_elsewhere_and_in_a_user_namespace() {
    let Some(bundle) = Bundle::new() else { return };
    // A link of the image's on the way does not lead out.
    std::os::unix::fs::symlink(bundle.dir(), bundle.rootfs().join("trap")).unwrap();
    bundle.put("/linux/devices", json!([
        {"path": "/zero", "type": "c", "major": 1, "minor": 5, "fileMode": 0o600, "uid": 33, "gid": 44},
        {"path": "/deep/er/zero/", "type": "c", "major": 1, "minor": 5},
        {"path": "/dev/block", "type": "b", "major": 7, "minor": 200, "fileMode": 0o157, "uid": 10, "gid": 11},
        {"path": "/trap/node", "type": "c", "major": 1, "minor": 3},
    ]));
    let script = "for d in /zero /deep/er/zero /dev/block; do stat -c '%n %t:%T %a %u:%g' $d; done; head -c 2 </deep/er/zero | wc -c";
    let expected = "/zero 1:5 600 33:44\n/deep/er/zero 1:5 666 0:0\n/dev/block 7:c8 157 10:11\n2";
    assert_eq!(bundle.inside(script), expected);
    assert!(!bundle.dir().join("node").exists(), "a device on the host");
    let root = bundle.rootfs();
    for made in ["zero", "deep/er/zero"] {
        fs::remove_file(root.join(made)).unwrap();
    }
    fs::remove_file(root.join("trap")).unwrap();
    fs::remove_dir(root.join("deep/er")).unwrap();
    bundle.set(|config| {
        let map = json!([{"containerID": 0, "hostID": 100_000, "size": 65_536}]);
        config["linux"]["uidMappings"] = map.clone();
        config["linux"]["gidMappings"] = map;
        let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
        namespaces.push(json!({"type": "user"}));
        config["linux"]["devices"].as_array_mut().unwrap().pop();
    });
    for (path, uid) in [("", 100_000), ("deep", 100_000)] {
        let path = root.join(path);
        fs::create_dir_all(&path).unwrap();
        std::os::unix::fs::chown(path, Some(uid), Some(uid)).unwrap();
    }
    let seen = bundle.run(script);
    if seen.err.contains("this kernel is too old") {
        fails(seen, &["/dev/block", "Linux 6.15"]);
        return skipped(
            "Linux 6.15 is needed to bind a node of a file system that is not attached",
        );
    }
    assert_eq!(seen.ok().text(), expected);
}
