//! `--init`: a first process of ours before the workload's.

use gamut_tests::Gamut;
use gamut_tests::patience::until;

#[test]
fn nothing_is_put_into_a_dev_of_the_users() {
    let Some(gamut) = Gamut::new() else { return };
    let dir = gamut.dir().join("dev");
    std::fs::create_dir(&dir).unwrap();
    let volume = format!("{}:/dev", dir.display());
    gamut
        .run(&["--init", "-v", &volume], &["true"])
        .refused(125, &["--init", "a mount at /dev"])
        .hinted();
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 0);
}

#[test]
fn it_starts_reaps_and_ends_as_the_workload_does() {
    let Some(gamut) = Gamut::new() else { return };
    assert_eq!(
        gamut.inside(&["--init"], "test $$ != 1 && cat /proc/1/comm"),
        ".gamut-init"
    );
    gamut.run(&["--init"], &["sh", "-c", "exit 42"]).code(42);
    gamut
        .run(&["--init"], &["sh", "-c", "kill -9 $$"])
        .code(137);
    gamut.run(&["--init"], &["nosuchprogram"]).code(127);
    gamut.run(&["--init"], &["/etc/passwd"]).code(126);
    // Whoever loses its parent is reaped.
    let orphans = "sh -c 'sleep 0.1 & sleep 0.1 &'; sleep 0.5; ps -o stat | grep -c Z || true";
    assert_eq!(gamut.inside(&["--init"], orphans), "0");
    let read_only = [
        "--init",
        "--read-only",
        "--user",
        "1000",
        "--cap-drop",
        "all",
    ];
    assert_eq!(gamut.inside(&read_only, "id -u"), "1000");
    assert_eq!(
        gamut.inside(
            &["--init"],
            "touch /dev/.gamut-init 2>/dev/null || echo refused"
        ),
        "refused"
    );
    let fed = gamut.call_with_input(
        &[
            "run",
            "--rm",
            "-i",
            "--init",
            "--network",
            "none",
            &gamut.image("busybox"),
            "cat",
        ],
        "through",
    );
    assert_eq!(fed.ok().out, "through");
}

#[test]
fn it_goes_with_users_of_ones_own() {
    let Some(gamut) = Gamut::new() else { return };
    let seen = gamut.inside(&["--init", "--userns", "auto"], "cat /proc/1/comm");
    assert_eq!(seen, ".gamut-init");
}

#[test]
fn signals_reach_the_workload() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "trap 'echo told; exit 5' USR1; trap 'echo bye; exit 6' TERM; echo ready; while :; do sleep 0.1; done";
    gamut.detached(&["--init", "--name", "box"], &["sh", "-c", script]);
    until("it is ready", || {
        gamut.call(&["logs", "box"]).out.contains("ready")
    });
    gamut.call(&["kill", "-s", "USR1", "box"]).ok();
    gamut.call(&["wait", "box"]).ok().prints("5");
    gamut.call(&["start", "box"]).ok();
    until("it is ready again", || {
        gamut.call(&["logs", "box"]).out.matches("ready").count() == 2
    });
    gamut.call(&["stop", "box"]).ok();
    assert_eq!(gamut.inspect("box")["State"]["ExitCode"], 6);
    // One that has no handler ends as it would alone.
    gamut.detached(
        &["--init", "--name", "deaf"],
        &["sh", "-c", "echo ready; exec sleep 1000"],
    );
    until("it is ready, too", || {
        gamut.call(&["logs", "deaf"]).out.contains("ready")
    });
    gamut.call(&["stop", "deaf"]).ok();
    assert_eq!(gamut.inspect("deaf")["State"]["ExitCode"], 143);
}

#[test]
fn a_terminal_is_the_workloads() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let mut terminal = gamut.terminal(&[
        "run",
        "--rm",
        "-it",
        "--init",
        "--network",
        "none",
        &image,
        "sh",
    ]);
    terminal.expect("#");
    terminal.send("sleep 100\n");
    std::thread::sleep(std::time::Duration::from_millis(500));
    terminal.send("\x03");
    terminal.send("echo st$((1+1))ll\n");
    terminal.expect("st2ll");
    terminal.send("exit 3\n");
    assert_eq!(terminal.wait(), 3);
}
