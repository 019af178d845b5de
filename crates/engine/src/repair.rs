//! Putting right what was cut: a keeper that was killed, a command that died half-way, a machine
//! that lost its power. Idempotent, and harmless beside the living.

use std::collections::BTreeSet;

use gamut_container::cgroup::{Cgroup, Hierarchies};
use gamut_net::nft::Table;
use gamut_plan::launch::NetworkPlan;
use gamut_plan::{Phase, Status};
use gamut_store::db;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::keeper::{egress, naming};
use crate::pods;
use crate::record;
use crate::start::View;
use crate::volumes::borrowers;

/// 128 + SIGKILL: what a workload dies of when its keeper does.
const KILLED: i32 = 137;

/// What [`Engine::repair`] did, a line each, and the containers that there are.
#[derive(Debug)]
pub struct Repaired {
    pub done: Vec<String>,
    pub containers: Vec<View>,
}

impl Engine {
    /// The status of a container, after what a dead keeper left was cleared away.
    pub(crate) fn settle(&self, row: &db::Container) -> Result<Status, EngineError> {
        let dirs = self.dirs.container(&row.id);
        let status = record::read_status(&dirs)?;
        if !status.is_live() || record::is_kept(&dirs) {
            return Ok(status);
        }
        // Only one repairs; a start that holds the lock is newer than what we read.
        let Some(_lock) = record::try_lock(&dirs)? else {
            return Ok(record::read_status(&dirs)?);
        };
        let status = record::read_status(&dirs)?;
        if !status.is_live() {
            return Ok(status);
        }
        self.clear_host(&row.id);
        let same_boot = status.boot_id == record::boot_id();
        let why = if same_boot {
            "its keeper was killed"
        } else {
            "the machine was restarted"
        };
        let repaired = Status {
            phase: Phase::Exited,
            pid: 0,
            exit_code: if status.phase == Phase::Starting {
                128
            } else {
                KILLED
            },
            error: why.into(),
            finished_at_ns: record::now_ns(),
            ports: Vec::new(),
            ..status
        };
        record::write_status(&dirs, &repaired)?;
        let _ = std::fs::remove_file(dirs.run().join(gamut_plan::wire::SOCKET_NAME));
        Ok(repaired)
    }

    /// Ends what may still run of a container without a keeper, and takes its traces off the
    /// host: cgroup, names and published ports. Namespaces, mounts and links go with the processes.
    pub(crate) fn clear_host(&self, id: &str) {
        let instance = self.instance();
        if let Ok(hierarchies) = Hierarchies::discover()
            && let Ok(group) = Cgroup::open(&hierarchies, &self.group_of(id))
        {
            let _ = group.kill_all();
            let _ = group.thaw();
            let _ = group.remove();
        }
        let plan = record::read_plan(&self.dirs.container(id));
        if let Ok(plan) = &plan {
            egress::clear_after(id, &plan.network);
        }
        if let Ok(plan) = plan
            && let NetworkPlan::Bridge(bridged) = &plan.network
        {
            for place in &bridged.endpoints {
                naming::forget(&self.dirs.run_root, id, place);
            }
        }
        if let Ok(mut table) = Table::open(&instance.bridge)
            && matches!(table.exists(), Ok(true))
        {
            let _ = table.remove_owned_by(&[id]);
        }
    }

    /// The control group of a container, be it in a pod's.
    fn group_of(&self, id: &str) -> String {
        let plan = record::read_plan(&self.dirs.container(id)).ok();
        let linux = plan.as_ref().and_then(|plan| plan.spec.linux().as_ref());
        let path = linux.and_then(|linux| linux.cgroups_path().as_ref());
        path.map_or_else(
            || format!("{}/{id}", self.instance().cgroup),
            |path| path.to_string_lossy().trim_matches('/').to_owned(),
        )
    }

    /// Clears away what dead keepers left of the containers that are known: what a command does
    /// that has time.
    ///
    /// # Errors
    /// When the database cannot be read.
    pub fn repair_in_passing(&mut self) -> Result<(), EngineError> {
        self.containers().map(drop)
    }

    /// Everything: containers, leftovers in the store, cgroups and rules that nobody owns.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn repair(&mut self) -> Result<Repaired, EngineError> {
        let before = self.store.db().container_names()?;
        let containers = self.containers()?;
        let after: BTreeSet<&str> = containers.iter().map(|v| v.row.id.as_str()).collect();
        let mut done: Vec<String> = before
            .iter()
            .filter(|(id, _)| !after.contains(id.as_str()))
            .map(|(_, name)| format!("removed the container {name}"))
            .collect();
        let report = self.store.repair()?;
        done.extend(
            report
                .removed
                .iter()
                .map(|path| format!("removed {}", path.display())),
        );
        let released = self.release_images()?;
        done.extend(
            released
                .iter()
                .map(|path| format!("unmounted {}", path.display())),
        );
        self.remove_stale_cgroups(&mut done)?;
        self.remove_stale_rules(&mut done)?;
        let networks = self.finish_removals()?;
        done.extend(
            networks
                .iter()
                .map(|name| format!("removed the network {name}")),
        );
        self.remove_stale_run_directories(&mut done)?;
        let volumes = self.remove_stale_volumes()?;
        done.extend(
            volumes
                .iter()
                .map(|name| format!("removed {}", self.dirs.volumes().join(name).display())),
        );
        Ok(Repaired { done, containers })
    }

    /// Which traces on the host are nobody's. A container has its row before anything else, so
    /// what was seen first and has no row now is left over, whatever is being made meanwhile.
    fn nobodys(&self, ids: Vec<String>) -> Result<Vec<String>, EngineError> {
        Ok(self.store.db().without_container(ids)?)
    }

    fn remove_stale_cgroups(&self, done: &mut Vec<String>) -> Result<(), EngineError> {
        let parent = self.instance().cgroup;
        let Ok(hierarchies) = Hierarchies::discover() else {
            return Ok(());
        };
        let groups = Cgroup::list(&hierarchies, &parent).unwrap_or_default();
        let (pods, groups): (Vec<_>, Vec<_>) = groups
            .into_iter()
            .partition(|name| name.starts_with(pods::PREFIX));
        for name in pods {
            self.remove_stale_pod_group(&hierarchies, &format!("{parent}/{name}"), done)?;
        }
        for id in self.nobodys(groups)? {
            self.clear_host(&id);
            done.push(format!("removed the cgroup {parent}/{id}"));
        }
        Ok(())
    }

    fn remove_stale_pod_group(
        &self,
        hierarchies: &Hierarchies,
        path: &str,
        done: &mut Vec<String>,
    ) -> Result<(), EngineError> {
        let id = path.rsplit(pods::PREFIX).next().unwrap_or_default();
        // What was made since has its row before its group.
        let stale = match self.store.db().pod_by_id(id)? {
            None => vec![path.to_owned()],
            Some(_) => {
                let members = Cgroup::list(hierarchies, path).unwrap_or_default();
                let stale = self.nobodys(members)?;
                stale.iter().map(|id| format!("{path}/{id}")).collect()
            }
        };
        for path in stale {
            if let Ok(group) = Cgroup::open(hierarchies, &path) {
                let _ = group.kill_all();
                let _ = group.thaw();
                let _ = group.remove();
                done.push(format!("removed the cgroup {path}"));
            }
        }
        Ok(())
    }

    fn remove_stale_rules(&self, done: &mut Vec<String>) -> Result<(), EngineError> {
        let table = self.instance().bridge;
        for owner in self.nobodys(gamut_net::egress::owners(&table).unwrap_or_default())? {
            let own = gamut_net::egress::table_of(&table, &owner);
            if gamut_net::egress::forget(&own).is_ok() {
                done.push(format!("removed the table netdev {own}"));
            }
        }
        let Ok(mut table) = Table::open(&table) else {
            return Ok(());
        };
        if !matches!(table.exists(), Ok(true)) {
            return Ok(());
        }
        let elements = table.list_elements().unwrap_or_default();
        let owners: BTreeSet<String> = elements.into_iter().map(|element| element.owner).collect();
        for owner in self.nobodys(owners.into_iter().collect())? {
            if table.remove_owned_by(&[&owner]).is_ok() {
                done.push(format!("unpublished the ports of {owner}"));
            }
        }
        Ok(())
    }

    fn remove_stale_run_directories(&self, done: &mut Vec<String>) -> Result<(), EngineError> {
        let Ok(entries) = std::fs::read_dir(&self.dirs.run_root) else {
            return Ok(());
        };
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().into_string());
        let ids = names.flatten().filter(|name| name.len() == 64).collect();
        for id in self.nobodys(ids)? {
            let dirs = self.dirs.container(&id);
            if !record::is_kept(&dirs) && std::fs::remove_dir_all(dirs.run()).is_ok() {
                done.push(format!("removed {}", dirs.run().display()));
            }
        }
        Ok(())
    }

    /// Volumes whose removal was cut, and anonymous ones whose container is gone. A container has its row before its volumes, so
    /// one that is seen without a row afterwards is nobody's. Returns their names.
    pub(crate) fn remove_stale_volumes(&self) -> Result<Vec<String>, EngineError> {
        let Ok(entries) = std::fs::read_dir(self.dirs.volumes()) else {
            return Ok(Vec::new());
        };
        let names = entries
            .flatten()
            .map(|entry| entry.file_name().into_string());
        let ids = names
            .flatten()
            .filter_map(|name| Some(name.strip_prefix("of-")?.to_owned()));
        let mut removed = Vec::new();
        for name in crate::volumes::going(&self.dirs.volumes()) {
            if std::fs::remove_dir_all(self.dirs.volumes().join(&name)).is_ok() {
                removed.push(name);
            }
        }
        for id in self.nobodys(ids.collect())? {
            let name = format!("of-{id}");
            let directory = self.dirs.volumes().join(&name);
            let borrowers = borrowers(&directory);
            let gone = self.nobodys(borrowers.clone())?;
            if gone.len() == borrowers.len() && std::fs::remove_dir_all(&directory).is_ok() {
                removed.push(name);
            }
        }
        Ok(removed)
    }
}
