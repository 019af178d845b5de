//! What a workload uses, measured at one instant; the same shape at every level.

use serde::{Deserialize, Serialize};

/// One reading. Counters grow from the workload's start; gauges are as of now.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stats {
    /// Wall-clock time of the reading, nanoseconds since the epoch.
    pub read_at_ns: u64,
    pub cpu: Cpu,
    pub memory: Memory,
    pub pids: Pids,
    pub block: Block,
    /// One entry per network interface of the workload, `lo` left out.
    pub networks: Vec<Interface>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cpu {
    pub usage_ns: u64,
    pub user_ns: u64,
    pub system_ns: u64,
    /// Of `usage_ns`, by the number of the CPU; empty where it is not accounted (cgroup v2).
    #[serde(default)]
    pub per_cpu_ns: Vec<u64>,
    /// Enforcement periods that have elapsed, and how many of them hit the quota.
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_ns: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Memory {
    /// What the controller accounts, page cache included.
    pub usage_bytes: u64,
    /// Page cache that can be dropped at once (`inactive_file`); `docker stats` subtracts it.
    pub inactive_file_bytes: u64,
    /// `None`: no limit.
    pub limit_bytes: Option<u64>,
    pub peak_bytes: Option<u64>,
    pub swap_bytes: u64,
    /// How many processes the OOM killer took here.
    pub oom_kills: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pids {
    pub current: u64,
    /// `None`: no limit.
    pub limit: Option<u64>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Block {
    pub read_bytes: u64,
    pub write_bytes: u64,
    pub reads: u64,
    pub writes: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Interface {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}
