//! What stops a command of the tool shed before it can give a verdict. A broken rule is not an
//! error: it is a `check::Finding`.

use std::io;
use std::path::{Path, PathBuf};

#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("`cargo xtask {0}` is not understood; `cargo xtask help` lists the commands")]
    Usage(String),
    #[error("there is no check named `{0}`; there are: {1}")]
    NoSuchCheck(String, String),
    #[error("cannot run `{0}`: {1}")]
    Spawn(String, #[source] io::Error),
    #[error("`{0}` failed: {1}")]
    Command(String, String),
    #[error("cannot read `{0}`: {1}")]
    Read(PathBuf, #[source] io::Error),
    #[error("cannot write `{0}`: {1}")]
    Write(PathBuf, #[source] io::Error),
    #[error("cannot understand {0}: {1}")]
    Json(String, #[source] serde_json::Error),
    #[error("`{0}` is not a JUnit file: {1}")]
    Junit(PathBuf, #[source] crate::junit::JunitError),
    #[error("`{0}` holds no result of package `gamut-tests`: was the conformance suite run?")]
    NoResults(PathBuf),
    #[error("`tests/parity/reasons.tsv` wants three fields: {0}")]
    Reason(String),
    #[error("`cargo build` gave no executable for package `{0}`")]
    NoExecutable(String),
}

pub(crate) fn read(path: &Path) -> Result<String, Error> {
    std::fs::read_to_string(path).map_err(|error| Error::Read(path.to_owned(), error))
}

pub(crate) fn write(path: &Path, text: &str) -> Result<(), Error> {
    let written = match path.parent() {
        Some(folder) => std::fs::create_dir_all(folder).and_then(|()| std::fs::write(path, text)),
        None => std::fs::write(path, text),
    };
    written.map_err(|error| Error::Write(path.to_owned(), error))
}
