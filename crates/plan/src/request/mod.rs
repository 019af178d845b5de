//! What a user asks for when a workload is to be made: [`RunRequest`], every field typed.
//!
//! Nothing here is a default: `None`, an empty list and the variants named `Default` mean "the
//! user did not say", and the drawing of the plan decides. The only types are those of `std`
//! and `serde`, so that the document can travel to any room as JSON.

mod check;
mod limits;
mod network;
mod process;
mod security;
mod storage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::level::Level;
pub use check::{RequestError, is_name};
pub use limits::{
    Bound, DeviceWeight, Limits, Operation, Resource, Throttle, ThrottleUnit, Ulimit,
};
pub use network::{
    Expose, ExtraHost, HostAddress, Network, NetworkMode, PortRange, Publish, Transport,
};
pub use process::{EnvChange, ExecRequest, Identity, Process, Signal, StopTimeout, User};
pub use security::{
    Capability, Device, DeviceAccess, IpcNamespace, Namespaces, Seccomp, Security, Sharing,
    SystemPaths, TimeOffsets, UserNamespace,
};
pub use storage::{Mount, MountSource, Propagation, Relabel, Storage, TmpfsOptions};

/// One workload, as asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunRequest {
    /// The image reference as typed; `spec`'s reference parser owns its grammar.
    pub image: String,
    /// Which image of a multi-platform index; `None`: the host's own.
    pub platform: Option<Platform>,
    pub pull: PullPolicy,
    /// The container's name; `None`: one is made up.
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    /// OCI annotations, carried into the runtime specification.
    pub annotations: BTreeMap<String, String>,
    pub isolation: Isolation,
    /// The weakest boundary that is acceptable; below it the request is refused.
    pub min_isolation: Option<Level>,
    /// The guest's kernel, at a level that has one: a path, or the name or id of one that is kept.
    #[serde(default)]
    pub kernel: Option<String>,
    pub process: Process,
    pub limits: Limits,
    pub security: Security,
    pub namespaces: Namespaces,
    pub network: Network,
    pub storage: Storage,
    pub logs: LogConfig,
    pub after_exit: AfterExit,
}

/// `os/architecture[/variant]` with the names that OCI indexes use (`linux/arm64/v8`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    pub variant: Option<String>,
}

/// When the registry is asked for the image.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PullPolicy {
    Always,
    #[default]
    Missing,
    /// As missing, but no more of it than is needed to begin.
    Lazy,
    Never,
}

/// Which level is wanted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Isolation {
    /// The engine's default level.
    #[default]
    Default,
    /// The cheapest level that meets the floor.
    Auto,
    #[serde(untagged)]
    Level(Level),
}

/// Where the workload's output is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum LogConfig {
    /// Docker's `json-file`: one JSON object a line, rotated by size.
    JsonFile {
        /// `None`: a file may grow without end.
        max_size_bytes: Option<u64>,
        /// Files kept, the current one included; at least 1.
        max_files: u32,
    },
    /// Output is not kept; `logs` has nothing to show.
    None,
}

impl Default for LogConfig {
    fn default() -> Self {
        Self::JsonFile {
            max_size_bytes: None,
            max_files: 1,
        }
    }
}

/// What happens to the container once its process has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterExit {
    #[default]
    Keep,
    /// `--rm`: it is removed with its anonymous volumes.
    Remove,
}
