//! What a workload may do, and which of the host's namespaces it shares.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Privileges beside or below the default set.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Security {
    pub capabilities_add: Vec<Capability>,
    pub capabilities_drop: Vec<Capability>,
    /// All capabilities, all devices, no seccomp, nothing masked.
    pub privileged: bool,
    pub no_new_privileges: bool,
    pub seccomp: Seccomp,
    pub system_paths: SystemPaths,
    /// Paths masked besides.
    #[serde(default)]
    pub masked: Vec<String>,
    /// Paths that are neither masked nor read-only; `*` stands for any part of a name.
    #[serde(default)]
    pub unmasked: Vec<String>,
    pub devices: Vec<Device>,
    #[serde(default)]
    pub device_rules: Vec<DeviceRule>,
}

/// `--device-cgroup-rule`: what may be done with device nodes that are made inside.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceRule {
    pub kind: DeviceRuleKind,
    /// `None`: all of them.
    pub major: Option<u32>,
    pub minor: Option<u32>,
    pub access: DeviceAccess,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum DeviceRuleKind {
    All,
    Block,
    Character,
}

/// A capability of capabilities(7).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Capability {
    All,
    /// With its prefix and in capitals: `CAP_NET_ADMIN`; known to exist.
    Named(String),
}

/// The system-call filter.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Seccomp {
    #[default]
    Default,
    Unconfined,
    /// A profile in Docker's JSON form; syntactically JSON, not yet compiled.
    Profile {
        json: String,
    },
}

/// Whether the usual files of `/proc` and `/sys` are masked and read-only.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SystemPaths {
    #[default]
    Masked,
    Unconfined,
}

/// A host device, or a directory of devices, made visible inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Device {
    /// Absolute path on the host.
    pub source: PathBuf,
    /// Absolute path inside.
    pub target: PathBuf,
    pub access: DeviceAccess,
}

/// The device cgroup's `rwm`; at least one is set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeviceAccess {
    pub read: bool,
    pub write: bool,
    pub mknod: bool,
}

impl DeviceAccess {
    /// `rwm`, Docker's default.
    pub const ALL: Self = Self {
        read: true,
        write: true,
        mknod: true,
    };

    /// As the device controller has it.
    #[must_use]
    pub fn letters(self) -> String {
        let letters = [(self.read, 'r'), (self.write, 'w'), (self.mknod, 'm')];
        let given = letters.into_iter().filter(|(is_given, _)| *is_given);
        given.map(|(_, letter)| letter).collect()
    }
}

/// Which namespaces are new; `None`: the engine's default.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Namespaces {
    pub pid: Option<Sharing>,
    pub ipc: Option<IpcNamespace>,
    pub uts: Option<Sharing>,
    pub cgroup: Option<Sharing>,
    pub user: Option<UserNamespace>,
    /// `Some`: a time namespace of its own with these offsets.
    pub time: Option<TimeOffsets>,
    /// The UTS namespace's host name; `None`: the short container id.
    pub hostname: Option<String>,
    /// The UTS namespace's NIS domain name (domainname(2)).
    pub domainname: Option<String>,
    /// Namespaced kernel settings by their dotted name: `net.ipv4.ip_forward` → `1`.
    pub sysctls: BTreeMap<String, String>,
}

/// Whose namespace a workload lives in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Sharing {
    Private,
    Host,
    /// Another container, by name or id.
    Container(String),
    /// One that somebody else has made: a file that stands for it, as in `/proc/PID/ns`.
    Namespace(PathBuf),
}

/// Docker's values of `--ipc`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum IpcNamespace {
    /// Its own, without `/dev/shm`.
    None,
    Private,
    /// Its own, and others may join it.
    Shareable,
    Host,
    /// Another container's, by name or id.
    Container(String),
    /// As [`Sharing::Namespace`].
    Namespace(PathBuf),
}

/// How ids inside map to ids of the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum UserNamespace {
    /// No user namespace.
    Host,
    /// A range of ids of its own, picked by the engine.
    Auto,
    /// A user namespace; ids map to themselves where the host allows it.
    Private,
}

/// What the workload's clocks show beyond the host's (time_namespaces(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeOffsets {
    pub monotonic_ns: i64,
    pub boottime_ns: i64,
}
