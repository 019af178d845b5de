//! Limits on what the workload uses.

use std::path::PathBuf;

use clap::value_parser;

use crate::convert::{
    Cpus, NumberSet, parse_byte_rate, parse_cpu_set, parse_cpus, parse_device_weight,
    parse_huge_pages, parse_memory, parse_memory_bound, parse_node_set, parse_operation_rate,
    parse_ulimit,
};
use gamut_plan::request::{Bound, DeviceWeight, Limits, Operation, Throttle, ThrottleUnit, Ulimit};

/// Flags about resources.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub struct LimitArgs {
    /// Memory limit, such as 512m
    #[arg(short, long, value_name = "SIZE", value_parser = parse_memory)]
    pub memory: Option<u64>,

    /// Memory and swap together; -1 for as much swap as there is
    #[arg(long, value_name = "SIZE", value_parser = parse_memory_bound, allow_hyphen_values = true)]
    pub memory_swap: Option<Bound>,

    /// Soft memory limit
    #[arg(long, value_name = "SIZE", value_parser = parse_memory)]
    pub memory_reservation: Option<u64>,

    /// Number of CPUs, such as 1.5
    #[arg(long, value_name = "NUMBER", value_parser = parse_cpus, conflicts_with_all = ["cpu_period", "cpu_quota"])]
    pub cpus: Option<Cpus>,

    /// CPU weight against other containers; 1024 is usual
    #[arg(short, long, value_name = "WEIGHT")]
    pub cpu_shares: Option<u64>,

    /// Length of a CPU period in microseconds
    #[arg(long, value_name = "US", value_parser = value_parser!(u64).range(1_000..=1_000_000))]
    pub cpu_period: Option<u64>,

    /// CPU time in each period in microseconds; -1 for no limit
    #[arg(long, value_name = "US", value_parser = value_parser!(i64).range(-1..), allow_hyphen_values = true)]
    pub cpu_quota: Option<i64>,

    /// CPUs to run on, such as 0-3,5
    #[arg(long, value_name = "CPUS", value_parser = parse_cpu_set)]
    pub cpuset_cpus: Option<NumberSet>,

    /// Memory nodes to use
    #[arg(long, value_name = "NODES", value_parser = parse_node_set)]
    pub cpuset_mems: Option<NumberSet>,

    /// Number of processes; -1 for no limit
    #[arg(long, value_name = "NUMBER", value_parser = value_parser!(i64).range(-1..), allow_hyphen_values = true)]
    pub pids_limit: Option<i64>,

    /// Weight of block I/O, 10 to 1000; 0 for none
    #[arg(long, value_name = "WEIGHT", value_parser = value_parser!(u16).range(0..=1_000))]
    pub blkio_weight: Option<u16>,

    /// Weight of block I/O on a device, as /dev/DEVICE:WEIGHT
    #[arg(long, value_name = "WEIGHT", value_parser = parse_device_weight)]
    pub blkio_weight_device: Vec<DeviceWeight>,

    /// Limit of reading from a device, as /dev/DEVICE:BYTES a second
    #[arg(long, value_name = "RATE", value_parser = parse_byte_rate)]
    pub device_read_bps: Vec<(PathBuf, u64)>,

    /// Limit of writing to a device, as /dev/DEVICE:BYTES a second
    #[arg(long, value_name = "RATE", value_parser = parse_byte_rate)]
    pub device_write_bps: Vec<(PathBuf, u64)>,

    /// Limit of reading from a device, as /dev/DEVICE:OPERATIONS a second
    #[arg(long, value_name = "RATE", value_parser = parse_operation_rate)]
    pub device_read_iops: Vec<(PathBuf, u64)>,

    /// Limit of writing to a device, as /dev/DEVICE:OPERATIONS a second
    #[arg(long, value_name = "RATE", value_parser = parse_operation_rate)]
    pub device_write_iops: Vec<(PathBuf, u64)>,

    /// Resource limit of the process, such as nofile=1024:2048
    #[arg(long, value_name = "LIMIT", value_parser = parse_ulimit)]
    pub ulimit: Vec<Ulimit>,

    /// Let the workload wait for memory at its limit, in place of being killed (control groups version 1)
    #[arg(long)]
    pub oom_kill_disable: bool,

    /// Limit of huge pages of a size, as 2MB=64m
    #[arg(long, value_name = "LIMIT", value_parser = parse_huge_pages)]
    pub hugetlb: Vec<(String, u64)>,

    /// How gladly the kernel kills it when memory is short, -1000 to 1000
    #[arg(long, value_name = "SCORE", value_parser = value_parser!(i16).range(-1_000..=1_000), allow_hyphen_values = true)]
    pub oom_score_adj: Option<i16>,
}

impl LimitArgs {
    /// For `update`: those that were given.
    pub fn changes(&self) -> Limits {
        self.request()
    }

    /// For `update`: a flag of what is settled when a container is made.
    pub fn unchangeable(&self) -> Option<&'static str> {
        let given = [
            ("update --ulimit", !self.ulimit.is_empty()),
            ("update --oom-score-adj", self.oom_score_adj.is_some()),
            ("update --oom-kill-disable", self.oom_kill_disable),
            ("update --hugetlb", !self.hugetlb.is_empty()),
            (
                "update --blkio-weight-device",
                !self.blkio_weight_device.is_empty(),
            ),
            (
                "update --device-read-bps and its like",
                !self.throttles().is_empty(),
            ),
        ];
        given
            .iter()
            .find(|(_, is_given)| *is_given)
            .map(|(flag, _)| *flag)
    }

    pub(super) fn request(&self) -> Limits {
        // Docker's zero is no limit.
        let some = |bytes: Option<u64>| bytes.filter(|bytes| *bytes != 0);
        let set = |set: &Option<NumberSet>| set.clone().unwrap_or_default().0;
        let cpus = self.cpus.filter(|cpus| cpus.quota_us != 0);
        Limits {
            memory_bytes: some(self.memory),
            memory_and_swap_bytes: self.memory_swap.filter(|swap| *swap != Bound::At(0)),
            memory_reservation_bytes: some(self.memory_reservation),
            cpu_quota_us: cpus
                .map(|cpus| cpus.quota_us)
                .or_else(|| some(self.cpu_quota.and_then(|quota| u64::try_from(quota).ok()))),
            cpu_period_us: cpus.map(|cpus| cpus.period_us).or(self.cpu_period),
            cpu_shares: some(self.cpu_shares),
            cpuset_cpus: set(&self.cpuset_cpus),
            cpuset_mems: set(&self.cpuset_mems),
            pids: self.pids_limit.map(|limit| match u64::try_from(limit) {
                Ok(limit) if limit > 0 => Bound::At(limit),
                _ => Bound::Unlimited,
            }),
            blkio_weight: self.blkio_weight.filter(|weight| *weight != 0),
            blkio_weight_devices: self.blkio_weight_device.clone(),
            blkio_throttles: self.throttles(),
            ulimits: self.ulimit.clone(),
            oom_kill_disable: self.oom_kill_disable,
            huge_pages: self.hugetlb.iter().cloned().collect(),
            oom_score_adj: self.oom_score_adj,
        }
    }

    fn throttles(&self) -> Vec<Throttle> {
        use {Operation::*, ThrottleUnit::*};
        let lists = [
            (&self.device_read_bps, Read, Bytes),
            (&self.device_write_bps, Write, Bytes),
            (&self.device_read_iops, Read, Operations),
            (&self.device_write_iops, Write, Operations),
        ];
        let mut throttles = Vec::new();
        for (list, operation, unit) in lists {
            throttles.extend(list.iter().map(|(device, rate)| Throttle {
                device: device.clone(),
                operation,
                unit,
                rate: *rate,
            }));
        }
        throttles
    }
}
