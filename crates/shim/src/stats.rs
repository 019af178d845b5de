//! What a runtime's `events --stats` prints, as the metrics that containerd knows: those of cgroup v1 or v2,
//! by what the host has.

use std::collections::HashMap;

use serde::Deserialize;

use crate::error::ShimError;
use crate::message::Any;
use crate::message::metrics::{
    BlkioEntryV1, BlkioV1, CpuUsageV1, CpuV1, CpuV2, IoEntryV2, IoV2, MemoryEntryV1, MemoryV1,
    MemoryV2, MetricsV1, MetricsV2, Pids, ThrottleV1,
};

/// `types/events.go` of runc.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Event {
    data: Data,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Data {
    cpu: Cpu,
    memory: Memory,
    pids: PidsData,
    blkio: Blkio,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Cpu {
    usage: CpuUsage,
    throttling: Throttling,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct CpuUsage {
    total: u64,
    percpu: Vec<u64>,
    kernel: u64,
    user: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Throttling {
    periods: u64,
    throttled_periods: u64,
    throttled_time: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Memory {
    cache: u64,
    usage: MemoryEntryV1,
    swap: MemoryEntryV1,
    kernel: MemoryEntryV1,
    #[serde(rename = "kernelTCP")]
    kernel_tcp: MemoryEntryV1,
    /// `memory.stat`.
    raw: HashMap<String, u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct PidsData {
    current: u64,
    limit: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Blkio {
    io_service_bytes_recursive: Vec<BlkioEntryV1>,
    io_serviced_recursive: Vec<BlkioEntryV1>,
}

/// The two layouts of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    V1,
    V2,
}

/// What this host has at `/sys/fs/cgroup`.
#[must_use]
pub fn host_version() -> Version {
    /// `linux/magic.h`.
    const CGROUP2_SUPER_MAGIC: u64 = 0x6367_7270;
    match rustix::fs::statfs("/sys/fs/cgroup") {
        Ok(stat) if stat.f_type.cast_unsigned() == CGROUP2_SUPER_MAGIC => Version::V2,
        _ => Version::V1,
    }
}

/// Turns one event's JSON into the message that containerd expects.
///
/// # Errors
/// [`ShimError::Json`].
pub fn metrics(json: &[u8], version: Version) -> Result<Any, ShimError> {
    let Event { data } = serde_json::from_slice(json)?;
    Ok(match version {
        Version::V1 => Any::pack("io.containerd.cgroups.v1.Metrics", &v1(data)),
        Version::V2 => Any::pack("io.containerd.cgroups.v2.Metrics", &v2(&data)),
    })
}

fn v1(data: Data) -> MetricsV1 {
    let Data {
        cpu,
        memory,
        pids,
        blkio,
    } = data;
    let raw = |name: &str| memory.raw.get(name).copied().unwrap_or(0);
    let memory_v1 = MemoryV1 {
        cache: memory.cache,
        rss: raw("rss"),
        rss_huge: raw("rss_huge"),
        mapped_file: raw("mapped_file"),
        dirty: raw("dirty"),
        writeback: raw("writeback"),
        pgpgin: raw("pgpgin"),
        pgpgout: raw("pgpgout"),
        pgfault: raw("pgfault"),
        pgmajfault: raw("pgmajfault"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        hierarchical_memory_limit: raw("hierarchical_memory_limit"),
        total_cache: raw("total_cache"),
        total_rss: raw("total_rss"),
        total_pgpgout: raw("total_pgpgout"),
        total_pgfault: raw("total_pgfault"),
        total_pgmajfault: raw("total_pgmajfault"),
        total_inactive_anon: raw("total_inactive_anon"),
        total_active_anon: raw("total_active_anon"),
        total_inactive_file: raw("total_inactive_file"),
        total_active_file: raw("total_active_file"),
        usage: Some(memory.usage),
        swap: Some(memory.swap),
        kernel: Some(memory.kernel),
        kernel_tcp: Some(memory.kernel_tcp),
    };
    MetricsV1 {
        pids: Some(Pids {
            current: pids.current,
            limit: pids.limit,
        }),
        cpu: Some(CpuV1 {
            usage: Some(CpuUsageV1 {
                total: cpu.usage.total,
                kernel: cpu.usage.kernel,
                user: cpu.usage.user,
                per_cpu: cpu.usage.percpu,
            }),
            throttling: Some(ThrottleV1 {
                periods: cpu.throttling.periods,
                throttled_periods: cpu.throttling.throttled_periods,
                throttled_time_ns: cpu.throttling.throttled_time,
            }),
        }),
        memory: Some(memory_v1),
        blkio: Some(BlkioV1 {
            service_bytes: blkio.io_service_bytes_recursive,
            serviced: blkio.io_serviced_recursive,
        }),
    }
}

fn v2(data: &Data) -> MetricsV2 {
    let Data {
        cpu,
        memory,
        pids,
        blkio,
    } = data;
    let raw = |name: &str| memory.raw.get(name).copied().unwrap_or(0);
    let memory_v2 = MemoryV2 {
        anon: raw("anon"),
        file: raw("file"),
        kernel_stack: raw("kernel_stack"),
        slab: raw("slab"),
        sock: raw("sock"),
        shmem: raw("shmem"),
        file_mapped: raw("file_mapped"),
        file_dirty: raw("file_dirty"),
        file_writeback: raw("file_writeback"),
        anon_thp: raw("anon_thp"),
        inactive_anon: raw("inactive_anon"),
        active_anon: raw("active_anon"),
        inactive_file: raw("inactive_file"),
        active_file: raw("active_file"),
        unevictable: raw("unevictable"),
        slab_reclaimable: raw("slab_reclaimable"),
        slab_unreclaimable: raw("slab_unreclaimable"),
        pgfault: raw("pgfault"),
        pgmajfault: raw("pgmajfault"),
        usage: memory.usage.usage,
        usage_limit: memory.usage.limit,
        // runc gives memory and swap together, as version 1 does.
        swap_usage: memory.swap.usage.saturating_sub(memory.usage.usage),
        swap_limit: memory.swap.limit.saturating_sub(memory.usage.limit),
        max_usage: memory.usage.max,
    };
    MetricsV2 {
        pids: Some(Pids {
            current: pids.current,
            limit: pids.limit,
        }),
        cpu: Some(CpuV2 {
            usage_us: cpu.usage.total / 1000,
            user_us: cpu.usage.user / 1000,
            system_us: cpu.usage.kernel / 1000,
            nr_periods: cpu.throttling.periods,
            nr_throttled: cpu.throttling.throttled_periods,
            throttled_us: cpu.throttling.throttled_time / 1000,
        }),
        memory: Some(memory_v2),
        io: Some(IoV2 {
            usage: io_v2(blkio),
        }),
    }
}

/// Version 1 has a line per device and operation, version 2 one per device.
fn io_v2(blkio: &Blkio) -> Vec<IoEntryV2> {
    fn of(entries: &mut Vec<IoEntryV2>, major: u64, minor: u64) -> &mut IoEntryV2 {
        let at = entries
            .iter()
            .position(|entry| (entry.major, entry.minor) == (major, minor))
            .unwrap_or_else(|| {
                entries.push(IoEntryV2 {
                    major,
                    minor,
                    ..IoEntryV2::default()
                });
                entries.len() - 1
            });
        &mut entries[at]
    }
    let mut entries = Vec::new();
    for line in &blkio.io_service_bytes_recursive {
        let entry = of(&mut entries, line.major, line.minor);
        match &*line.op.to_ascii_lowercase() {
            "read" => entry.rbytes = line.value,
            "write" => entry.wbytes = line.value,
            _ => {}
        }
    }
    for line in &blkio.io_serviced_recursive {
        let entry = of(&mut entries, line.major, line.minor);
        match &*line.op.to_ascii_lowercase() {
            "read" => entry.rios = line.value,
            "write" => entry.wios = line.value,
            _ => {}
        }
    }
    entries
}

#[cfg(test)]
mod tests {
    use super::*;
    use prost::Message;

    const EVENT: &[u8] = br#"{"type":"stats","id":"c","data":{
        "cpu":{"usage":{"total":9000,"percpu":[4000,5000],"kernel":2000,"user":7000},
               "throttling":{"periods":3,"throttledPeriods":1,"throttledTime":5000}},
        "memory":{"cache":10,"usage":{"limit":100,"usage":50,"max":60,"failcnt":2},
                  "swap":{"limit":150,"usage":55},"raw":{"anon":40,"rss":41}},
        "pids":{"current":4},
        "blkio":{"ioServiceBytesRecursive":[{"major":8,"minor":0,"op":"Read","value":512}],
                 "ioServicedRecursive":[{"major":8,"minor":0,"op":"Write","value":1}]},
        "hugetlb":{},"intel_rdt":{},"network_interfaces":null}}"#;

    #[test]
    fn one_event_is_told_in_both_versions() {
        let any = metrics(EVENT, Version::V1).unwrap();
        let v1 = MetricsV1::decode(&*any.value).unwrap();
        assert_eq!(v1.cpu.unwrap().usage.unwrap().per_cpu, [4000, 5000]);
        let memory = v1.memory.unwrap();
        assert_eq!((memory.rss, memory.usage.unwrap().failcnt), (41, 2));
        let any = metrics(EVENT, Version::V2).unwrap();
        let v2 = MetricsV2::decode(&*any.value).unwrap();
        assert_eq!(v2.cpu.unwrap().usage_us, 9);
        let memory = v2.memory.unwrap();
        assert_eq!((memory.anon, memory.swap_usage), (40, 5));
        let io = v2.io.unwrap().usage;
        assert_eq!((io.len(), io[0].rbytes, io[0].wios), (1, 512, 1));
    }
}
