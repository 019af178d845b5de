//! Why an archive could not be read.

use std::io;

use gamut_spec::{Digest, Fault, Kind};

use crate::file_error::FileError;
use crate::unpack::UnpackProblem;

/// Why an archive could not be read.
#[derive(Debug, thiserror::Error)]
pub enum MembersError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading broke off.
    #[error("reading the archive broke off")]
    Stream(#[source] io::Error),
    /// It is no tar archive, or a damaged one.
    #[error("{0}")]
    Archive(UnpackProblem),
    /// More than is allowed.
    #[error("the archive has more than the allowed {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// There is no such file in it.
    #[error("the archive has no file `{0}`")]
    NotFound(String),
    /// A file is not what its digest says.
    #[error("`{name}` should have the digest {expected}, but has {actual}")]
    WrongDigest {
        /// The member.
        name: String,
        /// What refers to it.
        expected: Digest,
        /// What it hashes to.
        actual: Digest,
    },
    /// A document in it is larger than such a document can be.
    #[error("`{name}` has {size_bytes} bytes, more than the {limit_bytes} that are allowed")]
    TooLarge {
        /// The member.
        name: String,
        /// Its size.
        size_bytes: u64,
        /// The limit.
        limit_bytes: u64,
    },
}

impl Fault for MembersError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Stream(_) => Kind::Unavailable,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::Archive(_) | Self::NotFound(_) => Some(
                "`load` takes what `save` of docker, podman, skopeo or gamut writes; a root file \
                 system is for `import`"
                    .into(),
            ),
            _ => None,
        }
    }
}
