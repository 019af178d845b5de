//! Another name for a container.

use gamut_plan::launch::NetworkPlan;

use gamut_store::db::DbError;

use crate::client::{Client, ClientError};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::{names, record};

impl Engine {
    /// Calls a container by another name from now on; whether it runs does not matter.
    ///
    /// # Errors
    /// The name is none, its own, or another's.
    pub fn rename(&mut self, named: &str, name: &str) -> Result<(), EngineError> {
        if !names::is_container_name(name) {
            return Err(EngineError::Name(name.to_owned()));
        }
        let row = self.store.db().container(named)?;
        if row.name == name {
            let (name, holder) = (row.name, row.id);
            return Err(DbError::NameTaken { name, holder }.into());
        }
        self.store
            .db_mut()
            .write(|transaction| transaction.rename_container(&row.id, name))?;
        let old = row.name.clone();
        let row = gamut_store::db::Container {
            name: name.to_owned(),
            ..row
        };
        self.tell_of_container(&row, "rename", [("oldName", &old)]);
        // The plan tells its workload's own things by it; the row is what counts.
        let dirs = self.dirs.container(&row.id);
        let mut plan = record::read_plan(&dirs)?;
        plan.name = name.to_owned();
        if let NetworkPlan::Bridge(bridged) = &mut plan.network {
            for endpoint in &mut bridged.endpoints {
                endpoint.call(name);
            }
        }
        record::write_plan(&dirs, &plan, |_| {})?;
        // On its networks it is found by the new name, if it is there.
        match Client::connect(&dirs).and_then(|mut keeper| keeper.rename(name)) {
            Err(ClientError::NotRunning | ClientError::Gone) | Ok(()) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}
