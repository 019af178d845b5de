//! Mounts, namespaces and system-call filters.

use std::path::Path;

use gamut_plan::caps::{CapSet, Capability};
use gamut_plan::host::HostFacts;
use gamut_sys::seccomp::action_available;
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};

use super::{Area, Feature, State, filesystem, read};

/// `SECCOMP_RET_USER_NOTIF` (linux/seccomp.h).
const SECCOMP_USER_NOTIF: u32 = 0x7fc0_0000;

pub(super) fn features(host: &HostFacts) -> Vec<Feature> {
    let mut list = mounts(host);
    list.extend(namespaces());
    list.extend(processes(host));
    list.extend(filters(host));
    list
}

fn since(host: &HostFacts, area: Area, name: &str, from: (u32, u32), for_what: &str) -> Feature {
    let (major, minor) = from;
    Feature::new(
        area,
        name,
        host.kernel_version() >= from,
        format!("{for_what}; since Linux {major}.{minor}"),
    )
    .or(&format!("use Linux {major}.{minor} or newer"))
}

fn mounts(host: &HostFacts) -> Vec<Feature> {
    let area = Area::Files;
    let (state, detail) = match fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC) {
        Ok(_) => (State::Yes, "fsopen answers".to_owned()),
        Err(Errno::NOSYS) => (State::No, "fsopen is not there".to_owned()),
        Err(errno) => (State::Unknown, format!("fsopen: {errno}")),
    };
    vec![
        filesystem(area, "overlay", "overlayfs"),
        Feature::new(area, "new mount interface", state, detail)
            .or("use Linux 5.2 or newer, and run gamut as root"),
        since(
            host,
            area,
            "mount_setattr",
            (5, 12),
            "read-only all the way down",
        ),
        since(
            host,
            area,
            "overlay layers one by one",
            (6, 5),
            "`lowerdir+` lifts the limit of a page on their names",
        ),
        since(
            host,
            area,
            "id-mapped overlay",
            (5, 19),
            "one set of layers for containers with different ids",
        ),
        filesystem(area, "erofs", "EROFS"),
        filesystem(area, "fuse", "FUSE"),
    ]
}

fn namespaces() -> Vec<Feature> {
    const KINDS: [(&str, &str); 8] = [
        ("mnt", "mount"),
        ("pid", "pid"),
        ("net", "network"),
        ("uts", "uts"),
        ("ipc", "ipc"),
        ("cgroup", "cgroup"),
        ("user", "user"),
        ("time", "time"),
    ];
    KINDS
        .into_iter()
        .map(|(file, name)| {
            let path = format!("/proc/self/ns/{file}");
            let there = Path::new(&path).exists();
            // The limit counts those below; 0 forbids new ones (namespaces(7)).
            let limit = read(&format!("/proc/sys/user/max_{file}_namespaces"));
            let forbidden = limit.as_deref() == Some("0");
            let detail = match (there, forbidden, &limit) {
                (false, _, _) => format!("{path} is missing"),
                (true, true, _) => "none may be made".to_owned(),
                (true, false, Some(limit)) => format!("up to {limit}"),
                (true, false, None) => path,
            };
            let remedy = match there {
                true => format!("raise the sysctl user.max_{file}_namespaces"),
                false => format!("use a kernel with {name} namespaces"),
            };
            let title = format!("{name} namespaces");
            Feature::new(Area::Processes, &title, there && !forbidden, detail).or(&remedy)
        })
        .collect()
}

fn processes(host: &HostFacts) -> Vec<Feature> {
    let area = Area::Processes;
    let restore = Path::new("/proc/sys/kernel/ns_last_pid").exists();
    let switch = read("/proc/sys/kernel/io_uring_disabled");
    let rings = match switch.as_deref() {
        Some("0") => (State::Yes, "for everybody"),
        Some("1") => (State::Yes, "for the privileged only"),
        Some("2") => (State::No, "switched off"),
        _ if host.kernel_version() < (5, 1) => (State::No, "since Linux 5.1"),
        _ if host.kernel_version() < (6, 6) => (State::Yes, "as old as the kernel"),
        _ => (State::No, "not built into the kernel"),
    };
    let faults = Path::new("/proc/sys/vm/unprivileged_userfaultfd").exists();
    vec![
        since(
            host,
            area,
            "start in a cgroup",
            (5, 7),
            "`CLONE_INTO_CGROUP`",
        ),
        Feature::new(
            area,
            "checkpoint and restore",
            restore,
            "kernel.ns_last_pid can be set",
        )
        .or("use a kernel with CONFIG_CHECKPOINT_RESTORE"),
        Feature::new(area, "io_uring", rings.0, rings.1).or(
            "set the sysctl kernel.io_uring_disabled to 0, or use a kernel with CONFIG_IO_URING",
        ),
        Feature::new(
            area,
            "userfaultfd",
            faults,
            "lets a snapshot be brought in page by page",
        )
        .or("use a kernel with CONFIG_USERFAULTFD"),
    ]
}

fn filters(host: &HostFacts) -> Vec<Feature> {
    let area = Area::Filters;
    let status = read("/proc/self/status").unwrap_or_default();
    let (notify, detail) = match action_available(SECCOMP_USER_NOTIF) {
        Ok(there) => (there.into(), "the kernel was asked".to_owned()),
        Err(errno) => (State::Unknown, errno.to_string()),
    };
    let modules = read("/sys/kernel/security/lsm");
    let module = |name: &str| match &modules {
        Some(list) => State::from(list.split(',').any(|module| module == name)),
        None => State::Unknown,
    };
    let seen = match &modules {
        Some(list) => format!("active: {list}"),
        None => "securityfs is not mounted".to_owned(),
    };
    let held = CapSet::from_bits(host.capabilities);
    vec![
        Feature::new(
            area,
            "seccomp",
            status.contains("Seccomp:"),
            "filters of system calls",
        )
        .or("use a kernel with CONFIG_SECCOMP_FILTER"),
        Feature::new(area, "seccomp notifications", notify, detail)
            .or("use Linux 5.0 or newer"),
        Feature::new(area, "Landlock", module("landlock"), seen.clone()).or(
            "put `landlock` into the kernel's `lsm=` list, or mount securityfs to see whether it is",
        ),
        Feature::new(area, "AppArmor", module("apparmor"), seen)
            .or("nothing: gamut does without it"),
        Feature::new(
            area,
            "CAP_SYS_RESOURCE",
            held.contains(Capability::SysResource),
            "raises limits above the hard ones",
        )
        .or("without it `--ulimit` and `--oom-score-adj` go no further than gamut's own limits"),
        Feature::new(
            area,
            "all capabilities",
            held == CapSet::ALL,
            lacking(held),
        )
        .or("start gamut with all of them; what it lacks no container can be given"),
    ]
}

fn lacking(held: CapSet) -> String {
    let lacks: Vec<&str> = CapSet::ALL
        .difference(held)
        .iter()
        .map(Capability::name)
        .collect();
    match lacks.is_empty() {
        true => "none is missing".to_owned(),
        false => format!("missing: {}", lacks.join(", ")),
    }
}
