//! Roots as copies of their layers, one tree each: what works where overlayfs does not. Layers may be
//! trees or EROFS images, which need not be mounted for it. Data is shared where the file system can
//! ([`crate::copy`]).

use std::path::PathBuf;

use super::{Copied, Drawing, Place, Roots, SnapshotError, Snapshotter, content, root_of, visible};
use crate::layer::{Form, LayerRecord, TREE};

/// See the module.
#[derive(Debug, Clone)]
pub struct Copy {
    layers: PathBuf,
    roots: Roots,
}

impl Copy {
    /// `layers` and `containers` are directories of one store, on one file system.
    pub fn new(layers: PathBuf, containers: PathBuf) -> Self {
        Self {
            layers,
            roots: Roots::new(containers),
        }
    }
}

impl Snapshotter for Copy {
    fn roots(&self) -> &Roots {
        &self.roots
    }

    fn draw(&self, id: &str, layers: &[LayerRecord]) -> Result<Drawing, SnapshotError> {
        // As below every overlay: what is mounted in every container finds its place.
        let mut copied = vec![Copied::Tree(self.layers.join(super::BASE).join(TREE))];
        let shown: Vec<_> = visible(layers).collect();
        for layer in shown.into_iter().rev() {
            let path = content(&self.layers, layer);
            copied.push(match layer.form {
                Form::Directory => Copied::Tree(path),
                Form::Erofs => Copied::Image(path),
                Form::Lazy => {
                    let layer = layer.diff_id.short();
                    return Err(SnapshotError::NotWhole { layer });
                }
            });
        }
        Ok(Drawing {
            mount: self.roots.mount(id, Vec::new())?,
            root: root_of(layers),
            copied,
            place: Place::Beside,
        })
    }
}
