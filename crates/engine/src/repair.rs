//! Putting right what was cut: a keeper that was killed, a command that died half-way, a machine
//! that lost its power. Idempotent, and harmless beside the living.

use std::collections::BTreeSet;

use gamut_container::cgroup::{Cgroup, Hierarchies};
use gamut_net::nft::Table;
use gamut_plan::{Phase, Status};
use gamut_store::db;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::record;

/// 128 + SIGKILL: what a workload dies of when its keeper does.
const KILLED: i32 = 137;

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
    /// host: cgroup and published ports. Namespaces, mounts and links go with the processes.
    pub(crate) fn clear_host(&self, id: &str) {
        let instance = self.instance();
        if let Ok(hierarchies) = Hierarchies::discover()
            && let Ok(group) = Cgroup::open(&hierarchies, &format!("{}/{id}", instance.cgroup))
        {
            let _ = group.kill_all();
            let _ = group.thaw();
            let _ = group.remove();
        }
        if let Ok(mut table) = Table::open(&instance.bridge)
            && matches!(table.exists(), Ok(true))
        {
            let _ = table.remove_owned_by(&[id]);
        }
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
    /// Returns what was done, a line each.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn repair(&mut self) -> Result<Vec<String>, EngineError> {
        let before = self.store.db().containers()?;
        let after: BTreeSet<String> = self.containers()?.into_iter().map(|v| v.row.id).collect();
        let mut done: Vec<String> = before
            .iter()
            .filter(|row| !after.contains(&row.id))
            .map(|row| format!("removed the container {}", row.name))
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
        self.remove_stale_run_directories(&mut done)?;
        let volumes = self.remove_stale_volumes()?;
        done.extend(
            volumes
                .iter()
                .map(|name| format!("removed {}", self.dirs.volumes().join(name).display())),
        );
        Ok(done)
    }

    /// Whether a trace on the host is nobody's. A container has its row before anything else, so
    /// what was seen first and has no row now is left over, whatever is being made meanwhile.
    fn is_nobodys(&self, id: &str) -> Result<bool, EngineError> {
        Ok(self.store.db().container_by_id(id)?.is_none())
    }

    fn remove_stale_cgroups(&self, done: &mut Vec<String>) -> Result<(), EngineError> {
        let parent = self.instance().cgroup;
        let Ok(hierarchies) = Hierarchies::discover() else {
            return Ok(());
        };
        for id in Cgroup::list(&hierarchies, &parent).unwrap_or_default() {
            if self.is_nobodys(&id)? {
                self.clear_host(&id);
                done.push(format!("removed the cgroup {parent}/{id}"));
            }
        }
        Ok(())
    }

    fn remove_stale_rules(&self, done: &mut Vec<String>) -> Result<(), EngineError> {
        let table = self.instance().bridge;
        let Ok(mut table) = Table::open(&table) else {
            return Ok(());
        };
        if !matches!(table.exists(), Ok(true)) {
            return Ok(());
        }
        let elements = table.list_elements().unwrap_or_default();
        let owners: BTreeSet<String> = elements.into_iter().map(|element| element.owner).collect();
        for owner in owners {
            if self.is_nobodys(&owner)? && table.remove_owned_by(&[&owner]).is_ok() {
                done.push(format!("unpublished the ports of {owner}"));
            }
        }
        Ok(())
    }

    fn remove_stale_run_directories(&self, done: &mut Vec<String>) -> Result<(), EngineError> {
        let Ok(entries) = std::fs::read_dir(&self.dirs.run_root) else {
            return Ok(());
        };
        for entry in entries.flatten() {
            let Ok(id) = entry.file_name().into_string() else {
                continue;
            };
            let dirs = self.dirs.container(&id);
            if id.len() == 64
                && self.is_nobodys(&id)?
                && !record::is_kept(&dirs)
                && std::fs::remove_dir_all(dirs.run()).is_ok()
            {
                done.push(format!("removed {}", dirs.run().display()));
            }
        }
        Ok(())
    }

    /// Anonymous volumes whose container is gone. A container has its row before its volumes, so
    /// one that is seen without a row afterwards is nobody's. Returns their names.
    pub(crate) fn remove_stale_volumes(&self) -> Result<Vec<String>, EngineError> {
        let Ok(entries) = std::fs::read_dir(self.dirs.volumes()) else {
            return Ok(Vec::new());
        };
        let mut removed = Vec::new();
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else {
                continue;
            };
            let Some(id) = name.strip_prefix("of-") else {
                continue;
            };
            if self.is_nobodys(id)? && std::fs::remove_dir_all(entry.path()).is_ok() {
                removed.push(name);
            }
        }
        Ok(removed)
    }
}
