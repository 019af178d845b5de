//! What the drawing must know of the host, and what a host may lack.

use serde::{Deserialize, Serialize};

use crate::launch::Grouping;

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
    /// How many group ids there are from 0 on: 65,536 or so in another's user namespace.
    pub groups: u32,
    /// Set for root of a user's home: a user namespace that a user without privileges has made.
    #[serde(default)]
    pub home: Option<HomeFacts>,
}

/// What root of a home can have of the host.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HomeFacts {
    /// The host's id of the user.
    pub user: u32,
    pub grouping: Grouping,
    /// The control group that the user's systemd has, if that makes groups.
    pub above: String,
    /// The host has a default route, and pasta(1).
    pub leads_out: bool,
}

impl HomeFacts {
    /// The control group of a workload here: that of its scope, if it has one.
    #[must_use]
    pub fn group_of(&self, id: &str) -> Option<String> {
        let above = self.above.trim_matches('/');
        match self.grouping {
            Grouping::Systemd => Some(format!("{above}/user.slice/gamut-{id}.scope")),
            Grouping::Own | Grouping::None => None,
        }
    }
}

impl HostFacts {
    /// Who makes control groups here.
    #[must_use]
    pub fn grouping(&self) -> Grouping {
        let home = self.home.as_ref();
        home.map_or(Grouping::Own, |home| home.grouping)
    }

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
