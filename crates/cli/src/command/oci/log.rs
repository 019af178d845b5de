//! Where an OCI runtime says what went wrong: on standard error, and in the file that an engine
//! reads (`--log`), in the lines of Go's logrus.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

use super::OciFailure;

/// Whether what is done is told step by step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Debug {
    Hidden,
    Shown,
}

/// The log of one command.
#[derive(Debug)]
pub(super) struct Log {
    file: Option<File>,
    json: bool,
    debug: bool,
}

impl Log {
    pub(super) fn new(path: Option<&Path>, format: &str, debug: Debug) -> Log {
        let mut options = File::options();
        options.append(true).create(true);
        Log {
            // An engine that gave a bad path sees the error on standard error alone.
            file: path.and_then(|path| options.open(path).ok()),
            json: format == "json",
            debug: debug == Debug::Shown,
        }
    }

    /// Says an error and the remedy, if there is one, and gives the status of a failed command. The
    /// log gets one line: Podman reads it as one document.
    pub(super) fn fail(&self, failure: &OciFailure) -> ExitCode {
        let text = failure.to_string();
        let hint = failure.hint();
        if self.file.is_some() {
            let hint = hint.as_ref().map(|hint| format!(" ({hint})"));
            self.line("error", &format!("{text}{}", hint.unwrap_or_default()));
        }
        let _ = writeln!(std::io::stderr(), "{text}");
        if let Some(hint) = hint {
            let _ = writeln!(std::io::stderr(), "hint: {hint}");
        }
        ExitCode::FAILURE
    }

    pub(super) fn debug(&self, text: &str) {
        if self.debug {
            self.line("debug", text);
        }
    }

    pub(super) fn warn(&self, warnings: &[String]) {
        for warning in warnings {
            self.line("warning", warning);
        }
    }

    fn line(&self, level: &str, text: &str) {
        let now = jiff::Timestamp::now();
        let now = now.round(jiff::Unit::Second).unwrap_or(now);
        let line = if self.json {
            json!({"level": level, "msg": text, "time": now.to_string()}).to_string()
        } else {
            format!("time=\"{now}\" level={level} msg={text:?}")
        };
        let _ = match &self.file {
            Some(file) => writeln!(&*file, "{line}"),
            None => writeln!(std::io::stderr(), "{line}"),
        };
    }
}
