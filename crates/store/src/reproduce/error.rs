//! Why a layer's tar could not be reproduced.

use std::io;

use gamut_spec::digest::Digest;
use gamut_spec::{Fault, Kind};

use crate::file_error::FileError;

/// What can go wrong with a reproduction.
#[derive(Debug, thiserror::Error)]
pub enum ReproduceError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// It was unpacked by a version that kept no record.
    #[error("layer {} was unpacked without a record of its archive", .0.short())]
    NoRecord(Digest),
    /// The record is not what was written.
    #[error("the record of layer {}'s archive is damaged: {reason}", layer.short())]
    Record {
        /// The diff id.
        layer: Digest,
        /// What is wrong.
        reason: String,
    },
    /// A file is missing, or shorter than it was.
    #[error("layer {} has lost the content of `{path}`: {reason}", layer.short())]
    Content {
        /// The diff id.
        layer: Digest,
        /// Its path in the layer.
        path: String,
        /// What is wrong.
        reason: String,
    },
    /// The files are not those that were unpacked.
    #[error("layer {expected} has been changed: it now is {actual}")]
    WrongDigest {
        /// The diff id.
        expected: Digest,
        /// What its archive would hash to now.
        actual: Digest,
    },
}

impl ReproduceError {
    /// The error inside of one that [`super::Reproduction`] returned.
    pub fn within(error: &io::Error) -> Option<&Self> {
        error.get_ref()?.downcast_ref()
    }
}

impl From<ReproduceError> for io::Error {
    fn from(error: ReproduceError) -> Self {
        Self::new(io::ErrorKind::InvalidData, error)
    }
}

impl Fault for ReproduceError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::NoRecord(_) => Kind::NotFound,
            Self::Record { .. } | Self::Content { .. } | Self::WrongDigest { .. } => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            _ => Some("remove the image and pull it again".into()),
        }
    }
}
