//! Checkpoint and restore of OCI containers by CRIU: a container goes on where it was. They need a CRIU
//! that works with this kernel; what CRIU itself cannot do here is skipped by its own word.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, Receiver, fails};
use gamut_tests::patience::{eventually, until};
use gamut_tests::skip::skipped;
use gamut_tests::{cgroup, outcome::Outcome};
use serde_json::json;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Counts in a file, from a number that only its memory holds.
const COUNTER: &str = "secret=$(cat /proc/sys/kernel/random/uuid); n=0; \
     while :; do n=$((n+1)); echo $n $secret >/tmp/new; mv /tmp/new /tmp/count; sleep 0.02; done";

/// A bundle where CRIU works. `None`: it does not; it has been said.
fn bundle() -> Option<Bundle> {
    let checked = Command::new("criu").arg("check").output();
    let reason = match checked {
        Err(error) => format!("criu cannot be run: {error}"),
        Ok(output) if output.status.success() => return Bundle::new(),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            format!("`criu check`: {}", said.lines().next().unwrap_or("fails"))
        }
    };
    skipped(&reason);
    None
}

fn can(feature: &str) -> bool {
    let checked = Command::new("criu")
        .args(["check", "--feature", feature])
        .output();
    checked.is_ok_and(|output| output.status.success())
}

/// The counter's number, and what only this life of it knows.
fn count(bundle: &Bundle) -> (u64, String) {
    eventually("the counter has counted", || {
        let text = fs::read_to_string(bundle.rootfs().join("tmp/count")).ok()?;
        let (number, secret) = text.trim().split_once(' ')?;
        Some((number.parse().ok()?, secret.to_owned()))
    })
}

fn counts_on(bundle: &Bundle, from: &(u64, String)) {
    until("the counter counts on", || count(bundle).0 > from.0 + 2);
    assert_eq!(count(bundle).1, from.1, "the memory is another");
}

fn images(bundle: &Bundle) -> PathBuf {
    bundle.dir().join("images")
}

#[track_caller]
fn checkpoint(bundle: &Bundle, flags: &[&str]) -> Outcome {
    let path = images(bundle).to_string_lossy().into_owned();
    bundle.call(&[&["checkpoint", "--image-path", &path], flags, &[ID]].concat())
}

#[track_caller]
fn restore(bundle: &Bundle, flags: &[&str], id: &str) -> Outcome {
    let path = images(bundle).to_string_lossy().into_owned();
    let flags = [&["--image-path", &path, "--detach"], flags].concat();
    detached(bundle, "restore", &flags, id)
}

/// The container's streams are the null device: a file outside of it could not be in a checkpoint.
#[track_caller]
fn detached(bundle: &Bundle, verb: &str, flags: &[&str], id: &str) -> Outcome {
    let (log, path) = (bundle.dir().join("log"), bundle.path());
    let _ = fs::remove_file(&log);
    let mut command = Command::new(bundle.binary());
    command.args(["oci", "--log"]).arg(&log).arg("--root");
    command
        .arg(bundle.state_dir())
        .arg(verb)
        .arg("--bundle")
        .arg(path);
    command.args(flags).arg(id).current_dir(bundle.dir());
    command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let code = command.status().unwrap().code().unwrap_or(255);
    Outcome {
        code,
        out: String::new(),
        err: fs::read_to_string(&log).unwrap_or_default(),
        line: format!("{command:?}"),
    }
}

#[track_caller]
fn run(bundle: &Bundle, script: &str) {
    bundle.script(script);
    detached(bundle, "run", &["--detach"], ID).ok();
}

#[track_caller]
fn start_counter(bundle: &Bundle) {
    run(bundle, COUNTER);
}

#[test]
fn a_container_goes_on_where_it_was() {
    let Some(bundle) = bundle() else { return };
    start_counter(&bundle);
    let before = count(&bundle);
    checkpoint(&bundle, &[]).ok();
    fails(bundle.call(&["state", ID]), &["does not exist"]);
    bundle.assert_nothing_left();
    let stood = count(&bundle);
    assert!(stood.0 >= before.0);

    let pid_file = bundle.dir().join("pid");
    restore(&bundle, &["--pid-file", pid_file.to_str().unwrap()], ID).ok();
    assert_eq!(bundle.status(ID), "running");
    let pid = bundle.pid(ID);
    assert_eq!(fs::read_to_string(&pid_file).unwrap(), pid.to_string());
    counts_on(&bundle, &stood);
    // From outside: in the container's groups. From inside: in what was made for it before.
    assert!(cgroup::directory(pid, "memory").ends_with(bundle.name()));
    assert_eq!(bundle.exec("cat /proc/1/comm").trim(), "sh");
    assert!(bundle.exec("ip link show lo").contains("UP"));
    bundle.delete(ID);
    bundle.assert_nothing_left();

    // A second life of the same state, under another name.
    fs::remove_file(bundle.rootfs().join("tmp/count")).unwrap();
    restore(&bundle, &[], "other").ok();
    counts_on(&bundle, &before);
    bundle.delete("other");
    bundle.assert_nothing_left();
}

#[test]
fn what_was_restored_can_be_checkpointed_again() {
    let Some(bundle) = bundle() else { return };
    start_counter(&bundle);
    let mut at = count(&bundle);
    for _ in 0..2 {
        let begun = "sleep 3600 </dev/null >/dev/null 2>&1 & echo $!";
        let sleeper = bundle.exec(begun).trim().to_owned();
        checkpoint(&bundle, &[]).ok();
        restore(&bundle, &[], ID).ok();
        let listed = bundle.exec(&format!("cat /proc/{sleeper}/comm"));
        assert_eq!(listed.trim(), "sleep", "what was added by exec is back");
        counts_on(&bundle, &at);
        at = count(&bundle);
    }
    bundle.delete(ID);
}

#[test]
fn leave_running_leaves_it_running() {
    let Some(bundle) = bundle() else { return };
    start_counter(&bundle);
    let pid = bundle.pid(ID);
    let before = count(&bundle);
    checkpoint(&bundle, &["--leave-running", "--leave-running"]).ok();
    assert_eq!(bundle.status(ID), "running");
    assert_eq!(bundle.pid(ID), pid);
    counts_on(&bundle, &before);
    fails(restore(&bundle, &[], ID), &["already exists"]);
    bundle.call(&["pause", ID]).ok();
    checkpoint(&bundle, &[]).ok();
    fails(bundle.call(&["state", ID]), &["does not exist"]);
    bundle.assert_nothing_left();
}

#[test]
fn mounts_masks_and_limits_are_the_same_again() {
    let Some(bundle) = bundle() else { return };
    let (first, second) = (bundle.dir().join("first"), bundle.dir().join("second"));
    for dir in [&first, &second] {
        fs::create_dir(dir).unwrap();
    }
    fs::write(first.join("a"), "of the host\n").unwrap();
    fs::create_dir(bundle.rootfs().join("real")).unwrap();
    symlink("/real", bundle.rootfs().join("link")).unwrap();
    bundle.mount("/link", "bind", first.to_str().unwrap(), &["bind", "ro"]);
    bundle.mount("/out", "bind", first.to_str().unwrap(), &["bind"]);
    bundle.mount("/out/deep/in", "bind", second.to_str().unwrap(), &["bind"]);
    bundle.mount("/keep", "tmpfs", "tmpfs", &["size=64k"]);
    bundle.set(|config| {
        config["linux"]["resources"]["pids"] = json!({"limit": 77});
    });
    start_counter(&bundle);
    bundle.exec("echo mine >/keep/file");
    // Mount points, roots and flags; what is masked; what is in files.
    let look = "cut -d' ' -f4-6 /proc/self/mountinfo | sort -k2; cat /proc/keys | wc -c; \
                ls /proc/acpi /sys/firmware; cat /keep/file /real/a /out/a";
    let before = bundle.exec(look);
    checkpoint(&bundle, &[]).ok();
    // Mount points inside of binds are made again.
    fs::remove_dir_all(first.join("deep")).unwrap();
    restore(&bundle, &[], ID).ok();
    let after = bundle.exec(look);
    assert_eq!(after, before, "{before}\n{after}");
    assert!(after.ends_with("mine\nof the host\nof the host"), "{after}");
    let refused = bundle.call(&["exec", ID, "touch", "/real/x"]);
    refused.code(1);
    let directory = cgroup::directory(bundle.pid(ID), "pids");
    let limit = fs::read_to_string(Path::new("/sys/fs/cgroup").join(directory).join("pids.max"));
    assert_eq!(limit.unwrap().trim(), "77");
    bundle.delete(ID);
}

#[test]
fn a_terminal_is_handed_over_anew() {
    let Some(bundle) = bundle() else { return };
    bundle.script("while read line; do echo got $line; done");
    bundle.put("/process/terminal", json!(true));
    let path = bundle.dir().join("console");
    let socket = Receiver::new(&path);
    let flags = ["--console-socket", path.to_str().unwrap()];
    detached(&bundle, "run", &["--detach", flags[0], flags[1]], ID).ok();
    let (_, first) = socket.receive();
    checkpoint(&bundle, &[]).ok();
    drop(first);
    restore(&bundle, &flags, ID).ok();
    let (_, master) = socket.receive();
    rustix::io::write(&master, b"again\n").unwrap();
    let mut said = String::new();
    eventually("the program answers", || {
        let mut buffer = [0; 256];
        let length = rustix::io::read(&master, &mut buffer).ok()?;
        said += &String::from_utf8_lossy(&buffer[..length]);
        said.contains("got again").then_some(())
    });
    bundle.delete(ID);
}

#[test]
fn a_network_of_others_is_kept_and_hooks_run() {
    let Some(bundle) = bundle() else { return };
    let mut holder = Command::new("unshare")
        .args(["--net", "sleep", "3600"])
        .spawn()
        .unwrap();
    let path = format!("/proc/{}/ns/net", holder.id());
    let own = fs::metadata("/proc/thread-self/ns/net").unwrap().ino();
    let inode = eventually("there is a network", || {
        let inode = fs::metadata(&path).ok()?.ino();
        (inode != own).then_some(inode)
    });
    let log = bundle.dir().join("hooks");
    let hook = |name: &str| {
        let script = format!("cat >/dev/null; echo {name} >>{}", log.display());
        json!([{"path": "/bin/sh", "args": ["sh", "-c", script]}])
    };
    bundle.set(|config| {
        for namespace in config["linux"]["namespaces"].as_array_mut().unwrap() {
            if namespace["type"] == "network" {
                namespace["path"] = json!(path);
            }
        }
        config["hooks"] = json!({
            "prestart": hook("prestart"),
            "createRuntime": hook("createRuntime"),
            "poststop": hook("poststop"),
        });
    });
    start_counter(&bundle);
    let at = count(&bundle);
    checkpoint(&bundle, &[]).ok();
    restore(&bundle, &[], ID).ok();
    counts_on(&bundle, &at);
    let of_it = fs::metadata(format!("/proc/{}/ns/net", bundle.pid(ID)));
    assert_eq!(of_it.unwrap().ino(), inode);
    let ran = fs::read_to_string(&log).unwrap();
    let expected = "prestart createRuntime poststop prestart createRuntime";
    assert_eq!(
        ran.split_whitespace().collect::<Vec<_>>().join(" "),
        expected
    );
    bundle.delete(ID);
    holder.kill().unwrap();
    holder.wait().unwrap();
}

#[test]
fn in_the_foreground_it_ends_with_the_programs_status() {
    let Some(bundle) = bundle() else { return };
    run(&bundle, "while [ ! -e /end ]; do sleep 0.02; done; exit 7");
    checkpoint(&bundle, &[]).ok();
    let words = [
        "restore",
        "--image-path",
        images(&bundle).to_str().unwrap(),
        "--bundle",
        bundle.path().to_str().unwrap(),
        ID,
    ]
    .map(str::to_owned);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let mut foreground = bundle.spawn(bundle.command(&words), Stdio::null());
    until("it runs or has failed", || {
        let ended = foreground.child.try_wait().unwrap().is_some();
        ended || bundle.call(&["state", ID]).out.contains("running")
    });
    fs::write(bundle.rootfs().join("end"), "").unwrap();
    foreground.finish().code(7);
    bundle.assert_nothing_left();
}

#[test]
fn a_pre_dump_is_the_first_of_two() {
    let Some(bundle) = bundle() else { return };
    start_counter(&bundle);
    let parent = bundle.dir().join("parent");
    let path = parent.to_string_lossy().into_owned();
    let first = ["checkpoint", "--pre-dump", "--image-path", &path, ID];
    if !can("mem_dirty_track") {
        let words = ["criu", "pre-dump", "mem_dirty_track"];
        fails(bundle.call(&first), &words);
        assert_eq!(bundle.status(ID), "running");
        bundle.delete(ID);
        skipped("this kernel tells CRIU of no changed memory");
        return;
    }
    bundle.call(&first).ok();
    let at = count(&bundle);
    counts_on(&bundle, &at);
    checkpoint(&bundle, &["--parent-path", "../parent"]).ok();
    assert!(images(&bundle).join("parent").exists());
    restore(&bundle, &[], ID).ok();
    counts_on(&bundle, &at);
    bundle.delete(ID);
}

#[test]
fn a_killed_restore_leaves_what_delete_takes_away() {
    let Some(bundle) = bundle() else { return };
    start_counter(&bundle);
    checkpoint(&bundle, &[]).ok();
    let began = bundle.dir().join("began");
    let script = format!("cat >/dev/null; touch {}; sleep 3600", began.display());
    bundle.put(
        "/hooks",
        json!({"prestart": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}),
    );
    let path = bundle.path().to_string_lossy().into_owned();
    let images = images(&bundle).to_string_lossy().into_owned();
    let words = [
        "restore",
        "--detach",
        "--bundle",
        &path,
        "--image-path",
        &images,
        ID,
    ];
    let mut restoring = bundle.spawn(bundle.command(&words), Stdio::null());
    until("its hook runs", || began.exists());
    restoring.child.kill().unwrap();
    restoring.child.wait().unwrap();
    bundle.delete(ID);
    bundle.assert_nothing_left();
}

#[test]
fn what_cannot_be_done_is_said() {
    let Some(bundle) = bundle() else { return };
    bundle.idle();
    let words = ["invalid --parent-path", "relative"];
    fails(checkpoint(&bundle, &["--parent-path", "/tmp"]), &words);
    let words = ["invalid --parent-path", "No such file"];
    fails(checkpoint(&bundle, &["--parent-path", "../none"]), &words);
    let words = ["--page-server", "ADDRESS:PORT"];
    fails(checkpoint(&bundle, &["--page-server", "nowhere"]), &words);
    assert_eq!(bundle.status(ID), "running");

    // No images, bad images.
    let none = ["descriptors.json", "No such file"];
    fails(
        restore(&bundle, &["--image-path", "/nowhere"], "other"),
        &none,
    );
    let bad = bundle.dir().join("bad");
    fs::create_dir(&bad).unwrap();
    fs::write(bad.join("descriptors.json"), "[]").unwrap();
    let flags = ["--image-path", bad.to_str().unwrap()];
    bundle.delete(ID);
    let words = ["cannot restore with criu", "restore.log"];
    fails(restore(&bundle, &flags, "other"), &words);
    fails(bundle.call(&["state", "other"]), &["does not exist"]);
    bundle.assert_nothing_left();

    bundle.make("create", &[], ID).ok();
    let words = ["cannot checkpoint a created container"];
    fails(checkpoint(&bundle, &[]), &words);
    bundle.delete(ID);
}

#[test]
fn without_criu_it_is_said() {
    let Some(bundle) = Bundle::new() else { return };
    let pid = bundle.idle();
    let mut command = bundle.command(&["checkpoint", ID]);
    command.env("PATH", "/nowhere");
    let refused = bundle.spawn(command, Stdio::null()).finish();
    fails(refused, &["criu is not in PATH", "3.0 or later"]);
    assert_eq!(bundle.pid(ID), pid);
    let mut command = bundle.command(&["features"]);
    command.env("PATH", "/nowhere");
    let features = bundle.spawn(command, Stdio::null()).finish().ok().json();
    let told = &features["annotations"]["org.opencontainers.runc.checkpoint.enabled"];
    assert_eq!(told, "false");
    // One that answers nothing.
    let programs = bundle.dir().join("programs");
    fs::create_dir(&programs).unwrap();
    symlink("/bin/true", programs.join("criu")).unwrap();
    let mut command = bundle.command(&["checkpoint", ID]);
    command.env("PATH", &programs);
    let refused = bundle.spawn(command, Stdio::null()).finish();
    fails(refused, &["criu"]);
    assert_eq!(bundle.status(ID), "running");
    bundle.delete(ID);
}
