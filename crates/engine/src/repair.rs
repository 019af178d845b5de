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
        let instance = self.instance();
        if let Ok(hierarchies) = Hierarchies::discover() {
            for id in Cgroup::list(&hierarchies, &instance.cgroup).unwrap_or_default() {
                if !after.contains(&id) {
                    self.clear_host(&id);
                    done.push(format!("removed the cgroup {}/{id}", instance.cgroup));
                }
            }
        }
        self.remove_stale_rules(&instance.bridge, &after, &mut done);
        self.remove_stale_run_directories(&after, &mut done);
        Ok(done)
    }

    fn remove_stale_rules(&self, table: &str, known: &BTreeSet<String>, done: &mut Vec<String>) {
        let Ok(mut table) = Table::open(table) else {
            return;
        };
        if !matches!(table.exists(), Ok(true)) {
            return;
        }
        let owners: BTreeSet<String> = table
            .list_elements()
            .unwrap_or_default()
            .into_iter()
            .map(|element| element.owner)
            .collect();
        let stale: Vec<&str> = owners
            .iter()
            .filter(|owner| !known.contains(*owner))
            .map(String::as_str)
            .collect();
        if !stale.is_empty() && table.remove_owned_by(&stale).is_ok() {
            done.extend(
                stale
                    .iter()
                    .map(|owner| format!("unpublished the ports of {owner}")),
            );
        }
    }

    fn remove_stale_run_directories(&self, known: &BTreeSet<String>, done: &mut Vec<String>) {
        let Ok(entries) = std::fs::read_dir(&self.dirs.run_root) else {
            return;
        };
        for entry in entries.flatten() {
            let Ok(id) = entry.file_name().into_string() else {
                continue;
            };
            let dirs = self.dirs.container(&id);
            if id.len() != 64 || known.contains(&id) || record::is_kept(&dirs) {
                continue;
            }
            if std::fs::remove_dir_all(dirs.run()).is_ok() {
                done.push(format!("removed {}", dirs.run().display()));
            }
        }
    }
}
