//! Why the database refused.

use std::net::IpAddr;
use std::path::PathBuf;

use gamut_spec::{Fault, Kind};
use rusqlite::ErrorCode;

use super::Protocol;
use crate::file_error::FileError;

/// What can go wrong with the state.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// SQLite failed.
    #[error("cannot {action}: {error}")]
    Sqlite {
        /// What was being done.
        action: &'static str,
        /// What SQLite says.
        error: rusqlite::Error,
    },
    /// A newer program has been here.
    #[error(
        "the state database `{}` has version {found}, and this program knows versions up to {known}",
        path.display()
    )]
    Newer {
        /// The file.
        path: PathBuf,
        /// Its version.
        found: u32,
        /// The newest that this program knows.
        known: u32,
    },
    /// The container name is taken.
    #[error("the container name `{name}` is in use by container {holder}")]
    NameTaken {
        /// The name.
        name: String,
        /// The id of the container that has it.
        holder: String,
    },
    /// Something of that name is there already.
    #[error("{what} `{name}` exists already")]
    Exists {
        /// network, container.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// There is nothing of that name.
    #[error("no such {what}: {name}")]
    NotFound {
        /// image, container, network.
        what: &'static str,
        /// As it was asked for.
        name: String,
    },
    /// More than one id begins like this.
    #[error("the id `{prefix}` is ambiguous: several {what}s begin with it")]
    Ambiguous {
        /// image, container.
        what: &'static str,
        /// As it was asked for.
        prefix: String,
    },
    /// A container relies on the image.
    #[error("image {image} is in use by container {container}")]
    ImageInUse {
        /// The reference or short id.
        image: String,
        /// The container's short id.
        container: String,
    },
    /// Several repositories have the image.
    #[error("image {image} has tags in several repositories")]
    ImageTagged {
        /// The short id.
        image: String,
    },
    /// A container is connected to the network.
    #[error("network `{network}` is in use by container {container}")]
    NetworkInUse {
        /// The network.
        network: String,
        /// The container's name.
        container: String,
    },
    /// All addresses are leased.
    #[error("network `{network}` has no free address left")]
    NetworkFull {
        /// The network.
        network: String,
    },
    /// The address that was asked for cannot be had.
    #[error("the address {address} is not to be had in network `{network}`: {reason}")]
    AddressTaken {
        /// The network.
        network: String,
        /// The address.
        address: IpAddr,
        /// Whose it is, or why it is no host's.
        reason: String,
    },
    /// The host port is published already.
    #[error("port {port}/{protocol} of {address} is published by container `{holder}` already")]
    PortTaken {
        /// The host's address that was asked for.
        address: IpAddr,
        /// The host's port.
        port: u16,
        /// tcp, udp.
        protocol: Protocol,
        /// The name of the container that has it.
        holder: String,
    },
}

impl DbError {
    /// For `map_err` on SQLite's results.
    pub(super) fn at(action: &'static str) -> impl FnOnce(rusqlite::Error) -> Self {
        move |error| Self::Sqlite { action, error }
    }

    pub(crate) fn not_found(what: &'static str, name: &str) -> Self {
        Self::NotFound {
            what,
            name: name.to_owned(),
        }
    }
}

impl Fault for DbError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Sqlite { error, .. } => match error.sqlite_error_code() {
                Some(ErrorCode::PermissionDenied | ErrorCode::ReadOnly) => Kind::Denied,
                Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch) | None => Kind::Bug,
                Some(_) => Kind::Unavailable,
            },
            Self::Newer { .. } => Kind::HostLacks,
            Self::NotFound { .. } => Kind::NotFound,
            Self::Ambiguous { .. } => Kind::Invalid,
            Self::NetworkFull { .. } => Kind::Unavailable,
            Self::NameTaken { .. }
            | Self::Exists { .. }
            | Self::ImageInUse { .. }
            | Self::ImageTagged { .. }
            | Self::NetworkInUse { .. }
            | Self::AddressTaken { .. }
            | Self::PortTaken { .. } => Kind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            Self::File(error) => return error.hint(),
            Self::Sqlite { error, .. } => match error.sqlite_error_code()? {
                ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked => {
                    "another gamut process has been changing the state for over ten seconds"
                }
                ErrorCode::DiskFull => "free space on the file system that holds the store",
                ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase => {
                    "the state database is damaged: move it away and pull the images again"
                }
                ErrorCode::CannotOpen => "the store belongs to root: run gamut as root",
                _ => return None,
            }
            .into(),
            Self::NameTaken { holder, .. } => {
                format!("remove that container with `gamut rm {holder}`, or use another name")
            }
            Self::Newer { .. } => "use the newer gamut, or another `--root`".into(),
            Self::ImageInUse { container, .. } => {
                format!("remove container {container} first, or use `--force` to untag the image")
            }
            Self::ImageTagged { .. } => "use `--force` to remove it with all its tags".into(),
            Self::NetworkInUse { container, .. } => {
                format!("remove or disconnect container {container} first")
            }
            Self::PortTaken { holder, .. } => {
                format!("choose another host port, or stop container `{holder}`")
            }
            _ => return None,
        })
    }
}
