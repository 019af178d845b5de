//! Why an archive could not be extracted.

use gamut_spec::{Fault, Kind};
use rustix::io::Errno;

use crate::file_error::{hint_for, kind_of};
use crate::unpack::UnpackProblem;

/// Why an archive could not be extracted. What has been extracted before stays.
#[derive(Debug, thiserror::Error)]
pub enum ExtractError {
    /// The archive, or one of its entries.
    #[error("{}{problem}", shown(entry.as_deref()))]
    Entry {
        /// The entry, when it was one.
        entry: Option<String>,
        /// What happened.
        problem: UnpackProblem,
    },
    /// A directory would take the place of something else.
    #[error("cannot overwrite non-directory `{0}` with a directory")]
    OverFile(String),
    /// Something else would take the place of a directory.
    #[error("cannot overwrite directory `{0}` with a non-directory")]
    OverDirectory(String),
}

fn shown(entry: Option<&str>) -> String {
    entry.map_or_else(String::new, |entry| format!("`{entry}`: "))
}

impl Fault for ExtractError {
    fn kind(&self) -> Kind {
        match self {
            Self::Entry { problem, .. } => match problem {
                UnpackProblem::System { errno, .. } => kind_of(*errno),
                UnpackProblem::NoSpace | UnpackProblem::Stream(_) => Kind::Unavailable,
                _ => Kind::Invalid,
            },
            Self::OverFile(_) | Self::OverDirectory(_) => Kind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Entry {
                problem: UnpackProblem::NoSpace,
                ..
            } => hint_for(Errno::NOSPC),
            _ => None,
        }
    }
}
