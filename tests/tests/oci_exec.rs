//! Further processes in an OCI container, and terminals: of the first process, and of those.

use gamut_tests::Bundle;
use gamut_tests::bundle::{ID, Receiver, exec_fails, fails};
use gamut_tests::cgroup;
use gamut_tests::patience::until;
use rustix::termios::tcgetwinsize;
use serde_json::json;
use std::fs::{self, File};
use std::io::{Read, Write};

/// What a terminal shows until nobody is on it any more.
fn shown(master: File) -> String {
    let mut bytes = Vec::new();
    // The end of a terminal is EIO.
    let _ = { master }.read_to_end(&mut bytes);
    String::from_utf8_lossy(&bytes).replace('\r', "")
}

#[test]
fn exec_takes_what_it_is_told() {
    let Some(bundle) = Bundle::new() else { return };
    let pid = bundle.idle();
    let said = bundle.call(&["exec", ID, "sh", "-c", "echo out; echo err >&2; exit 9"]);
    let said = said.code(9);
    assert_eq!((said.out.as_str(), said.err.as_str()), ("out\n", "err\n"));
    bundle
        .call(&["exec", ID, "sh", "-c", "kill -KILL $$"])
        .code(137);
    let told = [
        "exec",
        "--env",
        "A=b c",
        "--cwd",
        "/etc",
        "--user",
        "33:44",
        "--additional-gids",
        "55",
        ID,
    ];
    let script = "echo $A; pwd; id -u; id -g; id -G; tty";
    let said = bundle.call(&[&told[..], &["sh", "-c", script]].concat());
    assert_eq!(
        said.out,
        "b c\n/etc\n33\n44\n44 55\nnot a tty\n",
        "{}",
        said.told()
    );
    // It is in the container's namespaces and groups.
    assert_eq!(bundle.exec("cat /proc/1/comm; hostname"), "sh\ngamut");
    bundle
        .call(&["exec", "--detach", "--pid-file", "pid", ID, "sleep", "3600"])
        .ok();
    let other = fs::read_to_string(bundle.dir().join("pid")).unwrap();
    let other: i32 = other.parse().unwrap();
    for kind in ["mnt", "pid", "net", "uts", "ipc", "cgroup"] {
        let of = |pid: i32| fs::read_link(format!("/proc/{pid}/ns/{kind}")).unwrap();
        assert_eq!(of(pid), of(other), "{kind}");
    }
    assert_eq!(
        cgroup::directory(pid, "pids"),
        cgroup::directory(other, "pids")
    );
    let flag = "grep NoNewPrivs /proc/self/status; grep CapEff /proc/self/status";
    bundle
        .call(&["exec", "--cap", "CAP_NET_ADMIN", ID, "sh", "-c", flag])
        .ok();
}

#[test]
fn exec_of_what_is_not_there() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.idle();
    exec_fails(
        bundle.call(&["exec", ID, "nosuch"]),
        &["nosuch", "not found"],
    );
    exec_fails(bundle.call(&["exec", ID, "/bin/nosuch"]), &["no such file"]);
    exec_fails(bundle.call(&["exec", ID, "/etc"]), &["/etc"]);
    exec_fails(
        bundle.call(&["exec", "--cwd", "/nosuch", ID, "true"]),
        &["directory"],
    );
    exec_fails(
        bundle.call(&["exec", "--user", "www", ID, "true"]),
        &["www"],
    );
    exec_fails(bundle.call(&["exec", ID]), &["command"]);
    exec_fails(bundle.call(&["exec", "other", "true"]), &["does not exist"]);
    let processes = || bundle.call(&["ps", "--format", "json", ID]).ok().json();
    until("only the first two are left", || {
        processes().as_array().unwrap().len() <= 2
    });
}

#[test]
fn exec_from_a_document() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.idle();
    let file = bundle.dir().join("process.json");
    let path = file.to_str().unwrap();
    let script = "echo $WHO; pwd; id -u; umask; grep CapEff /proc/self/status; ulimit -n";
    let mut process = json!({
        "args": ["sh", "-c", script], "cwd": "/tmp", "env": ["PATH=/bin", "WHO=me"],
        "user": {"uid": 0, "gid": 0, "umask": 0o27},
        "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 77, "soft": 66}],
        "capabilities": {"bounding": ["CAP_KILL"], "effective": ["CAP_KILL"], "permitted": ["CAP_KILL"]},
    });
    fs::write(file.clone(), process.to_string()).unwrap();
    let said = bundle.call(&["exec", "--process", path, ID]).ok();
    assert_eq!(
        said.out,
        "me\n/tmp\n0\n0027\nCapEff:\t0000000000000020\n66\n"
    );
    process["capabilities"]["bounding"] = json!(["CAP_NOT_YET"]);
    fs::write(file.clone(), process.to_string()).unwrap();
    let said = bundle.call(&["exec", "--process", path, ID]).ok();
    assert!(
        said.err.contains("CAP_NOT_YET"),
        "no warning\n{}",
        said.told()
    );
    fs::write(&file, r#"{"args": [], "cwd": "/"}"#).unwrap();
    exec_fails(bundle.call(&["exec", "--process", path, ID]), &[""]);
}

#[test]
fn a_terminal_comes_over_the_console_socket() {
    let Some(bundle) = Bundle::new() else { return };
    let socket = Receiver::new(&bundle.dir().join("console"));
    bundle.script(
        "read line; echo got $line; stty size; tty; ls -l /dev/console | cut -c1; echo 0>&2",
    );
    fails(
        bundle.make("create", &["--console-socket", &socket.path], ID),
        &["console socket"],
    );
    bundle.assert_nothing_left();
    bundle.put("/process/terminal", json!(true));
    bundle.put("/process/consoleSize", json!({"height": 31, "width": 97}));
    fails(bundle.make("create", &[], ID), &["tty", "console socket"]);
    bundle.assert_nothing_left();
    bundle
        .make("create", &["--console-socket", &socket.path], ID)
        .ok();
    let (_, master) = socket.receive();
    let size = tcgetwinsize(&master).unwrap();
    assert_eq!((size.ws_row, size.ws_col), (31, 97));
    bundle.call(&["start", ID]).ok();
    let mut master = File::from(master);
    master.write_all(b"hello\n").unwrap();
    let screen = shown(master);
    assert!(
        screen.contains("got hello\n31 97\n/dev/pts/0\nc\n"),
        "{screen:?}"
    );
    bundle.until(ID, "stopped");
    bundle.delete(ID);
    // Nobody listens: nothing is made.
    let nobody = bundle.dir().join("nobody").to_string_lossy().into_owned();
    fails(
        bundle.make("create", &["--console-socket", &nobody], ID),
        &["nobody"],
    );
    bundle.assert_nothing_left();
}

#[test]
fn exec_on_a_terminal() {
    let Some(bundle) = Bundle::new() else { return };
    bundle.idle();
    let socket = Receiver::new(&bundle.dir().join("console"));
    exec_fails(
        bundle.call(&["exec", "-t", "-d", ID, "true"]),
        &["console socket"],
    );
    let words = [
        "exec",
        "--tty",
        "--detach",
        "--console-socket",
        &socket.path,
        ID,
    ];
    let script = "read line; echo got $line; tty; id -u >/dev/tty; stty -a | grep -c echo";
    bundle
        .call(&[&words[..], &["sh", "-c", script]].concat())
        .ok();
    let (_, master) = socket.receive();
    let mut master = File::from(master);
    master.write_all(b"hello\n").unwrap();
    let screen = shown(master);
    assert!(screen.contains("got hello\n/dev/pts/"), "{screen:?}");
    assert!(
        screen.contains("\n0\n"),
        "it is not the controlling terminal: {screen:?}"
    );
}
