//! `network connect` and `disconnect`. Who holds a container's lock writes its plan: the keeper of one that
//! runs, this command otherwise. The lease is taken before, and given back after.

use gamut_plan::LaunchPlan;
use gamut_plan::draw::DrawError;
use gamut_plan::places::PlaceError;
use gamut_plan::request::{Attachment, RunRequest};
use gamut_plan::wire::Joining;
use gamut_store::db;

use super::{LeaseOf, NetworksError, addresses, id_of, texts};
use crate::client::{Client, ClientError};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::record;

impl Engine {
    /// Has a container join a network, at once if it runs.
    ///
    /// # Errors
    /// There is none of the name, or it cannot be there; nothing has changed then.
    pub fn join_network(&mut self, named: &str, asked: &Attachment) -> Result<(), EngineError> {
        let row = self.store.db().container(named)?;
        let network = self.network_to_join(&asked.network)?;
        let id = id_of(&network);
        let plan = record::read_plan(&self.dirs.container(&row.id))?;
        check_level(&plan, "network connect")?;
        plan.can_join(&id)
            .map_err(|error| impossible(&row, &network, error))?;
        let request: Option<RunRequest> = serde_json::from_str(&row.request).ok();
        let names = request.as_ref().map(|request| &request.namespaces);
        let whose = LeaseOf {
            id: &row.id,
            name: &row.name,
            hostname: names.and_then(|names| names.hostname.as_deref()),
        };
        let endpoint = self.lease_network(&whose, asked, 0)?;
        let had_names =
            |plan: &LaunchPlan| places(plan).iter().any(|place| !place.names.is_empty());
        let begins = !had_names(&plan) && !endpoint.names.is_empty();
        let resolv_conf = match request.filter(|_| begins) {
            None => None,
            Some(request) => {
                let hostname = plan.spec.hostname().clone().unwrap_or_default();
                let own = addresses(std::slice::from_ref(&endpoint), None, plan.level);
                texts(&request, &hostname, &own).2
            }
        };
        let joining = Joining {
            endpoint,
            resolv_conf,
        };
        let done = self.change(
            &row,
            &network,
            |keeper| keeper.join(joining.clone()),
            |plan| {
                let joining = joining.clone();
                plan.join(joining.endpoint, joining.resolv_conf).map(drop)
            },
        );
        match done {
            Ok(()) => self.tell_of_network(&network, "connect", Some(&row.id)),
            Err(_) => drop(self.release(&network, &row)?),
        }
        done
    }

    /// Has a container leave a network, at once if it runs.
    ///
    /// # Errors
    /// There is none of the name, or it is not there.
    pub fn leave_network(&mut self, named: &str, network: &str) -> Result<(), EngineError> {
        let row = self.store.db().container(named)?;
        let network = self.network_to_join(network)?;
        let id = id_of(&network);
        let plan = record::read_plan(&self.dirs.container(&row.id))?;
        check_level(&plan, "network disconnect")?;
        if places(&plan).iter().any(|place| place.network_id == id) {
            self.change(
                &row,
                &network,
                |keeper| keeper.leave(&id),
                |plan| plan.leave(&id).map(drop),
            )?;
        }
        // What a command that was cut has leased goes as well.
        match self.release(&network, &row)? {
            true => {
                self.tell_of_network(&network, "disconnect", Some(&row.id));
                Ok(())
            }
            false => Err(impossible(&row, &network, PlaceError::Absent)),
        }
    }

    fn network_to_join(&mut self, named: &str) -> Result<db::Network, EngineError> {
        let view = self.network(named)?;
        let name = view.name;
        view.row.ok_or_else(|| NetworksError::NoPlaces(name).into())
    }

    fn release(&mut self, network: &db::Network, row: &db::Container) -> Result<bool, EngineError> {
        let released = self
            .store
            .db_mut()
            .write(|transaction| transaction.release_in(&network.name, &row.id));
        Ok(released?)
    }

    /// Has the keeper change what it keeps, or changes the plan of what nobody keeps.
    fn change(
        &mut self,
        row: &db::Container,
        network: &db::Network,
        live: impl Fn(&mut Client) -> Result<(), ClientError>,
        still: impl Fn(&mut LaunchPlan) -> Result<(), PlaceError>,
    ) -> Result<(), EngineError> {
        let dirs = self.dirs.container(&row.id);
        // One that ends, or starts, meanwhile is looked at again.
        for _ in 0..3 {
            self.settle(row)?;
            match Client::connect(&dirs) {
                Ok(mut keeper) => match live(&mut keeper) {
                    Err(ClientError::Gone | ClientError::NotRunning) => continue,
                    other => return Ok(other?),
                },
                Err(ClientError::NotRunning) => {}
                Err(error) => return Err(error.into()),
            }
            let Some(_lock) = record::try_lock(&dirs)? else {
                continue;
            };
            let mut plan = record::read_plan(&dirs)?;
            still(&mut plan).map_err(|error| impossible(row, network, error))?;
            record::write_plan(&dirs, &plan, |_| {})?;
            return Ok(());
        }
        Err(EngineError::Busy {
            name: row.name.clone(),
        })
    }
}

fn places(plan: &LaunchPlan) -> &[gamut_plan::launch::Endpoint] {
    match &plan.network {
        gamut_plan::launch::NetworkPlan::Bridge(bridged) => &bridged.endpoints,
        _ => &[],
    }
}

fn check_level(plan: &LaunchPlan, verb: &'static str) -> Result<(), EngineError> {
    match plan.level.has_own_kernel() {
        true => Err(DrawError::NotAtLevel {
            flag: verb,
            level: plan.level,
        }
        .into()),
        false => Ok(()),
    }
}

fn impossible(row: &db::Container, network: &db::Network, why: PlaceError) -> EngineError {
    NetworksError::Place {
        container: row.name.clone(),
        network: network.name.clone(),
        why,
    }
    .into()
}
