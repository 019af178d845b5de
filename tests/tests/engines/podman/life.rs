//! A container's life under podman: exec, attach, terminals, pause, signals, health, restarts, what is told.

use super::podman;
use gamut_tests::cgroup;
use gamut_tests::engine::status;
use gamut_tests::patience::{eventually, until};

#[test]
fn processes_are_added() {
    let Some(podman) = podman("exec") else {
        return;
    };
    podman.idle("--network none -m 64m --cap-drop net_raw");
    let ran = podman.call("exec -w /dev -e A=b -u user @ sh -c 'pwd; echo $A; id -un; exit 3'");
    assert_eq!(ran.code(3).out, "/dev\nb\nuser\n");
    podman
        .beside("echo in | podman exec -i @ cat")
        .ok()
        .prints("in");
    podman.call("exec @ nosuch").code(127);
    podman.call("exec @ /bin").code(126);
    podman.says("exec -d @ sleep 4321");
    let added = eventually("the added process is there", || {
        let top = podman.call("top @ hpid args").ok();
        let line = top
            .lines()
            .into_iter()
            .find(|line| line.contains("sleep 4321"));
        line?.split_whitespace().next()?.parse::<i32>().ok()
    });
    // In the container's groups and below its limits of privilege.
    let first = podman.pid("@");
    let group = cgroup::directory(first, "memory");
    assert_eq!(cgroup::directory(added, "memory"), group);
    for field in ["CapBnd", "Seccomp", "NSpid"] {
        let (one, two) = (status(first, field), status(added, field));
        let same = one.split_whitespace().count() == two.split_whitespace().count();
        assert!(
            if field == "NSpid" { same } else { one == two },
            "{field}: {one} {two}"
        );
    }
    let full = podman.says("exec --privileged @ grep CapBnd /proc/self/status");
    assert_ne!(full, format!("CapBnd:\t{}", status(first, "CapBnd")));
    podman.says("kill @");
    until("it is gone with the container", || {
        !std::path::Path::new(&format!("/proc/{added}")).exists()
    });
    assert!(podman.call("exec @ true").code != 0);
}

#[test]
fn terminals_are_real() {
    let Some(podman) = podman("terminal") else {
        return;
    };
    let mut screen = podman.terminal("run --rm -it --network none localhost/bb sh");
    screen.expect("# ");
    screen.send("tty; stty size\n");
    screen.expect("/dev/pts/0");
    screen.expect("24 80");
    screen.resize(50, 132);
    screen.send("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.05; done; echo res''ized\n");
    screen.expect("resized");
    screen.send("exit 9\n");
    assert_eq!(screen.wait(), 9);
    podman.idle("--network none");
    let mut screen = podman.terminal("exec -it @ sh");
    screen.expect("# ");
    screen.send("tty; stty size; sleep 1000\n");
    screen.expect("24 80");
    screen.send("\x03");
    screen.expect("# ");
    screen.send("exit 4\n");
    assert_eq!(screen.wait(), 4);
}

#[test]
fn one_attaches_and_detaches() {
    let Some(podman) = podman("attach") else {
        return;
    };
    podman.at_end("rm -f -t 0 @");
    podman.says("run -dit --name @ --network none localhost/bb sh");
    let mut screen = podman.terminal("attach --detach-keys ctrl-x @");
    screen.send("\n");
    screen.expect("# ");
    screen.send("echo he''re\n");
    screen.expect("here");
    screen.send("\x18");
    assert_eq!(screen.wait(), 0);
    assert_eq!(podman.inspect("@")["State"]["Status"], "running");
    let mut again = podman.terminal("attach @");
    again.send("exit 5\n");
    assert_eq!(again.wait(), 0);
    podman.call("wait @").ok().prints("5");
    // Without a terminal: what comes in through a later pipe.
    podman.says("rm -f -t 0 @");
    podman.says(
        "run -di --name @ --network none localhost/bb sh -c 'read word; echo got $word; exit 6'",
    );
    let attached = podman.beside("(echo this; sleep 1) | podman attach @");
    assert_eq!(attached.ok().text(), "got this");
    podman.call("wait @").ok().prints("6");
}

#[test]
fn it_can_be_frozen() {
    let Some(podman) = podman("pause") else {
        return;
    };
    podman.start(
        "--network none",
        "sh -c 'while :; do echo x; sleep 0.05; done'",
    );
    podman.says("pause @");
    assert_eq!(podman.inspect("@")["State"]["Status"], "paused");
    let pid = podman.pid("@");
    let state = cgroup::read(pid, "freezer", "freezer.state", "cgroup.freeze");
    assert!(["FROZEN", "1"].contains(&state.as_str()), "{state}");
    assert!(podman.call("exec @ true").code != 0);
    podman.says("unpause @");
    assert_eq!(podman.inspect("@")["State"]["Status"], "running");
    podman.says("exec @ true");
    podman.says("pause @");
    podman.says("rm -f -t 0 @");
}

#[test]
fn signals_and_stops_do_what_they_say() {
    let Some(podman) = podman("signals") else {
        return;
    };
    let script = "sh -c 'trap \"echo usr1\" USR1; trap \"echo int; exit 9\" INT; trap \"\" TERM; echo ready; while :; do sleep 0.05; done'";
    podman.start("--network none --stop-signal INT", script);
    let logs = |text: &str| until(text, || podman.says("logs @").contains(text));
    logs("ready");
    podman.says("kill -s USR1 @");
    logs("usr1");
    podman.says("stop -t 60 @");
    assert_eq!(podman.inspect("@")["State"]["ExitCode"], 9);
    assert_eq!(podman.says("logs @"), "ready\nusr1\nint");
    // The same again, with a signal that it does not heed.
    podman.says("start @");
    until("it is ready again", || {
        podman.says("logs @").matches("ready").count() == 2
    });
    podman.says("kill -s TERM @");
    assert_eq!(podman.inspect("@")["State"]["Status"], "running");
    podman.says("kill @");
    podman.call("wait @").ok().prints("137");
    podman.says("rm -f @");
    podman.start("--network none --stop-signal TERM", script);
    logs("ready");
    let stopped = podman.call("stop -t 1 @").ok();
    assert!(stopped.err.contains("SIGKILL"), "{}", stopped.err);
    assert_eq!(podman.inspect("@")["State"]["ExitCode"], 137);
}

#[test]
fn health_is_watched() {
    let Some(podman) = podman("health") else {
        return;
    };
    podman.idle("--network none --health-cmd 'test ! -e /tmp/ill' --health-retries 2 --health-interval disable");
    podman.says("healthcheck run @");
    assert_eq!(podman.inspect("@")["State"]["Health"]["Status"], "healthy");
    podman.says("exec @ touch /tmp/ill");
    podman.call("healthcheck run @").code(1);
    podman.call("healthcheck run @").code(1);
    assert_eq!(
        podman.inspect("@")["State"]["Health"]["Status"],
        "unhealthy"
    );
}

#[test]
fn it_is_started_again() {
    let Some(podman) = podman("restart") else {
        return;
    };
    podman.start(
        "--network none --restart on-failure:2",
        "sh -c 'echo began; exit 3'",
    );
    let all = podman.becomes("@", "/RestartCount", 2);
    assert_eq!(all["HostConfig"]["RestartPolicy"]["Name"], "on-failure");
    let state = podman.becomes("@", "/State/Status", "exited");
    assert_eq!(state["State"]["ExitCode"], 3);
    assert_eq!(podman.says("logs @"), "began\nbegan\nbegan");
}

#[test]
fn what_happens_is_told() {
    let Some(podman) = podman("told") else { return };
    podman.start(
        "--network none",
        "sh -c 'echo one; echo two >&2; sleep 100000; true'",
    );
    until("the log is written", || {
        let logs = podman.call("logs @").ok();
        (logs.out.as_str(), logs.err.as_str()) == ("one\n", "two\n")
    });
    let top = podman.says("top @ pid comm capbnd seccomp");
    assert!(top.contains("sh") && top.contains("filter"), "{top}");
    assert!(podman.says("top @ -eo pid,args").contains("sleep 100000"));
    podman.says("exec @ true");
    podman.says("stop -t 0 @");
    let events = podman.says("events --stream=false --filter container=@ --format '{{.Status}}'");
    for event in ["create", "init", "start", "exec", "exec_died", "died"] {
        assert!(
            events.lines().any(|line| line == event),
            "no {event}: {events}"
        );
    }
    assert_eq!(
        podman.says("ps -a --filter name=@ --format '{{.State}}'"),
        "exited"
    );
}

#[test]
fn files_go_in_and_out() {
    let Some(podman) = podman("files") else {
        return;
    };
    podman.file("in", "carried\n");
    podman.idle("--network none");
    podman.says("cp /peers/@/in @:/tmp/in");
    assert_eq!(podman.says("exec @ cat /tmp/in"), "carried");
    podman.says("exec @ sh -c 'echo back >/tmp/out'");
    podman.says("cp @:/tmp/out /peers/@/out");
    podman.beside("cat /peers/@/out").ok().prints("back");
    assert!(podman.says("diff @").contains("A /tmp/in"));
    podman.at_end("image rm -f localhost/@");
    podman.says("commit -q -c CMD=/bin/date @ localhost/@");
    let seen = podman.says("run --rm --network none localhost/@ cat /tmp/in /tmp/out");
    assert_eq!(seen, "carried\nback");
    let exported = podman
        .beside("podman export @ | tar -tf - | grep tmp/out")
        .ok();
    exported.prints("tmp/out");
}
