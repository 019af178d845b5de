//! The tool shed: `cargo xtask check` proves what the design promises about this repository, and
//! the other commands write the documents that are generated. A file per check in `check/`.
#![forbid(unsafe_code)]

mod check;
mod docs;
mod error;
mod features;
mod junit;
mod lexer;
mod parity;
mod ratchet;
mod workspace;

use std::path::PathBuf;
use std::process::ExitCode;

use error::Error;
use workspace::Workspace;

const USAGE: &str = "\
cargo xtask COMMAND

  check [NAME...]             run every check, or only the named ones
  check --bless               lower the ratchets to what is there now; never raises them
  check --bless --raise WHAT --reason TEXT
                              raise the ratchet of WHAT (a room, or the path of a long file) and
                              write the reason beside it; --raise may be given several times
  docs                        write docs/cli/*.md from the help texts of the `gamut` binary
  features [LEVEL=]JUNIT...   write docs/features.md from the results of the conformance tests
                              (LEVEL is container when left out)
  parity WORDS JUNIT...       write docs/parity.md; WORDS is what the same run of those tests wrote
                              with GAMUT_WORDS_LOG=WORDS";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match run(&arguments) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn run(arguments: &[String]) -> Result<ExitCode, Error> {
    let Some((command, rest)) = arguments.split_first() else {
        println!("{USAGE}");
        return Ok(ExitCode::from(2));
    };
    match command.as_str() {
        "check" => match check_request(rest)? {
            Request::Check(names) => check::run(&Workspace::load()?, &names),
            Request::Bless(raise) => check::bless(&Workspace::load()?, &raise),
        },
        "docs" if rest.is_empty() => {
            docs::write(&Workspace::load()?)?;
            Ok(ExitCode::SUCCESS)
        }
        "features" if !rest.is_empty() => {
            features::write(&Workspace::load()?, &result_files(rest)?)?;
            Ok(ExitCode::SUCCESS)
        }
        "parity" if rest.len() > 1 => {
            parity::write(&Workspace::load()?, rest[0].as_ref(), &rest[1..])?;
            Ok(ExitCode::SUCCESS)
        }
        "help" | "--help" | "-h" => {
            println!("{USAGE}");
            Ok(ExitCode::SUCCESS)
        }
        _ => Err(Error::Usage(arguments.join(" "))),
    }
}

/// What `check` is asked to do.
#[derive(Debug, PartialEq, Eq)]
enum Request {
    /// Run these checks; all of them when the list is empty.
    Check(Vec<String>),
    Bless(ratchet::Raise),
}

fn check_request(arguments: &[String]) -> Result<Request, Error> {
    let usage = || Error::Usage(format!("check {}", arguments.join(" ")));
    let mut names = Vec::new();
    let mut bless = false;
    let mut raise = ratchet::Raise::default();
    let mut rest = arguments.iter();
    while let Some(argument) = rest.next() {
        match argument.as_str() {
            "--bless" => bless = true,
            "--raise" => raise.what.push(rest.next().ok_or_else(usage)?.clone()),
            "--reason" => raise.reason = Some(rest.next().ok_or_else(usage)?.clone()),
            name if name.starts_with('-') => return Err(usage()),
            name => names.push(name.to_owned()),
        }
    }
    let raising = !raise.what.is_empty();
    if raising != raise.reason.is_some() || (raising && !bless) || (bless && !names.is_empty()) {
        return Err(usage());
    }
    Ok(if bless {
        Request::Bless(raise)
    } else {
        Request::Check(names)
    })
}

fn result_files(arguments: &[String]) -> Result<Vec<(features::Level, PathBuf)>, Error> {
    arguments
        .iter()
        .map(|argument| match argument.split_once('=') {
            None => Ok((features::Level::Container, PathBuf::from(argument))),
            Some((level, path)) => features::Level::parse(level)
                .map(|level| (level, PathBuf::from(path)))
                .ok_or_else(|| Error::Usage(format!("features {argument}"))),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn a_raise_needs_bless_and_a_reason() {
        assert!(check_request(&words("--raise sys --reason x")).is_err());
        assert!(check_request(&words("--bless --raise sys")).is_err());
        assert!(check_request(&words("--bless --reason x")).is_err());
        let raise = ratchet::Raise {
            what: words("sys net"),
            reason: Some("x".to_owned()),
        };
        assert_eq!(
            check_request(&words("--bless --raise sys --raise net --reason x")).ok(),
            Some(Request::Bless(raise))
        );
    }

    #[test]
    fn checks_can_be_named() {
        assert_eq!(
            check_request(&words("floors names")).ok(),
            Some(Request::Check(words("floors names")))
        );
        assert!(check_request(&words("--fast")).is_err());
    }

    #[test]
    fn a_result_file_may_name_its_level() {
        let files = result_files(&words("a.xml vm=b.xml")).unwrap();
        assert_eq!(files[0].0, features::Level::Container);
        assert_eq!(files[1], (features::Level::Vm, PathBuf::from("b.xml")));
        assert!(result_files(&words("cloud=b.xml")).is_err());
    }
}
