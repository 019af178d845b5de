//! Taking networks away: marked first, then off the host, then forgotten.

use gamut_net::names::Names;
use gamut_store::db::{self, DbError};

use super::create::PREDEFINED;
use super::list::{NetworkView, view_of};
use super::{NetworksError, id_of, on_host};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{self, Event, Kind};

impl Engine {
    /// Removes a network that no container has a place on. Gives its name.
    ///
    /// # Errors
    /// There is none, it is always there, or it is in use.
    pub fn remove_network(&mut self, named: &str) -> Result<String, EngineError> {
        let view = self.network(named)?;
        if PREDEFINED.contains(&view.name.as_str()) {
            return Err(NetworksError::Fixed(view.name).into());
        }
        self.retire(&view.name)?;
        Ok(view.name)
    }

    /// Removes every network that was made, that no container has a place on, and that `takes` picks.
    /// Gives their names.
    ///
    /// # Errors
    /// The first one that could not be removed.
    pub fn prune_networks(
        &mut self,
        takes: impl Fn(&NetworkView) -> bool,
    ) -> Result<Vec<String>, EngineError> {
        let mut removed = Vec::new();
        // Not `networks`, which makes the default one: a prune must work on a full disk.
        for view in self.store.db().networks()?.into_iter().map(view_of) {
            if view.is_predefined() || !takes(&view) {
                continue;
            }
            match self.retire(&view.name) {
                Ok(()) => removed.push(view.name),
                Err(EngineError::Networks(NetworksError::InUse { .. })) => {}
                Err(error) if crate::start::error_is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Ends removals that were cut. Gives the names.
    pub(crate) fn finish_removals(&mut self) -> Result<Vec<String>, EngineError> {
        let rows = self.store.db().networks()?;
        let leaving = rows.into_iter().filter(|row| row.options.is_leaving);
        let mut removed = Vec::new();
        for row in leaving {
            match self.retire(&row.name) {
                Ok(()) => removed.push(row.name),
                // Somebody else did it.
                Err(error) if crate::start::error_is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    fn retire(&mut self, name: &str) -> Result<(), EngineError> {
        let row = self
            .store
            .db_mut()
            .write(|transaction| transaction.retire_network(name))
            .map_err(in_use)?;
        self.off_host(&row)?;
        self.store
            .db_mut()
            .write(|transaction| transaction.remove_network(name))?;
        self.tell_of_network(&row, "destroy", None);
        Ok(())
    }

    /// Says what happened to a network, to which container there.
    pub(crate) fn tell_of_network(&self, row: &db::Network, action: &str, whom: Option<&str>) {
        let mut all = events::attributes([("name", &*row.name), ("type", "bridge")]);
        all.extend(whom.map(|id| ("container".to_owned(), id.to_owned())));
        self.tell(&Event::now(Kind::Network, action, &id_of(row), all));
    }

    /// Takes a network's bridge, and what the packet filter has of it, away.
    pub(crate) fn off_host(&self, row: &db::Network) -> Result<(), EngineError> {
        let table = self.instance().bridge;
        if let Some(network) = on_host(row, &table) {
            network.remove()?;
        }
        Names::new(&self.dirs.run_root, &id_of(row)).remove();
        Ok(())
    }
}

fn in_use(error: DbError) -> EngineError {
    match error {
        DbError::NetworkInUse { network, container } => {
            NetworksError::InUse { network, container }.into()
        }
        other => other.into(),
    }
}
