//! Eight users at once, a thousand mixed commands, and sudden deaths among them: of commands, of keepers, of
//! whatever else is the engine's. Then nothing is lost, nothing is left, and the engine's own check is clean.
//!
//! `GAMUT_LEAK_RUNS` times five are the commands; `GAMUT_LEAK_SEED` repeats a sequence.

use std::time::Duration;

use gamut_tests::gamut::Running;
use gamut_tests::{Census, Gamut, census};
use rustix::process::{Pid, Signal, kill_process};

use crate::leaks::{Dice, number, settled};

const USERS: usize = 8;

/// What nobody touches: it must be there in the end as it was in the beginning.
const WITNESS: &str = "witness";

#[test]
fn a_thousand_commands_of_eight_users_with_sudden_deaths() {
    let Some(gamut) = Gamut::alone() else { return };
    let seed = number("GAMUT_LEAK_SEED", u64::from(std::process::id()) | 1);
    eprintln!("GAMUT_LEAK_SEED={seed}");
    let mut dice = Dice(seed);
    let image = gamut.image("busybox");
    // What stays by design is there before the count.
    let network = ["network", "create", "--label", WITNESS, "kept"];
    gamut.call(&network).ok();
    let words = ["run", "-d", "--network", "kept", "--name", "first", &image];
    gamut.call(&[&words[..], &["sleep", "1000"]].concat()).ok();
    gamut.call(&["run", "--rm", &image, "true"]).ok();
    gamut.call(&["pause", "first"]).ok();
    gamut.clear();
    let before = Census::take_machine(&gamut);
    set_witness(&gamut, &image);
    let mut users: [Option<Running>; USERS] = Default::default();
    let (mut deaths, mut done) = (0, 0);
    let turns = number("GAMUT_LEAK_RUNS", 200) as usize * 5;
    for turn in 0..turns {
        let user = &mut users[turn % USERS];
        if let Some(running) = user.take() {
            let ended = running.finish();
            done += usize::from(ended.code == 0);
            assert!(!ended.err.contains("panicked at"), "{}", ended.told());
            // Whatever happens is told in words, and never as damage.
            for word in ["internal error", "damaged", "malformed", "corrupt"] {
                assert!(!ended.err.contains(word), "{seed}: {}", ended.told());
            }
        }
        let words = deal(&mut dice, &image);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        *user = Some(gamut.spawn(&words));
        if dice.roll(5) == 0 {
            std::thread::sleep(Duration::from_micros(dice.roll(30_000)));
            deaths += u32::from(kill_one(&gamut, &mut dice));
        }
    }
    for running in users.into_iter().flatten() {
        running.finish();
    }
    eprintln!("{done} of {turns} were done, {deaths} sudden deaths");
    // Else it tests little.
    assert!(done > turns / 4, "{done} of {turns}");
    look_after(&gamut);
    check_witness(&gamut);
    gamut.clear();
    gamut.call(&["volume", "prune", "-a", "-f"]).ok();
    let others = ["--filter", "label!=witness"];
    gamut
        .call(&[&["network", "prune", "-f"], &others[..]].concat())
        .ok();
    gamut.call(&["rmi", "-f", "tag0:x", "tag1:x"]);
    settled(&gamut, &before, seed);
    gamut.call(&["network", "rm", "kept"]).ok();
}

fn set_witness(gamut: &Gamut, image: &str) {
    let label = ["--label", "witness"];
    gamut
        .call(&[&["volume", "create"], &label[..], &[WITNESS]].concat())
        .ok();
    let words = [
        "create",
        "--name",
        WITNESS,
        "--network",
        "none",
        "-v",
        "witness:/v",
    ];
    let script = "echo word | tee /v/file >/file; sleep 1000";
    gamut
        .call(&[&words, &label[..], &[image, "sh", "-c", script]].concat())
        .ok();
    gamut.call(&["tag", image, "witness:1"]).ok();
    gamut.call(&["start", WITNESS]).ok();
    gamut_tests::patience::until("it has written", || {
        gamut.call(&["exec", WITNESS, "cat", "/file"]).out == "word\n"
    });
}

/// Its process may have died; what it wrote, and what was said of it, is there.
fn check_witness(gamut: &Gamut) {
    gamut.call(&["start", WITNESS]).ok();
    gamut
        .call(&["exec", WITNESS, "cat", "/file", "/v/file"])
        .ok()
        .prints("word\nword");
    let found = gamut.inspect(WITNESS);
    assert_eq!(found["Config"]["Labels"]["witness"], "");
    gamut.call(&["image", "inspect", "witness:1"]).ok();
    gamut.call(&["rmi", "witness:1"]).ok();
}

/// Whatever is listed is as it says.
fn look_after(gamut: &Gamut) {
    gamut.call(&["ps", "-a"]).ok();
    gamut.call(&["system", "check"]).ok();
    let listed = gamut
        .call(&["ps", "-a", "--format", "{{.Names}} {{.State}}"])
        .ok();
    for line in listed.lines() {
        let (name, state) = line.split_once(' ').unwrap_or((line, ""));
        gamut.call(&["inspect", name]).ok();
        // Whoever made it may have been killed before it was made.
        let logs = gamut.call(&["logs", name]);
        if logs.code != 0 {
            logs.refused(1, &["was never finished"]).hinted();
            assert_eq!(state, "created");
        }
        match state {
            "running" => {
                gamut.call(&["exec", name, "true"]).ok();
            }
            "paused" => {
                gamut.call(&["unpause", name]).ok();
            }
            _ => {}
        }
    }
}

/// Kills a process of the engine; whether there was one.
fn kill_one(gamut: &Gamut, dice: &mut Dice) -> bool {
    let victims = census::processes(gamut);
    if victims.is_empty() {
        return false;
    }
    let (pid, _) = victims[dice.roll(victims.len() as u64) as usize];
    // It may be gone already.
    Pid::from_raw(pid).is_some_and(|pid| kill_process(pid, Signal::KILL).is_ok())
}

/// One of the things people do, to one of few things: users get in each other's way.
fn deal(dice: &mut Dice, image: &str) -> Vec<String> {
    let mut pick = |what: &str, many: u64| format!("{what}{}", dice.roll(many));
    let (one, other) = (pick("box", 10), pick("box", 10));
    let (volume, network, tag) = (pick("volume", 3), pick("net", 2), pick("tag", 2) + ":x");
    let mount = format!("{volume}:/v");
    let words: &[&str] = match dice.roll(36) {
        0..4 => &[
            "run", "-d", "--name", &one, "-v", &mount, image, "sleep", "1000",
        ],
        4 => &[
            "run",
            "-d",
            "--name",
            &one,
            "--network",
            &network,
            image,
            "sleep",
            "1000",
        ],
        5 => &[
            "run",
            "-d",
            "--name",
            &one,
            "--restart",
            "on-failure:3",
            image,
            "false",
        ],
        6 => &[
            "run",
            "-d",
            "--name",
            &one,
            "--network",
            "none",
            "--health-cmd",
            "true",
            "--health-interval",
            "50ms",
            image,
            "sleep",
            "1000",
        ],
        7 => &[
            "run",
            "--rm",
            "-v",
            &mount,
            image,
            "sh",
            "-c",
            "echo x >>/v/file; sleep 0.02",
        ],
        8 => &[
            "run",
            "--rm",
            "--memory",
            "32m",
            "--network",
            &network,
            image,
            "true",
        ],
        9 => &[
            "create",
            "--name",
            &one,
            "-v",
            "/anonymous",
            image,
            "sleep",
            "1000",
        ],
        10 | 11 => &["start", &one],
        12 => &["stop", "-t", "0", &one],
        13 => &["restart", "-t", "0", &one],
        14 => &["kill", &one],
        15 => &["rm", &one],
        16..19 => &["rm", "-f", "-v", &one],
        19 => &["pause", &one],
        20 => &["unpause", &one],
        21 => &["exec", &one, "sh", "-c", "echo y >/file"],
        22 => &["rename", &one, &other],
        23 => &["update", "--pids-limit", "100", &one],
        24 => &["volume", "rm", &volume],
        25 => &["volume", "create", &volume],
        26 => &["network", "create", &network],
        27 => &["network", "rm", &network],
        28 => &["network", "connect", &network, &one],
        29 => &["network", "disconnect", &network, &one],
        30 => &["tag", image, &tag],
        31 => &["rmi", &tag],
        32 => &["ps", "-a", "-s"],
        33 => &["inspect", &one, &other],
        34 => &["container", "prune", "-f", "--filter", "label!=witness"],
        _ => &["stats", "--no-stream"],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}
