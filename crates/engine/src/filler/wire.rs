//! What the filler is told and what it answers: a JSON packet each.

use gamut_spec::digest::Digest;
use serde::{Deserialize, Serialize};

/// The name of the socket in the filler's directory.
pub const SOCKET_NAME: &str = "ctl";
/// The longest packet.
pub const MAX_PACKET_BYTES: usize = 64 * 1024;

/// What a client asks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Request {
    /// Look again which layers are not whole, and try again what has failed. The answer carries the
    /// group's descriptor; all those layers are watched by then.
    Serve,
    /// The same, without trying again: some may be gone.
    Look,
    /// How far it is with one layer.
    Progress(Digest),
    /// Come to an end: everything is about to be removed.
    End,
}

/// What the filler answers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reply {
    /// All layers are watched.
    Serving,
    /// Of a layer that is not whole.
    Progress(Progress),
    /// It is whole, or gone.
    NotServed,
    /// It cannot be.
    Refused(String),
}

/// How far a layer is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Bytes of files that are there.
    pub present_bytes: u64,
    /// Why it does not go on, or will not become whole.
    pub failure: Option<String>,
}
