//! What a command can end with, and how it is said: `error: …`, then `hint: …`.

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use gamut_spec::{Fault, Kind};

use crate::convert::ArgumentError;
use crate::exit::{self, Stage, Verb};
use crate::format::{ListError, TemplateError};
use crate::table;
use gamut_plan::request::RequestError;

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// A flag whose text is understood only together with something else.
    #[error("invalid value for `{flag}`")]
    Argument {
        flag: &'static str,
        source: ArgumentError,
    },
    #[error(transparent)]
    Request(#[from] RequestError),
    #[error("cannot read `{}`", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write `{}`", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("`{}` is not UTF-8 text", path.display())]
    NotText { path: PathBuf },
    #[error("`{}`", path.display())]
    FileContent {
        path: PathBuf,
        source: ArgumentError,
    },
    #[error("`{}` is not JSON", path.display())]
    Profile {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("the host path `{}` is not absolute and there is no current directory", path.display())]
    NoCurrentDir { path: PathBuf },
    #[error("`{flag}` is not there yet")]
    Unsupported { flag: &'static str },
    #[error(transparent)]
    Template(#[from] TemplateError),
    #[error("cannot write the output")]
    Output(#[source] io::Error),
    #[error("cannot read the log of events")]
    Events(#[source] io::Error),
    #[error("standard input is not a terminal")]
    NotATerminal,
    #[error("an archive is not written to a terminal")]
    ToTerminal,
    #[error("an archive is not read from a terminal")]
    FromTerminal,
    #[error("`{flag}` is missing: {what}")]
    NeedsFlag {
        flag: &'static str,
        what: &'static str,
    },
    #[error("{0}")]
    Sides(&'static str),
    #[error("cannot use the terminal")]
    Terminal(#[source] io::Error),
    #[error("`gamut {0}` is not built yet")]
    NotBuilt(&'static str),
    /// The engine's own word, and whether it is about the workload's command.
    #[error("{fault}")]
    Engine {
        stage: Stage,
        fault: Box<dyn Fault + Send + Sync>,
    },
}

impl Failure {
    /// A fault of the engine that is not about starting the workload's command.
    pub fn engine(fault: impl Fault + Send + Sync + 'static) -> Self {
        Self::Engine {
            stage: Stage::Engine,
            fault: Box::new(fault),
        }
    }

    /// How far it came.
    pub fn stage(&self) -> Stage {
        match self {
            Self::Engine { stage, .. } => *stage,
            Self::Argument { .. }
            | Self::Request(_)
            | Self::Read { .. }
            | Self::NotText { .. }
            | Self::FileContent { .. }
            | Self::Profile { .. }
            | Self::NoCurrentDir { .. }
            | Self::Unsupported { .. } => Stage::Flags,
            _ => Stage::Engine,
        }
    }

    /// Says what happened on standard error and gives the exit status.
    pub fn report(&self, verb: Verb) -> ExitCode {
        // A reader that went away (`gamut ps | head -1`) is not worth a word.
        if let Self::Output(error) = self
            && error.kind() == io::ErrorKind::BrokenPipe
        {
            const SIGPIPE: u8 = 13;
            return ExitCode::from(exit::of_signal(SIGPIPE));
        }
        self.say();
        ExitCode::from(exit::status(verb, self.stage(), self.kind()))
    }

    /// Says what happened on standard error.
    pub fn say(&self) {
        match self {
            Self::Engine { fault, .. } => say(fault.as_ref()),
            other => say(other),
        }
    }
}

impl Fault for Failure {
    fn kind(&self) -> Kind {
        match self {
            Self::Read { source, .. } | Self::Write { source, .. } => match source.kind() {
                io::ErrorKind::NotFound => Kind::NotFound,
                io::ErrorKind::PermissionDenied => Kind::Denied,
                io::ErrorKind::AlreadyExists => Kind::Conflict,
                _ => Kind::Unavailable,
            },
            Self::Output(_) | Self::Terminal(_) | Self::NoCurrentDir { .. } => Kind::Unavailable,
            Self::NotBuilt(_) => Kind::Bug,
            Self::Engine { fault, .. } => fault.kind(),
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Argument { source, .. } | Self::FileContent { source, .. } => source.hint(),
            Self::Request(error) => error.hint(),
            Self::Template(error) => error.hint(),
            Self::Engine { fault, .. } => fault.hint(),
            Self::ToTerminal => Some("give a file with `-o`, or redirect the output".to_owned()),
            Self::FromTerminal => Some("give a file with `-i`, or redirect the input".to_owned()),
            Self::Sides(_) => Some("write one of them as CONTAINER:PATH".to_owned()),
            Self::NotATerminal => Some("leave out `-t`, or use `script` to make one".to_owned()),
            _ => None,
        }
    }
}

impl From<ListError> for Failure {
    fn from(error: ListError) -> Self {
        match error {
            ListError::Template(error) => Self::Template(error),
            ListError::Output(error) => Self::Output(error),
        }
    }
}

/// Prints a fault with its causes in one line, and its hint. Commands over several objects call
/// it for each one that fails.
pub fn say(fault: &dyn Fault) {
    let mut text = format!("error: {}\n", table::visible(&chain(fault)));
    let hint = match fault.hint() {
        None if fault.kind() == Kind::Bug => {
            Some("this is a defect of gamut; please report it".to_owned())
        }
        hint => hint,
    };
    if let Some(hint) = hint {
        text.push_str(&format!("hint: {}\n", table::visible(&hint)));
    }
    // With standard error gone there is nobody left to tell.
    let _ = io::stderr().lock().write_all(text.as_bytes());
}

/// The error and its causes with `: ` between; a cause that the text before ends with already
/// is not said twice.
pub fn chain(fault: &dyn Fault) -> String {
    let mut text = fault.to_string();
    let mut cause = fault.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.ends_with(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_stand_in_one_line_and_once() {
        let failure = Failure::Read {
            path: "env".into(),
            source: io::Error::other("it is gone"),
        };
        assert_eq!(chain(&failure), "cannot read `env`: it is gone");
        let failure = Failure::Argument {
            flag: "--filter",
            source: ArgumentError::FilterKey {
                key: "colour".to_owned(),
                allowed: "name".to_owned(),
            },
        };
        assert_eq!(
            chain(&failure),
            "invalid value for `--filter`: unknown filter `colour`"
        );
        assert_eq!(failure.hint().as_deref(), Some("it can be name"));
    }

    #[test]
    fn an_engines_fault_is_said_with_its_causes() {
        let failure = Failure::engine(RequestError::SwapWithoutMemory);
        assert_eq!(failure.hint().as_deref(), Some("add `--memory`"));
        assert_eq!(failure.stage(), Stage::Engine);
    }
}
