//! The files of images and containers, to be read: `export`, `commit`, `diff`, `cp`, `save`.
//!
//! What is shown is the root itself, never what is mounted in it: a read-only overlay over the
//! layers, with the container's changes for the topmost one, as a detached mount that nobody else
//! sees and that goes with its descriptor. It is the same for a container that runs.

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use gamut_container::Marks;
use gamut_plan::LaunchPlan;
use gamut_store::layer::LayerRecord;
use gamut_store::tar::{IdMap, IdRange};
use oci_spec::runtime::LinuxIdMapping;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use crate::engine::Engine;
use crate::error::EngineError;

impl Engine {
    /// The files of an image that is here.
    pub(crate) fn image_tree(&self, layers: &[LayerRecord]) -> Result<OwnedFd, EngineError> {
        match layers.is_empty() {
            true => nothing(),
            false => stacked(
                &self.directories(&self.store.stack(layers), layers)?,
                Marks::ours(),
            ),
        }
    }

    /// The files of an image's lower layers: of what is no image itself, and so is not kept mounted.
    pub(crate) fn lower_tree(&self, layers: &[LayerRecord]) -> Result<OwnedFd, EngineError> {
        let mut hidden = false;
        let visible = layers
            .iter()
            .rev()
            .take_while(|layer| !std::mem::replace(&mut hidden, layer.opaque_root));
        let mut trees = Vec::new();
        for layer in visible {
            let one = std::slice::from_ref(layer);
            trees.extend(self.directories(&self.store.stack(one), one)?);
        }
        let tree = match trees.is_empty() {
            true => nothing(),
            false => stacked(&trees, Marks::ours()),
        };
        // What was stacked holds what it needs.
        self.release_images()?;
        tree
    }
}

/// A container's root with its changes.
pub(crate) fn container_tree(plan: &LaunchPlan) -> Result<OwnedFd, EngineError> {
    let mut trees = vec![plan.root.upper.clone()];
    trees.extend(plan.root.lower.iter().cloned());
    stacked(&trees, Marks::of(plan))
}

/// What a container's root was before its changes. `None`: nothing is stacked.
pub(crate) fn tree_below(plan: &LaunchPlan) -> Result<Option<OwnedFd>, EngineError> {
    match plan.root.lower.is_empty() {
        true => Ok(None),
        false => stacked(&plan.root.lower, Marks::ours()).map(Some),
    }
}

/// The directory of a container's changes.
pub(crate) fn upper(plan: &LaunchPlan) -> Result<OwnedFd, EngineError> {
    open(&plan.root.upper)
}

/// The ids of a container's user namespace, if it has one.
pub(crate) fn ids(plan: &LaunchPlan) -> IdMap {
    let Some(linux) = plan.spec.linux() else {
        return IdMap::default();
    };
    let ranges = |maps: &Option<Vec<LinuxIdMapping>>| {
        let range = |map: &LinuxIdMapping| IdRange {
            inside: map.container_id(),
            outside: map.host_id(),
            count: map.size(),
        };
        maps.iter().flatten().map(range).collect()
    };
    IdMap {
        uids: ranges(linux.uid_mappings()),
        gids: ranges(linux.gid_mappings()),
    }
}

fn stacked(trees: &[PathBuf], marks: Marks) -> Result<OwnedFd, EngineError> {
    match trees {
        [only] => open(only),
        several => gamut_container::layers_view(several, marks)
            .map_err(|errno| failed(several.first().map_or(Path::new("/"), |top| top), errno)),
    }
}

/// An empty directory that is nowhere: a temporary file system of its own.
fn nothing() -> Result<OwnedFd, EngineError> {
    gamut_container::empty_view().map_err(|errno| failed(Path::new("tmpfs"), errno))
}

fn open(path: &Path) -> Result<OwnedFd, EngineError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| failed(path, errno))
}

fn failed(path: &Path, errno: Errno) -> EngineError {
    EngineError::HostPath {
        path: path.display().to_string(),
        source: errno.into(),
    }
}
