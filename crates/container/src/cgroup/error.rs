//! What can go wrong with a cgroup, and what a host cannot give ([`Warning`]).

use gamut_spec::{Fault, Kind};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::controller::{Controller, ControllerSet};

/// A failed operation on a cgroup.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error("no cgroup hierarchy is mounted")]
    NotMounted,
    #[error("`{path}` is not a usable cgroup path: {problem}")]
    InvalidPath { path: String, problem: &'static str },
    #[error("unknown controller `{name}`")]
    UnknownController { name: String },
    #[error("the cgroup `{path}` exists already")]
    Exists { path: String },
    #[error("there is no cgroup `{path}`")]
    NotFound { path: String },
    #[error("cannot make the cgroup `{path}`: {errno}")]
    Create { path: String, errno: Errno },
    #[error("cannot open the cgroup `{path}`: {errno}")]
    Open { path: String, errno: Errno },
    #[error("cannot read `{path}`: {errno}")]
    Read { path: String, errno: Errno },
    #[error("`{path}` holds `{text}`, which is not what this file should say")]
    Parse { path: String, text: String },
    #[error("cannot write `{value}` to `{path}`: {cause}")]
    Write {
        path: String,
        value: String,
        cause: Cause,
    },
    #[error("cannot enable {controllers} for the groups below `{path}`: {cause}")]
    Enable {
        controllers: ControllerSet,
        path: String,
        cause: Cause,
    },
    #[error("cannot move process {pid} into `{path}`: {cause}")]
    Attach {
        pid: i32,
        path: String,
        cause: Cause,
    },
    #[error("{limit} of `{value}`: {problem}")]
    InvalidLimit {
        limit: &'static str,
        value: String,
        problem: &'static str,
    },
    #[error(
        "CPUs or memory nodes `{requested}` are not available: this group may use `{available}`"
    )]
    NotInCpuset {
        requested: String,
        available: String,
    },
    #[error("a memory limit of {limit_bytes} bytes is below the {used_bytes} bytes in use")]
    LimitBelowUse { limit_bytes: u64, used_bytes: u64 },
    #[error("there are no huge pages of size `{size}` here")]
    NoSuchPageSize { size: String },
    #[error("invalid configuration: `{key}` cannot be set: {problem}")]
    UnifiedKey { key: String, problem: &'static str },
    #[error("the device rule `{rule}` cannot be meant: {problem}")]
    DeviceRule { rule: String, problem: &'static str },
    #[error("cannot restrict the devices of `{path}`: {step}: {error}")]
    DeviceProgram {
        path: String,
        step: &'static str,
        error: std::io::Error,
    },
    #[error("the processes of `{path}` did not freeze in {seconds} s")]
    FreezeTimeout { path: String, seconds: u64 },
    #[error("processes of `{path}` survive SIGKILL: {}", pids(.survivors))]
    Unkillable { path: String, survivors: Vec<i32> },
    #[error("cannot signal process {pid} of `{path}`: {errno}")]
    Signal {
        path: String,
        pid: i32,
        errno: Errno,
    },
    #[error("cannot remove the cgroup `{path}`: {errno}; processes in it: {}", pids(.processes))]
    Remove {
        path: String,
        errno: Errno,
        processes: Vec<i32>,
    },
}

fn pids(list: &[i32]) -> String {
    if list.is_empty() {
        return "none".to_owned();
    }
    let words: Vec<String> = list.iter().take(10).map(i32::to_string).collect();
    let more = if list.len() > 10 { ", …" } else { "" };
    format!("{}{more}", words.join(", "))
}

/// Why the kernel refused a write to a cgroup file, as far as the file and the error tell.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Cause {
    #[error("{used_bytes} bytes are in use and cannot be reclaimed below that")]
    InUse { used_bytes: u64 },
    #[error("the limit of memory and swap together would be below the limit of memory")]
    SwapBelowMemory,
    #[error("the kernel accepts {accepted}")]
    OutOfRange { accepted: &'static str },
    #[error("the group above allows less")]
    ParentAllowsLess,
    #[error("no such block device")]
    NoSuchDevice,
    #[error("the kernel has no such file")]
    NoFile,
    #[error("the device's I/O scheduler keeps no weights; BFQ does")]
    NotBfq,
    #[error("processes live in that group itself, and cgroup v2 shares out only between leaves")]
    InternalProcesses,
    #[error("the group is threaded (`cgroup.type`), and this controller works on whole processes")]
    Threaded,
    #[error("the controller is not available there")]
    NotAvailable,
    #[error("real-time processes live outside of the root group")]
    RealTimeProcesses,
    #[error("groups above or below it have controllers enabled, so it may hold no processes")]
    NotALeaf,
    #[error("its cpuset has no CPUs or no memory nodes")]
    EmptyCpuset,
    #[error("the process is gone")]
    NoProcess,
    #[error("permission denied; the cgroup tree is not delegated to this user")]
    NotDelegated,
    #[error("the cgroup file system is mounted read-only")]
    ReadOnly,
    #[error("groups below it exist already")]
    HasChildren,
    #[error("{0}")]
    Kernel(Errno),
}

impl CgroupError {
    /// Whether a file was written to that this kernel does not have.
    pub(super) fn is_missing_file(&self) -> bool {
        matches!(
            self,
            Self::Write {
                cause: Cause::NoFile,
                ..
            } | Self::Read {
                errno: Errno::NOENT,
                ..
            }
        )
    }

    /// Whether the file is there, and of no use with the device's scheduler.
    pub(super) fn is_missing_scheduler(&self) -> bool {
        matches!(
            self,
            Self::Write {
                cause: Cause::NotBfq,
                ..
            }
        )
    }

    /// Whether the kernel found the value out of place, perhaps only until another file is set.
    pub(super) fn is_refused_value(&self) -> bool {
        matches!(
            self,
            Self::Write {
                cause: Cause::OutOfRange { .. }
                    | Cause::SwapBelowMemory
                    | Cause::ParentAllowsLess
                    | Cause::Kernel(Errno::INVAL),
                ..
            }
        )
    }
}

impl Fault for CgroupError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotMounted | Self::NoSuchPageSize { .. } => Kind::HostLacks,
            Self::InvalidPath { .. }
            | Self::UnknownController { .. }
            | Self::InvalidLimit { .. }
            | Self::NotInCpuset { .. }
            | Self::UnifiedKey { .. }
            | Self::DeviceRule { .. } => Kind::Invalid,
            Self::Exists { .. } | Self::LimitBelowUse { .. } => Kind::Conflict,
            Self::NotFound { .. } => Kind::NotFound,
            Self::Create { errno, .. } | Self::Open { errno, .. } | Self::Read { errno, .. } => {
                errno_kind(*errno)
            }
            Self::Parse { .. } => Kind::Bug,
            Self::Write { cause, .. } | Self::Enable { cause, .. } | Self::Attach { cause, .. } => {
                cause.kind()
            }
            Self::DeviceProgram { error, .. } => {
                Errno::from_io_error(error).map_or(Kind::Bug, errno_kind)
            }
            Self::FreezeTimeout { .. } | Self::Unkillable { .. } | Self::Remove { .. } => {
                Kind::Unavailable
            }
            Self::Signal { errno, .. } => errno_kind(*errno),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NotMounted => Some("mount it: `mount -t cgroup2 none /sys/fs/cgroup`".to_owned()),
            Self::Create { errno, path } => create_hint(*errno, path),
            Self::Write { cause, .. } | Self::Attach { cause, .. } => cause.hint(None),
            Self::Enable { cause, path, .. } => cause.hint(Some(path)),
            Self::LimitBelowUse { .. } => {
                Some("choose a higher limit, or let the workload free memory first".to_owned())
            }
            Self::NoSuchPageSize { .. } => {
                Some("`ls /sys/kernel/mm/hugepages` lists the sizes of this host".to_owned())
            }
            Self::DeviceProgram { .. } => Some(
                "device rules on cgroup v2 need a kernel with CONFIG_CGROUP_BPF and CAP_BPF with \
                 CAP_NET_ADMIN, or CAP_SYS_ADMIN"
                    .to_owned(),
            ),
            Self::FreezeTimeout { .. } | Self::Unkillable { .. } => Some(
                "a process that waits for a device or a network file system cannot be stopped \
                 before that answers; `cat /proc/<pid>/stack` shows where it waits"
                    .to_owned(),
            ),
            Self::Remove { processes, .. } if !processes.is_empty() => {
                Some("stop these processes and try again".to_owned())
            }
            _ => None,
        }
    }
}

impl Cause {
    fn kind(&self) -> Kind {
        match self {
            Self::InUse { .. } | Self::HasChildren | Self::NotALeaf => Kind::Conflict,
            Self::SwapBelowMemory | Self::OutOfRange { .. } | Self::NoSuchDevice => Kind::Invalid,
            Self::ParentAllowsLess | Self::NotDelegated | Self::ReadOnly => Kind::Denied,
            Self::NoProcess => Kind::NotFound,
            Self::NoFile
            | Self::NotBfq
            | Self::InternalProcesses
            | Self::Threaded
            | Self::NotAvailable
            | Self::RealTimeProcesses
            | Self::EmptyCpuset => Kind::HostLacks,
            Self::Kernel(errno) => errno_kind(*errno),
        }
    }

    fn hint(&self, group: Option<&str>) -> Option<String> {
        let group = group.unwrap_or("the group");
        match self {
            Self::InUse { .. } => {
                Some("choose a higher limit, or let the workload free memory first".to_owned())
            }
            Self::SwapBelowMemory => Some(
                "give the limit of memory and swap together at the same time, at least as large"
                    .to_owned(),
            ),
            Self::NoSuchDevice => Some("`lsblk` lists block devices with their numbers".to_owned()),
            Self::InternalProcesses => Some(format!(
                "move the processes of {group} into a child first: `mkdir {group}/init`, then \
                 write each line of `{group}/cgroup.procs` to `{group}/init/cgroup.procs`"
            )),
            Self::Threaded | Self::NotALeaf => {
                Some("choose another parent group whose `cgroup.type` says `domain`".to_owned())
            }
            Self::RealTimeProcesses => Some(
                "give these processes a normal scheduling policy (`chrt -o -p 0 PID`), or use a \
                 kernel without CONFIG_RT_GROUP_SCHED"
                    .to_owned(),
            ),
            Self::NotDelegated => Some(
                "run as root, or inside a unit that has its own tree: `systemd-run --user --scope \
                 -p Delegate=yes …`"
                    .to_owned(),
            ),
            Self::ReadOnly => Some(
                "a container sees its cgroups read-only unless it is privileged or has its own \
                 cgroup namespace"
                    .to_owned(),
            ),
            _ => None,
        }
    }
}

fn errno_kind(errno: Errno) -> Kind {
    match errno {
        Errno::ACCESS | Errno::PERM | Errno::ROFS => Kind::Denied,
        Errno::NOENT | Errno::NODEV | Errno::SRCH => Kind::NotFound,
        Errno::NOSYS | Errno::OPNOTSUPP => Kind::HostLacks,
        Errno::INVAL | Errno::RANGE => Kind::Invalid,
        Errno::EXIST => Kind::Conflict,
        _ => Kind::Unavailable,
    }
}

fn create_hint(errno: Errno, path: &str) -> Option<String> {
    match errno {
        Errno::ACCESS | Errno::PERM => Cause::NotDelegated.hint(None),
        Errno::ROFS => Cause::ReadOnly.hint(None),
        Errno::AGAIN => Some(format!(
            "a group above `{path}` limits `cgroup.max.descendants` or `cgroup.max.depth`"
        )),
        _ => None,
    }
}

/// Something that was asked for and that this host cannot give; the workload runs without it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// The controller isn't there at all.
    #[error("{limit} is ignored: this host has no cgroup controller `{controller}`")]
    NoController {
        limit: String,
        controller: Controller,
    },
    /// The kernel was built or booted without this ability.
    #[error("{limit} is ignored: this kernel has no `{file}`{}", remedy(.file))]
    NoFile { limit: String, file: String },
    /// The device is driven by a scheduler without this ability.
    #[error("{limit} is ignored: the device's I/O scheduler keeps no weights; BFQ does")]
    NotBfq { limit: String },
    /// cgroup v2 has no such thing.
    #[error("{limit} is ignored: cgroup v2 has no such limit")]
    NotOnV2 { limit: String },
    /// No kernel of today does this.
    #[error("{limit} is ignored: the kernel no longer has it")]
    Obsolete { limit: String },
    /// The group above forbids the device, so this rule could not be granted.
    #[error("the device rule `{rule}` is ignored: the cgroup above forbids that device")]
    DeviceNotGranted { rule: String },
    /// In a user namespace without the privilege; device nodes cannot be made there anyway.
    #[error("device rules are not enforced: not permitted in this user namespace")]
    DevicesNotEnforced,
}

fn remedy(file: &str) -> &'static str {
    if file.contains("memsw") || file.contains("swap") {
        " (swap accounting is off; boot with `swapaccount=1`)"
    } else if file.contains("weight") {
        " (block weights need the BFQ scheduler or the io.cost controller)"
    } else {
        ""
    }
}
