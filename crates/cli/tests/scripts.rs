//! Completion scripts and manual pages, made from the one definition of the flags.

use std::io::Read;
use std::process::{Command, Stdio};

use crate::{gamut, text};

#[test]
fn every_shell_gets_a_script_that_knows_the_flags() {
    for shell in ["bash", "fish", "zsh"] {
        let output = gamut(&["completion", shell]);
        assert!(output.status.success());
        let script = text(&output.stdout);
        for word in ["doctor", "memory-swap", "no-trunc"] {
            assert!(script.contains(word), "{shell}: {word}");
        }
    }
}

#[test]
fn bash_can_read_its_script() {
    let script = gamut(&["completion", "bash"]).stdout;
    let path = std::env::temp_dir().join(format!("gamut-completion-{}", std::process::id()));
    std::fs::write(&path, script).expect("the temporary directory takes a file");
    let status = Command::new("bash").arg("-n").arg(&path).status();
    std::fs::remove_file(&path).expect("it was written");
    match status {
        Ok(status) => assert!(status.success()),
        Err(_) => eprintln!("skipped: there is no bash here"),
    }
}

#[test]
fn every_command_gets_a_manual_page() {
    let dir = std::env::temp_dir().join(format!("gamut-man-{}", std::process::id()));
    let output = gamut(&["man", dir.to_str().expect("it is UTF-8")]);
    let page = std::fs::read_to_string(dir.join("gamut-run.1"));
    let pages: Vec<_> = std::fs::read_dir(&dir).expect("it was made").collect();
    std::fs::remove_dir_all(&dir).expect("it was made");
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(pages.len() > 40, "{}", pages.len());
    let page = page.expect("run has a page");
    assert!(
        page.contains("gamut\\-run") && page.contains("\\-\\-memory"),
        "{page}"
    );
}

#[test]
fn a_reader_that_goes_away_is_not_an_error_to_talk_about() {
    let mut child = Command::new(env!("CARGO_BIN_EXE_gamut"))
        .args(["completion", "zsh"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the binary was built");
    drop(child.stdout.take());
    let mut said = String::new();
    let stderr = child.stderr.take();
    stderr
        .expect("it was piped")
        .read_to_string(&mut said)
        .expect("it is UTF-8");
    let status = child.wait().expect("it was started");
    // 128 + SIGPIPE, as from a program that the signal ended.
    assert_eq!((status.code(), said.as_str()), (Some(141), ""));
}

#[test]
fn a_full_disk_is() {
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full");
    let Ok(full) = full else {
        eprintln!("skipped: there is no /dev/full here");
        return;
    };
    let output = Command::new(env!("CARGO_BIN_EXE_gamut"))
        .args(["completion", "bash"])
        .stdout(full)
        .output()
        .expect("the binary was built");
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).starts_with("error: cannot write the output: No space left"));
}
