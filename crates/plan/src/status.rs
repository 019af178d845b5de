//! What the keeper writes down about its workload: `status.json` in the container's directory,
//! replaced atomically, written before the act it describes.

use crate::health::Verdict;
use crate::launch::PortBinding;
use serde::{Deserialize, Serialize};

/// How far a workload has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Phase {
    /// Drawn and recorded; never started.
    #[default]
    Created,
    /// A keeper is at work; no process of the user's yet.
    Starting,
    Running,
    Paused,
    /// Ended, and about to be started again by its keeper.
    Restarting,
    /// Ran and ended; `exit_code` says how.
    Exited,
    /// Never came to run; `error` says why.
    Failed,
}

/// The life of a workload so far. Times are nanoseconds since the epoch, 0 = not yet.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    pub phase: Phase,
    /// Process id of the workload's first process, in the host's eyes; 0 when none runs.
    pub pid: i32,
    pub keeper_pid: i32,
    pub started_at_ns: u64,
    pub finished_at_ns: u64,
    pub exit_code: i32,
    pub oom_killed: bool,
    pub error: String,
    /// /proc/sys/kernel/random/boot_id at the start: a process id of an earlier boot means nothing.
    pub boot_id: String,
    pub restarts: u32,
    /// What its checks say, where it has some.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub health: Option<Verdict>,
    /// Published ports, while it runs.
    pub ports: Vec<PortBinding>,
    /// What the user was warned of at the start.
    pub warnings: Vec<String>,
}

impl Status {
    /// A keeper should be there.
    #[must_use]
    pub fn is_live(&self) -> bool {
        matches!(
            self.phase,
            Phase::Starting | Phase::Running | Phase::Paused | Phase::Restarting
        )
    }
}
