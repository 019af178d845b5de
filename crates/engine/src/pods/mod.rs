//! Pods: containers that are kept together and share namespaces, which one among them, the *infra* container,
//! holds. A pod is a row; its members' rows name it. What it is doing is what they are doing, and nothing
//! else is written down.

mod create;
mod error;
mod group;
mod member;
mod remove;

use std::collections::BTreeMap;

use gamut_plan::Phase;
use gamut_plan::request::{PodRequest, RunRequest};
use gamut_store::db;
pub use gamut_store::db::InPod;

pub use create::{NewPod, PAUSE};
pub use error::PodError;
pub(crate) use group::PREFIX;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::start::View;

/// A pod with its containers, in the order in which they were made.
#[derive(Debug, Clone)]
pub struct PodView {
    pub row: db::Pod,
    pub request: PodRequest,
    pub containers: Vec<View>,
}

/// Podman's states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PodState {
    /// Nothing in it was started.
    Created,
    /// All run.
    Running,
    /// Some run.
    Degraded,
    Paused,
    /// Some have ended; the others were not started.
    Stopped,
    /// All have ended.
    Exited,
}

impl PodState {
    /// As in `pod ps`.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Created => "Created",
            Self::Running => "Running",
            Self::Degraded => "Degraded",
            Self::Paused => "Paused",
            Self::Stopped => "Stopped",
            Self::Exited => "Exited",
        }
    }

    fn of(phases: &[Phase]) -> Self {
        let count = |meant: fn(&Phase) -> bool| phases.iter().filter(|phase| meant(phase)).count();
        let running = count(|phase| matches!(phase, Phase::Running | Phase::Restarting));
        let paused = count(|phase| *phase == Phase::Paused);
        let ended = count(|phase| matches!(phase, Phase::Exited | Phase::Failed));
        match phases.len() {
            0 => Self::Created,
            all if running == all => Self::Running,
            _ if running > 0 => Self::Degraded,
            all if paused == all => Self::Paused,
            all if ended == all => Self::Exited,
            _ if ended > 0 => Self::Stopped,
            _ => Self::Created,
        }
    }
}

impl PodView {
    #[must_use]
    pub fn state(&self) -> PodState {
        let phases: Vec<Phase> = self.containers.iter().map(|one| one.status.phase).collect();
        PodState::of(&phases)
    }

    /// The one whose namespaces the others share.
    #[must_use]
    pub fn infra(&self) -> Option<&View> {
        self.containers.iter().find(|one| is_infra(one))
    }

    /// All but that.
    pub fn members(&self) -> impl DoubleEndedIterator<Item = &View> {
        self.containers.iter().filter(|one| !is_infra(one))
    }

    /// What its infra container was made with.
    #[must_use]
    pub fn infra_request(&self) -> Option<RunRequest> {
        self.infra()
            .and_then(|infra| serde_json::from_str(&infra.row.request).ok())
    }
}

/// Whether a container holds its pod's namespaces.
#[must_use]
pub fn is_infra(view: &View) -> bool {
    view.row.pod.as_ref().is_some_and(|pod| pod.is_infra)
}

impl Engine {
    /// The pod that a user means.
    ///
    /// # Errors
    /// [`gamut_spec::Kind::NotFound`].
    pub fn pod(&mut self, named: &str) -> Result<PodView, EngineError> {
        let row = self.pod_row(named)?;
        let mut containers = Vec::new();
        for one in self.store.db().containers_of_pod(&row.id)? {
            let status = self.settle(&one)?;
            containers.push(View { row: one, status });
        }
        let request = request_of(&row)?;
        Ok(PodView {
            row,
            request,
            containers,
        })
    }

    /// The id of the pod that a user means.
    ///
    /// # Errors
    /// [`gamut_spec::Kind::NotFound`].
    pub fn pod_id(&self, named: &str) -> Result<String, EngineError> {
        Ok(self.pod_row(named)?.id)
    }

    fn pod_row(&self, named: &str) -> Result<db::Pod, EngineError> {
        match self.store.db().pod(named) {
            Err(db::DbError::NotFound { name, .. }) => Err(PodError::NoPod(name).into()),
            other => Ok(other?),
        }
    }

    /// All pods, the latest first.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn pods(&mut self) -> Result<Vec<PodView>, EngineError> {
        let mut of_pods: BTreeMap<String, Vec<View>> = BTreeMap::new();
        for view in self.containers()? {
            if let Some(pod) = &view.row.pod {
                of_pods.entry(pod.id.clone()).or_default().push(view);
            }
        }
        let mut views = Vec::new();
        for row in self.store.db().pods()? {
            let mut containers = of_pods.remove(&row.id).unwrap_or_default();
            containers.sort_by_key(|one| one.row.created_ns);
            views.push(PodView {
                request: request_of(&row)?,
                row,
                containers,
            });
        }
        Ok(views)
    }
}

fn request_of(row: &db::Pod) -> Result<PodRequest, EngineError> {
    serde_json::from_str(&row.request).map_err(|error| {
        let pod = row.name.clone();
        PodError::Damaged { pod, error }.into()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_in_the_state_of_its_containers() {
        let cases: [(&[Phase], PodState); 8] = [
            (&[], PodState::Created),
            (&[Phase::Created, Phase::Created], PodState::Created),
            (&[Phase::Running, Phase::Running], PodState::Running),
            (&[Phase::Running, Phase::Exited], PodState::Degraded),
            (&[Phase::Running, Phase::Paused], PodState::Degraded),
            (&[Phase::Paused, Phase::Paused], PodState::Paused),
            (&[Phase::Exited, Phase::Exited], PodState::Exited),
            (&[Phase::Exited, Phase::Created], PodState::Stopped),
        ];
        for (phases, state) in cases {
            assert_eq!(PodState::of(phases), state, "{phases:?}");
        }
    }
}
