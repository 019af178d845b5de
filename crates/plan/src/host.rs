//! What the drawing must know of the host, and what a host may lack.

use serde::{Deserialize, Serialize};

/// The facts that decide defaults. Cheap to gather: a handful of system calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    /// `uname -r`.
    pub kernel: String,
    /// `uname -m`.
    pub machine: String,
    pub hostname: String,
    /// Effective user id of the caller.
    pub uid: u32,
    /// The capability bounding set as a bit mask, capability number = bit number.
    pub capabilities: u64,
    /// How many CPUs this process may run on.
    pub cpus: u32,
}

impl HostFacts {
    /// The kernel's version as (major, minor); (0, 0) if it cannot be read.
    #[must_use]
    pub fn kernel_version(&self) -> (u32, u32) {
        let mut parts = self.kernel.split(|c: char| !c.is_ascii_digit());
        let mut next = || parts.next().and_then(|p| p.parse().ok()).unwrap_or(0);
        (next(), next())
    }
}

/// Something that a level needs and this host has not got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Missing {
    /// What is missing, as a noun: "cgroup controller `memory`".
    pub what: String,
    /// What to do about it, as one sentence.
    pub remedy: String,
    pub weight: Weight,
}

/// Whether the level can do without it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// Nothing can run at this level.
    Fatal,
    /// Some flags are refused or clamped.
    Partial,
}
