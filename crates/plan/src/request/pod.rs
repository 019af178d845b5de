//! Pods: workloads that are kept together, and the one among them whose namespaces the others share.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::{Limits, RestartPolicy};

/// What a pod gives to who is made in it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodRequest {
    /// Which namespaces of the infra container are everybody's.
    pub share: BTreeSet<PodNamespace>,
    /// Whether there is an infra container.
    pub infra: bool,
    /// Whether the members' control groups are below the pod's.
    pub share_parent: bool,
    /// Of who says nothing.
    pub restart: RestartPolicy,
    #[serde(default)]
    pub exit_policy: ExitPolicy,
    /// Of all members together.
    pub limits: Limits,
    /// The command line that made it.
    pub command: Vec<String>,
}

/// What of an infra container can be shared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodNamespace {
    Cgroup,
    Ipc,
    Net,
    Pid,
    Uts,
}

impl PodNamespace {
    pub const ALL: [Self; 5] = [Self::Cgroup, Self::Ipc, Self::Net, Self::Pid, Self::Uts];
    /// Podman's.
    pub const DEFAULT: [Self; 3] = [Self::Ipc, Self::Net, Self::Uts];

    /// As in `--share`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Cgroup => "cgroup",
            Self::Ipc => "ipc",
            Self::Net => "net",
            Self::Pid => "pid",
            Self::Uts => "uts",
        }
    }
}

/// What becomes of the infra container when no member runs any more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExitPolicy {
    #[default]
    Continue,
    Stop,
}

impl ExitPolicy {
    /// As in `--exit-policy`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Continue => "continue",
            Self::Stop => "stop",
        }
    }
}

/// A workload's place in a pod.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodPlace {
    /// Its name or id; the id once the workload is made.
    pub pod: String,
    pub role: PodRole,
    /// The pod's, once the workload is made.
    #[serde(default)]
    pub exit_policy: ExitPolicy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PodRole {
    Member,
    /// It holds what the members share, and does nothing by itself.
    Infra,
}
