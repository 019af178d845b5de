//! Exit statuses and words for what is wrong with a command line: Docker's numbers.

use crate::{gamut, text};

#[track_caller]
fn fails(words: &[&str], status: i32, said: &str) {
    let output = gamut(words);
    let stderr = text(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "{stderr}");
    assert!(stderr.starts_with("error: "), "{stderr}");
    assert!(stderr.contains(said), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn unknown_flags_and_bad_values_are_125() {
    fails(&["run", "--frob", "debian"], 125, "--frob");
    fails(&["ps", "--frob"], 125, "--frob");
    fails(&["run", "--rm=perhaps", "debian"], 125, "perhaps");
    fails(
        &["run", "-m", "much", "debian"],
        125,
        "hint: write a number with an optional unit",
    );
    fails(
        &["run", "-v", "a/b:/x", "debian"],
        125,
        "hint: for a directory of the host",
    );
    fails(
        &["run", "--cpus", "1", "--cpu-quota", "5", "debian"],
        125,
        "cannot be used with",
    );
}

#[test]
fn missing_arguments_and_unknown_commands_are_1() {
    fails(&["run"], 1, "IMAGE");
    fails(&["rm"], 1, "CONTAINER");
    fails(&["exec", "web"], 1, "CONTAINER COMMAND");
    fails(&["frob"], 1, "frob");
}

#[test]
fn requests_that_contradict_themselves_are_125() {
    fails(
        &["run", "--memory-swap", "1g", "debian"],
        125,
        "error: a limit of memory and swap needs a limit of memory\nhint: add `--memory`",
    );
    fails(
        &["run", "--rm", "--restart", "always", "debian"],
        125,
        "cannot have the restart policy `always`",
    );
    fails(
        &["run", "--env-file", "/nonexistent/env", "debian"],
        125,
        "cannot read `/nonexistent/env`: No such file",
    );
}

#[test]
fn a_terminal_is_not_made_of_a_pipe() {
    fails(
        &["run", "-it", "debian"],
        125,
        "standard input is not a terminal",
    );
}

#[test]
fn strange_bytes_are_no_way_to_steer_the_terminal() {
    let output = gamut(&["run", "--name", "a\u{1b}[2Jb", "debian"]);
    assert!(!output.stderr.contains(&0x1b), "{}", text(&output.stderr));
}
