//! `inspect --failure`: what there is to know of a run that has failed, when it is over.

use gamut_tests::Gamut;
use gamut_tests::patience::until;
use serde_json::Value;

fn of(gamut: &Gamut, name: &str) -> Value {
    gamut.call(&["inspect", "--failure", name]).ok().json()[0].clone()
}

fn run(gamut: &Gamut, name: &str, flags: &[&str], words: &[&str]) {
    gamut.detached(&[&["--name", name], flags].concat(), words);
    gamut.call(&["wait", name]).ok();
}

#[test]
fn a_failure_is_told_in_full() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "for i in $(seq 30); do echo line $i; done; echo the reason >&2; exit 3";
    run(&gamut, "box", &[], &["sh", "-c", script]);
    let failure = of(&gamut, "box");
    assert_eq!(failure["Name"], "box");
    assert_eq!(failure["ExitCode"], 3);
    assert_eq!(failure["Signal"], "");
    assert_eq!(failure["OOMKilled"], false);
    let log = failure["Log"].as_array().unwrap();
    assert_eq!(log.len(), 20);
    assert!(log.iter().any(|line| line == "the reason\n"), "{log:?}");
    assert!(failure["StartedAt"].as_str() < failure["At"].as_str());
    assert!(
        failure["Used"]["CPU"].as_u64().is_some_and(|ns| ns > 0),
        "{failure}"
    );
    let line = gamut.call(&[
        "inspect",
        "--failure",
        "-f",
        "{{.ExitCode}} {{len .Log}}",
        "box",
    ]);
    line.ok().prints("3 20");
    // A better run does not hide it.
    run(&gamut, "fine", &[], &["true"]);
    gamut
        .call(&["inspect", "--failure", "fine"])
        .refused(1, &["fine has not failed"])
        .hinted();
    gamut.idle(&["--name", "stopped"]);
    gamut.call(&["kill", "stopped"]).ok();
    gamut.call(&["wait", "stopped"]).ok();
    gamut
        .call(&["inspect", "--failure", "stopped"])
        .refused(1, &["has not failed"]);
}

#[test]
fn a_death_by_a_signal_is_told_so() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.idle(&["--name", "box"]);
    // By somebody who is not gamut: what gamut is asked to do is no failure.
    let pid = rustix::process::Pid::from_raw(gamut.pid("box")).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    gamut.call(&["wait", "box"]).ok().prints("137");
    assert_eq!(of(&gamut, "box")["Signal"], "SIGKILL");
}

#[test]
fn a_start_that_fails_is_a_failure() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let words = [
        "create",
        "--name",
        "box",
        "--network",
        "none",
        &image,
        "nosuchprogram",
    ];
    gamut.call(&words).ok();
    gamut.call(&["start", "box"]).refused(1, &["nosuchprogram"]);
    let failure = of(&gamut, "box");
    assert_eq!(failure["ExitCode"], 127);
    assert!(
        failure["Error"].as_str().unwrap().contains("nosuchprogram"),
        "{failure}"
    );
}

#[test]
fn what_ran_out_of_memory_is_told_so() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "exec tail /dev/zero";
    run(
        &gamut,
        "box",
        &["--memory", "16m", "--memory-swap", "16m"],
        &["sh", "-c", script],
    );
    let failure = of(&gamut, "box");
    assert_eq!(failure["OOMKilled"], true, "{failure}");
    assert_eq!(failure["Used"]["OOMKills"], 1, "{failure}");
    assert_eq!(failure["Used"]["MemoryLimit"], 16 << 20);
}

#[test]
fn each_restart_has_its_failure() {
    let Some(gamut) = Gamut::new() else { return };
    let script = "echo $(date +%s%N); exit 4";
    gamut.detached(
        &["--name", "box", "--restart", "on-failure:2"],
        &["sh", "-c", script],
    );
    until("it has given up", || of_state(&gamut) == "exited");
    let failure = of(&gamut, "box");
    assert_eq!(
        (&failure["ExitCode"], &failure["RestartCount"]),
        (&Value::from(4), &Value::from(2))
    );
    assert_eq!(failure["Log"].as_array().unwrap().len(), 3);
}

fn of_state(gamut: &Gamut) -> String {
    let told = gamut.call(&["inspect", "-f", "{{.State.Status}}", "box"]);
    told.ok().text().to_owned()
}
