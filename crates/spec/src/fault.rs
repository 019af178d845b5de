//! What every error of every room can say about itself.
//!
//! A room has one `thiserror` enum per family of operations; each implements [`Fault`]. The doors
//! hold the one table that turns a [`Kind`] into an exit code, an HTTP status or a gRPC code.

/// What sort of failure this is, from the point of view of who asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize)]
pub enum Kind {
    /// The request cannot be meant: a malformed reference, a negative limit.
    Invalid,
    /// The named object does not exist.
    NotFound,
    /// The object exists already, or is in a state that forbids the operation.
    Conflict,
    /// Somebody refused: a registry, a permission, a policy.
    Denied,
    /// This host has not got what the request needs (a kernel feature, a device, a program).
    HostLacks,
    /// It may work later: a closed connection, a full disk, a busy resource.
    Unavailable,
    /// A defect of gamut itself.
    Bug,
}

/// An error that knows its [`Kind`] and, where there is one, the remedy.
pub trait Fault: std::error::Error {
    /// The sort of failure.
    fn kind(&self) -> Kind;

    /// What the user can do about it, as one sentence without a full stop.
    fn hint(&self) -> Option<String> {
        None
    }
}
