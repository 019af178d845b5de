//! What `Stats` answers: `cgroup1/stats/metrics.proto` and `cgroup2/stats/metrics.proto` of
//! containerd/cgroups, as far as a runtime's `events --stats` fills them.

/// Both `PidsStat`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct Pids {
    #[prost(uint64, tag = "1")]
    pub current: u64,
    /// Zero: none.
    #[prost(uint64, tag = "2")]
    pub limit: u64,
}

/// `io.containerd.cgroups.v1.Metrics`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricsV1 {
    #[prost(message, optional, tag = "2")]
    pub pids: Option<Pids>,
    #[prost(message, optional, tag = "3")]
    pub cpu: Option<CpuV1>,
    #[prost(message, optional, tag = "4")]
    pub memory: Option<MemoryV1>,
    #[prost(message, optional, tag = "5")]
    pub blkio: Option<BlkioV1>,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct CpuV1 {
    #[prost(message, optional, tag = "1")]
    pub usage: Option<CpuUsageV1>,
    #[prost(message, optional, tag = "2")]
    pub throttling: Option<ThrottleV1>,
}

/// In nanoseconds.
#[derive(Clone, PartialEq, Eq, Hash, prost::Message)]
pub struct CpuUsageV1 {
    #[prost(uint64, tag = "1")]
    pub total: u64,
    #[prost(uint64, tag = "2")]
    pub kernel: u64,
    #[prost(uint64, tag = "3")]
    pub user: u64,
    #[prost(uint64, repeated, tag = "4")]
    pub per_cpu: Vec<u64>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct ThrottleV1 {
    #[prost(uint64, tag = "1")]
    pub periods: u64,
    #[prost(uint64, tag = "2")]
    pub throttled_periods: u64,
    #[prost(uint64, tag = "3")]
    pub throttled_time_ns: u64,
}

/// The entries of `memory.stat` by their names, and four counters.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MemoryV1 {
    #[prost(uint64, tag = "1")]
    pub cache: u64,
    #[prost(uint64, tag = "2")]
    pub rss: u64,
    #[prost(uint64, tag = "3")]
    pub rss_huge: u64,
    #[prost(uint64, tag = "4")]
    pub mapped_file: u64,
    #[prost(uint64, tag = "5")]
    pub dirty: u64,
    #[prost(uint64, tag = "6")]
    pub writeback: u64,
    #[prost(uint64, tag = "7")]
    pub pgpgin: u64,
    #[prost(uint64, tag = "8")]
    pub pgpgout: u64,
    #[prost(uint64, tag = "9")]
    pub pgfault: u64,
    #[prost(uint64, tag = "10")]
    pub pgmajfault: u64,
    #[prost(uint64, tag = "11")]
    pub inactive_anon: u64,
    #[prost(uint64, tag = "12")]
    pub active_anon: u64,
    #[prost(uint64, tag = "13")]
    pub inactive_file: u64,
    #[prost(uint64, tag = "14")]
    pub active_file: u64,
    #[prost(uint64, tag = "15")]
    pub unevictable: u64,
    #[prost(uint64, tag = "16")]
    pub hierarchical_memory_limit: u64,
    #[prost(uint64, tag = "18")]
    pub total_cache: u64,
    #[prost(uint64, tag = "19")]
    pub total_rss: u64,
    #[prost(uint64, tag = "25")]
    pub total_pgpgout: u64,
    #[prost(uint64, tag = "26")]
    pub total_pgfault: u64,
    #[prost(uint64, tag = "27")]
    pub total_pgmajfault: u64,
    #[prost(uint64, tag = "28")]
    pub total_inactive_anon: u64,
    #[prost(uint64, tag = "29")]
    pub total_active_anon: u64,
    #[prost(uint64, tag = "30")]
    pub total_inactive_file: u64,
    #[prost(uint64, tag = "31")]
    pub total_active_file: u64,
    #[prost(message, optional, tag = "33")]
    pub usage: Option<MemoryEntryV1>,
    #[prost(message, optional, tag = "34")]
    pub swap: Option<MemoryEntryV1>,
    #[prost(message, optional, tag = "35")]
    pub kernel: Option<MemoryEntryV1>,
    #[prost(message, optional, tag = "36")]
    pub kernel_tcp: Option<MemoryEntryV1>,
}

/// In bytes, but for `failcnt`.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message, serde::Deserialize)]
#[serde(default)]
pub struct MemoryEntryV1 {
    #[prost(uint64, tag = "1")]
    pub limit: u64,
    #[prost(uint64, tag = "2")]
    pub usage: u64,
    #[prost(uint64, tag = "3")]
    pub max: u64,
    #[prost(uint64, tag = "4")]
    pub failcnt: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct BlkioV1 {
    #[prost(message, repeated, tag = "1")]
    pub service_bytes: Vec<BlkioEntryV1>,
    #[prost(message, repeated, tag = "2")]
    pub serviced: Vec<BlkioEntryV1>,
}

#[derive(Clone, PartialEq, Eq, Hash, prost::Message, serde::Deserialize)]
#[serde(default)]
pub struct BlkioEntryV1 {
    #[prost(string, tag = "1")]
    pub op: String,
    #[prost(uint64, tag = "3")]
    pub major: u64,
    #[prost(uint64, tag = "4")]
    pub minor: u64,
    #[prost(uint64, tag = "5")]
    pub value: u64,
}

/// `io.containerd.cgroups.v2.Metrics`.
#[derive(Clone, PartialEq, prost::Message)]
pub struct MetricsV2 {
    #[prost(message, optional, tag = "1")]
    pub pids: Option<Pids>,
    #[prost(message, optional, tag = "2")]
    pub cpu: Option<CpuV2>,
    #[prost(message, optional, tag = "4")]
    pub memory: Option<MemoryV2>,
    #[prost(message, optional, tag = "6")]
    pub io: Option<IoV2>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct CpuV2 {
    #[prost(uint64, tag = "1")]
    pub usage_us: u64,
    #[prost(uint64, tag = "2")]
    pub user_us: u64,
    #[prost(uint64, tag = "3")]
    pub system_us: u64,
    #[prost(uint64, tag = "4")]
    pub nr_periods: u64,
    #[prost(uint64, tag = "5")]
    pub nr_throttled: u64,
    #[prost(uint64, tag = "6")]
    pub throttled_us: u64,
}

/// The entries of `memory.stat` by their names, and usage and limits in bytes.
#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct MemoryV2 {
    #[prost(uint64, tag = "1")]
    pub anon: u64,
    #[prost(uint64, tag = "2")]
    pub file: u64,
    #[prost(uint64, tag = "3")]
    pub kernel_stack: u64,
    #[prost(uint64, tag = "4")]
    pub slab: u64,
    #[prost(uint64, tag = "5")]
    pub sock: u64,
    #[prost(uint64, tag = "6")]
    pub shmem: u64,
    #[prost(uint64, tag = "7")]
    pub file_mapped: u64,
    #[prost(uint64, tag = "8")]
    pub file_dirty: u64,
    #[prost(uint64, tag = "9")]
    pub file_writeback: u64,
    #[prost(uint64, tag = "10")]
    pub anon_thp: u64,
    #[prost(uint64, tag = "11")]
    pub inactive_anon: u64,
    #[prost(uint64, tag = "12")]
    pub active_anon: u64,
    #[prost(uint64, tag = "13")]
    pub inactive_file: u64,
    #[prost(uint64, tag = "14")]
    pub active_file: u64,
    #[prost(uint64, tag = "15")]
    pub unevictable: u64,
    #[prost(uint64, tag = "16")]
    pub slab_reclaimable: u64,
    #[prost(uint64, tag = "17")]
    pub slab_unreclaimable: u64,
    #[prost(uint64, tag = "18")]
    pub pgfault: u64,
    #[prost(uint64, tag = "19")]
    pub pgmajfault: u64,
    #[prost(uint64, tag = "32")]
    pub usage: u64,
    #[prost(uint64, tag = "33")]
    pub usage_limit: u64,
    #[prost(uint64, tag = "34")]
    pub swap_usage: u64,
    #[prost(uint64, tag = "35")]
    pub swap_limit: u64,
    #[prost(uint64, tag = "36")]
    pub max_usage: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
pub struct IoV2 {
    #[prost(message, repeated, tag = "1")]
    pub usage: Vec<IoEntryV2>,
}

#[derive(Clone, Copy, PartialEq, Eq, prost::Message)]
pub struct IoEntryV2 {
    #[prost(uint64, tag = "1")]
    pub major: u64,
    #[prost(uint64, tag = "2")]
    pub minor: u64,
    #[prost(uint64, tag = "3")]
    pub rbytes: u64,
    #[prost(uint64, tag = "4")]
    pub wbytes: u64,
    #[prost(uint64, tag = "5")]
    pub rios: u64,
    #[prost(uint64, tag = "6")]
    pub wios: u64,
}
