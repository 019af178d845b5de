//! Limits, as the runtime specification has them.

use std::collections::BTreeSet;
use std::path::Path;

use oci_spec::runtime::{
    LinuxBlockIo, LinuxBlockIoBuilder, LinuxCpuBuilder, LinuxHugepageLimitBuilder,
    LinuxMemoryBuilder, LinuxPidsBuilder, LinuxResources, LinuxResourcesBuilder,
    LinuxThrottleDevice, LinuxThrottleDeviceBuilder, LinuxWeightDeviceBuilder,
};

use super::security::{self, Security};
use super::{DrawError, Drawing, MINIMUM_MEMORY_BYTES};
use crate::launch::Grouping;
use crate::request::{Bound, Limits, Operation, ThrottleUnit};

pub(super) fn draw(
    drawing: &Drawing<'_>,
    _security: &Security,
    _warnings: &mut Vec<String>,
) -> Result<LinuxResources, DrawError> {
    let limits = &drawing.request.limits;
    if drawing.host.grouping() == Grouping::None && limits.needs_group() {
        return Err(DrawError::NoGroups);
    }
    let mut resources = self::limits(limits, drawing.host.cpus)?;
    // Who may make no device nodes has none but those that the host lets the user have.
    if drawing.host.home.is_none() {
        resources.set_devices(Some(security::device_rules(drawing)?));
    }
    resources.set_block_io(block(drawing)?);
    Ok(resources)
}

/// What does not depend on the host's devices: memory, CPUs, processes, the weight of block I/O.
///
/// # Errors
/// Limits that contradict each other, or more than there is.
pub fn limits(limits: &Limits, cpus: u32) -> Result<LinuxResources, DrawError> {
    let mut builder = LinuxResourcesBuilder::default();
    check_cpus(limits, cpus)?;
    if let Some(memory) = memory(limits)? {
        builder = builder.memory(memory);
    }
    if let Some(cpu) = cpu(limits)? {
        builder = builder.cpu(cpu);
    }
    match limits.pids {
        Some(Bound::At(0)) => return Err(DrawError::TooFewProcesses { limit: 0 }),
        Some(Bound::At(limit)) => {
            let limit = i64::try_from(limit).unwrap_or(i64::MAX);
            builder = builder.pids(LinuxPidsBuilder::default().limit(limit).build()?);
        }
        Some(Bound::Unlimited) => {
            builder = builder.pids(LinuxPidsBuilder::default().limit(-1i64).build()?)
        }
        None => {}
    }
    if !limits.huge_pages.is_empty() {
        let limit = |(size, bytes): (&String, &u64)| {
            LinuxHugepageLimitBuilder::default()
                .page_size(size.clone())
                .limit(signed(*bytes))
                .build()
        };
        let list: Result<Vec<_>, _> = limits.huge_pages.iter().map(limit).collect();
        builder = builder.hugepage_limits(list?);
    }
    if let Some(weight) = limits.blkio_weight {
        builder = builder.block_io(LinuxBlockIoBuilder::default().weight(weight).build()?);
    }
    Ok(builder.build()?)
}

fn signed(bytes: u64) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

/// Docker's rules: swap means memory plus swap, and is twice the memory when nobody says.
fn memory(limits: &Limits) -> Result<Option<oci_spec::runtime::LinuxMemory>, DrawError> {
    let mut builder = LinuxMemoryBuilder::default();
    let mut any = false;
    if let Some(bytes) = limits.memory_bytes {
        if bytes < MINIMUM_MEMORY_BYTES {
            return Err(DrawError::TooLittleMemory { bytes });
        }
        any = true;
        builder = builder.limit(signed(bytes));
        builder = match limits.memory_and_swap_bytes {
            Some(Bound::Unlimited) => builder.swap(-1i64),
            Some(Bound::At(total)) if total < bytes => {
                return Err(DrawError::SwapBelowMemory {
                    total,
                    memory: bytes,
                });
            }
            Some(Bound::At(total)) => builder.swap(signed(total)),
            None => builder.swap(signed(bytes.saturating_mul(2))),
        };
    } else if let Some(Bound::At(_)) = limits.memory_and_swap_bytes {
        return Err(DrawError::SwapWithoutMemory);
    }
    if let Some(reservation) = limits.memory_reservation_bytes {
        if let Some(limit) = limits.memory_bytes.filter(|limit| reservation > *limit) {
            return Err(DrawError::ReservationAboveLimit { reservation, limit });
        }
        any = true;
        builder = builder.reservation(signed(reservation));
    }
    if limits.oom_kill_disable {
        any = true;
        builder = builder.disable_oom_killer(true);
    }
    Ok(if any { Some(builder.build()?) } else { None })
}

fn cpu(limits: &Limits) -> Result<Option<oci_spec::runtime::LinuxCpu>, DrawError> {
    let mut builder = LinuxCpuBuilder::default();
    let mut any = false;
    if let Some(quota) = limits.cpu_quota_us {
        builder = builder.quota(signed(quota));
        any = true;
    }
    if let Some(period) = limits.cpu_period_us {
        builder = builder.period(period);
        any = true;
    }
    if let Some(shares) = limits.cpu_shares {
        if shares == 1 {
            return Err(DrawError::TooFewShares);
        }
        builder = builder.shares(shares);
        any = true;
    }
    if !limits.cpuset_cpus.is_empty() {
        builder = builder.cpus(list(&limits.cpuset_cpus));
        any = true;
    }
    if !limits.cpuset_mems.is_empty() {
        builder = builder.mems(list(&limits.cpuset_mems));
        any = true;
    }
    Ok(if any { Some(builder.build()?) } else { None })
}

/// As much CPU time as there is can be given, no more.
fn check_cpus(limits: &Limits, cpus: u32) -> Result<(), DrawError> {
    const USUAL_PERIOD_US: u64 = 100_000;
    let Some(quota) = limits.cpu_quota_us else {
        return Ok(());
    };
    let period = limits.cpu_period_us.unwrap_or(USUAL_PERIOD_US);
    if quota > period.saturating_mul(u64::from(cpus)) {
        return Err(DrawError::TooManyCpus {
            asked: quota.div_ceil(period.max(1)),
            cpus,
        });
    }
    Ok(())
}

fn list(numbers: &BTreeSet<u32>) -> String {
    numbers
        .iter()
        .map(u32::to_string)
        .collect::<Vec<_>>()
        .join(",")
}

fn block(drawing: &Drawing<'_>) -> Result<Option<LinuxBlockIo>, DrawError> {
    let limits = &drawing.request.limits;
    let number = |path: &Path| {
        drawing
            .block_devices
            .iter()
            .find(|(p, ..)| p == path)
            .map(|(_, a, b)| (*a, *b))
    };
    let mut builder = LinuxBlockIoBuilder::default();
    let mut any = false;
    let weights_given = limits.blkio_weight_devices.iter().map(|d| d.weight);
    for weight in limits.blkio_weight.into_iter().chain(weights_given) {
        // 0: the host's own.
        if weight != 0 && !(10..=1000).contains(&weight) {
            return Err(DrawError::BlockWeight { weight });
        }
    }
    if let Some(weight) = limits.blkio_weight {
        builder = builder.weight(weight);
        any = true;
    }
    let mut weights = Vec::new();
    for device in &limits.blkio_weight_devices {
        let Some((major, minor)) = number(&device.device) else {
            continue;
        };
        let built = LinuxWeightDeviceBuilder::default()
            .major(i64::from(major))
            .minor(i64::from(minor))
            .weight(device.weight)
            .build()?;
        weights.push(built);
    }
    if !weights.is_empty() {
        builder = builder.weight_device(weights);
        any = true;
    }
    let of = |operation, unit| -> Result<Vec<LinuxThrottleDevice>, DrawError> {
        let wanted = limits
            .blkio_throttles
            .iter()
            .filter(|t| t.operation == operation && t.unit == unit);
        wanted
            .filter_map(|t| number(&t.device).map(|n| (t.rate, n)))
            .map(|(rate, (major, minor))| {
                let built = LinuxThrottleDeviceBuilder::default()
                    .major(i64::from(major))
                    .minor(i64::from(minor))
                    .rate(rate)
                    .build()?;
                Ok(built)
            })
            .collect()
    };
    if !limits.blkio_throttles.is_empty() {
        builder = builder
            .throttle_read_bps_device(of(Operation::Read, ThrottleUnit::Bytes)?)
            .throttle_write_bps_device(of(Operation::Write, ThrottleUnit::Bytes)?)
            .throttle_read_iops_device(of(Operation::Read, ThrottleUnit::Operations)?)
            .throttle_write_iops_device(of(Operation::Write, ThrottleUnit::Operations)?);
        any = true;
    }
    Ok(if any { Some(builder.build()?) } else { None })
}
