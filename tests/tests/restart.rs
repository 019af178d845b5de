//! Restart policies: who ends by himself is started again.

use gamut_tests::Gamut;
use gamut_tests::patience::until;

fn of(gamut: &Gamut, name: &str, template: &str) -> String {
    let told = gamut.call(&["inspect", "-f", template, name]).ok();
    told.text().to_owned()
}

fn state(gamut: &Gamut, name: &str) -> String {
    of(gamut, name, "{{.State.Status}}")
}

#[test]
fn a_failure_is_tried_again_as_often_as_it_may() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.detached(
        &["--name", "box", "--restart", "on-failure:2"],
        &["sh", "-c", "echo try; exit 3"],
    );
    until("it has given up", || state(&gamut, "box") == "exited");
    assert_eq!(gamut.call(&["logs", "box"]).ok().out, "try\ntry\ntry\n");
    assert_eq!(
        of(&gamut, "box", "{{.RestartCount}} {{.State.ExitCode}}"),
        "2 3"
    );
    let policy =
        "{{.HostConfig.RestartPolicy.Name}} {{.HostConfig.RestartPolicy.MaximumRetryCount}}";
    assert_eq!(of(&gamut, "box", policy), "on-failure 2");
    let told = gamut.call(&[
        "events",
        "--stream=false",
        "--filter",
        "event=start",
        "--filter",
        "event=die",
        "--format",
        "{{.Action}}",
    ]);
    told.ok().prints("start\ndie\nstart\ndie\nstart\ndie");
    // What ends well is not.
    gamut.detached(&["--name", "fine", "--restart", "on-failure"], &["true"]);
    gamut.call(&["wait", "fine"]).ok().prints("0");
    assert_eq!(
        of(&gamut, "fine", "{{.RestartCount}} {{.State.Status}}"),
        "0 exited"
    );
    // What a host that boots can do.
    gamut
        .call(&["start", "--all", "--filter", "restart-policy=always"])
        .ok();
    assert_eq!(state(&gamut, "box"), "exited");
    gamut
        .call(&["start", "--filter", "restart-policy=on-failure"])
        .ok();
    until("it has given up again", || {
        of(&gamut, "box", "{{.RestartCount}} {{.State.Status}}") == "2 exited"
    });
    assert_eq!(gamut.call(&["logs", "box"]).ok().lines().len(), 6);
    gamut.call(&["wait", "fine"]).ok();
    gamut.call(&["rm", "box", "fine"]).ok();
    gamut.assert_nothing_left();
}

#[test]
fn always_is_until_somebody_stops_it() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "echo up >>/count; sleep 0.1";
    gamut.detached(
        &["--name", "box", "--restart", "always"],
        &["sh", "-c", script],
    );
    let restarts = || {
        of(&gamut, "box", "{{.RestartCount}}")
            .parse::<u32>()
            .unwrap_or(0)
    };
    until("it has been restarted", || restarts() >= 3);
    gamut.call(&["stop", "box"]).ok().prints("box");
    assert_eq!(state(&gamut, "box"), "exited");
    let before = restarts();
    std::thread::sleep(std::time::Duration::from_millis(1500));
    assert_eq!(restarts(), before);
    assert_eq!(state(&gamut, "box"), "exited");
    // The root is the same each time.
    let count = gamut.call(&["cp", "box:/count", "-"]).ok();
    assert_eq!(count.out.matches("up").count() as u32, before + 1);
    gamut.call(&["start", "box"]).ok();
    until("it goes on", || restarts() > before);
    gamut.call(&["rm", "-f", "box"]).ok();
    gamut.assert_nothing_left();
}

#[test]
fn a_kill_by_hand_is_the_end_and_one_from_inside_is_not() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "trap 'exit 5' TERM; while :; do sleep 0.1; done";
    gamut.detached(
        &["--name", "box", "--restart", "unless-stopped"],
        &["sh", "-c", script],
    );
    let first = gamut.pid("box");
    let killed = rustix::process::Pid::from_raw(first).expect("a process");
    rustix::process::kill_process(killed, rustix::process::Signal::KILL).expect("killed");
    until("it runs again", || {
        of(&gamut, "box", "{{.RestartCount}} {{.State.Status}}") == "1 running"
    });
    gamut.call(&["kill", "box"]).ok();
    gamut.call(&["wait", "box"]).ok().prints("137");
    assert_eq!(state(&gamut, "box"), "exited");
}

#[test]
fn between_two_starts_it_is_restarting() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.detached(&["--name", "box", "--restart", "always"], &["false"]);
    // Each wait is twice the one before.
    until("it waits long", || {
        of(&gamut, "box", "{{.RestartCount}} {{.State.Status}}") == "4 restarting"
    });
    assert_eq!(
        of(
            &gamut,
            "box",
            "{{.State.Restarting}} {{.State.Running}} {{.State.ExitCode}}"
        ),
        "true true 1"
    );
    let listed = gamut
        .call(&[
            "ps",
            "--filter",
            "status=restarting",
            "--format",
            "{{.Names}} {{.Status}}",
        ])
        .ok();
    assert!(
        listed.out.starts_with("box Restarting (1) "),
        "{}",
        listed.told()
    );
    gamut
        .call(&["exec", "box", "true"])
        .refused(1, &["restarting"]);
    gamut.call(&["rm", "box"]).refused(1, &["running"]);
    gamut.call(&["stop", "box"]).ok();
    assert_eq!(
        of(&gamut, "box", "{{.State.Status}} {{.State.ExitCode}}"),
        "exited 1"
    );
    gamut.call(&["start", "box"]).ok();
    until("it waits again", || state(&gamut, "box") == "restarting");
    gamut.call(&["kill", "box"]).ok();
    until("it has ended", || state(&gamut, "box") == "exited");
    gamut.call(&["start", "box"]).ok();
    gamut.call(&["rm", "-f", "box"]).ok();
    gamut.assert_nothing_left();
}

#[test]
fn ports_and_names_come_back() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let words = [
        "run",
        "-d",
        "--name",
        "web",
        "--restart",
        "always",
        "-p",
        "127.0.0.1::80",
        &image,
        "sh",
        "-c",
        "httpd -p 80; sleep 1",
    ];
    gamut.call(&words).ok();
    gamut.learn_ids();
    let restarts = || of(&gamut, "web", "{{.RestartCount}}");
    until("it has been restarted", || {
        restarts() != "0" && state(&gamut, "web") == "running"
    });
    let port = gamut.call(&["port", "web", "80"]).ok().text().to_owned();
    until("it answers", || {
        std::net::TcpStream::connect(&port).is_ok()
            || gamut.call(&["port", "web", "80"]).text() != port
    });
    gamut.call(&["rm", "-f", "web"]).ok();
    gamut.assert_nothing_left();
}

#[test]
fn what_cannot_be_meant_is_refused() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .run(&["--restart", "always"], &["true"])
        .refused(125, &["--rm", "always"]);
    let image = gamut.image("busybox");
    for wrong in ["sometimes", "on-failure:x", "always:3"] {
        gamut
            .call(&["run", "--restart", wrong, &image, "true"])
            .refused(125, &[wrong]);
    }
    gamut.assert_untouched();
}
