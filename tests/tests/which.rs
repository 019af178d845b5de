//! Which containers a verb is for, when it isn't told by name: all, the last one, by file, by filter.

use gamut_tests::Gamut;
use gamut_tests::patience::until;

fn idle(gamut: &Gamut, name: &str) -> String {
    gamut.idle(&["--name", name, "--label", name])
}

fn states(gamut: &Gamut) -> Vec<String> {
    let listed = gamut.call(&["ps", "-a", "--format", "{{.Names}} {{.State}}"]);
    let mut lines: Vec<String> = listed
        .ok()
        .lines()
        .iter()
        .map(|&line| line.to_owned())
        .collect();
    lines.sort();
    lines
}

#[test]
fn all_of_them() {
    let Some(gamut) = Gamut::new() else { return };
    let ids = ["one", "two"].map(|name| idle(&gamut, name));
    let killed = gamut.call(&["kill", "--all"]).ok();
    let mut lines = killed.lines();
    lines.sort_unstable();
    let mut wanted: Vec<&str> = ids.iter().map(String::as_str).collect();
    wanted.sort_unstable();
    assert_eq!(lines, wanted);
    gamut.call(&["wait", "one", "two"]).ok().prints("137\n137");
    // None runs: none is killed, and that's no error.
    assert!(gamut.call(&["kill", "-a"]).ok().out.is_empty());
    gamut.call(&["start", "--all"]).ok();
    assert_eq!(states(&gamut), ["one running", "two running"]);
    gamut.call(&["stop", "-a", "-t", "0"]).ok();
    assert_eq!(states(&gamut), ["one exited", "two exited"]);
    gamut.call(&["rm", "-a"]).ok();
    assert!(states(&gamut).is_empty());
    gamut.assert_nothing_left();
}

#[test]
fn the_one_made_last() {
    let Some(gamut) = Gamut::new() else { return };
    gamut
        .call(&["inspect", "--latest"])
        .refused(1, &["no container"]);
    idle(&gamut, "first");
    let last = idle(&gamut, "last");
    gamut.call(&["exec", "--latest", "touch", "/made"]).ok();
    gamut
        .call(&["exec", "first", "test", "-e", "/made"])
        .code(1);
    gamut.call(&["diff", "--latest"]).ok().prints("A /made");
    let inspected = gamut.call(&["inspect", "--latest", "--format", "{{.Id}}"]);
    inspected.ok().prints(&last);
    let row = gamut.call(&[
        "stats",
        "--latest",
        "--no-stream",
        "--interval",
        "2",
        "--format",
        "{{.Name}}",
    ]);
    row.ok().prints("last");
    gamut.call(&["kill", "--latest"]).ok().prints(&last);
    gamut.call(&["wait", "--latest"]).ok().prints("137");
    gamut.call(&["start", "--latest"]).ok();
    gamut.call(&["stop", "--latest", "-t", "0"]).ok();
    gamut.call(&["rm", "--latest"]).ok();
    assert_eq!(states(&gamut), ["first running"]);
    gamut.call(&["rm", "-f", "-t", "0", "first"]).ok();
}

#[test]
fn an_attached_start_of_the_last_one() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    gamut
        .call(&["create", "--network", "none", &image, "echo", "hello"])
        .ok();
    gamut.learn_ids();
    let started = gamut.call(&["start", "--attach", "--sig-proxy=false", "--latest"]);
    started.ok().prints("hello");
}

#[test]
fn the_one_in_a_file() {
    let Some(gamut) = Gamut::new() else { return };
    let file = gamut.dir().join("cid").display().to_string();
    let none = gamut.dir().join("none").display().to_string();
    gamut.idle(&["--cidfile", &file]);
    gamut
        .call(&["exec", "--cidfile", &file, "echo", "inside"])
        .ok()
        .prints("inside");
    gamut.call(&["kill", "--cidfile", &file]).ok();
    gamut.call(&["wait", "--cidfile", &file]).ok();
    gamut.call(&["stop", "--cidfile", &file]).ok();
    gamut
        .call(&["stop", "--cidfile", &none])
        .refused(125, &["none"]);
    gamut.call(&["stop", "--ignore", "--cidfile", &none]).ok();
    gamut.call(&["rm", "--ignore", "--cidfile", &none]).ok();
    gamut.call(&["rm", "--cidfile", &file]).ok();
    gamut.assert_nothing_left();
}

#[test]
fn by_filter_and_in_one_way_only() {
    let Some(gamut) = Gamut::new() else { return };
    idle(&gamut, "one");
    idle(&gamut, "two");
    gamut
        .call(&["stop", "-t", "0", "--filter", "label=two"])
        .ok();
    assert_eq!(states(&gamut), ["one running", "two exited"]);
    gamut.call(&["start", "--filter", "name=two"]).ok();
    gamut
        .call(&["stop", "--all", "one"])
        .refused(1, &["one way"]);
    gamut
        .call(&["stop", "--filter", "bogus=1"])
        .refused(1, &["bogus"]);
    gamut.call(&["stop"]).code(1);
    gamut
        .call(&["stop", "--ignore", "-t", "0", "nosuch", "one"])
        .ok()
        .prints("one");
    gamut.call(&["rm", "--filter", "status=exited"]).ok();
    assert_eq!(states(&gamut), ["two running"]);
}

#[test]
fn waits_for_what_is_asked() {
    let Some(gamut) = Gamut::new() else { return };
    idle(&gamut, "runs");
    let image = gamut.image("busybox");
    gamut
        .call(&[
            "create",
            "--name",
            "made",
            "--network",
            "none",
            &image,
            "sh",
            "-c",
            "exit 4",
        ])
        .ok();
    gamut.learn_ids();
    let wait = |words: &[&str]| gamut.call(&[&["wait", "--interval", "20ms"], words].concat());
    wait(&["--condition", "running", "runs"]).ok().prints("-1");
    wait(&["--condition", "created", "made"]).ok().prints("-1");
    let first = wait(&[
        "--condition",
        "created",
        "--exit-first-match",
        "runs",
        "made",
    ]);
    first.ok().prints("-1");
    let waiting = gamut.spawn(&["wait", "--condition=exited", "--condition=removed", "made"]);
    gamut.call(&["start", "made"]).ok();
    waiting.finish().ok().prints("4");
    let waiting = gamut.spawn(&["wait", "--condition=removed", "made"]);
    gamut.call(&["rm", "made"]).ok();
    waiting.finish().ok().prints("-1");
    wait(&["--ignore", "made"]).ok().prints("-1");
    wait(&["made"]).refused(1, &["made"]);
    until("it runs still", || states(&gamut) == ["runs running"]);
}

#[test]
fn ports_of_all() {
    let Some(gamut) = Gamut::new() else { return };
    let image = gamut.image("busybox");
    let run = gamut.call(&["run", "-d", "-p", "127.0.0.1::80", &image, "sleep", "1000"]);
    let id = run.ok().text().to_owned();
    gamut.learn_ids();
    let all = gamut.call(&["port", "--all"]).ok();
    assert!(
        all.out
            .starts_with(&format!("{}\t80/tcp -> 127.0.0.1:", &id[..12])),
        "{}",
        all.told()
    );
    let latest = gamut.call(&["port", "--latest"]).ok();
    assert!(
        latest.out.starts_with("80/tcp -> 127.0.0.1:"),
        "{}",
        latest.told()
    );
    gamut.call(&["port"]).code(1);
}
