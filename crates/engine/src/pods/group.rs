//! The control group that the groups of a pod's containers are below, with the limits of all together. It is
//! made before one of them is started, because a boot takes it away, and goes with the pod.

use gamut_container::cgroup::{Cgroup, Hierarchies, Needs};
use gamut_plan::draw;
use gamut_plan::launch::Grouping;
use gamut_plan::request::{Limits, RunRequest};

use super::request_of;
use crate::engine::Engine;
use crate::error::EngineError;

/// What the group of a pod begins with; an id follows.
pub(crate) const PREFIX: &str = "pod_";

impl Engine {
    /// Where the groups of a pod's containers are.
    #[must_use]
    pub fn pod_group(&self, id: &str) -> String {
        format!("{}/{PREFIX}{id}", self.instance().cgroup)
    }

    /// Below which group that of a container is made.
    pub(crate) fn group_parent(&self, request: &RunRequest) -> Result<String, EngineError> {
        if let Some(place) = &request.pod
            && let Some(pod) = self.store.db().pod_by_id(&place.pod)?
            && request_of(&pod)?.share_parent
        {
            return Ok(self.pod_group(&pod.id));
        }
        Ok(self.instance().cgroup)
    }

    /// Makes ready what a container of a pod needs before it is started.
    ///
    /// # Errors
    /// When the group cannot be made, or its limits cannot be had.
    pub fn prepare_pod(&self, id: &str) -> Result<(), EngineError> {
        let Some(pod) = self.store.db().pod_by_id(id)? else {
            return Ok(());
        };
        let request = request_of(&pod)?;
        if request.limits == Limits::default() || self.host().grouping() != Grouping::Own {
            return Ok(());
        }
        let limits = draw::limits(&request.limits, self.host().cpus)?;
        let group = Cgroup::adopt(
            &Hierarchies::discover()?,
            &self.pod_group(id),
            &Needs::of(&limits),
        )?;
        group.apply(&limits)?;
        Ok(())
    }

    /// Takes the group of a pod away; what cannot be now is found by the next repair.
    pub(crate) fn remove_pod_group(&self, id: &str) {
        if let Ok(hierarchies) = Hierarchies::discover()
            && let Ok(group) = Cgroup::open(&hierarchies, &self.pod_group(id))
        {
            let _ = group.kill_all();
            let _ = group.remove();
        }
    }
}
