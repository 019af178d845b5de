//! Other limits for a container that is there.

use gamut_plan::draw;
use gamut_plan::request::Limits;
use gamut_plan::request::RunRequest;

use crate::client::ClientError;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::record;

impl Engine {
    /// Changes those limits that `changes` says something of. They are written down first, so that the next
    /// start has them; a keeper that refuses them takes them back.
    ///
    /// # Errors
    /// Limits that contradict each other or that this host or level cannot have.
    pub fn update(&mut self, named: &str, changes: &Limits) -> Result<(), EngineError> {
        let view = self.container(named)?;
        let id = &view.row.id;
        let dirs = self.dirs.container(id);
        let plan = record::read_plan(&dirs)?;
        let mut request: RunRequest = serde_json::from_str(&view.row.request)
            .map_err(|error| EngineError::Request(error.to_string()))?;
        request.limits.change(changes);
        draw::check(plan.level, &request)?;
        let drawn = draw::limits(&request.limits, self.host().cpus)?;
        let mut changed = plan.clone();
        if let Some(resources) = changed
            .spec
            .linux_mut()
            .as_mut()
            .and_then(|linux| linux.resources_mut().as_mut())
        {
            resources.set_memory(*drawn.memory());
            resources.set_cpu(drawn.cpu().clone());
            resources.set_pids(*drawn.pids());
            let weight = drawn.block_io().as_ref().and_then(|block| block.weight());
            if weight.is_some() {
                let mut block = resources.block_io().clone().unwrap_or_default();
                block.set_weight(weight);
                resources.set_block_io(Some(block));
            }
        }
        let document = serde_json::to_string(&request)
            .map_err(|error| EngineError::Request(error.to_string()))?;
        self.keep_limits(id, &document, &changed)?;
        let refused = match self.connect(id).and_then(|mut keeper| keeper.update(drawn)) {
            Ok(()) | Err(ClientError::NotRunning | ClientError::Gone) => {
                self.tell_of_container(&view.row, "update", []);
                return Ok(());
            }
            Err(error) => error,
        };
        self.keep_limits(id, &view.row.request, &plan)?;
        Err(refused.into())
    }

    fn keep_limits(
        &mut self,
        id: &str,
        request: &str,
        plan: &gamut_plan::LaunchPlan,
    ) -> Result<(), EngineError> {
        let store = self.store.db_mut();
        store.write(|transaction| transaction.change_request(id, request))?;
        record::write_plan(&self.dirs.container(id), plan, |_| {})?;
        Ok(())
    }
}
