//! What operations on pods fail with.

use gamut_spec::{Fault, Kind};
use thiserror::Error;

#[derive(Debug, Error)]
pub enum PodError {
    #[error("no such pod: {0}")]
    NoPod(String),
    #[error("invalid pod name `{0}`")]
    Name(String),
    #[error("the container {name} is the infra container of the pod {pod}")]
    Infra { name: String, pod: String },
    #[error("the container {name} of the pod {pod} is running")]
    MemberRuns { name: String, pod: String },
    #[error("the pod {pod} shares namespaces, and has no infra container that would hold them")]
    NoInfra { pod: String },
    #[error("a pod without an infra container cannot have {what}")]
    NothingToShare { what: &'static str },
    #[error("the container {container} is not in the pod {pod}")]
    NotInPod { container: String, pod: String },
    #[error("the limits of a pod need control groups of this user's own, and this host gives none")]
    NoGroups,
    #[error("the record of the pod {pod} is damaged: {error}")]
    Damaged {
        pod: String,
        error: serde_json::Error,
    },
}

impl Fault for PodError {
    fn kind(&self) -> Kind {
        match self {
            PodError::NoPod(_) | PodError::NotInPod { .. } => Kind::NotFound,
            PodError::Infra { .. } | PodError::MemberRuns { .. } => Kind::Conflict,
            PodError::NoGroups => Kind::HostLacks,
            PodError::Name(_)
            | PodError::NoInfra { .. }
            | PodError::NothingToShare { .. }
            | PodError::Damaged { .. } => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            PodError::NoPod(_) => {
                "`gamut pod ps` lists what there is; `gamut pod create` makes one".into()
            }
            PodError::Name(_) => {
                "a name has letters, digits, `_`, `.` and `-`, and begins with a letter or digit"
                    .into()
            }
            PodError::Infra { pod, .. } => {
                format!("it goes with the pod: `gamut pod rm {pod}`")
            }
            PodError::MemberRuns { pod, .. } => {
                format!("stop it first with `gamut pod stop {pod}`, or use `-f`")
            }
            PodError::NoInfra { .. } => {
                "make the pod with `--infra`, or with `--share none`".into()
            }
            PodError::NothingToShare { .. } => "leave it out, or leave out `--infra=false`".into(),
            PodError::NotInPod { pod, .. } => {
                format!("`gamut ps -a --filter pod={pod}` lists those that are")
            }
            PodError::NoGroups => "leave the limits out".into(),
            PodError::Damaged { .. } => "remove the pod with `gamut pod rm -f`".into(),
        })
    }
}
