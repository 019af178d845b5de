//! Flags of `run` that belong nowhere else, from inside and outside.

use gamut_tests::host::program;
use gamut_tests::{Gamut, cgroup};

#[test]
fn the_mask_of_new_files() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "umask; touch /f; stat -c %a /f";
    assert_eq!(gamut.inside(&[], script), "0022\n644");
    assert_eq!(gamut.inside(&["--umask", "0077"], script), "0077\n600");
    gamut.idle(&["--name", "box", "--umask", "27"]);
    assert_eq!(gamut.exec("box", "umask"), "0027");
    gamut
        .run(&["--umask", "9"], &["true"])
        .refused(125, &["9", "mask"])
        .hinted();
}

#[test]
fn the_time_zone() {
    let Some(gamut) = Gamut::new() else { return };
    if !std::path::Path::new("/usr/share/zoneinfo/Asia/Tokyo").exists() {
        gamut_tests::skip::skipped("this machine has no files of time zones");
        return;
    }
    let script = "tail -n 1 /etc/localtime";
    assert_eq!(gamut.inside(&["--tz", "Asia/Tokyo"], script), "JST-9");
    assert_eq!(
        gamut.inside(
            &["--tz", "Asia/Tokyo"],
            "echo x 2>/dev/null >/etc/localtime || echo refused"
        ),
        "refused"
    );
    gamut
        .run(&["--tz", "../../etc/passwd"], &["true"])
        .refused(125, &["time zone"])
        .hinted();
    gamut
        .run(&["--timezone", "Asia/Nowhere"], &["true"])
        .refused(125, &["Asia/Nowhere"]);
}

#[test]
fn paths_are_masked_and_unmasked() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "head -c 1 /proc/interrupts | wc -c; head -c 1 /etc/passwd | wc -c; \
                  echo x 2>/dev/null >/proc/sys/kernel/domainname && echo writable || echo read-only";
    assert_eq!(gamut.inside(&[], script), "0\n1\nread-only");
    let mask = ["--security-opt", "mask=/etc/passwd"];
    assert_eq!(gamut.inside(&mask, script), "0\n0\nread-only");
    let some = ["--security-opt", "unmask=/proc/interr*:/proc/s*"];
    assert_eq!(gamut.inside(&some, script), "1\n1\nwritable");
    assert_eq!(gamut.inside(&["--unmask", "ALL"], script), "1\n1\nwritable");
    gamut
        .run(&["--security-opt", "unmask=proc"], &["true"])
        .refused(125, &["unmask=proc"])
        .hinted();
}

#[test]
fn device_nodes_of_ones_own_need_a_rule() {
    let Some(gamut) = Gamut::new() else { return };
    // /dev/kmsg: nothing is to be read, and it may be opened.
    let script = "mknod /n c 1 11 && (exec 3</n) 2>/dev/null && echo opened || echo refused";
    assert_eq!(gamut.inside(&["--cap-add", "SYSLOG"], script), "refused");
    let rule = ["--cap-add", "SYSLOG", "--device-cgroup-rule", "c 1:* r"];
    assert_eq!(gamut.inside(&rule, script), "opened");
    gamut.idle(&["--name", "box", "--device-cgroup-rule", "c 1:* rw"]);
    let rules = &gamut.inspect("box")["HostConfig"]["DeviceCgroupRules"];
    assert_eq!(rules[0], "c 1:* rw");
    for wrong in ["c 1", "x 1:1 r", "c 1:1 rx", "c one:1 r"] {
        gamut
            .run(&["--device-cgroup-rule", wrong], &["true"])
            .refused(125, &[wrong])
            .hinted();
    }
}

#[test]
fn a_runtime_is_a_level() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(gamut.inside(&["--runtime", "runc"], "echo here"), "here");
    gamut
        .run(&["--runtime", "runsc"], &["true"])
        .refused(125, &["sandbox"]);
    gamut
        .run(&["--runtime", "nosuch"], &["true"])
        .refused(125, &["nosuch"])
        .hinted();
}

#[test]
fn the_kernel_is_told_not_to_kill() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.idle(&["--name", "box", "--memory", "32m", "--oom-kill-disable"]);
    if cgroup::unified() {
        // Version 2 has no such thing, which is said.
        let warnings = gamut.inspect("box")["Warnings"].to_string();
        assert!(warnings.contains("OOM"), "{warnings}");
    } else {
        let text = cgroup::read(gamut.pid("box"), "memory", "memory.oom_control", "");
        assert!(text.contains("oom_kill_disable 1"), "{text}");
    }
    assert_eq!(gamut.inspect("box")["HostConfig"]["OomKillDisable"], true);
}

#[test]
fn huge_pages_have_a_limit() {
    let Some(gamut) = Gamut::new() else { return };
    let known = std::fs::read_to_string("/proc/cgroups").unwrap_or_default();
    if !known.lines().any(|line| line.starts_with("hugetlb")) {
        gamut_tests::skip::skipped("this kernel does not count huge pages");
        return;
    }
    gamut.idle(&["--name", "box", "--hugetlb", "2MB=4m"]);
    // In a hybrid of both versions the controller may be in either.
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", gamut.pid("box"))).unwrap();
    let files = groups
        .lines()
        .filter_map(|line| line.rsplit(':').next())
        .flat_map(|path| {
            [
                format!("/sys/fs/cgroup/hugetlb{path}/hugetlb.2MB.limit_in_bytes"),
                format!("/sys/fs/cgroup/unified{path}/hugetlb.2MB.max"),
                format!("/sys/fs/cgroup{path}/hugetlb.2MB.max"),
            ]
        });
    let found: Vec<String> = files
        .filter_map(|file| std::fs::read_to_string(file).ok())
        .collect();
    assert!(
        found.iter().any(|limit| limit.trim() == "4194304"),
        "{found:?}\n{groups}"
    );
    gamut
        .run(&["--hugetlb", "2M=4m"], &["true"])
        .refused(125, &["2M=4m"])
        .hinted();
}

#[test]
fn mounts_of_another_container_are_mounted_too() {
    let Some(gamut) = Gamut::new() else { return };
    let dir = gamut.dir().join("shared");
    std::fs::create_dir(&dir).unwrap();
    let bind = format!("{}:/bind", dir.display());
    gamut.idle(&[
        "--name",
        "one",
        "-v",
        &bind,
        "-v",
        "named:/named",
        "-v",
        "/nameless",
        "--tmpfs",
        "/t",
    ]);
    gamut.exec(
        "one",
        "for d in bind named nameless; do echo $d >/$d/file; done",
    );
    let show = "cat /bind/file /named/file /nameless/file; test -e /t && echo more || true";
    assert_eq!(
        gamut.inside(&["--volumes-from", "one"], show),
        "bind\nnamed\nnameless"
    );
    assert_eq!(
        gamut.inside(
            &["--volumes-from", "one:ro", "-v", "/bind"],
            "ls /bind; echo x 2>/dev/null >/named/file || echo refused"
        ),
        "refused"
    );
    // What has no name stays for as long as somebody has it.
    gamut.idle(&["--name", "two", "--volumes-from", "one"]);
    gamut.call(&["rm", "-f", "-v", "one"]).ok();
    gamut.call(&["ps", "-a"]).ok();
    assert_eq!(gamut.exec("two", "cat /nameless/file"), "nameless");
    gamut
        .call(&["volume", "rm", "named"])
        .refused(1, &["named"]);
    gamut.call(&["rm", "-f", "-v", "two"]).ok();
    gamut.call(&["ps", "-a"]).ok();
    let left = std::fs::read_dir(gamut.root().join("volumes")).unwrap();
    let left: Vec<_> = left.flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(left, ["named"]);
    gamut
        .run(&["--volumes-from", "nobody"], &["true"])
        .refused(125, &["nobody"]);
    gamut
        .run(&["--volumes-from", "one:what"], &["true"])
        .refused(125, &["one:what"])
        .hinted();
}

#[test]
fn read_only_reaches_as_far_as_is_asked() {
    let Some(gamut) = Gamut::new() else { return };
    let dir = gamut.dir().join("tree");
    let below = dir.join("below");
    std::fs::create_dir_all(&below).unwrap();
    let at = below.to_str().unwrap();
    program("mount", &["-t", "tmpfs", "tmpfs", at]);
    let try_all = "for f in /m/x /m/below/x; do touch $f 2>/dev/null && echo yes || echo no; done";
    let mount = |options: &str| {
        let text = format!("type=bind,source={},target=/m{options}", dir.display());
        gamut.inside(&["--mount", &text], try_all)
    };
    assert_eq!(mount(""), "yes\nyes");
    assert_eq!(mount(",readonly"), "no\nno");
    assert_eq!(mount(",readonly,bind-recursive=readonly"), "no\nno");
    assert_eq!(mount(",readonly,bind-recursive=writable"), "no\nyes");
    std::fs::remove_file(dir.join("x")).unwrap();
    assert_eq!(mount(",bind-recursive=disabled"), "yes\nyes");
    assert!(dir.join("below/x").exists());
    let text = format!("type=bind,source={at},target=/m,bind-recursive=readonly");
    gamut
        .run(&["--mount", &text], &["true"])
        .refused(125, &["needs `readonly`"]);
    program("umount", &[at]);
}

#[test]
fn a_volume_may_begin_empty() {
    let Some(gamut) = Gamut::new() else { return };
    let count = "ls /etc | grep -c passwd || true";
    assert_eq!(gamut.inside(&["-v", "full:/etc"], count), "1");
    assert_eq!(gamut.inside(&["-v", "empty:/etc:nocopy"], count), "0");
    let mount = "type=volume,source=other,target=/etc,volume-nocopy";
    assert_eq!(gamut.inside(&["--mount", mount], count), "0");
    gamut
        .run(&["-v", "/tmp:/x:nocopy"], &["true"])
        .refused(125, &["nocopy"]);
    gamut
        .run(&["-v", "name:/x:rslave"], &["true"])
        .refused(125, &["propagation"]);
}

#[test]
fn a_part_of_a_volume() {
    let Some(gamut) = Gamut::new() else { return };
    let fill = "mkdir -p /v/a/b; echo deep >/v/a/b/f; ln -s a/b /v/near; ln -s ../.. /v/far; ln -s /etc /v/host";
    gamut.inside(&["-v", "data:/v"], fill);
    let part = |path: &str| format!("type=volume,source=data,target=/etc/x,volume-subpath={path}");
    let see = "cat /etc/x/f; echo new >/etc/x/g";
    assert_eq!(gamut.inside(&["--mount", &part("a/b")], see), "deep");
    assert_eq!(
        gamut.inside(&["-v", "data:/v:ro"], "cat /v/a/b/g"),
        "new",
        "what is written is the volume's"
    );
    // A link leads on within the volume, and a file is mounted as one.
    assert_eq!(gamut.inside(&["--mount", &part("near")], see), "deep");
    assert_eq!(
        gamut.inside(&["--mount", &part("a/b/f")], "cat /etc/x"),
        "deep"
    );
    let read_only = format!("{},readonly", part("a"));
    let attempt = "touch /etc/x/n 2>/dev/null && echo written || echo refused";
    assert_eq!(gamut.inside(&["--mount", &read_only], attempt), "refused");
    // Nor does a new volume get the image's content, of which nobody could say where it belongs.
    let new = "type=volume,source=new,target=/etc,subpath=sub";
    gamut
        .run(&["--mount", new], &["true"])
        .refused(125, &["sub"])
        .hinted();
    for away in ["far", "host"] {
        gamut
            .run(&["--mount", &part(away)], &["true"])
            .refused(125, &[away])
            .hinted();
    }
    for wrong in ["../data", "/a", "a/../.."] {
        gamut
            .run(&["--mount", &part(wrong)], &["true"])
            .refused(125, &[wrong, "volume-subpath"]);
    }
}
