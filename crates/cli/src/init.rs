//! `run --init`, and a pod's infra container: this program as the first process of a container. It starts the workload's, passes signals
//! on to it, reaps whatever is left to it (pid_namespaces(7)), and ends as the workload did.

use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode};

use gamut_engine::pods::PAUSE;
use gamut_plan::draw::INIT;
use gamut_sys::signal;
use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, WaitOptions, WaitStatus};

const INTERRUPT: i32 = 2;
const TERMINATE: i32 = 15;
const CHILD: i32 = 17;
/// SIGKILL and SIGSTOP reach nobody's handler.
const NOT_PASSED_ON: [i32; 2] = [9, 19];

/// What precedes the workload's words in the second step.
const BECOME: &str = "--become";

/// The words behind `--` are the workload's.
#[must_use]
pub fn main() -> ExitCode {
    let mut words = std::env::args_os().skip(1);
    match words.next() {
        Some(word) if word == "--" => begin(words.collect()),
        Some(word) if word == BECOME => exchange(words.collect()),
        Some(word) if word == PAUSE => pause(),
        _ => failed(125, "it takes `--` and a program"),
    }
}

/// The infra container of a pod: holds its namespaces until it is asked to end, and reaps where others share
/// its processes' namespace.
fn pause() -> ExitCode {
    let signals = match signal::descriptor(&[INTERRUPT, TERMINATE, CHILD]) {
        Ok(signals) => signals,
        Err(errno) => return failed(125, errno),
    };
    loop {
        while let Ok(Some(_)) = rustix::process::wait(WaitOptions::NOHANG) {}
        let mut polled = [PollFd::new(&signals, PollFlags::IN)];
        let _ = rustix::event::poll(&mut polled, None);
        let come = signal::drain(&signals).unwrap_or_default();
        if come.into_iter().any(|number| number != CHILD) {
            return ExitCode::SUCCESS;
        }
    }
}

fn failed(code: u8, why: impl std::fmt::Display) -> ExitCode {
    eprintln!("gamut-init: {why}");
    ExitCode::from(code)
}

fn begin(words: Vec<OsString>) -> ExitCode {
    let all: Vec<i32> = (1..=64)
        .filter(|number| !NOT_PASSED_ON.contains(number))
        .collect();
    // Before there is anybody to pass them on to: none is lost.
    let signals = match signal::descriptor(&all) {
        Ok(signals) => signals,
        Err(errno) => return failed(125, errno),
    };
    // In a group of its own, which has the terminal if there is one.
    let child = Command::new(INIT)
        .arg(BECOME)
        .args(words)
        .process_group(0)
        .spawn();
    let child = match child {
        Ok(child) => child,
        Err(error) => return failed(125, error),
    };
    let Some(child) = i32::try_from(child.id()).ok().and_then(Pid::from_raw) else {
        return failed(125, "the workload has no number");
    };
    let _ = rustix::termios::tcsetpgrp(rustix::stdio::stdin(), child);
    follow(child, &signals)
}

/// Becomes the workload's program, with no signal blocked: a child has its parent's mask.
fn exchange(words: Vec<OsString>) -> ExitCode {
    let mut words = words.into_iter();
    let Some(program) = words.next() else {
        return failed(125, "no program");
    };
    signal::reset_for_exec();
    let error = Command::new(&program).args(words).exec();
    let code = match error.kind() {
        std::io::ErrorKind::NotFound => 127,
        _ => 126,
    };
    failed(code, format!("{}: {error}", program.display()))
}

fn follow(child: Pid, signals: &OwnedFd) -> ExitCode {
    loop {
        if let Some(status) = reap(child) {
            return status;
        }
        let mut polled = [PollFd::new(signals, PollFlags::IN)];
        let _ = rustix::event::poll(&mut polled, None);
        for number in signal::drain(signals).unwrap_or_default() {
            if number != CHILD
                && let Some(named) = signal::from_number(number)
            {
                let _ = rustix::process::kill_process(child, named);
            }
        }
    }
}

/// Takes the ends of all that have ended; the workload's, if it is among them.
fn reap(child: Pid) -> Option<ExitCode> {
    while let Ok(Some((pid, status))) = rustix::process::wait(WaitOptions::NOHANG) {
        if pid == child {
            return Some(code(status));
        }
    }
    None
}

fn code(status: WaitStatus) -> ExitCode {
    let code = match (status.exit_status(), status.terminating_signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 125,
    };
    ExitCode::from(u8::try_from(code).unwrap_or(255))
}
