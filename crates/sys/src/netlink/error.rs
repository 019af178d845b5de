//! What can go wrong on a netlink socket.

use std::fmt;

use rustix::io::Errno;

use super::parse::Malformed;

/// One request that the kernel refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Which message of the [`Requests`](super::Requests), counted from 0 in the order of
    /// building. The opening of a transaction counts as a message.
    pub index: usize,
    /// The kernel's reason.
    pub errno: Errno,
    /// The kernel's sentence, where it gives one (`NLMSGERR_ATTR_MSG`).
    pub text: Option<String>,
}

impl fmt::Display for Refusal {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.text {
            Some(text) => write!(to, "{} ({text})", self.errno),
            None => write!(to, "{}", self.errno),
        }
    }
}

/// Why a netlink exchange failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Error {
    /// A system call on the socket failed.
    Call {
        /// The system call's name.
        call: &'static str,
        /// Its error.
        errno: Errno,
    },
    /// The kernel refused a request.
    Refused(Refusal),
    /// The kernel's answer is not well-formed.
    Malformed(Malformed),
    /// A message or an attribute of ours exceeds what its length field can say.
    TooLong,
    /// The kernel handled the request without answering.
    Unanswered,
    /// The listing changed each time it was read.
    Unsteady,
}

impl Error {
    /// The kernel's error number, where there is one.
    pub fn errno(&self) -> Option<Errno> {
        match self {
            Error::Call { errno, .. } => Some(*errno),
            Error::Refused(refusal) => Some(refusal.errno),
            Error::Malformed(_) | Error::TooLong | Error::Unanswered | Error::Unsteady => None,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Call { call, errno } => write!(to, "netlink {call}: {errno}"),
            Error::Refused(refusal) => refusal.fmt(to),
            Error::Malformed(what) => write!(to, "netlink answer: {what}"),
            Error::TooLong => to.write_str("netlink request is too long"),
            Error::Unanswered => to.write_str("the kernel gave no netlink answer"),
            Error::Unsteady => to.write_str("the listing kept changing while it was read"),
        }
    }
}

impl std::error::Error for Error {}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        Error::Refused(refusal)
    }
}

impl From<Malformed> for Error {
    fn from(malformed: Malformed) -> Error {
        Error::Malformed(malformed)
    }
}
