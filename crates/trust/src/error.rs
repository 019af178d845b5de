//! Why an image may not be used.

use std::path::PathBuf;

use gamut_spec::{Fault, Kind};

/// Why a policy, or a file that it names, cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("cannot read `{}`: {source}", path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("`{}` is larger than the {limit_bytes} bytes that are allowed", path.display())]
    TooLarge { path: PathBuf, limit_bytes: u64 },
    #[error("the policy `{}` is malformed: {reason}", path.display())]
    Malformed { path: PathBuf, reason: String },
    #[error("{what}: {reason}")]
    Key { what: String, reason: &'static str },
}

impl Fault for PolicyError {
    fn kind(&self) -> Kind {
        match self {
            Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound => {
                Kind::NotFound
            }
            Self::Read { .. } => Kind::Denied,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        Some("containers-policy.json(5) says how a policy is written".into())
    }
}

/// Why an image is refused.
#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(transparent)]
    Policy(#[from] PolicyError),
    #[error("`{image}` is refused by the policy for {scope}")]
    Rejected { image: String, scope: String },
    #[error("`{image}` has no signature, and the policy for {scope} requires one")]
    Unsigned { image: String, scope: String },
    #[error("no signature of `{image}` satisfies the policy for {scope}: {}", .reasons.join("; "))]
    NotSatisfied {
        image: String,
        scope: String,
        /// One for each signature that was looked at.
        reasons: Vec<String>,
    },
    #[error("cannot get the signatures of `{image}`: {reason}")]
    Unavailable { image: String, reason: String },
}

impl Fault for TrustError {
    fn kind(&self) -> Kind {
        match self {
            Self::Policy(error) => error.kind(),
            Self::Rejected { .. } | Self::Unsigned { .. } | Self::NotSatisfied { .. } => {
                Kind::Denied
            }
            Self::Unavailable { .. } => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Policy(error) => error.hint(),
            Self::Unavailable { .. } => Some(
                "the policy requires a signature: the image is refused until its signatures can be had"
                    .into(),
            ),
            _ => Some(
                "`gamut image trust show` prints the policy; `gamut image trust set` changes it"
                    .into(),
            ),
        }
    }
}
