//! `events`: what happened, whoever did it.

use gamut_tests::patience::until;
use gamut_tests::{Gamut, World};
use serde_json::Value;

/// What the log has, in Docker's JSON.
fn log(gamut: &Gamut, flags: &[&str]) -> Vec<Value> {
    let words = ["events", "--stream=false", "--format", "json"];
    gamut.call(&[&words, flags].concat()).ok().json_lines()
}

fn actions(events: &[Value]) -> Vec<String> {
    let action = |event: &Value| event["Action"].as_str().unwrap_or_default().to_owned();
    events.iter().map(action).collect()
}

#[test]
fn a_containers_life_is_told() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.idle(&["--name", "box", "--label", "team=blue"]);
    gamut.exec("box", "exit 0");
    gamut.call(&["pause", "box"]).ok();
    gamut.call(&["unpause", "box"]).ok();
    gamut.call(&["rename", "box", "case"]).ok();
    gamut.call(&["update", "--pids-limit", "50", "case"]).ok();
    gamut.call(&["stop", "case"]).ok();
    gamut.call(&["start", "case"]).ok();
    gamut.call(&["kill", "case"]).ok();
    gamut.call(&["wait", "case"]).ok();
    gamut.call(&["rm", "case"]).ok();
    let events = log(&gamut, &["--filter", "type=container"]);
    assert_eq!(
        actions(&events),
        [
            "create",
            "start",
            "exec_create: sh -c exit 0",
            "exec_start: sh -c exit 0",
            "exec_die",
            "pause",
            "unpause",
            "rename",
            "update",
            "kill",
            "die",
            "stop",
            "start",
            "kill",
            "die",
            "destroy"
        ]
    );
    for event in &events {
        assert_eq!(event["Actor"]["ID"], id.as_str());
        assert_eq!(event["scope"], "local");
    }
    let of = |number: usize, name: &str| events[number]["Actor"]["Attributes"][name].clone();
    assert_eq!(of(0, "team"), "blue");
    assert_eq!(of(0, "name"), "box");
    assert_eq!(of(7, "oldName"), "box");
    assert_eq!(of(7, "name"), "case");
    assert_eq!(of(9, "signal"), "15");
    assert_eq!(of(10, "exitCode"), "0");
    assert_eq!(of(14, "exitCode"), "137");
    let since = log(
        &gamut,
        &[
            "--since",
            "1h",
            "--until",
            "2030-01-01",
            "--filter",
            "event=die",
        ],
    );
    assert_eq!(actions(&since), ["die", "die"]);
    assert!(log(&gamut, &["--until", "1h"]).is_empty());
    assert_eq!(log(&gamut, &["--filter", "label=team=blue"]).len(), 16);
    assert_eq!(
        log(
            &gamut,
            &["--filter", "container=box", "--filter", "event=create"]
        )
        .len(),
        1
    );
    gamut
        .call(&["events", "--filter", "bogus=1"])
        .refused(1, &["bogus"]);
}

#[test]
fn what_ends_by_itself_and_is_removed_is_told() {
    let Some(gamut) = Gamut::new() else { return };
    gamut.run(&[], &["sh", "-c", "exit 3"]).code(3);
    // The keeper clears away when its client has gone.
    until("it is removed", || {
        !log(&gamut, &["--filter", "event=destroy"]).is_empty()
    });
    let events = log(&gamut, &["--filter", "type=container"]);
    assert_eq!(actions(&events), ["create", "start", "die", "destroy"]);
    assert_eq!(events[2]["Actor"]["Attributes"]["exitCode"], "3");
}

#[test]
fn images_are_told_of() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    gamut.call(&["pull", "-q", &image]).ok();
    gamut.call(&["tag", &image, "other:1"]).ok();
    gamut.call(&["rmi", "other:1"]).ok();
    gamut.call(&["rmi", &image]).ok();
    let events = log(&gamut, &["--filter", "type=image"]);
    assert_eq!(
        actions(&events),
        // A name, then what the other one and its digest stood for.
        ["pull", "tag", "untag", "untag", "untag", "delete"]
    );
    assert_eq!(events[0]["Actor"]["Attributes"]["name"], image.as_str());
}

#[test]
fn networks_are_told_of() {
    let Some(gamut) = Gamut::new() else { return };
    let _world = World::new();
    let id = crate::networks::peer(&gamut, &["--name", "box"]);
    gamut.call(&["network", "create", "yard"]).ok();
    gamut.call(&["network", "connect", "yard", "box"]).ok();
    gamut.call(&["network", "disconnect", "yard", "box"]).ok();
    gamut.call(&["network", "rm", "yard"]).ok();
    let events = log(&gamut, &["--filter", "type=network"]);
    assert_eq!(
        actions(&events),
        ["create", "connect", "disconnect", "destroy"]
    );
    for event in &events {
        assert_eq!(event["Actor"]["Attributes"]["name"], "yard");
        assert_eq!(event["Actor"]["Attributes"]["type"], "bridge");
    }
    assert_eq!(events[1]["Actor"]["Attributes"]["container"], id.as_str());
    assert!(log(&gamut, &["--filter", "network=other"]).is_empty());
}

#[test]
fn a_stream_has_docker_lines_and_ends_when_told() {
    let Some(gamut) = Gamut::new() else { return };
    let started = std::time::Instant::now();
    let stream = gamut.spawn(&[
        "events",
        "--filter",
        "type=container",
        "--until",
        &until_in(4),
    ]);
    // It is there as soon as it watches; nothing before counts.
    let root = gamut.root();
    until("it watches", || root.join("events").is_dir());
    std::thread::sleep(std::time::Duration::from_millis(300));
    gamut.idle(&["--name", "box"]);
    let told = stream.finish().ok();
    assert!(started.elapsed() >= std::time::Duration::from_secs(3));
    let lines = told.lines();
    assert_eq!(lines.len(), 2, "{}", told.told());
    assert!(
        lines[0].contains(" container create ") && lines[0].contains("name=box"),
        "{}",
        told.told()
    );
    assert!(lines[1].contains(" container start "), "{}", told.told());
}

/// A time so many seconds from now, as `--until` takes it.
fn until_in(seconds: u64) -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    (now.expect("after 1970").as_secs() + seconds).to_string()
}

#[test]
fn many_at_once_are_all_told() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    gamut.call(&["pull", "-q", &image]).ok();
    let runs: Vec<_> = (0..12)
        .map(|_| gamut.spawn(&["run", "--rm", "--network", "none", &image, "true"]))
        .collect();
    for run in runs {
        run.finish().ok();
    }
    for action in ["create", "start", "die", "destroy"] {
        let filter = format!("event={action}");
        until(action, || log(&gamut, &["--filter", &filter]).len() >= 12);
        assert_eq!(log(&gamut, &["--filter", &filter]).len(), 12, "{action}");
    }
}
