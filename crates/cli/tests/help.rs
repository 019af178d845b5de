//! What `--help` and no words at all show.

use crate::{gamut, text};

#[test]
fn no_command_is_a_question_for_help() {
    for words in [&[][..], &["--help"], &["image"], &["container", "--help"]] {
        let output = gamut(words);
        assert_eq!(output.status.code(), Some(0), "{words:?}");
        assert!(text(&output.stdout).contains("Commands:"), "{words:?}");
        assert!(output.stderr.is_empty(), "{words:?}");
    }
}

#[test]
fn the_list_of_commands_says_what_each_is_for() {
    let help = text(&gamut(&["--help"]).stdout);
    for (command, about) in [
        ("run", "Run a command in a new container"),
        ("doctor", "Show what this host can do"),
    ] {
        let line = help
            .lines()
            .find(|line| line.trim_start().starts_with(command))
            .unwrap_or_default();
        assert!(line.ends_with(about), "{line}");
    }
    assert!(!help.contains("manual pages"));
}

#[test]
fn help_on_run_is_one_line_a_flag() {
    let help = text(&gamut(&["run", "--help"]).stdout);
    assert!(help.contains("Usage: gamut run [OPTIONS] IMAGE [COMMAND] [ARG...]"));
    let memory = help.lines().find(|line| line.contains("--memory <SIZE>"));
    assert!(
        memory.is_some_and(|line| line.ends_with("such as 512m")),
        "{help}"
    );
    assert!(help.contains("127 if it is not there"));
    assert!(help.contains("-h, --hostname"));
}

#[test]
fn the_version_is_told() {
    let output = gamut(&["-v"]);
    assert_eq!(
        text(&output.stdout),
        format!("gamut {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn version_answers_in_dockers_shape() {
    let version = env!("CARGO_PKG_VERSION");
    let output = gamut(&[
        "version",
        "--format",
        "{{.Client.Version}} {{.Server.Version}}",
    ]);
    assert_eq!(text(&output.stdout), format!("{version} {version}\n"));
    let output = gamut(&["version"]);
    assert!(text(&output.stdout).contains(&format!("Version:   {version}\n")));
    let output = gamut(&["version", "--format", "{{.Client.Colour}}"]);
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("there is no field `Colour`"), "{said}");
    assert!(
        said.contains("hint: there are Arch, KernelVersion, Os, Version"),
        "{said}"
    );
}
