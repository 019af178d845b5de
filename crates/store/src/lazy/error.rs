//! Why a layer could not be laid out or filled.

use std::io;

use gamut_spec::digest::Digest;
use gamut_spec::{Fault, Kind};

use crate::file_error::FileError;
use crate::layer::LayerError;

/// What can go wrong with a layer that is not whole yet.
#[derive(Debug, thiserror::Error)]
pub enum LazyError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The layer could not be made, or not be filled to its end.
    #[error(transparent)]
    Layer(#[from] LayerError),
    /// A part of the blob could not be fetched.
    #[error("{0}")]
    Fetch(#[from] io::Error),
    /// The table of contents is none.
    #[error("the table of contents cannot be used: {0}")]
    Index(String),
    /// A part of the blob is not what the table of contents, or the manifest, says.
    #[error("{what} has the digest {}, and should have {}", actual.short(), expected.short())]
    WrongDigest {
        /// The table of contents, or a chunk.
        what: &'static str,
        /// What was told.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// What an index said is not so.
    #[error("the index beside the image, from which it was laid out, is not true")]
    Untrue,
    /// A part of the blob cannot be decompressed, or is shorter than it should be.
    #[error("a part of the layer is damaged: {0}")]
    Damaged(String),
}

impl Fault for LazyError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Layer(error) => error.kind(),
            Self::Fetch(_) => Kind::Unavailable,
            Self::Index(_) | Self::WrongDigest { .. } | Self::Damaged(_) | Self::Untrue => {
                Kind::Invalid
            }
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Layer(error) => error.hint(),
            Self::Fetch(_) => None,
            Self::Untrue => Some("remove the image, and pull it without `--lazy`".into()),
            Self::Index(_) | Self::WrongDigest { .. } | Self::Damaged(_) => {
                Some("pull it whole: `gamut pull` without `--lazy`".into())
            }
        }
    }
}
