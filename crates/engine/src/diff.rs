//! `diff`: what a container has changed of its image's files, and what differs between images.

use std::os::fd::AsFd;

use gamut_store::StoreError;
use gamut_store::compare;

pub use gamut_store::compare::{Change, ChangeKind};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::{record, roots};

impl Engine {
    /// What a container has changed, or what the top layer of an image has. With `other`, what the
    /// first image has that the other has not, and the other way round.
    ///
    /// # Errors
    /// Not found, or files that cannot be read.
    pub fn diff(&mut self, named: &str, other: Option<&str>) -> Result<Vec<Change>, EngineError> {
        let changes = match other {
            Some(other) => {
                let (after, before) = (self.layer_records(named)?, self.layer_records(other)?);
                let (after, before) = (self.image_tree(&after)?, self.image_tree(&before)?);
                compare::trees(before.as_fd(), after.as_fd())
            }
            None => match self.store.db().container(named) {
                Ok(row) => {
                    let view = self.container(&row.id)?;
                    self.remount(&view)?;
                    return self.changes_of(&row.id);
                }
                Err(error) => {
                    // A name that is neither is said to be no container: that comes first.
                    let Ok(layers) = self.layer_records(named) else {
                        return Err(error.into());
                    };
                    let below = layers.split_last().map_or(&[][..], |(_, below)| below);
                    let after = self.image_tree(&layers)?;
                    let before = self.lower_tree(below)?;
                    compare::trees(before.as_fd(), after.as_fd())
                }
            },
        };
        Ok(changes.map_err(StoreError::from)?)
    }

    fn changes_of(&self, id: &str) -> Result<Vec<Change>, EngineError> {
        let plan = record::read_plan(&self.dirs.container(id))?;
        let upper = roots::upper(&plan)?;
        let changes = match roots::tree_below(&plan)? {
            Some(below) => compare::upper(upper.as_fd(), below.as_fd()),
            None => {
                let before = self.image_tree_of(id)?;
                compare::trees(before.as_fd(), upper.as_fd())
            }
        };
        Ok(changes.map_err(StoreError::from)?)
    }

    /// The files of the image that a container was made of.
    pub(crate) fn image_tree_of(&self, id: &str) -> Result<std::os::fd::OwnedFd, EngineError> {
        let row = self.store.db().container_by_id(id)?;
        let image = row.and_then(|row| row.image_id);
        let image = image.ok_or_else(|| EngineError::NoContainer(id.to_owned()))?;
        self.image_tree(&self.layer_records(&image.to_string())?)
    }
}
