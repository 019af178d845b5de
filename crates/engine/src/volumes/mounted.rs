//! What lies behind the mounts of a container that is being made.

use std::path::{Path, PathBuf};

use gamut_plan::launch::RootPlan;
use gamut_plan::request::{MountSource, RunRequest};
use gamut_spec::image::ImageConfig;

use super::{fill, lending};
use crate::device::stat;
use crate::engine::Engine;
use crate::error::EngineError;

/// Directories behind the request's mounts, in their order, and behind the image's volumes.
#[derive(Debug, Default)]
pub(crate) struct Mounted {
    pub(crate) sources: Vec<Option<PathBuf>>,
    pub(crate) of_image: Vec<(PathBuf, PathBuf)>,
}

impl Engine {
    /// Finds or makes what a new container mounts.
    ///
    /// # Errors
    /// What the disk says.
    pub(crate) fn behind_mounts(
        &self,
        request: &RunRequest,
        id: &str,
        config: &ImageConfig,
        root: &RootPlan,
    ) -> Result<Mounted, EngineError> {
        // What shows the image: below every overlay lies a directory of the store's own, and a root that
        // is no overlay is a copy that nobody has changed yet.
        let image = match root.lower.split_last() {
            Some((_base, image)) => image,
            None => std::slice::from_ref(&root.upper),
        };
        let mut found = Mounted::default();
        let dirs = self.dirs.container(id);
        let mut anonymous = 0;
        let mut next = |target: &Path| -> Result<PathBuf, EngineError> {
            anonymous += 1;
            let path = dirs.anonymous_volumes().join(format!("{anonymous}/_data"));
            fill::make(&path, image, target)?;
            Ok(path)
        };
        for mount in &request.storage.mounts {
            found.sources.push(match &mount.source {
                MountSource::Tmpfs(_) => None,
                MountSource::Bind { path, create, .. } => {
                    if *create && !path.exists() {
                        std::fs::create_dir_all(path).map_err(|source| EngineError::HostPath {
                            path: path.display().to_string(),
                            source,
                        })?;
                    }
                    stat(path)?;
                    lending::borrow(&self.dirs.volumes(), path, id).map_err(|source| {
                        EngineError::HostPath {
                            path: path.display().to_string(),
                            source,
                        }
                    })?;
                    Some(path.clone())
                }
                MountSource::Volume { name: None, .. } => Some(next(&mount.target)?),
                MountSource::Volume {
                    name: Some(name),
                    copy_image_content,
                    subpath,
                } => {
                    // What the image has at the target belongs below the volume's root, and there only.
                    let copies = *copy_image_content && subpath.is_none();
                    let from: &[PathBuf] = if copies { image } else { &[] };
                    let fill = |path: &Path| fill::make(path, from, &mount.target);
                    Some(self.furnish_volume(name, fill)?)
                }
            });
        }
        for target in &config.config.volumes {
            let target = PathBuf::from(target);
            let covered = request.storage.mounts.iter().any(|m| m.target == target);
            if !covered && target.is_absolute() {
                let path = next(&target)?;
                found.of_image.push((target, path));
            }
        }
        Ok(found)
    }
}
