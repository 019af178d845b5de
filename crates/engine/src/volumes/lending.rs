//! `--volumes-from`: what another container mounts, mounted here too. A volume without a name lies with the
//! container that it was made for, and stays for as long as anybody has borrowed it: below its directory lies
//! an empty file for each borrower.

use std::path::{Path, PathBuf};

use gamut_plan::draw::DrawError;
use gamut_plan::request::{Mount, MountSource, Propagation, RunRequest, VolumesFrom};
use gamut_store::db;

use super::OF_CONTAINER;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::record;

const BORROWER: &str = "for-";

impl Engine {
    /// The request with the mounts of others put in, those of its own first: a place is mounted once.
    pub(crate) fn with_volumes_of_others(
        &self,
        request: &RunRequest,
    ) -> Result<RunRequest, EngineError> {
        let mut request = request.clone();
        for from in std::mem::take(&mut request.storage.volumes_from) {
            let row = self.store.db().container(&from.container)?;
            for mount in self.mounts_of(&row, &from)? {
                let is_taken = |own: &Mount| own.target == mount.target;
                if !request.storage.mounts.iter().any(is_taken) {
                    request.storage.mounts.push(mount);
                }
            }
        }
        Ok(request)
    }

    fn mounts_of(
        &self,
        row: &db::Container,
        from: &VolumesFrom,
    ) -> Result<Vec<Mount>, EngineError> {
        let plan = record::read_plan(&self.dirs.container(&row.id))?;
        if plan.level.has_own_kernel() {
            return Err(DrawError::NotAtLevel {
                flag: "--volumes-from",
                level: plan.level,
            }
            .into());
        }
        let asked: Option<RunRequest> = serde_json::from_str(&row.request).ok();
        let asked = asked.map(|asked| asked.storage.mounts).unwrap_or_default();
        let mut mounts: Vec<Mount> = asked
            .into_iter()
            .filter(|mount| match &mount.source {
                MountSource::Bind { .. } => true,
                MountSource::Volume { name, .. } => name.is_some(),
                MountSource::Tmpfs(_) => false,
            })
            .collect();
        // Those without names are told by where they lie.
        let nameless = plan.spec.mounts().iter().flatten().filter_map(|mount| {
            let source = mount.source().as_ref()?;
            let is_nameless = owner(&self.dirs.volumes(), source).is_some();
            is_nameless.then(|| (mount.destination(), source))
        });
        for (target, source) in nameless {
            if !mounts.iter().any(|mount| mount.target == *target) {
                mounts.push(Mount {
                    target: target.clone(),
                    read_only: false,
                    source: MountSource::Bind {
                        path: source.clone(),
                        create: false,
                        recursive: true,
                        below_writable: false,
                        propagation: Propagation::Rprivate,
                        relabel: None,
                    },
                });
            }
        }
        for mount in &mut mounts {
            mount.read_only |= from.read_only;
        }
        Ok(mounts)
    }
}

/// The directory of the container whose volume without a name this is.
fn owner(volumes: &Path, source: &Path) -> Option<PathBuf> {
    let first = source.strip_prefix(volumes).ok()?.components().next()?;
    let name = first.as_os_str().to_str()?;
    name.starts_with(OF_CONTAINER).then(|| volumes.join(name))
}

/// A container is about to mount what lies at `source`: if it is another's, it stays.
pub(super) fn borrow(volumes: &Path, source: &Path, borrower: &str) -> std::io::Result<()> {
    match owner(volumes, source) {
        Some(directory) => {
            std::fs::File::create(directory.join(format!("{BORROWER}{borrower}"))).map(drop)
        }
        None => Ok(()),
    }
}

/// The ids of those who have borrowed of a container's volumes.
pub(crate) fn borrowers(directory: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(directory).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter_map(|name| Some(name.strip_prefix(BORROWER)?.to_owned()))
        .collect()
}

/// Removes a container's volumes without names, if nobody has borrowed any: who looks later finds out who has
/// brought them back.
pub(crate) fn remove_nameless(directory: &Path) {
    if borrowers(directory).is_empty() {
        let _ = std::fs::remove_dir_all(directory);
    }
}
