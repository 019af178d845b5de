//! Why a layer could not be unpacked.

use gamut_spec::digest::Digest;
use gamut_spec::{Fault, Kind};
use rustix::io::Errno;

use crate::file_error::{hint_for, kind_of};

/// A layer that could not be unpacked; nothing of it is left.
#[derive(Debug, thiserror::Error)]
#[error("{}{}: {problem}", named(layer.as_ref()), shown(entry.as_deref()))]
pub struct UnpackError {
    /// The layer, by its descriptor's digest. `None`: it was being made, and has none yet.
    pub layer: Option<Digest>,
    /// The entry of the archive that it happened at, when it was one.
    pub entry: Option<String>,
    /// What happened; boxed, so that every `Result` above is small.
    pub problem: Box<UnpackProblem>,
}

fn named(layer: Option<&Digest>) -> String {
    layer.map_or_else(
        || "the new layer".to_owned(),
        |layer| format!("layer {}", layer.short()),
    )
}

fn shown(entry: Option<&str>) -> String {
    entry.map_or_else(String::new, |entry| format!(", entry `{entry}`"))
}

/// What can go wrong with a layer.
#[derive(Debug, thiserror::Error)]
pub enum UnpackProblem {
    /// The media type is none of a layer's.
    #[error("`{0}` is not a media type of a layer")]
    MediaType(String),
    /// Reading the bytes failed: the connection, or the disk.
    #[error("the download broke off: {0}")]
    Stream(String),
    /// The bytes end before the archive does.
    #[error("the data ends after {bytes} bytes, too early")]
    Truncated {
        /// Compressed bytes that came.
        bytes: u64,
    },
    /// There are more bytes than the descriptor says.
    #[error("there are more than the declared {declared_bytes} bytes")]
    TooLong {
        /// What the descriptor says.
        declared_bytes: u64,
    },
    /// The compression's own checks failed.
    #[error("the {format} data is damaged: {reason}")]
    Corrupt {
        /// gzip or zstd.
        format: &'static str,
        /// What the decoder says.
        reason: String,
    },
    /// The compressed bytes are not those that the manifest names.
    #[error("the data has the digest {actual}")]
    WrongDigest {
        /// What came.
        actual: Digest,
    },
    /// The uncompressed bytes are not those that the config names.
    #[error(
        "the uncompressed data has the diff id {actual}, but the image's config says {expected}"
    )]
    WrongDiffId {
        /// What the config says.
        expected: Digest,
        /// What came.
        actual: Digest,
    },
    /// The bytes are no tar archive, or a damaged one.
    #[error("malformed archive: {0}")]
    Archive(&'static str),
    /// An entry of a kind that has no place in a layer.
    #[error("entries of type `{0}` are not supported")]
    EntryType(String),
    /// An entry that reaches, or could be made to reach, where it must not.
    #[error("refused: {0}")]
    Unsafe(&'static str),
    /// More than [`super::Limits`] allows.
    #[error("more than the allowed {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// The disk is full.
    #[error("no space left on the store's file system")]
    NoSpace,
    /// A system call failed.
    #[error("cannot {action}: {errno}")]
    System {
        /// What was being done.
        action: &'static str,
        /// What the kernel said.
        errno: Errno,
    },
    /// The other thread gave up; never seen outside this module.
    #[error("stopped")]
    Stopped,
}

impl UnpackError {
    pub(super) fn new(layer: &Digest, entry: Option<String>, problem: UnpackProblem) -> Self {
        Self {
            layer: Some(layer.clone()),
            entry,
            problem: Box::new(problem),
        }
    }

    /// The same of a layer that has no digest yet.
    pub(super) fn unnamed(self) -> Self {
        Self {
            layer: None,
            ..self
        }
    }
}

impl UnpackProblem {
    /// For `map_err` on a system call.
    pub(crate) fn at(action: &'static str) -> impl FnOnce(Errno) -> Self {
        move |errno| match errno {
            Errno::NOSPC | Errno::DQUOT => Self::NoSpace,
            errno => Self::System { action, errno },
        }
    }
}

impl Fault for UnpackError {
    fn kind(&self) -> Kind {
        match &*self.problem {
            UnpackProblem::MediaType(_)
            | UnpackProblem::TooLong { .. }
            | UnpackProblem::Corrupt { .. }
            | UnpackProblem::WrongDigest { .. }
            | UnpackProblem::WrongDiffId { .. }
            | UnpackProblem::Archive(_)
            | UnpackProblem::EntryType(_)
            | UnpackProblem::Unsafe(_)
            | UnpackProblem::Limit { .. } => Kind::Invalid,
            UnpackProblem::Stream(_) | UnpackProblem::Truncated { .. } | UnpackProblem::NoSpace => {
                Kind::Unavailable
            }
            UnpackProblem::System { errno, .. } => kind_of(*errno),
            UnpackProblem::Stopped => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match &*self.problem {
            UnpackProblem::NoSpace => hint_for(Errno::NOSPC),
            UnpackProblem::System { errno, .. } => hint_for(*errno),
            // Nothing was pulled.
            _ if self.layer.is_none() => None,
            UnpackProblem::Stream(_) | UnpackProblem::Truncated { .. } => {
                Some("pull again: the download goes on where it stopped".into())
            }
            // Every other problem is in the bytes.
            _ => Some(
                "pull again; if it happens again, the registry or a proxy serves wrong data".into(),
            ),
        }
    }
}
