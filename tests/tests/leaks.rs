//! Nothing leaks: two hundred mixed runs with processes of the engine killed at random moments, and
//! then the machine is as before.
//!
//! `GAMUT_LEAK_RUNS` changes the number, `GAMUT_LEAK_SEED` repeats a sequence.

use gamut_tests::{Census, Gamut, census};
use rustix::process::{Pid, Signal, kill_process};
use std::time::{Duration, Instant};

/// xorshift64*, so that a failing sequence can be repeated.
pub(crate) struct Dice(pub(crate) u64);

impl Dice {
    pub(crate) fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % sides
    }
}

pub(crate) fn number(name: &str, default: u64) -> u64 {
    std::env::var(name)
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(default)
}

#[test]
fn two_hundred_runs_with_sudden_deaths() {
    let Some(gamut) = Gamut::alone() else { return };
    let seed = number("GAMUT_LEAK_SEED", u64::from(std::process::id()) | 1);
    eprintln!("GAMUT_LEAK_SEED={seed}");
    let mut dice = Dice(seed);
    // What stays by design (the image, the bridge, the tables) is there before the count.
    let image = gamut.image("busybox");
    gamut
        .call(&["run", "--rm", "-p", "20000:80", &image, "true"])
        .ok();
    gamut.run(&["-v", "volume:/v"], &["true"]).ok();
    let before = Census::take_machine(&gamut);
    for turn in 0..number("GAMUT_LEAK_RUNS", 200) {
        let words = deal(&mut dice, turn, &image);
        let words: Vec<&str> = words.iter().map(String::as_str).collect();
        let running = gamut.spawn(&words);
        if dice.roll(2) == 0 {
            std::thread::sleep(Duration::from_micros(dice.roll(40_000)));
            let victims = census::processes(&gamut);
            if !victims.is_empty() {
                let (pid, _) = victims[dice.roll(victims.len() as u64) as usize];
                if let Some(pid) = Pid::from_raw(pid) {
                    // Gone already: then this turn killed nobody.
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
        }
        let ended = running.finish();
        assert!(!ended.err.contains("panicked at"), "{}", ended.told());
        if turn % 20 == 19 {
            gamut.clear();
        }
    }
    // One look repairs; then whatever is still listed is removed in the ordinary way.
    gamut.call(&["ps", "-a"]).ok();
    gamut.clear();
    settled(&gamut, &before, seed);
}

/// One of the things people do.
fn deal(dice: &mut Dice, turn: u64, image: &str) -> Vec<String> {
    let port = format!("{}:80", 20_001 + turn);
    let name = format!("turn-{turn}");
    let words: &[&str] = match dice.roll(9) {
        0 => &["run", "--rm", "--network", "none", image, "true"],
        1 => &["run", "--rm", image, "sh", "-c", "echo out; sleep 0.02"],
        2 => &["run", "--rm", "-p", &port, image, "sleep", "0.01"],
        3 => &[
            "run", "-d", "--rm", "-p", &port, "--memory", "32m", image, "sleep", "0.1",
        ],
        4 => &["run", "-d", "--name", &name, image, "sleep", "1000"],
        5 => &[
            "run",
            "--rm",
            "--network",
            "none",
            "--tmpfs",
            "/t",
            "-v",
            "volume:/v",
            "-v",
            "/anonymous",
            image,
            "touch",
            "/v/x",
        ],
        6 => &["run", "--rm", "-p", &port, image, "no-such-command"],
        7 => &[
            "create",
            "--name",
            &name,
            "--network",
            "none",
            image,
            "true",
        ],
        _ => &[
            "run",
            "--rm",
            "--network",
            "none",
            "--pids-limit",
            "10",
            "--cpus",
            "0.5",
            image,
            "sh",
            "-c",
            "exit 3",
        ],
    };
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[track_caller]
pub(crate) fn settled(gamut: &Gamut, before: &Census, seed: u64) {
    let began = Instant::now();
    loop {
        let grown = before.grown(&Census::take_machine(gamut));
        if grown.is_empty() {
            return;
        }
        assert!(
            began.elapsed() < Duration::from_secs(20),
            "left behind (GAMUT_LEAK_SEED={seed}):\n{}",
            grown.join("\n")
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_keeper_that_dies_while_it_starts() {
    let Some(gamut) = Gamut::alone() else { return };
    let image = gamut.image("busybox");
    gamut
        .call(&["run", "--rm", "-p", "20000:80", &image, "true"])
        .ok();
    let before = Census::take_machine(&gamut);
    for microseconds in (0..60).map(|step| step * 500) {
        let running = gamut.spawn(&[
            "run", "-d", "-p", "20000:80", "--memory", "32m", &image, "sleep", "1000",
        ]);
        std::thread::sleep(Duration::from_micros(microseconds));
        let own = running.child.id() as i32;
        for (pid, _) in census::processes(&gamut)
            .into_iter()
            .filter(|(pid, _)| *pid != own)
        {
            if let Some(pid) = Pid::from_raw(pid) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        let ended = running.finish();
        assert!(!ended.err.contains("panicked at"), "{}", ended.told());
        gamut.clear();
    }
    settled(&gamut, &before, 0);
}
