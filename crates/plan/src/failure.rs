//! What a keeper writes down of a run that has failed: `failure.json` in the container's directory, which the
//! next failure replaces.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::stats::Stats;

/// The end of a run that ended badly, or never began, and how things stood then.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Failure {
    /// Nanoseconds since the epoch.
    pub at_ns: u64,
    pub started_at_ns: u64,
    pub exit_code: i32,
    pub signal: Option<i32>,
    pub oom_killed: bool,
    /// Why it never began; empty for one that did.
    pub error: String,
    pub restarts: u32,
    pub health: Option<String>,
    /// What it used, before its control group was removed.
    pub stats: Option<Stats>,
    /// The host's, by resource (`cpu`, `io`, `memory`), as /proc/pressure has it: share of the last ten seconds in
    /// which somebody waited, in percent (Documentation/accounting/psi.rst, `some avg10`).
    pub pressure: BTreeMap<String, f64>,
    /// The last lines of its output.
    pub log: Vec<String>,
}
