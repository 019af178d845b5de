//! Roots as overlayfs over layers, be they trees or EROFS images.

use std::path::{Path, PathBuf};

use rustix::fs::FileType;

use super::{Drawing, ErofsImage, Lower, Place, RootAttributes, Roots, SnapshotError, Snapshotter};
use super::{MergedError, content, merged, root_of, visible};
use crate::layer::{Form, LayerRecord, TREE};

/// Lower directories that overlayfs takes: OVL_MAX_STACK in fs/overlayfs/ovl_entry.h.
const LOWER_LIMIT: usize = 500;
/// A directory under `layers` that lies below every root, for two reasons: overlayfs wants one
/// lower directory, and what is mounted in every container finds its place there, so that none of
/// it need be made in the container's own layer, one inode after the other. An image's own files
/// hide it, as every layer hides those below.
pub(crate) const BASE: &str = "base";
/// What is in it: mount points, with their modes.
pub(crate) const MOUNT_POINTS: [(&str, FileType, u32); 7] = [
    ("dev", FileType::Directory, 0o755),
    ("etc", FileType::Directory, 0o755),
    ("etc/hostname", FileType::RegularFile, 0o644),
    ("etc/hosts", FileType::RegularFile, 0o644),
    ("etc/resolv.conf", FileType::RegularFile, 0o644),
    ("proc", FileType::Directory, 0o555),
    ("sys", FileType::Directory, 0o555),
];

/// The directory of merged images.
const MERGED: &str = "merged";

/// See the module.
#[derive(Debug, Clone)]
pub struct Overlay {
    layers: PathBuf,
    /// Beside `layers`.
    merged: PathBuf,
    roots: Roots,
}

impl Overlay {
    /// `layers` and `containers` are directories of one store, on one file system.
    pub fn new(layers: PathBuf, containers: PathBuf) -> Self {
        Self {
            merged: layers.with_file_name(MERGED),
            layers,
            roots: Roots::new(containers),
        }
    }

    /// What shows an image of these layers, the top one first: one merged image if all layers are
    /// EROFS images.
    pub(crate) fn stack(&self, layers: &[LayerRecord]) -> Vec<Lower> {
        let Some(shown) = merged::mergeable(layers) else {
            return visible(layers).map(|layer| self.lower(layer)).collect();
        };
        let name = merged::name_of(&shown);
        vec![Lower::Image(ErofsImage {
            file: self.merged.join(&name),
            name,
            devices: self.files(&shown),
        })]
    }

    /// Makes the merged image of these layers, if they have one and it is not there.
    pub fn merge(&self, layers: &[LayerRecord]) -> Result<(), MergedError> {
        match merged::mergeable(layers) {
            Some(shown) => {
                let name = merged::name_of(&shown);
                merged::make(&self.merged, &name, &shown, &self.files(&shown))
            }
            None => Ok(()),
        }
    }

    /// Where merged images are.
    pub(crate) fn merged(&self) -> &Path {
        &self.merged
    }

    /// Says what the root of container `id` will be, over what shows an image, the top one first.
    pub(crate) fn draw_over(
        &self,
        id: &str,
        mut lower: Vec<Lower>,
        root: RootAttributes,
    ) -> Result<Drawing, SnapshotError> {
        lower.push(Lower::Directory(self.layers.join(BASE).join(TREE)));
        Ok(Drawing {
            mount: self.roots.mount(id, lower)?,
            root,
            copied: Vec::new(),
            place: Place::Beside,
        })
    }

    fn files(&self, layers: &[&LayerRecord]) -> Vec<PathBuf> {
        let file = |layer: &&LayerRecord| content(&self.layers, layer);
        layers.iter().map(file).collect()
    }

    fn lower(&self, layer: &LayerRecord) -> Lower {
        let path = content(&self.layers, layer);
        match layer.form {
            Form::Directory => Lower::Directory(path),
            Form::Erofs | Form::Lazy => Lower::Image(ErofsImage {
                name: layer.directory.clone(),
                file: path,
                devices: Vec::new(),
            }),
        }
    }
}

impl Snapshotter for Overlay {
    fn roots(&self) -> &Roots {
        &self.roots
    }

    fn draw(&self, id: &str, layers: &[LayerRecord]) -> Result<Drawing, SnapshotError> {
        if layers.len() >= LOWER_LIMIT {
            return Err(SnapshotError::TooManyLayers {
                count: layers.len(),
                limit: LOWER_LIMIT - 1,
            });
        }
        self.draw_over(id, self.stack(layers), root_of(layers))
    }
}
