//! Where an OCI runtime says what went wrong: on standard error, and in the file that an engine
//! reads (`--log`), in the lines of Go's logrus.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::ExitCode;

use serde_json::json;

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

    /// Says an error, and gives the status of a failed command.
    pub(super) fn fail(&self, error: &dyn std::fmt::Display) -> ExitCode {
        let text = error.to_string();
        if self.file.is_some() {
            self.line("error", &text);
        }
        let _ = writeln!(std::io::stderr(), "{text}");
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
