//! What a container wrote, kept and followed.

use gamut_tests::Gamut;
use gamut_tests::patience::until;

#[test]
fn logs_are_kept_in_order_and_followed() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.detached(&[], &["sh", "-c", "for i in 1 2 3; do echo out $i; echo err $i >&2; done; sleep 0.3; trap 'echo last; exit' TERM; echo ready; while :; do sleep 0.1; done"]);
    until("it is ready", || {
        gamut.call(&["logs", &id]).out.contains("ready")
    });
    let logs = gamut.call(&["logs", &id]).ok();
    assert_eq!(
        (logs.out.as_str(), logs.err.as_str()),
        ("out 1\nout 2\nout 3\nready\n", "err 1\nerr 2\nerr 3\n")
    );
    gamut.call(&["logs", "-n", "1", &id]).ok().prints("ready");
    let stamped = gamut.call(&["logs", "-t", "-n", "1", &id]).ok();
    assert!(
        stamped.out.starts_with("20") && stamped.out.contains("Z ready"),
        "{}",
        stamped.told()
    );
    let follower = gamut.spawn(&["logs", "-f", "-n", "1", &id]);
    gamut.call(&["stop", &id]).ok();
    follower.finish().ok().prints("ready\nlast");
    gamut.call(&["logs", "--since", "1h", &id]).ok();
    assert_eq!(
        gamut
            .call(&["logs", "--until", "2020-01-01T00:00:00Z", &id])
            .ok()
            .out,
        ""
    );
}

#[test]
fn logs_are_json_lines_and_rotate() {
    let Some(gamut) = Gamut::new() else { return };
    let id = gamut.detached(
        &["--log-opt", "max-size=10k", "--log-opt", "max-file=2"],
        &["seq", "1", "5000"],
    );
    gamut.call(&["wait", &id]).ok();
    let path = gamut.inspect(&id)["LogPath"].as_str().unwrap().to_owned();
    let line = std::fs::read_to_string(&path)
        .unwrap()
        .lines()
        .last()
        .unwrap()
        .to_owned();
    let line: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(
        (line["log"].as_str(), line["stream"].as_str()),
        (Some("5000\n"), Some("stdout"))
    );
    assert!(line["time"].as_str().unwrap().ends_with('Z'));
    assert!(std::fs::metadata(&path).unwrap().len() <= 11_000);
    assert!(
        std::path::Path::new(&format!("{path}.1")).exists()
            && !std::path::Path::new(&format!("{path}.2")).exists()
    );
    assert!(gamut.call(&["logs", &id]).ok().out.ends_with("\n5000\n"));
    let silent = gamut.detached(&["--log-driver", "none"], &["echo", "unheard"]);
    gamut.call(&["wait", &silent]).ok();
    gamut.call(&["logs", &silent]).code(1);
}
