//! The memory controller: limits, and what is used.
//!
//! Documentation/admin-guide/cgroup-v1/memory.rst, cgroup-v2.rst "Memory".

use gamut_plan::stats;
use oci_spec::runtime::LinuxMemory;

use super::convert::{Bound, swap_alone};
use super::dir::Dir;
use super::discover::Version;
use super::error::{CgroupError, Warning};
use super::stats::{field, pairs};
use super::write::Write;

const LIMIT: &str = "memory limit";
const SWAP: &str = "memory swap limit";
const RESERVATION: &str = "memory reservation";

/// v1 shows "no limit" as the largest multiple of the page size that fits 63 bits; whatever is
/// above this is that, for every page size up to 64 KiB.
const V1_UNLIMITED: u64 = 0x7fff_ffff_ffff_0000;

/// Whether anything is asked for.
pub(super) fn asks(memory: &LinuxMemory) -> bool {
    let set = |value: Option<i64>| value.is_some_and(|value| value != 0);
    set(memory.limit())
        || set(memory.swap())
        || set(memory.reservation())
        || set(memory.kernel_tcp())
        || memory.swappiness().is_some()
        || memory.disable_oom_killer() == Some(true)
        || memory.use_hierarchy() == Some(false)
        || set(memory.kernel())
}

pub(super) fn writes(
    dir: &Dir,
    version: Version,
    memory: &LinuxMemory,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Write>, CgroupError> {
    let limit = Bound::from_oci(LIMIT, memory.limit())?;
    let reservation = Bound::from_oci(RESERVATION, memory.reservation())?;
    // Unlimited memory with a swap limit left over from before makes no sense.
    let swap = match (Bound::from_oci(SWAP, memory.swap())?, limit) {
        (None, Some(Bound::Unlimited)) => Some(Bound::Unlimited),
        (swap, _) => swap,
    };
    if memory.check_before_update() == Some(true)
        && let Some(Bound::At(limit_bytes)) = limit
    {
        check_use(dir, version, limit_bytes)?;
    }
    if memory.kernel().is_some_and(|value| value > 0) {
        let limit = "kernel memory limit".to_owned();
        warnings.push(Warning::Obsolete { limit });
    }
    if memory.use_hierarchy() == Some(false) {
        // What is below a group counts since Linux 5.11, whatever is asked for.
        let limit = "memory accounting without what is below (useHierarchy)".to_owned();
        warnings.push(Warning::Obsolete { limit });
    }
    match version {
        Version::V1 => v1(memory, limit, swap, reservation),
        Version::V2 => v2(dir, memory, limit, swap, reservation, warnings),
    }
}

fn v1(
    memory: &LinuxMemory,
    limit: Option<Bound>,
    swap: Option<Bound>,
    reservation: Option<Bound>,
) -> Result<Vec<Write>, CgroupError> {
    if let (Some(total), Some(limit)) = (swap, limit) {
        swap_alone(total, limit)?;
    }
    let mut writes = Vec::new();
    // The kernel keeps limit ≤ memsw. Lowering wants the limit first and raising the sum first;
    // `write::carry_out` finds the order.
    if let Some(limit) = limit {
        writes.push(Write::new(LIMIT, "memory.limit_in_bytes", limit.v1()));
    }
    if let Some(swap) = swap {
        let write = Write::new(SWAP, "memory.memsw.limit_in_bytes", swap.v1());
        writes.push(ignorable(write, swap));
    }
    if let Some(reservation) = reservation {
        let file = "memory.soft_limit_in_bytes";
        writes.push(Write::new(RESERVATION, file, reservation.v1()));
    }
    if let Some(tcp) = Bound::from_oci("TCP memory limit", memory.kernel_tcp())? {
        let file = "memory.kmem.tcp.limit_in_bytes";
        writes.push(Write::new("TCP memory limit", file, tcp.v1()));
    }
    if let Some(swappiness) = memory.swappiness() {
        if swappiness > 100 {
            return Err(CgroupError::InvalidLimit {
                limit: "memory swappiness",
                value: swappiness.to_string(),
                problem: "it is a percentage from 0 to 100",
            });
        }
        let file = "memory.swappiness";
        writes.push(Write::new("memory swappiness", file, swappiness));
    }
    if let Some(disable) = memory.disable_oom_killer() {
        let write = Write::new("OOM kill disable", "memory.oom_control", u8::from(disable));
        // The usual state needs no write on a kernel that may refuse any.
        if disable {
            writes.push(write);
        } else {
            writes.push(write.or_ignore());
        }
    }
    Ok(writes)
}

fn v2(
    dir: &Dir,
    memory: &LinuxMemory,
    limit: Option<Bound>,
    swap: Option<Bound>,
    reservation: Option<Bound>,
    warnings: &mut Vec<Warning>,
) -> Result<Vec<Write>, CgroupError> {
    let mut writes = Vec::new();
    if let Some(swap) = swap {
        let limit = match limit {
            Some(limit) => limit,
            None => current_limit(dir)?,
        };
        let alone = swap_alone(swap, limit)?;
        let write = Write::new(SWAP, "memory.swap.max", alone.v2());
        writes.push(ignorable(write, alone));
    }
    if let Some(limit) = limit {
        writes.push(Write::new(LIMIT, "memory.max", limit.v2()));
    }
    if let Some(reservation) = reservation {
        writes.push(Write::new(RESERVATION, "memory.low", reservation.v2()));
    }
    let refused = [
        ("memory swappiness", memory.swappiness().is_some()),
        (
            "OOM kill disable",
            memory.disable_oom_killer() == Some(true),
        ),
        (
            "TCP memory limit",
            memory.kernel_tcp().is_some_and(|tcp| tcp > 0),
        ),
    ];
    for (limit, asked) in refused {
        if asked {
            let limit = limit.to_owned();
            warnings.push(Warning::NotOnV2 { limit });
        }
    }
    Ok(writes)
}

/// Without swap accounting, nothing is lost when no limit was wanted.
fn ignorable(write: Write, bound: Bound) -> Write {
    match bound {
        Bound::Unlimited => write.or_ignore(),
        Bound::At(_) => write,
    }
}

fn current_limit(dir: &Dir) -> Result<Bound, CgroupError> {
    let limit = dir.read_number_if_there("memory.max")?;
    Ok(limit.map_or(Bound::Unlimited, Bound::At))
}

fn check_use(dir: &Dir, version: Version, limit_bytes: u64) -> Result<(), CgroupError> {
    let file = match version {
        Version::V1 => "memory.usage_in_bytes",
        Version::V2 => "memory.current",
    };
    match dir.read_number_if_there(file)? {
        Some(used_bytes) if used_bytes > limit_bytes => Err(CgroupError::LimitBelowUse {
            limit_bytes,
            used_bytes,
        }),
        _ => Ok(()),
    }
}

pub(super) fn stats(dir: &Dir, version: Version) -> Result<stats::Memory, CgroupError> {
    match version {
        Version::V1 => stats_v1(dir),
        Version::V2 => stats_v2(dir),
    }
}

fn stats_v1(dir: &Dir) -> Result<stats::Memory, CgroupError> {
    let mut buffer = [0; 4096];
    let mut read = stats::Memory {
        usage_bytes: dir.read_number("memory.usage_in_bytes")?.unwrap_or(0),
        limit_bytes: dir
            .read_number("memory.limit_in_bytes")?
            .filter(|&limit| limit < V1_UNLIMITED),
        peak_bytes: dir.read_number_if_there("memory.max_usage_in_bytes")?,
        oom_kills: oom_kills(dir, Version::V1)?,
        ..stats::Memory::default()
    };
    for (key, value) in pairs(dir.read("memory.stat", &mut buffer)?) {
        match key {
            "total_inactive_file" => read.inactive_file_bytes = value,
            "total_swap" => read.swap_bytes = value,
            _ => {}
        }
    }
    Ok(read)
}

fn stats_v2(dir: &Dir) -> Result<stats::Memory, CgroupError> {
    let mut buffer = [0; 4096];
    let stat = dir.read("memory.stat", &mut buffer)?;
    Ok(stats::Memory {
        inactive_file_bytes: field(stat, "inactive_file").unwrap_or(0),
        usage_bytes: dir.read_number("memory.current")?.unwrap_or(0),
        limit_bytes: dir.read_number("memory.max")?,
        // memory.peak is new in Linux 5.19.
        peak_bytes: dir.read_number_if_there("memory.peak")?,
        swap_bytes: dir
            .read_number_if_there("memory.swap.current")?
            .unwrap_or(0),
        oom_kills: oom_kills(dir, Version::V2)?,
    })
}

/// How many processes the OOM killer took: on v2 in this group and all below it, on v1 (Linux
/// 4.13) in this group alone, for v1 counts each group by itself.
pub(super) fn oom_kills(dir: &Dir, version: Version) -> Result<u64, CgroupError> {
    let file = match version {
        Version::V1 => "memory.oom_control",
        Version::V2 => "memory.events",
    };
    let mut buffer = [0; 4096];
    Ok(field(dir.read(file, &mut buffer)?, "oom_kill").unwrap_or(0))
}
