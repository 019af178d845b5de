//! The mounts of an OCI configuration, their options, and what passes between them and the host's.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, fails};
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
