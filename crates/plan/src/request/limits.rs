//! How much of the host a workload may use.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Resource limits; `None` or empty: not limited by the request.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Hard limit, page cache included.
    pub memory_bytes: Option<u64>,
    /// Memory *plus* swap, Docker's meaning; `None`: as much swap as memory.
    pub memory_and_swap_bytes: Option<Bound>,
    /// Soft limit, enforced under pressure; below `memory_bytes`.
    pub memory_reservation_bytes: Option<u64>,
    /// CPU time per period, µs, over all CPUs. `--cpus` is given as quota and period.
    pub cpu_quota_us: Option<u64>,
    /// 1,000 to 1,000,000 µs (cgroup v1 `cpu.cfs_period_us`).
    pub cpu_period_us: Option<u64>,
    /// Relative weight in cgroup v1 units, 2 to 262,144; 1,024 is the usual share.
    pub cpu_shares: Option<u64>,
    pub cpuset_cpus: BTreeSet<u32>,
    pub cpuset_mems: BTreeSet<u32>,
    pub pids: Option<Bound>,
    /// Relative weight, 10 to 1,000.
    pub blkio_weight: Option<u16>,
    pub blkio_weight_devices: Vec<DeviceWeight>,
    pub blkio_throttles: Vec<Throttle>,
    pub ulimits: Vec<Ulimit>,
    /// The kernel's OOM killer leaves it alone; it waits for memory instead.
    #[serde(default)]
    pub oom_kill_disable: bool,
    /// Bytes of huge pages of a size: `2MB` → 64 MiB.
    #[serde(default)]
    pub huge_pages: BTreeMap<String, u64>,
    /// −1,000 (never) to 1,000 (first) (proc_pid_oom_score_adj(5)).
    pub oom_score_adj: Option<i16>,
}

impl Limits {
    /// Whether there is one that only a control group can keep.
    #[must_use]
    pub fn needs_group(&self) -> bool {
        let others = Limits {
            ulimits: self.ulimits.clone(),
            oom_score_adj: self.oom_score_adj,
            ..Limits::default()
        };
        *self != others
    }

    /// Takes over what `changes` says something of.
    pub fn change(&mut self, changes: &Limits) {
        fn take<T: Clone>(of: &mut Option<T>, change: &Option<T>) {
            if change.is_some() {
                of.clone_from(change);
            }
        }
        take(&mut self.memory_bytes, &changes.memory_bytes);
        take(
            &mut self.memory_and_swap_bytes,
            &changes.memory_and_swap_bytes,
        );
        take(
            &mut self.memory_reservation_bytes,
            &changes.memory_reservation_bytes,
        );
        take(&mut self.cpu_quota_us, &changes.cpu_quota_us);
        take(&mut self.cpu_period_us, &changes.cpu_period_us);
        take(&mut self.cpu_shares, &changes.cpu_shares);
        take(&mut self.pids, &changes.pids);
        take(&mut self.blkio_weight, &changes.blkio_weight);
        for (of, change) in [
            (&mut self.cpuset_cpus, &changes.cpuset_cpus),
            (&mut self.cpuset_mems, &changes.cpuset_mems),
        ] {
            if !change.is_empty() {
                of.clone_from(change);
            }
        }
    }
}

/// A count that may be lifted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Bound {
    Unlimited,
    At(u64),
}

/// `--blkio-weight-device`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceWeight {
    /// Host path of the block device.
    pub device: PathBuf,
    /// 10 to 1,000.
    pub weight: u16,
}

/// One of `--device-read-bps`, `--device-write-bps`, `--device-read-iops`, `--device-write-iops`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Throttle {
    /// Host path of the block device.
    pub device: PathBuf,
    pub operation: Operation,
    pub unit: ThrottleUnit,
    /// Units a second, at least 1.
    pub rate: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Operation {
    Read,
    Write,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ThrottleUnit {
    Bytes,
    Operations,
}

/// One resource limit, in the units of setrlimit(2).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ulimit {
    pub resource: Resource,
    /// Not above `hard`.
    pub soft: Bound,
    pub hard: Bound,
}

/// The resources of setrlimit(2), by Docker's names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}
