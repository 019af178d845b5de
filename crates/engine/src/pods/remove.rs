//! Removing a pod: its members, then what they shared, then its row. Who is killed half-way leaves a pod
//! with fewer containers, which the next removal goes on with.

use gamut_spec::{Fault, Kind};

use super::{PodError, PodState, PodView};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::start::Force;

impl Engine {
    /// Removes a pod with its containers; gives its id. That its infra container runs does not matter.
    ///
    /// # Errors
    /// Without [`Force::Yes`]: [`PodError::MemberRuns`], and nothing is removed.
    pub fn remove_pod(&mut self, named: &str, force: Force) -> Result<String, EngineError> {
        let pod = self.pod(named)?;
        let running = pod.members().find(|one| one.status.is_live());
        if let Some(running) = running.filter(|_| force == Force::No) {
            return Err(PodError::MemberRuns {
                name: running.row.name.clone(),
                pod: pod.row.name.clone(),
            }
            .into());
        }
        for member in pod.members().rev() {
            gone(self.remove(&member.row.id, force))?;
        }
        if let Some(infra) = pod.infra() {
            gone(self.remove_infra(&infra.row.id))?;
        }
        self.forget_pod(&pod.row.id)?;
        self.tell_of_pod(&pod.row, "remove");
        Ok(pod.row.id)
    }

    /// Removes pods that do not run, as far as `takes` takes them; gives their ids.
    ///
    /// # Errors
    /// The first that could not be removed.
    pub fn prune_pods(
        &mut self,
        takes: impl Fn(&PodView) -> bool,
    ) -> Result<Vec<String>, EngineError> {
        let mut removed = Vec::new();
        for pod in self.pods()? {
            let has_ended = matches!(pod.state(), PodState::Stopped | PodState::Exited);
            if !has_ended || !takes(&pod) {
                continue;
            }
            match self.remove_pod(&pod.row.id, Force::No) {
                Ok(id) => removed.push(id),
                // Somebody has started it, or removes it as well.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Strikes a pod out whose containers are gone.
    pub(super) fn forget_pod(&mut self, id: &str) -> Result<(), EngineError> {
        self.remove_pod_group(id);
        self.store
            .db_mut()
            .write(|transaction| transaction.remove_pod(id))?;
        Ok(())
    }
}

/// What is gone is gone.
fn gone(removed: Result<String, EngineError>) -> Result<(), EngineError> {
    match removed {
        Err(error) if error.kind() != Kind::NotFound => Err(error),
        _ => Ok(()),
    }
}
