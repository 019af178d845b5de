//! Why an image, or something in it, could not be read.

use std::io;

use gamut_spec::{Fault, Kind};
use rustix::io::Errno;

use crate::file_error::{hint_for, kind_of};

/// An image that could not be read. It does not know the image's name: who opened the file does.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Reading the file failed.
    #[error("cannot read {length} bytes at {offset}: {errno}")]
    System {
        /// Where, in bytes.
        offset: u64,
        /// How many bytes.
        length: usize,
        /// What the kernel said; `EIO` too where the file ends early.
        errno: Errno,
    },
    /// There is no superblock.
    #[error("it is not an EROFS image")]
    NotAnImage,
    /// The image as a whole is damaged.
    #[error("the image is damaged: {0}")]
    Damaged(&'static str),
    /// An inode, or what belongs to it, is damaged.
    #[error("the image is damaged at inode {nid}: {what}")]
    DamagedInode {
        /// Its number.
        nid: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The format has it, this reader has not.
    #[error("{0} cannot be read")]
    Unsupported(&'static str),
    /// Features that this reader has never heard of.
    #[error("the image needs features that are not known: {0:#x}")]
    UnknownFeatures(u32),
    /// The bytes are in another file, which was not given.
    #[error("the data lies on device {0}, which is not there")]
    NoDevice(u16),
    /// More than a limit of this module's allows.
    #[error("more than {limit} {what}")]
    Limit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: u64,
    },
    /// Nothing of that name.
    #[error("there is no `{0}` in the image")]
    NotFound(String),
    /// A component of a path that is no directory.
    #[error("`{0}` is not a directory")]
    NotADirectory(String),
    /// Symbolic links that lead to each other.
    #[error("too many symbolic links in `{0}`")]
    TooManyLinks(String),
}

impl ReadError {
    pub(super) fn system(offset: u64, length: usize) -> impl FnOnce(io::Error) -> Self {
        move |error| Self::System {
            offset,
            length,
            errno: Errno::from_io_error(&error).unwrap_or(Errno::IO),
        }
    }
}

impl Fault for ReadError {
    fn kind(&self) -> Kind {
        match self {
            Self::System { errno, .. } => kind_of(*errno),
            Self::NotFound(_) => Kind::NotFound,
            Self::NoDevice(_) => Kind::Unavailable,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::System { errno, .. } => hint_for(*errno),
            _ => None,
        }
    }
}
