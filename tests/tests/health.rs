//! Health checks: run beside the workload, told by `ps`, `inspect` and `events`, and acted upon.

use gamut_tests::Gamut;
use gamut_tests::image::ImageBuilder;
use gamut_tests::patience::until;

/// Checks that come quickly.
const OFTEN: [&str; 2] = ["--health-interval", "200ms"];

fn of(gamut: &Gamut, name: &str, template: &str) -> String {
    let told = gamut.call(&["inspect", "-f", template, name]).ok();
    told.text().to_owned()
}

fn verdict(gamut: &Gamut, name: &str) -> String {
    of(gamut, name, "{{.State.Health.Status}}")
}

fn is(gamut: &Gamut, name: &str, wanted: &str) {
    until(&format!("{name} is {wanted}"), || {
        verdict(gamut, name) == wanted
    });
}

fn with(flags: &[&'static str]) -> Vec<&'static str> {
    [&OFTEN[..], flags].concat()
}

#[test]
fn a_container_turns_healthy_and_unhealthy_as_its_checks_say() {
    let Some(gamut) = Gamut::new() else { return };
    let check = "echo looking; cat /tmp/well";
    gamut.idle(&with(&[
        "--name",
        "box",
        "--health-cmd",
        check,
        "--health-retries",
        "2",
        "--health-start-period",
        "1m",
        "--health-start-interval",
        "200ms",
    ]));
    let status = |wanted: &str| {
        let told = gamut.call(&["ps", "--format", "{{.Status}} {{.HealthStatus}}"]);
        assert!(told.ok().text().contains(wanted));
    };
    status("(health: starting) starting");
    // In the start period a failure is told and does not count.
    until("it was checked", || {
        of(&gamut, "box", "{{len .State.Health.Log}}") != "0"
    });
    assert_eq!(verdict(&gamut, "box"), "starting");
    assert_eq!(of(&gamut, "box", "{{.State.Health.FailingStreak}}"), "0");
    gamut.exec("box", "echo fine >/tmp/well");
    gamut
        .call(&[
            "wait",
            "--condition",
            "healthy",
            "--interval",
            "50ms",
            "box",
        ])
        .ok();
    status("(healthy) healthy");
    let found = gamut.inspect("box");
    let log = found["State"]["Health"]["Log"].as_array().unwrap().clone();
    let last = log.last().unwrap();
    assert_eq!(last["ExitCode"], 0);
    assert_eq!(last["Output"], "looking\nfine\n");
    assert!(last["Start"].as_str() < last["End"].as_str(), "{last}");
    assert_eq!(log[0]["ExitCode"], 1);
    assert_eq!(found["Config"]["Healthcheck"]["Test"][1], check);
    assert_eq!(found["Config"]["Healthcheck"]["Interval"], 200_000_000);
    gamut.exec("box", "rm /tmp/well");
    is(&gamut, "box", "unhealthy");
    let listed = |health: &str| {
        let filter = format!("health={health}");
        let told = gamut.call(&["ps", "-q", "--filter", &filter]).ok();
        told.lines().len()
    };
    assert_eq!(
        (listed("unhealthy"), listed("healthy"), listed("none")),
        (1, 0, 0)
    );
    gamut
        .call(&["ps", "--filter", "health=so-so"])
        .refused(1, &["health=so-so"]);
    until("five results are kept", || {
        of(&gamut, "box", "{{len .State.Health.Log}}") == "5"
    });
    let told = gamut.call(&[
        "events",
        "--stream=false",
        "--filter",
        "event=health_status",
        "--format",
        "{{.Action}}",
    ]);
    told.ok()
        .prints("health_status: healthy\nhealth_status: unhealthy");
    // A check is no exec of anybody's.
    let execs = ["events", "--stream=false", "--filter", "event=exec_die"];
    let told = gamut.call(&execs);
    assert_eq!(told.ok().lines().len(), 2);
    // What does not run is not well; a new start begins anew.
    gamut.call(&["stop", "box"]).ok();
    assert_eq!(verdict(&gamut, "box"), "unhealthy");
    gamut.call(&["start", "box"]).ok();
    assert_eq!(verdict(&gamut, "box"), "starting");
}

#[test]
fn a_check_is_run_by_hand() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.idle(&["--name", "box", "--health-cmd", "test -e /tmp/well"]);
    gamut
        .call(&["healthcheck", "run", "box"])
        .code(1)
        .prints("unhealthy");
    gamut
        .call(&["healthcheck", "run", "--ignore-result", "box"])
        .ok();
    gamut.exec("box", "touch /tmp/well");
    let told = gamut.call(&["healthcheck", "run", "box"]).ok();
    assert_eq!(told.out, "");
    assert_eq!(verdict(&gamut, "box"), "healthy");
    gamut.call(&["pause", "box"]).ok();
    gamut
        .call(&["healthcheck", "run", "box"])
        .refused(1, &["paused"]);
    gamut.call(&["unpause", "box"]).ok();
    gamut.idle(&["--name", "other"]);
    gamut
        .call(&["healthcheck", "run", "other"])
        .refused(1, &["no health check"])
        .hinted();
    let is_asked = "{{if .State.Health}}{{.State.Health.Status}}{{else}}nobody asks{{end}}";
    assert_eq!(of(&gamut, "other", is_asked), "nobody asks");
    gamut.call(&["stop", "other"]).ok();
    gamut
        .call(&["healthcheck", "run", "other"])
        .refused(1, &["not running"]);
}

#[test]
fn a_check_that_hangs_is_ended_and_one_that_cannot_run_fails() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.idle(&with(&[
        "--name",
        "slow",
        "--health-cmd",
        "echo begun; exec sleep 3600",
        "--health-timeout",
        "300ms",
        "--health-retries",
        "1",
    ]));
    gamut.idle(&with(&[
        "--name",
        "absent",
        "--health-cmd",
        r#"["nosuchprogram"]"#,
        "--health-retries",
        "1",
    ]));
    is(&gamut, "slow", "unhealthy");
    let output = of(&gamut, "slow", "{{(index .State.Health.Log 0).Output}}");
    assert_eq!(output, "Health check exceeded timeout (0.3s): begun");
    let code = "{{(index .State.Health.Log 0).ExitCode}}";
    assert_eq!(of(&gamut, "slow", code), "-1");
    until("no check is left", || {
        let count = gamut.exec("slow", "ps -o args | grep -c 'sleep 360[0]' || true");
        count.parse::<u32>().is_ok_and(|count| count <= 2)
    });
    is(&gamut, "absent", "unhealthy");
    let output = of(&gamut, "absent", "{{(index .State.Health.Log 0).Output}}");
    assert!(output.contains("nosuchprogram"), "{output}");
}

#[test]
fn an_images_check_is_used_changed_and_left_alone() {
    let Some(gamut) = Gamut::new() else { return };
    let image = ImageBuilder::new()
        .layer(super::run::busybox_with(&["sh", "sleep", "cat"]))
        .config(
            "Healthcheck",
            serde_json::json!({"Test": ["CMD-SHELL", "echo image"], "Interval": 200_000_000}),
        )
        .env(&["PATH=/bin"])
        .cmd(&["sleep", "3600"])
        .build();
    let reference = gamut.host.registry.push(&image, "checked:lab");
    let run = |name: &str, flags: &[&str]| {
        let words = ["run", "-d", "--network", "none", "--name", name];
        gamut.call(&[&words, flags, &[&*reference]].concat()).ok();
    };
    run("one", &[]);
    is(&gamut, "one", "healthy");
    let first = "{{(index .State.Health.Log 0).Output}}";
    assert_eq!(of(&gamut, "one", first), "image");
    run(
        "two",
        &["--health-cmd", "echo mine; false", "--health-retries", "1"],
    );
    is(&gamut, "two", "unhealthy");
    assert_eq!(of(&gamut, "two", first), "mine");
    for (name, flags) in [
        ("three", &["--no-healthcheck"][..]),
        ("four", &["--health-cmd", "none"]),
    ] {
        run(name, flags);
        assert_eq!(of(&gamut, name, "{{json .State.Health}}"), "null");
    }
    gamut
        .run(&["--no-healthcheck", "--health-cmd", "true"], &["true"])
        .refused(125, &["--no-healthcheck"]);
    gamut
        .run(
            &["--health-cmd", "true", "--health-timeout", "10us"],
            &["true"],
        )
        .refused(125, &["--health-timeout"])
        .hinted();
    gamut.call(&["kill", "one", "two", "three", "four"]).ok();
}

#[test]
fn what_turns_unhealthy_is_killed_stopped_or_started_again() {
    let Some(gamut) = Gamut::new() else { return };
    let ill = |name: &'static str, flags: &[&'static str]| {
        let check = [
            "--name",
            name,
            "--health-cmd",
            "false",
            "--health-retries",
            "1",
        ];
        gamut.idle(&with(&[&check, flags].concat()));
    };
    let state = "{{.State.Status}} {{.State.ExitCode}} {{.RestartCount}}";
    ill("killed", &["--health-on-failure", "kill"]);
    ill(
        "stopped",
        &["--health-on-failure", "stop", "--restart", "always"],
    );
    ill("again", &["--health-on-failure", "restart"]);
    ill("twice", &["--restart", "on-unhealthy:2"]);
    until("it was killed", || {
        of(&gamut, "killed", state) == "exited 137 0"
    });
    until("it was stopped", || {
        of(&gamut, "stopped", state) == "exited 0 0"
    });
    until("it was started again", || {
        let count = of(&gamut, "again", "{{.RestartCount}}");
        count.parse::<u32>().is_ok_and(|count| count >= 2)
    });
    // As often as it may; then it is left as it is.
    until("it was started twice", || {
        of(&gamut, "twice", state) == "running 0 2"
    });
    is(&gamut, "twice", "unhealthy");
    assert_eq!(of(&gamut, "twice", state), "running 0 2");
    gamut.call(&["stop", "again"]).ok();
    assert!(of(&gamut, "again", state).starts_with("exited 0"));
    gamut
        .run(&["--health-on-failure", "restart"], &["true"])
        .refused(125, &["--rm"]);
}
