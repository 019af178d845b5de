//! One failed system call on one named file: the leaf of every error of this room.

use std::path::{Path, PathBuf};

use gamut_spec::{Fault, Kind};
use rustix::io::Errno;

/// A system call that failed, on what, and why.
#[derive(Debug, Clone, thiserror::Error)]
#[error("cannot {action} `{}`: {errno}", path.display())]
pub struct FileError {
    /// What was being done, as a verb phrase: `open`, `make the directory`.
    pub action: &'static str,
    /// The file it was done to.
    pub path: PathBuf,
    /// What the kernel said.
    pub errno: Errno,
}

impl FileError {
    /// For `map_err`: `.map_err(FileError::at("open", path))`.
    pub(crate) fn at(action: &'static str, path: &Path) -> impl FnOnce(Errno) -> Self {
        move |errno| Self {
            action,
            path: path.to_owned(),
            errno,
        }
    }

    /// The same for errors of the standard library.
    pub(crate) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |error| Self {
            action,
            path: path.to_owned(),
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        }
    }
}

impl Fault for FileError {
    fn kind(&self) -> Kind {
        kind_of(self.errno)
    }

    fn hint(&self) -> Option<String> {
        hint_for(self.errno)
    }
}

/// The sort of failure that an error number stands for when a file of the store is concerned.
pub(crate) fn kind_of(errno: Errno) -> Kind {
    match errno {
        Errno::NOENT => Kind::NotFound,
        Errno::EXIST | Errno::NOTEMPTY => Kind::Conflict,
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Kind::Denied,
        Errno::NOSYS | Errno::OPNOTSUPP => Kind::HostLacks,
        _ => Kind::Unavailable,
    }
}

/// What to do about an error number.
pub(crate) fn hint_for(errno: Errno) -> Option<String> {
    match errno {
        Errno::NOSPC | Errno::DQUOT => Some(
            "free space on the file system that holds the store, or remove unused images".into(),
        ),
        Errno::ACCESS | Errno::PERM => Some("the store belongs to root: run gamut as root".into()),
        Errno::ROFS => Some("the file system that holds the store is mounted read-only".into()),
        _ => None,
    }
}
