//! The cpu controller: weight, quota, burst; and v1's cpuacct, which v2 has in `cpu.stat`.
//!
//! Documentation/scheduler/sched-bwc.rst, cgroup-v1/cpuacct.rst, cgroup-v2.rst "CPU".

use gamut_plan::stats;
use oci_spec::runtime::LinuxCpu;

use super::convert::cpu_weight;
use super::dir::Dir;
use super::discover::Version;
use super::error::{CgroupError, Warning};
use super::stats::pairs;
use super::write::Write;

const PERIOD: &str = "CPU period";
const QUOTA: &str = "CPU quota";
const BURST: &str = "CPU burst";
const SHARES: &str = "CPU shares";
const IDLE: &str = "CPU idle";
const REAL_TIME: &str = "real-time CPU limit";
const DEFAULT_PERIOD_US: u64 = 100_000;

/// Whether anything is asked for that the cpu controller does.
pub(super) fn asks(cpu: &LinuxCpu) -> bool {
    cpu.shares().is_some_and(|shares| shares > 0)
        || cpu.quota().is_some_and(|quota| quota != 0)
        || cpu.period().is_some_and(|period| period > 0)
        || cpu.burst().is_some()
        || cpu.idle().is_some()
        || real_time(cpu)
}

fn real_time(cpu: &LinuxCpu) -> bool {
    cpu.realtime_runtime().is_some_and(|runtime| runtime != 0)
        || cpu.realtime_period().is_some_and(|period| period > 0)
}

pub(super) fn writes(
    dir: &Dir,
    version: Version,
    cpu: &LinuxCpu,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Write>, CgroupError> {
    let shares = cpu.shares().filter(|&shares| shares > 0);
    let quota = cpu.quota().filter(|&quota| quota != 0);
    let period = cpu.period().filter(|&period| period > 0);
    let mut writes = Vec::new();
    match version {
        Version::V1 => {
            writes.extend(shares.map(|shares| Write::new(SHARES, "cpu.shares", shares)));
            writes.extend(period.map(|period| Write::new(PERIOD, "cpu.cfs_period_us", period)));
            let quota = quota.map(|quota| quota.max(-1));
            writes.extend(quota.map(|quota| Write::new(QUOTA, "cpu.cfs_quota_us", quota)));
            let burst = cpu.burst();
            writes.extend(burst.map(|burst| Write::new(BURST, "cpu.cfs_burst_us", burst)));
            let period = cpu.realtime_period().filter(|&period| period > 0);
            writes.extend(period.map(|us| Write::new(REAL_TIME, "cpu.rt_period_us", us)));
            let runtime = cpu.realtime_runtime().filter(|&runtime| runtime != 0);
            writes.extend(runtime.map(|us| Write::new(REAL_TIME, "cpu.rt_runtime_us", us)));
        }
        Version::V2 => {
            let weight = shares.map(cpu_weight);
            writes.extend(weight.map(|weight| Write::new(SHARES, "cpu.weight", weight)));
            if quota.is_some() || period.is_some() {
                let max = cpu_max(dir, quota, period)?;
                writes.push(Write::new(QUOTA, "cpu.max", max));
            }
            let burst = cpu.burst();
            writes.extend(burst.map(|burst| Write::new(BURST, "cpu.max.burst", burst)));
            if real_time(cpu) {
                let limit = REAL_TIME.to_owned();
                warnings.push(Warning::NotOnV2 { limit });
            }
        }
    }
    // A group that is idle refuses a weight, so the two may have to change places.
    if let Some(idle) = cpu.idle() {
        let write = Write::new(IDLE, "cpu.idle", idle);
        writes.push(if idle == 0 { write.or_ignore() } else { write });
    }
    Ok(writes)
}

/// `cpu.max` is `$QUOTA $PERIOD`, both in µs; a part that isn't asked for stays as it is.
fn cpu_max(dir: &Dir, quota: Option<i64>, period: Option<u64>) -> Result<String, CgroupError> {
    let quota = quota.map(|quota| match quota {
        quota if quota < 0 => "max".to_owned(),
        quota => quota.to_string(),
    });
    if let (Some(quota), Some(period)) = (&quota, period) {
        return Ok(format!("{quota} {period}"));
    }
    let mut buffer = [0; 4096];
    let now = match dir.read("cpu.max", &mut buffer) {
        Err(error) if error.is_missing_file() => "max",
        read => read?,
    };
    let (now_quota, now_period) = now.split_once(' ').unwrap_or((now, ""));
    let period = match period {
        Some(period) => period,
        None => now_period.parse().unwrap_or(DEFAULT_PERIOD_US),
    };
    let quota = quota.unwrap_or_else(|| now_quota.to_owned());
    Ok(format!("{quota} {period}"))
}

/// Time used. `accounting` is v1's cpuacct group or v2's group, `bandwidth` v1's cpu group.
pub(super) fn stats(
    accounting: Option<(Version, &Dir)>,
    bandwidth: Option<(Version, &Dir)>,
) -> Result<stats::Cpu, CgroupError> {
    let mut read = stats::Cpu::default();
    match accounting {
        Some((Version::V1, dir)) => {
            let number = |file| dir.read_number_if_there(file);
            read.usage_ns = number("cpuacct.usage")?.unwrap_or(0);
            // New in Linux 4.7.
            read.user_ns = number("cpuacct.usage_user")?.unwrap_or(0);
            read.system_ns = number("cpuacct.usage_sys")?.unwrap_or(0);
            if let Ok(listed) = dir.read_all("cpuacct.usage_percpu") {
                let numbers = listed.split_ascii_whitespace().map(str::parse);
                read.per_cpu_ns = numbers.flatten().collect();
            }
        }
        Some((Version::V2, dir)) => read_v2(dir, &mut read)?,
        None => {}
    }
    if let Some((Version::V1, dir)) = bandwidth {
        let mut buffer = [0; 4096];
        for (key, value) in pairs(dir.read("cpu.stat", &mut buffer)?) {
            match key {
                "nr_periods" => read.periods = value,
                "nr_throttled" => read.throttled_periods = value,
                "throttled_time" => read.throttled_ns = value,
                _ => {}
            }
        }
    }
    Ok(read)
}

fn read_v2(dir: &Dir, read: &mut stats::Cpu) -> Result<(), CgroupError> {
    let mut buffer = [0; 4096];
    for (key, value) in pairs(dir.read("cpu.stat", &mut buffer)?) {
        match key {
            "usage_usec" => read.usage_ns = value.saturating_mul(1000),
            "user_usec" => read.user_ns = value.saturating_mul(1000),
            "system_usec" => read.system_ns = value.saturating_mul(1000),
            "nr_periods" => read.periods = value,
            "nr_throttled" => read.throttled_periods = value,
            "throttled_usec" => read.throttled_ns = value.saturating_mul(1000),
            _ => {}
        }
    }
    Ok(())
}
