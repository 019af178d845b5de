//! What a user asks for when a workload is to be made: [`RunRequest`], every field typed.
//!
//! Nothing here is a default: `None`, an empty list and the variants named `Default` mean "the
//! user did not say", and the drawing of the plan decides. The only types are those of `std`
//! and `serde`, so that the document can travel to any room as JSON.

mod check;
mod limits;
mod logs;
mod network;
mod pod;
mod process;
mod secret;
mod security;
mod storage;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use crate::health::{HealthRequest, OnUnhealthy};
pub use crate::level::Level;
pub use crate::restart::RestartPolicy;
pub use check::{RequestError, is_name};
pub use limits::{
    Bound, DeviceWeight, Limits, Operation, Resource, Throttle, ThrottleUnit, Ulimit,
};
pub use logs::{LogConfig, LogMore, SyslogAddress, SyslogFormat};
pub use network::{
    Attachment, Expose, ExtraHost, HostAddress, Network, NetworkMode, PortRange, Publish, Transport,
};
pub use pod::{ExitPolicy, PodNamespace, PodPlace, PodRequest, PodRole};
pub use process::{EnvChange, ExecRequest, Identity, Process, Signal, StopTimeout, Systemd, User};
pub use secret::{SecretForm, SecretUse};
pub use security::{
    Capability, Device, DeviceAccess, DeviceRule, DeviceRuleKind, IpcNamespace, Namespaces,
    Seccomp, Security, Sharing, SystemPaths, TimeOffsets, UserNamespace,
};
pub use storage::{Mount, MountSource, Propagation, Relabel, Storage, TmpfsOptions, VolumesFrom};

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
    #[serde(default)]
    pub restart: RestartPolicy,
    #[serde(default)]
    pub health: HealthRequest,
    /// Containers that are started before it, by name or id; ids once it is made.
    #[serde(default)]
    pub requires: Vec<String>,
    #[serde(default)]
    pub secrets: Vec<SecretUse>,
    /// The pod it is in.
    #[serde(default)]
    pub pod: Option<PodPlace>,
}

impl RunRequest {
    /// Of an image; nothing else is said.
    #[must_use]
    pub fn of_image(image: String) -> Self {
        Self {
            image,
            platform: None,
            pull: PullPolicy::default(),
            name: None,
            labels: BTreeMap::new(),
            annotations: BTreeMap::new(),
            isolation: Isolation::default(),
            min_isolation: None,
            kernel: None,
            process: Process::default(),
            limits: Limits::default(),
            security: Security::default(),
            namespaces: Namespaces::default(),
            network: Network::default(),
            storage: Storage::default(),
            logs: LogConfig::default(),
            after_exit: AfterExit::default(),
            restart: RestartPolicy::default(),
            health: HealthRequest::default(),
            requires: Vec::new(),
            secrets: Vec::new(),
            pod: None,
        }
    }
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

/// What happens to the container once its process has ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AfterExit {
    #[default]
    Keep,
    /// `--rm`: it is removed with its anonymous volumes.
    Remove,
}
