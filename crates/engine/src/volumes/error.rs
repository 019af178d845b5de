//! What can go wrong with volumes.

use std::path::{Path, PathBuf};

use gamut_spec::{Fault, Kind};

/// Why a volume cannot be made, used or removed.
#[derive(Debug, thiserror::Error)]
pub enum VolumeError {
    #[error("no such volume: {0}")]
    NotFound(String),
    #[error("`{0}` is not a volume name")]
    Name(String),
    #[error("volume is in use: {name} by the containers {}", .users.join(", "))]
    InUse { name: String, users: Vec<String> },
    #[error("the volume {name} exists already, with other options")]
    Exists { name: String },
    #[error("invalid option of a volume: `{0}`")]
    Option(String),
    #[error("the option `{option}` of a volume needs `{needs}`")]
    Needs {
        option: &'static str,
        needs: &'static str,
    },
    #[error("volumes of the type `{0}` cannot be had")]
    Type(String),
    #[error("volumes of the size that is asked for cannot be had")]
    Size,
    #[error("there is no volume driver `{0}`")]
    Driver(String),
    #[error("cannot {action} {}: {source}", path.display())]
    File {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot mount the volume {name}: {kind} {device} at {}: {source}", at.display())]
    Mount {
        name: String,
        kind: String,
        device: String,
        at: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is damaged: {source}", path.display())]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
}

impl VolumeError {
    /// For `map_err` on the results of system calls.
    pub(crate) fn at<E: Into<std::io::Error>>(
        action: &'static str,
        path: &Path,
    ) -> impl FnOnce(E) -> Self {
        let path = path.to_owned();
        move |source| Self::File {
            action,
            path,
            source: source.into(),
        }
    }
}

impl Fault for VolumeError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) => Kind::NotFound,
            Self::InUse { .. } | Self::Exists { .. } | Self::Damaged { .. } => Kind::Conflict,
            Self::Type(_) | Self::Size | Self::Driver(_) => Kind::HostLacks,
            Self::File { .. } | Self::Mount { .. } => Kind::Unavailable,
            Self::Name(_) | Self::Option(_) | Self::Needs { .. } => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotFound(_) => "`gamut volume ls` lists what there is",
            Self::Name(_) => {
                "letters, digits, `_`, `.` and `-`, the first a letter or digit, and not `of-` or `tmp-` at the beginning"
            }
            Self::InUse { .. } => "remove these containers first",
            Self::Exists { .. } => "remove it with `gamut volume rm`, or use another name",
            Self::Option(_) => "the driver local has `type`, `device` and `o`, as KEY=VALUE",
            Self::Needs { .. } => {
                "such as `-o type=tmpfs -o device=tmpfs -o o=size=64m`, or `-o type=none -o device=/host -o o=bind`"
            }
            Self::Type(_) => {
                "mount it on the host, and make the volume with `-o type=none -o device=PATH -o o=bind`"
            }
            Self::Size => {
                "it needs project quotas of the store's file system; use `-o type=tmpfs -o device=tmpfs -o o=size=64m`"
            }
            Self::Driver(_) => {
                "the only one is `local`; what a plugin would do, a bind of a mounted directory does"
            }
            Self::Mount { .. } => "`gamut volume inspect` shows what it was made with",
            Self::Damaged { .. } => "remove the volume with `gamut volume rm`, or restore the file",
            Self::File { .. } => return None,
        };
        Some(text.to_owned())
    }
}
