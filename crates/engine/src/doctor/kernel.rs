//! Mounts, namespaces and system-call filters.

use std::path::Path;

use gamut_plan::caps::{CapSet, Capability};
use gamut_plan::host::HostFacts;
use gamut_store::snapshot::Driver;
use gamut_sys::seccomp::action_available;
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};

use super::{Area, Feature, State, filesystem, read};
use crate::image_extras::ImageExtras;
use crate::storage::Storage;

/// `SECCOMP_RET_USER_NOTIF` (linux/seccomp.h).
const SECCOMP_USER_NOTIF: u32 = 0x7fc0_0000;

pub(super) fn features(host: &HostFacts, tried: Option<&(Storage, ImageExtras)>) -> Vec<Feature> {
    let mut list = mounts(host);
    list.extend(
        tried
            .into_iter()
            .flat_map(|(storage, extras)| drivers(storage, extras)),
    );
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

/// Each way to keep images in the store, as it was found by trying.
fn drivers(storage: &Storage, extras: &ImageExtras) -> Vec<Feature> {
    let of = |driver: Driver| {
        let lack = storage.lack(driver);
        let detail = match (&lack, driver) {
            (Some(lack), _) => lack.clone(),
            (None, Driver::Erofs) if storage.loop_devices => {
                "a file for each layer, mounted from a loop device".to_owned()
            }
            (None, Driver::Erofs) => "a file for each layer, mounted as it is".to_owned(),
            (None, Driver::Overlay) => "a directory for each layer".to_owned(),
            (None, Driver::Copy) => "a copy of the image for each container".to_owned(),
        };
        let title = format!("storage driver {}", driver.name());
        let remedy = match driver {
            Driver::Erofs => {
                "use Linux 6.12 or newer with CONFIG_EROFS_FS and the store on ext4, xfs or btrfs, \
                 or an older one with loop devices"
            }
            Driver::Overlay | Driver::Copy => {
                "use a kernel with CONFIG_OVERLAY_FS, and a store that is not on overlayfs itself"
            }
        };
        Feature::new(Area::Files, &title, lack.is_none(), detail).or(remedy)
    };
    let mut features: Vec<Feature> = Driver::ALL.into_iter().map(of).collect();
    features.extend(extras.no_compression.iter().map(|(algorithm, lack)| {
        let title = format!("EROFS images with {algorithm}");
        let remedy = "use Linux 5.13 or newer for LZ4 (CONFIG_EROFS_FS_ZIP), 6.10 for zstd \
                      (CONFIG_EROFS_FS_ZIP_ZSTD)";
        Feature::new(Area::Files, &title, false, lack.clone()).or(remedy)
    }));
    features
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
