//! What can go wrong between a client and a keeper.

use gamut_plan::cell::{CellError, StartError};
use gamut_spec::{Fault, Kind};
use rustix::io::Errno;
use thiserror::Error;

/// What can go wrong between a client and a keeper.
#[derive(Debug, Error)]
pub enum ClientError {
    #[error("cannot start the keeper: {0}")]
    Spawn(std::io::Error),
    #[error("the container is not running")]
    NotRunning,
    #[error("the keeper has gone away")]
    Gone,
    #[error("cannot speak to the keeper: {0}")]
    Socket(Errno),
    #[error("the keeper said what this version of gamut does not understand: {0}")]
    Answer(String),
    #[error("{0}")]
    Refused(String),
    #[error(transparent)]
    Start(#[from] StartError),
    #[error(transparent)]
    Cell(#[from] CellError),
}

impl Fault for ClientError {
    fn kind(&self) -> Kind {
        match self {
            ClientError::Spawn(_) | ClientError::Gone | ClientError::Socket(_) => Kind::Unavailable,
            ClientError::NotRunning | ClientError::Refused(_) => Kind::Conflict,
            ClientError::Answer(_) => Kind::Bug,
            ClientError::Start(error) => error.kind(),
            ClientError::Cell(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            ClientError::NotRunning => Some("start it with `gamut start`".into()),
            ClientError::Gone => {
                Some("its container was stopped with it; see `gamut ps -a`".into())
            }
            ClientError::Start(error) => error.hint(),
            ClientError::Cell(error) => error.hint(),
            _ => None,
        }
    }
}
