//! Removing what nobody uses: stopped containers, images, volumes without a container, and what pulls
//! have left. Each removal is the one that a user could ask for by name. And keeping once what is there
//! several times.

use gamut_plan::Phase;
use gamut_spec::{Fault, Kind};
use gamut_store::gc::ImageTarget;
pub use gamut_store::share::Shared;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::images::{Force, ImageView, Removed};
use crate::pods;
use crate::start::{self, View};
use crate::usage::{DiskUsage, Owner};

/// Which images go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unused {
    /// Those without a tag.
    Dangling,
    /// All that no container relies on.
    All,
}

impl Engine {
    /// Has files that several layers have stored once.
    ///
    /// # Errors
    /// Where the file system of the store cannot.
    pub fn share_files(&self) -> Result<Shared, EngineError> {
        Ok(self.store.share_files()?)
    }

    /// Removes containers that do not run, as far as `takes` takes them; returns their ids.
    ///
    /// # Errors
    /// The first that could not be removed.
    pub fn prune_containers(
        &mut self,
        takes: impl Fn(&View) -> bool,
    ) -> Result<Vec<String>, EngineError> {
        let mut removed = Vec::new();
        for view in self.containers()? {
            let ended = matches!(
                view.status.phase,
                Phase::Created | Phase::Exited | Phase::Failed
            );
            if !ended || pods::is_infra(&view) || !takes(&view) {
                continue;
            }
            match self.remove(&view.row.id, start::Force::No) {
                Ok(id) => removed.push(id),
                // Somebody has started it, or removes it as well.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(removed)
    }

    /// Removes images that no container relies on, as far as `takes` takes them.
    ///
    /// # Errors
    /// The first that could not be removed.
    pub fn prune_images(
        &mut self,
        unused: Unused,
        takes: impl Fn(&Engine, &ImageView) -> bool,
    ) -> Result<Vec<Removed>, EngineError> {
        let mut removed = Vec::new();
        for view in self.images()? {
            if unused == Unused::Dangling && !view.tags.is_empty() || !takes(self, &view) {
                continue;
            }
            let target = ImageTarget::Id(&view.image.id);
            match self.store.remove_image(target, Force::Unused) {
                Ok(gone) => removed.extend(gone),
                // A container relies on it, or somebody has removed it.
                Err(error) if matches!(error.kind(), Kind::Conflict | Kind::NotFound) => {}
                Err(error) => return Err(error.into()),
            }
        }
        self.release_images()?;
        Ok(removed)
    }

    /// Removes volumes that belonged to a container and have outlived it; returns their names. Volumes
    /// with a name stay.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn prune_volumes(&mut self) -> Result<Vec<String>, EngineError> {
        self.remove_stale_volumes()
    }

    /// Removes what pulls have left: downloads that were cut, and content that no image has. What a
    /// process is using stays.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn prune_cache(&mut self) -> Result<(), EngineError> {
        self.store.repair()?;
        self.store.collect_garbage()?;
        self.release_images()?;
        Ok(())
    }

    /// Bytes of `before` that have gone since, of the kinds that can be pruned.
    #[must_use]
    pub fn reclaimed_bytes(&self, before: &DiskUsage) -> u64 {
        let gone = |owner: &Owner| match owner {
            Owner::Kernel(_)
            | Owner::Database
            | Owner::Filters
            | Owner::Frame
            | Owner::Foreign(_) => false,
            owner => owner
                .path()
                .is_some_and(|path| !self.dirs.root.join(path).exists()),
        };
        before
            .pieces
            .iter()
            .filter(|piece| gone(&piece.owner))
            .map(|piece| piece.usage.allotted_bytes)
            .sum()
    }
}
