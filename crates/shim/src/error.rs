//! Why a call of containerd's could not be answered, and the gRPC code that says so.

use std::path::{Path, PathBuf};

use gamut_spec::{Fault, Kind};
use rustix::io::Errno;

use crate::message::rpc::Status;

/// A call, or a command of the shim's, that failed.
#[derive(Debug, thiserror::Error)]
pub enum ShimError {
    #[error("no task `{0}` here: not found")]
    NoTask(String),
    #[error("task `{task}` has no process `{process}`: not found")]
    NoProcess { task: String, process: String },
    #[error("`{0}` exists already")]
    Exists(String),
    #[error("`{0}` has not ended")]
    Runs(String),
    #[error("`{0}` is not in a state for that: {1}")]
    Phase(String, &'static str),
    #[error("process already finished: not found")]
    Finished,
    /// What was waited for has gone, or there is no thread to do it.
    #[error("no answer: the process was deleted, or the shim could not see to it")]
    Dropped,
    #[error("`{0}` is no name for a process")]
    Name(String),
    #[error("{0} is not what gamut's shim does")]
    Unimplemented(String),
    #[error("a message that cannot be read: {0}")]
    Message(#[from] prost::DecodeError),
    #[error("JSON that cannot be read: {0}")]
    Json(#[from] serde_json::Error),
    #[error("cannot run the OCI runtime `{}`: {source}", program.display())]
    Spawn {
        program: PathBuf,
        source: std::io::Error,
    },
    /// What the runtime said for itself.
    #[error("OCI runtime {verb} failed: {message}")]
    Runtime { verb: String, message: String },
    #[error("the OCI runtime sent no terminal: {0}")]
    Console(Errno),
    #[error("`{}`: {source}", path.display())]
    File {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot mount `{source_name}` on `{}`: {source}", target.display())]
    Mount {
        source_name: String,
        target: PathBuf,
        source: Errno,
    },
    #[error("`{0}` is no place for output: a FIFO, `file://` or `binary://`")]
    Output(String),
    #[error("{0}")]
    Kernel(#[from] Errno),
    #[error("{0}")]
    Usage(String),
}

impl ShimError {
    pub fn file(path: impl AsRef<Path>, source: impl Into<std::io::Error>) -> ShimError {
        ShimError::File {
            path: path.as_ref().to_owned(),
            source: source.into(),
        }
    }

    /// As ttrpc says it; the codes are gRPC's (`google/rpc/code.proto`). containerd turns them into its own
    /// errors by the code alone.
    #[must_use]
    pub fn status(&self) -> Status {
        let code = match self {
            ShimError::Unimplemented(_) => 12,
            ShimError::Phase(..) | ShimError::Runs(_) => 9,
            _ => match self.kind() {
                Kind::Invalid => 3,
                Kind::NotFound => 5,
                Kind::Conflict => 6,
                Kind::Denied => 7,
                Kind::HostLacks => 9,
                Kind::Unavailable => 14,
                Kind::Bug => 2,
            },
        };
        Status {
            code,
            message: self.to_string(),
        }
    }
}

impl Fault for ShimError {
    fn kind(&self) -> Kind {
        match self {
            ShimError::NoTask(_) | ShimError::NoProcess { .. } | ShimError::Finished => {
                Kind::NotFound
            }
            ShimError::Exists(_) | ShimError::Runs(_) | ShimError::Phase(..) => Kind::Conflict,
            ShimError::Dropped => Kind::Unavailable,
            ShimError::Name(_)
            | ShimError::Unimplemented(_)
            | ShimError::Message(_)
            | ShimError::Json(_)
            | ShimError::Output(_)
            | ShimError::Usage(_) => Kind::Invalid,
            // What a runtime says has no kind of its own; gRPC's "unknown" is what containerd expects.
            ShimError::Spawn { .. }
            | ShimError::Runtime { .. }
            | ShimError::Console(_)
            | ShimError::File { .. }
            | ShimError::Mount { .. }
            | ShimError::Kernel(_) => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        matches!(self, ShimError::Spawn { .. }).then(|| {
            "put `gamut-oci` beside the shim or on the PATH, or name a runtime with BinaryName"
                .to_owned()
        })
    }
}
