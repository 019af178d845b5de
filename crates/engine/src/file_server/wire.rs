//! What a file server is told, and what it answers: JSON in packets of its control socket, each with at most
//! one descriptor along.

use gamut_container::jail::Access;
use serde::{Deserialize, Serialize};

/// The longest packet.
pub const MAX_PACKET_BYTES: usize = 4096;
/// The most shares of one machine.
pub const MAX_SHARES: usize = 1024;

/// What the server is told, in any number of packets, [`Told::Serve`] last.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Told {
    /// A mount that is attached nowhere is to be in the tree under this name. Descriptor: the mount.
    Share { name: String, access: Access },
    /// A control group is to be entered. Descriptor: its `cgroup.procs`, open for writing.
    Group,
    /// Serve the tree. Descriptor: a connected Unix stream socket, on which a machine speaks vhost-user.
    Serve {
        /// The device's mount tag.
        tag: String,
        /// The share that nobody else changes while the machine runs.
        private: String,
    },
}

/// What it says, once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// It is jailed, and serves.
    Serving,
    /// It cannot, with a reason and a hint.
    Refused {
        reason: String,
        hint: Option<String>,
    },
}
