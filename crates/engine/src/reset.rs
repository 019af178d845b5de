//! `system reset`: nothing of this engine is left on the host. Containers first; while one of
//! them cannot be removed, nothing else is.

use std::io::ErrorKind;
use std::path::Path;

use gamut_container::cgroup::{Cgroup, Hierarchies};
use gamut_net::link;
use gamut_net::nft::Table;

use crate::engine::{Engine, Instance};
use crate::error::EngineError;
use crate::start::Force;

/// What an engine makes below its root. Nothing else there is touched: a root that was named by
/// mistake loses nothing.
const DIRECTORIES: [&str; 9] = [
    crate::events::DIRECTORY,
    "containers",
    "layers",
    "merged",
    "blobs",
    "ingest",
    "volumes",
    "cache",
    "kernels",
];
const FILES: [&str; 4] = [
    crate::storage_options::FILE,
    "state.db-wal",
    "state.db-shm",
    "state.db",
];

impl Engine {
    /// Removes every container, image and volume, the networks and the control groups,
    /// and the files that knew of them. Returns what was done, a line each. Settings of the host
    /// (forwarding) stay: others may rely on them by now.
    ///
    /// # Errors
    /// The first thing that could not be removed; what came before it is gone.
    pub fn reset(mut self) -> Result<Vec<String>, EngineError> {
        let mut done = Vec::new();
        for pod in self.store.db().pods()? {
            match self.remove_pod(&pod.id, Force::Yes) {
                Ok(_) => done.push(format!("removed the pod {}", pod.name)),
                Err(error) if crate::start::error_is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        for row in self.store.db().containers()? {
            match self.remove(&row.id, Force::Yes) {
                Ok(_) => done.push(format!("removed the container {}", row.name)),
                Err(error) if crate::start::error_is_not_found(&error) => {}
                Err(error) => return Err(error),
            }
        }
        done.extend(self.repair()?.done);
        for network in self.store.db().networks()? {
            if network.name != crate::network::DEFAULT_NETWORK {
                self.off_host(&network)?;
                done.push(format!("removed the network {}", network.name));
            }
        }
        let images = self.store.db().images()?.len();
        let instance = self.instance();
        let dirs = self.dirs.clone();
        crate::filler::client::end(&dirs);
        // Its database is about to go.
        drop(self);
        remove_network(&instance, &mut done)?;
        remove_groups(&instance, &mut done);
        crate::image_mounts::release_all(&dirs);
        crate::volumes::release_all(&dirs)?;
        crate::storage::forget(&dirs);
        let _ = std::fs::remove_dir_all(dirs.filler());
        for directory in DIRECTORIES {
            remove(&dirs.root.join(directory), &mut done)?;
        }
        for file in FILES {
            remove(&dirs.root.join(file), &mut done)?;
        }
        if images > 0 {
            done.push(format!("removed {images} images"));
        }
        let _ = std::fs::remove_dir_all(dirs.run_root.join("networks"));
        // Only if they are empty now.
        let _ = std::fs::remove_dir(&dirs.run_root);
        let _ = std::fs::remove_dir(&dirs.root);
        Ok(done)
    }
}

fn remove_network(instance: &Instance, done: &mut Vec<String>) -> Result<(), EngineError> {
    let mut table = Table::open(&instance.bridge)?;
    if table.exists()? {
        table.delete()?;
        done.push(format!("removed the table inet {}", instance.bridge));
    }
    let there = link::list_links(&instance.bridge)?
        .iter()
        .any(|link| link.name == instance.bridge);
    if there {
        link::delete_link(&instance.bridge)?;
        done.push(format!("removed the bridge {}", instance.bridge));
    }
    Ok(())
}

/// The parents of the containers' groups. One that cannot be removed holds something that is not
/// ours; that is no reason to keep the rest.
fn remove_groups(instance: &Instance, done: &mut Vec<String>) {
    let Ok(hierarchies) = Hierarchies::discover() else {
        return;
    };
    let Ok(group) = Cgroup::open(&hierarchies, &instance.cgroup) else {
        return;
    };
    done.push(match group.remove() {
        Ok(()) => format!("removed the cgroup {}", instance.cgroup),
        Err(error) => format!("left the cgroup {}: {error}", instance.cgroup),
    });
}

fn remove(path: &Path, done: &mut Vec<String>) -> Result<(), EngineError> {
    let failed = |source| EngineError::HostPath {
        path: path.display().to_string(),
        source,
    };
    let metadata = match std::fs::symlink_metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(failed(error)),
    };
    if metadata.is_dir() {
        std::fs::remove_dir_all(path).map_err(failed)?;
    } else {
        std::fs::remove_file(path).map_err(failed)?;
    }
    done.push(format!("removed {}", path.display()));
    Ok(())
}
