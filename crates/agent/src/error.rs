//! What ends an agent, and its machine with it.

use gamut_plan::cell::CellError;
use gamut_plan::frame::FrameError;
use gamut_spec::{Fault, Kind};
use rustix::io::Errno;
use thiserror::Error;

/// Why an agent cannot go on.
#[derive(Debug, Error)]
pub enum AgentError {
    #[error("cannot {act} {object}: {}", std::io::Error::from(*.errno))]
    Boot {
        act: &'static str,
        object: String,
        errno: Errno,
    },
    #[error("cannot reach the host at port {port}: {}", std::io::Error::from(*.errno))]
    Dial { port: u32, errno: Errno },
    #[error("the host's words: {0}")]
    Frame(#[from] FrameError),
    #[error("cannot {act}: {}", std::io::Error::from(*.errno))]
    Call { act: &'static str, errno: Errno },
}

impl Fault for AgentError {
    fn kind(&self) -> Kind {
        match self {
            AgentError::Frame(_) => Kind::Bug,
            _ => Kind::HostLacks,
        }
    }

    fn hint(&self) -> Option<String> {
        None
    }
}

/// What a machine could not be, in the words of a cell.
pub(crate) fn refused(act: impl Into<String>, errno: Errno) -> CellError {
    CellError::Refused {
        act: act.into(),
        reason: std::io::Error::from(errno).to_string(),
        hint: None,
    }
}
