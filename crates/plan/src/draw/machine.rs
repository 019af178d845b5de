//! The machine of a workload with a kernel of its own: how large it is, and what it cannot share with the
//! host.

use std::path::PathBuf;

use super::{DrawError, Drawing};
use crate::launch::{Discovery, MachinePlan};
use crate::level::Level;
use crate::request::{
    IpcNamespace, Limits, Mount, MountSource, NetworkMode, Propagation, RunRequest, Sharing,
    Systemd,
};

/// What a guest kernel, its page tables and the agent need besides the workload, in bytes.
const OVERHEAD_BYTES: u64 = 64 << 20;
/// Below it a kernel does not get to its first program.
const LEAST_BYTES: u64 = 128 << 20;
/// What a workload without a limit gets at most. Pages that were never used cost the host nothing.
const UNLIMITED_BYTES: u64 = 2 << 30;
/// Memory is given in huge pages' sizes.
const STEP_BYTES: u64 = 2 << 20;
/// What the guest's kernel counts.
const MOST_CPUS: u32 = 32;

/// What a machine is made of, as the engine has found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MachineParts {
    pub kernel: PathBuf,
    /// Nobody writes to its file any more.
    pub is_kernel_kept: bool,
    pub initramfs: PathBuf,
    pub discovery: Discovery,
    /// EROFS images, the topmost first; of each its metadata, then what that refers to.
    pub images: Vec<Vec<PathBuf>>,
    /// Of the host.
    pub memory_bytes: u64,
}

pub(super) fn draw(drawing: &Drawing<'_>) -> Result<Option<MachinePlan>, DrawError> {
    check(drawing.level, drawing.request)?;
    Ok(drawing.machine.as_ref().map(|parts| MachinePlan {
        vcpus: vcpus(&drawing.request.limits, drawing.host.cpus),
        memory_bytes: memory(&drawing.request.limits, parts.memory_bytes),
        kernel: parts.kernel.clone(),
        is_kernel_kept: parts.is_kernel_kept,
        initramfs: parts.initramfs.clone(),
        discovery: parts.discovery,
        images: parts.images.clone(),
    }))
}

/// Whole processors for a share of the host's time.
fn vcpus(limits: &Limits, host: u32) -> u32 {
    let asked = limits.cpu_quota_us.map(|quota| {
        let period = limits.cpu_period_us.unwrap_or(100_000).max(1);
        u32::try_from(quota.div_ceil(period)).unwrap_or(u32::MAX)
    });
    asked.unwrap_or(host).min(host).clamp(1, MOST_CPUS)
}

fn memory(limits: &Limits, host: u64) -> u64 {
    let wanted = match limits.memory_bytes {
        Some(limit) => limit.saturating_add(OVERHEAD_BYTES),
        None => UNLIMITED_BYTES.min(host),
    };
    wanted.max(LEAST_BYTES).next_multiple_of(STEP_BYTES)
}

/// Whether a level can do what is asked: one kernel cannot share everything with another.
///
/// # Errors
/// [`DrawError::NotAtLevel`], [`DrawError::HostKernel`].
pub fn check(level: Level, request: &RunRequest) -> Result<(), DrawError> {
    if !level.has_own_kernel() {
        return match request.kernel {
            Some(_) => Err(DrawError::HostKernel {
                flag: "--kernel",
                level,
            }),
            None => Ok(()),
        };
    }
    let names = &request.namespaces;
    let is_shared = |sharing: &Option<Sharing>| !matches!(sharing, None | Some(Sharing::Private));
    let is_ipc_shared = matches!(
        names.ipc,
        Some(IpcNamespace::Host | IpcNamespace::Container(_) | IpcNamespace::Namespace(_))
    );
    let mode = &request.network.mode;
    let limits = &request.limits;
    let asked = [
        ("--pod", request.pod.is_some()),
        ("--network host", matches!(mode, NetworkMode::Host)),
        ("--network ns:", matches!(mode, NetworkMode::Namespace(_))),
        ("--network pasta", matches!(mode, NetworkMode::Pasta(_))),
        ("several --network", !request.network.further.is_empty()),
        (
            "--network container:",
            matches!(mode, NetworkMode::Container(_)),
        ),
        ("--pid", is_shared(&names.pid)),
        ("--uts", is_shared(&names.uts)),
        ("--cgroupns", is_shared(&names.cgroup)),
        ("--ipc", is_ipc_shared),
        ("--userns", names.user.is_some()),
        ("--system", request.process.systemd == Systemd::System),
        ("--device", !request.security.devices.is_empty()),
        (
            "--device-cgroup-rule",
            !request.security.device_rules.is_empty(),
        ),
        ("--oom-kill-disable", limits.oom_kill_disable),
        ("--hugetlb", !limits.huge_pages.is_empty()),
        ("--cpuset-cpus", !limits.cpuset_cpus.is_empty()),
        ("--cpuset-mems", !limits.cpuset_mems.is_empty()),
        ("--blkio-weight", limits.blkio_weight.is_some()),
        (
            "--blkio-weight-device",
            !limits.blkio_weight_devices.is_empty(),
        ),
        ("--device-read-bps", !limits.blkio_throttles.is_empty()),
        (
            "bind-recursive=writable",
            request.storage.mounts.iter().any(is_writable_below),
        ),
        ("volume-subpath", request.storage.mounts.iter().any(is_part)),
        (
            "bind-propagation",
            request.storage.mounts.iter().any(is_propagated),
        ),
    ];
    match asked.into_iter().find(|(_, is_asked)| *is_asked) {
        Some((flag, _)) => Err(DrawError::NotAtLevel { flag, level }),
        None => Ok(()),
    }
}

/// One file server is for the whole tree.
fn is_writable_below(mount: &Mount) -> bool {
    let below = matches!(
        &mount.source,
        MountSource::Bind {
            below_writable: true,
            ..
        }
    );
    below && mount.read_only
}

fn is_part(mount: &Mount) -> bool {
    let MountSource::Volume { subpath, .. } = &mount.source else {
        return false;
    };
    subpath.is_some()
}

/// Whether what is mounted on one side is to be seen on the other.
fn is_propagated(mount: &Mount) -> bool {
    let MountSource::Bind { propagation, .. } = &mount.source else {
        return false;
    };
    !matches!(propagation, Propagation::Private | Propagation::Rprivate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(change: impl FnOnce(&mut Limits)) -> Limits {
        let mut limits = Limits::default();
        change(&mut limits);
        limits
    }

    #[test]
    fn processors_are_whole_and_not_more_than_the_host_has() {
        let of = |quota, period| {
            vcpus(
                &limits(|l| {
                    l.cpu_quota_us = Some(quota);
                    l.cpu_period_us = period;
                }),
                4,
            )
        };
        assert_eq!(of(50_000, None), 1);
        assert_eq!(of(150_000, Some(100_000)), 2);
        assert_eq!(of(900_000, None), 4);
        assert_eq!(vcpus(&Limits::default(), 4), 4);
        assert_eq!(vcpus(&Limits::default(), 100), 32);
    }

    #[test]
    fn memory_has_room_for_a_kernel() {
        let of = |bytes| memory(&limits(|l| l.memory_bytes = bytes), 16 << 30);
        assert_eq!(of(Some(256 << 20)), 320 << 20);
        assert_eq!(of(Some(6 << 20)), 128 << 20);
        assert_eq!(of(Some((100 << 20) + 1)), 166 << 20);
        assert_eq!(of(None), 2 << 30);
        assert_eq!(memory(&Limits::default(), 1 << 30), 1 << 30);
    }
}
