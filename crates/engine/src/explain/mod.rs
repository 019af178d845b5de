//! `explain`: how a container is kept apart from its host, as the kernel has it while it runs,
//! and as its plan has it while it does not.

mod denied;
mod filter;
mod network;
mod process;

use std::path::PathBuf;

use gamut_container::cgroup::{Hierarchies, LimitFile, Mode};
use gamut_container::home;
use gamut_plan::launch::{LaunchPlan, LogPlan};
use gamut_plan::{Level, Phase};
use serde::Serialize;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::record;

pub use denied::Denied;
pub use filter::{Call, Filter};
pub use network::{Joined, Led, Path};
pub use process::{Capabilities, IdMap, Mount, Namespace, Owner};

/// Everything about one container's isolation.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    pub id: String,
    pub name: String,
    pub image: String,
    pub level: Level,
    pub phase: Phase,
    /// The host's number of the first process; 0: it does not run.
    pub pid: i32,
    /// The keeper's; 0: there is none.
    pub keeper_pid: i32,
    pub log: Option<PathBuf>,
    pub directory: PathBuf,
    pub namespaces: Vec<Namespace>,
    pub cgroup: Group,
    pub mounts: Vec<Mount>,
    pub uid_map: Vec<IdMap>,
    pub gid_map: Vec<IdMap>,
    pub capabilities: Capabilities,
    pub no_new_privileges: bool,
    pub seccomp: Filter,
    pub masked_paths: Vec<String>,
    pub readonly_paths: Vec<String>,
    pub network: Path,
    /// What was clamped or left out at the start.
    pub warnings: Vec<String>,
    /// Since it was started the last time.
    pub denied: Vec<Denied>,
}

/// The container's control group.
#[derive(Debug, Clone, Serialize)]
pub struct Group {
    pub mode: Option<Mode>,
    /// Below the mount point of each hierarchy.
    pub path: String,
    /// Empty while it does not run.
    pub files: Vec<LimitFile>,
}

impl Engine {
    /// Explains the container that a user means.
    ///
    /// # Errors
    /// Not found, or a plan that cannot be read.
    pub fn explain(&mut self, named: &str) -> Result<Explanation, EngineError> {
        let view = self.container(named)?;
        let dirs = self.dirs.container(&view.row.id);
        let plan = record::read_plan(&dirs)?;
        let status = view.status;
        let lives = status.is_live();
        let pid = if lives { status.pid } else { 0 };
        // The process that is a machine tells nothing of what runs in it.
        let inside = if plan.machine.is_none() { pid } else { 0 };
        let linux = plan.spec.linux().as_ref();
        let (uid_map, gid_map) = process::id_maps(&plan, inside);
        let capabilities = process::capabilities(&plan, inside);
        let denied = self.denied(&plan.id, status.started_at_ns, u64::MAX);
        Ok(Explanation {
            denied,
            id: plan.id.clone(),
            name: plan.name.clone(),
            image: plan.image.clone(),
            level: plan.level,
            phase: status.phase,
            pid,
            keeper_pid: if lives { status.keeper_pid } else { 0 },
            log: match &plan.log {
                LogPlan::None => None,
                LogPlan::JsonFile { path, .. } => Some(path.clone()),
            },
            directory: dirs.directory.clone(),
            namespaces: process::namespaces(&plan, inside),
            cgroup: group(&plan),
            mounts: process::mounts(&plan, inside),
            uid_map,
            gid_map,
            seccomp: filter::of(&plan, capabilities.bounding),
            capabilities,
            no_new_privileges: process::no_new_privileges(&plan, inside),
            masked_paths: linux
                .and_then(|l| l.masked_paths().clone())
                .unwrap_or_default(),
            readonly_paths: linux
                .and_then(|l| l.readonly_paths().clone())
                .unwrap_or_default(),
            network: network::of(&plan, &status),
            warnings: status.warnings,
        })
    }
}

fn group(plan: &LaunchPlan) -> Group {
    let linux = plan.spec.linux().as_ref();
    let path = linux
        .and_then(|l| l.cgroups_path().clone())
        .map(|path| path.display().to_string())
        .unwrap_or_default();
    // One that does not run has no group.
    let group = home::group_of(plan).ok().flatten();
    let files = group.and_then(|group| group.files().ok());
    let files = files.unwrap_or_default();
    Group {
        mode: Hierarchies::discover().ok().map(|h| h.mode),
        path,
        files,
    }
}
