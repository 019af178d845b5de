//! The processes around a container: clients that join it, go, or stand still, and its keeper.

use gamut_tests::patience::until;
use gamut_tests::{Gamut, census};
use rustix::process::Signal;

fn status(gamut: &Gamut, name: &str) -> String {
    gamut.inspect(name)["State"]["Status"]
        .as_str()
        .unwrap_or_default()
        .to_owned()
}

#[test]
fn attach_joins_the_streams_and_signals_pass() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    gamut
        .call(&[
            "run",
            "-d",
            "-i",
            "--network",
            "none",
            "--name",
            "cat",
            &image,
            "cat",
        ])
        .ok();
    let joined = gamut.call_with_input(&["attach", "cat"], "through\n");
    joined.ok().prints("through");
    gamut.call(&["wait", "cat"]).ok().prints("0");
    gamut.detached(
        &["--name", "trap"],
        &[
            "sh",
            "-c",
            "trap 'exit 8' INT; echo ready; while :; do sleep 0.1; done",
        ],
    );
    until("it is ready", || {
        gamut.call(&["logs", "trap"]).out.contains("ready")
    });
    let attached = gamut.spawn(&["attach", "trap"]);
    // The client has its handlers before it is attached; a signal in between is passed on as well or ends only the client.
    until("the client is up", || {
        census::descriptors(attached.child.id() as i32) > 3
    });
    std::thread::sleep(std::time::Duration::from_millis(300));
    attached.signal(Signal::INT);
    attached.finish().code(8);
}

#[test]
fn without_sig_proxy_a_signal_is_the_clients() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let words = ["--network", "none", "--name", "calm", &image];
    let script = "trap 'exit 8' TERM; echo ready; while :; do sleep 0.1; done";
    let client = gamut.spawn(
        &[
            &["run", "--sig-proxy=false"],
            &words[..],
            &["sh", "-c", script],
        ]
        .concat(),
    );
    until("it is ready", || {
        gamut.call(&["logs", "calm"]).out.contains("ready")
    });
    client.signal(Signal::TERM);
    client.finish().code(143);
    assert_eq!(status(&gamut, "calm"), "running");
    gamut.call(&["stop", "calm"]).ok();
    assert_eq!(gamut.inspect("calm")["State"]["ExitCode"], 8);
}

#[test]
fn a_killed_client_harms_nobody() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let client = gamut.spawn(&[
        "run",
        "--network",
        "none",
        "--name",
        "orphan",
        &image,
        "sh",
        "-c",
        "while :; do echo tick; sleep 0.05; done",
    ]);
    until("it runs", || {
        gamut.call(&["ps", "-q"]).out.lines().count() == 1
    });
    client.signal(Signal::KILL);
    client.finish().code(137);
    assert_eq!(status(&gamut, "orphan"), "running");
    let before = gamut.call(&["logs", "orphan"]).ok().out.len();
    until("it goes on writing", || {
        gamut.call(&["logs", "orphan"]).out.len() > before + 20
    });
}

#[test]
fn a_client_that_sleeps_does_not_keep_its_container() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    // It waits a little before it ends, or its end may kill what `exec` runs.
    let script = "until [ -e /tmp/go ]; do sleep 0.1; done; sleep 1";
    let words = ["--rm", "--network", "none", "--name", "left", &image];
    let client = gamut.spawn(&[&["run"], &words[..], &["sh", "-c", script]].concat());
    until("it runs", || {
        gamut.call(&["ps", "-q"]).out.lines().count() == 1
    });
    client.signal(Signal::STOP);
    gamut.call(&["exec", "left", "touch", "/tmp/go"]).ok();
    until("it is removed", || {
        gamut.call(&["ps", "-a", "-q"]).ok().out.is_empty()
    });
    client.signal(Signal::CONT);
    client.finish().ok();
    gamut.assert_untouched();
}

#[test]
fn input_that_nobody_reads_loses_no_last_word() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let script = "echo last; exit 5";
    let words = ["run", "-i", "--rm", "--network", "none", &image];
    gamut
        .call_with_input(
            &[&words[..], &["sh", "-c", script]].concat(),
            &"x".repeat(300_000),
        )
        .code(5)
        .prints("last");
}

#[test]
fn a_keeper_that_is_told_to_end_stops_its_container_in_order() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "trap 'echo bye; exit 9' USR2; echo ready; while :; do sleep 0.1; done";
    let id = gamut.detached(&["--stop-signal", "USR2"], &["sh", "-c", script]);
    until("it is ready", || {
        gamut.call(&["logs", &id]).out.contains("ready")
    });
    let keeper = gamut.inspect(&id)["KeeperPid"].as_i64().unwrap();
    let keeper = rustix::process::Pid::from_raw(keeper as i32).unwrap();
    rustix::process::kill_process(keeper, Signal::TERM).unwrap();
    gamut.call(&["wait", &id]).ok().prints("9");
    assert!(gamut.call(&["logs", &id]).out.contains("bye"));
    assert_eq!(status(&gamut, &id), "exited");
}

#[test]
fn a_keeper_keeps_no_descriptor_too_many() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&[]);
    let keepers = || {
        let inside = gamut.pid(&id);
        let all = census::processes(&gamut).into_iter().map(|(pid, _)| pid);
        all.filter(|pid| *pid != inside)
            .map(census::descriptors)
            .sum::<usize>()
    };
    gamut.exec(&id, "true");
    gamut.call(&["logs", &id]).ok();
    let settle = |wanted: usize| until("the descriptors are as before", || keepers() <= wanted);
    let before = keepers();
    for _ in 0..30 {
        gamut.exec(&id, "true");
        gamut.call(&["logs", &id]).ok();
        gamut.call(&["stats", "--no-stream", &id]).ok();
    }
    settle(before);
}
