//! Why an image could not be written.

use gamut_spec::{Fault, Kind};
use rustix::io::Errno;

use crate::file_error::{hint_for, kind_of};
use crate::unpack::UnpackProblem;

/// What can go wrong while an image is written.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    /// A system call failed.
    #[error("cannot {action}: {errno}")]
    System {
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// More than the format or [`super::WriteOptions`] allows.
    #[error("more than the allowed {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
}

impl ImageError {
    /// For `map_err` on a system call.
    pub(super) fn at(action: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| Self::System { action, errno }
    }

    /// More of `what` than `limit`.
    pub(super) fn limit(what: &'static str, limit: impl TryInto<u64>) -> Self {
        let limit = limit.try_into().unwrap_or(u64::MAX);
        Self::Limit { what, limit }
    }
}

impl From<ImageError> for UnpackProblem {
    fn from(error: ImageError) -> Self {
        match error {
            ImageError::System { action, errno } => Self::at(action)(errno),
            ImageError::Limit { what, limit } => Self::Limit { what, limit },
        }
    }
}

impl Fault for ImageError {
    fn kind(&self) -> Kind {
        match self {
            Self::System { errno, .. } => kind_of(*errno),
            Self::Limit { .. } => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::System { errno, .. } => hint_for(*errno),
            Self::Limit { .. } => None,
        }
    }
}
