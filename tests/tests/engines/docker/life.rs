//! A container's life under docker: exec, attach, terminals, pause, signals, health, restarts, what is told.

use super::{each, told};
use gamut_tests::cgroup;
use gamut_tests::patience::{eventually, until};

#[test]
fn processes_are_added() {
    each("exec", |docker, runtime| {
        docker.idle(&format!("{runtime} --network none -m 64m"));
        let ran = docker.call(
            "exec -w /dev -e A=b -u user @ sh -c 'pwd; echo $A; id -un; echo err >&2; exit 3'",
        );
        let ran = ran.code(3);
        assert_eq!(
            (ran.out.as_str(), ran.err.as_str()),
            ("/dev\nb\nuser\n", "err\n")
        );
        docker
            .beside("echo in | docker exec -i @ cat")
            .ok()
            .prints("in");
        docker.call("exec @ nosuch").code(127);
        docker.call("exec @ /bin").code(126);
        docker.says("exec -d @ sleep 4321");
        let added = eventually("the added process is there", || {
            let top = docker.call("top @ -o pid,args").ok();
            let line = top
                .lines()
                .into_iter()
                .find(|line| line.contains("sleep 4321"));
            line?.split_whitespace().next()?.parse::<i32>().ok()
        });
        let group = cgroup::directory(docker.pid("@"), "memory");
        assert_eq!(cgroup::directory(added, "memory"), group);
        docker.says("kill @");
        until("it is gone with the container", || {
            !std::path::Path::new(&format!("/proc/{added}")).exists()
        });
    });
}

#[test]
fn terminals_are_real() {
    each("terminal", |docker, runtime| {
        let mut screen = docker.terminal(&format!(
            "run --rm -it {runtime} --network none localhost/bb sh"
        ));
        screen.expect("# ");
        screen.send("tty; stty size\n");
        screen.expect("/dev/pts/0");
        screen.expect("24 80");
        screen.resize(50, 132);
        screen.send("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.05; done; echo res''ized\n");
        screen.expect("resized");
        screen.send("exit 9\n");
        assert_eq!(screen.wait(), 9);
        docker.idle(&format!("{runtime} --network none"));
        let mut screen = docker.terminal("exec -it @ sh");
        screen.expect("# ");
        screen.send("tty; stty size; sleep 1000\n");
        screen.expect("24 80");
        screen.send("\x03");
        screen.expect("# ");
        screen.resize(50, 132);
        screen.send("until [ \"$(stty size)\" = '50 132' ]; do sleep 0.05; done; echo res''ized\n");
        screen.expect("resized");
        screen.send("exit 4\n");
        assert_eq!(screen.wait(), 4);
    });
}

#[test]
fn one_attaches_and_detaches() {
    each("attach", |docker, runtime| {
        docker.at_end("rm -f @");
        docker.says(&format!(
            "run -dit --name @ {runtime} --network none localhost/bb sh"
        ));
        let mut screen = docker.terminal("attach --detach-keys ctrl-x @");
        screen.send("echo he''re\n");
        screen.expect("here");
        screen.send("\x18");
        screen.wait();
        assert_eq!(docker.inspect("@")["State"]["Status"], "running");
        let mut again = docker.terminal("attach @");
        again.send("exit 5\n");
        assert_eq!(again.wait(), 5);
        docker.says("rm -f @");
        let reads = "sh -c 'read word; echo got $word; exit 6'";
        docker.says(&format!(
            "run -di --name @ {runtime} --network none localhost/bb {reads}"
        ));
        let attached = docker.beside("(echo this; sleep 1) | docker attach @");
        assert_eq!(attached.out, "got this\n", "{}", attached.told());
        docker.call("wait @").ok().prints("6");
    });
}

#[test]
fn it_can_be_frozen() {
    each("pause", |docker, runtime| {
        docker.idle(&format!("{runtime} --network none"));
        docker.says("pause @");
        assert_eq!(docker.inspect("@")["State"]["Status"], "paused");
        let state = cgroup::read(docker.pid("@"), "freezer", "freezer.state", "cgroup.freeze");
        assert!(["FROZEN", "1"].contains(&state.as_str()), "{state}");
        assert!(docker.call("exec @ true").code != 0);
        docker.says("unpause @");
        docker.says("exec @ true");
        docker.says("pause @");
        docker.says("rm -f @");
    });
}

#[test]
fn signals_and_stops_do_what_they_say() {
    each("signals", |docker, runtime| {
        let script = "sh -c 'trap \"echo usr1\" USR1; trap \"echo int; exit 9\" INT; trap \"\" TERM; echo ready; while :; do sleep 0.05; done'";
        docker.start(
            &format!("{runtime} --network none --stop-signal INT"),
            script,
        );
        let logs = |text: &str| until(text, || docker.says("logs @").contains(text));
        logs("ready");
        docker.says("kill -s USR1 @");
        logs("usr1");
        docker.says("stop -t 60 @");
        assert_eq!(docker.inspect("@")["State"]["ExitCode"], 9);
        assert_eq!(docker.says("logs @"), "ready\nusr1\nint");
        docker.says("start @");
        until("it is ready again", || {
            docker.says("logs @").matches("ready").count() == 2
        });
        docker.says("kill -s TERM @");
        assert_eq!(docker.inspect("@")["State"]["Status"], "running");
        docker.says("stop -s TERM -t 1 @");
        assert_eq!(docker.inspect("@")["State"]["ExitCode"], 137);
        docker.says("restart -t 0 @");
        docker.says("kill @");
        docker.call("wait @").ok().prints("137");
    });
}

#[test]
fn health_is_watched() {
    each("health", |docker, runtime| {
        let check = "--health-cmd 'test ! -e /tmp/ill' --health-interval 300ms --health-retries 2";
        docker.idle(&format!("{runtime} --network none {check}"));
        docker.becomes("@", "/State/Health/Status", "healthy");
        docker.says("exec @ touch /tmp/ill");
        docker.becomes("@", "/State/Health/Status", "unhealthy");
        docker.says("exec @ rm /tmp/ill");
        docker.becomes("@", "/State/Health/Status", "healthy");
    });
}

#[test]
fn it_is_started_again() {
    each("restart", |docker, runtime| {
        let flags = format!("{runtime} --network none --restart on-failure:2");
        docker.start(&flags, "sh -c 'echo began; exit 3'");
        docker.becomes("@", "/RestartCount", 2);
        let state = docker.becomes("@", "/State/Status", "exited");
        assert_eq!(state["State"]["ExitCode"], 3);
        assert_eq!(docker.says("logs @"), "began\nbegan\nbegan");
    });
}

#[test]
fn what_happens_is_told() {
    each("told", |docker, runtime| {
        let script = "sh -c 'echo one; echo two >&2; sleep 100000; true'";
        docker.start(&format!("{runtime} --network none"), script);
        until("the log is written", || {
            let logs = docker.call("logs @").ok();
            (logs.out.as_str(), logs.err.as_str()) == ("one\n", "two\n")
        });
        let top = docker.says("top @");
        assert!(top.contains("sleep 100000"), "{top}");
        docker.says("exec @ true");
        docker.says("stop -t 0 @");
        let events = told(docker);
        for event in [
            "create",
            "start",
            "exec_start",
            "exec_die",
            "kill",
            "die",
            "stop",
        ] {
            assert!(
                events.lines().any(|line| line.starts_with(event)),
                "no {event}: {events}"
            );
        }
        assert_eq!(
            docker.says("ps -a --filter name=@ --format '{{.State}}'"),
            "exited"
        );
    });
}

#[test]
fn files_go_in_and_out() {
    each("files", |docker, runtime| {
        docker.file("in", "carried\n");
        docker.idle(&format!("{runtime} --network none"));
        docker.says("cp /peers/@/in @:/tmp/in");
        assert_eq!(docker.says("exec @ cat /tmp/in"), "carried");
        docker.says("exec @ sh -c 'echo back >/tmp/out'");
        docker.says("cp @:/tmp/out /peers/@/out");
        docker.beside("cat /peers/@/out").ok().prints("back");
        assert!(docker.says("diff @").contains("A /tmp/in"));
        docker.at_end("image rm -f localhost/@");
        docker.says("commit -c 'CMD /bin/date' @ localhost/@");
        let run = format!("run --rm --network none {runtime} localhost/@ cat /tmp/in /tmp/out");
        assert_eq!(docker.says(&run), "carried\nback");
    });
}
