//! What a crash leaves behind, removed; what it has lost, reported. Running it twice is running
//! it once, and running it beside living processes disturbs none of them.

use std::os::fd::AsFd;
use std::path::PathBuf;

use gamut_spec::digest::Digest;

use crate::file_error::FileError;
use crate::gc::{discard, names_in};
use crate::pin::{self, TEMPORARY_PREFIX};
use crate::snapshot::BASE;
use crate::store::{Store, StoreError};

/// What a repair has done and found.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RepairReport {
    /// Leftovers that are gone now.
    pub removed: Vec<PathBuf>,
    /// What the database speaks of and the disk has not.
    pub missing: Vec<Missing>,
}

/// Something recorded that is not there. Nothing is done about it: a container that is being made
/// has its row before its directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// A layer: the images that have it must be pulled again.
    Layer(Digest),
    /// A manifest or config: its image must be pulled again.
    Blob {
        /// The image's id.
        image: Digest,
        /// The blob.
        blob: Digest,
    },
    /// The directory of a container.
    Container {
        /// Its id.
        id: String,
        /// Its name.
        name: String,
    },
}

impl Store {
    /// Removes the leftovers of killed processes, makes directories of the store's own that somebody
    /// removed, and reports what else is missing.
    pub fn repair(&mut self) -> Result<RepairReport, StoreError> {
        let mut report = RepairReport::default();
        crate::store::make_directories(self.root())?;
        self.remove_temporaries(&mut report)?;
        self.remove_untrusted_layers(&mut report)?;
        self.remove_orphaned_containers(&mut report)?;
        self.find_missing(&mut report)?;
        Ok(report)
    }

    /// Whatever is called `tmp-…` and has no living maker.
    fn remove_temporaries(&self, report: &mut RepairReport) -> Result<(), StoreError> {
        for directory in ["blobs/sha256", "ingest", "layers", "merged", "containers"] {
            let path = self.root().join(directory);
            for name in names_in(&path)? {
                if name.starts_with(TEMPORARY_PREFIX) {
                    remove(report, &path, &name)?;
                }
            }
        }
        Ok(())
    }

    /// Layers that a pull before the last start of the machine has not recorded, and layers whose
    /// description a power cut has torn.
    fn remove_untrusted_layers(&self, report: &mut RepairReport) -> Result<(), StoreError> {
        let path = self.layers().directory().to_owned();
        for name in names_in(&path)? {
            if name == BASE || name.starts_with(TEMPORARY_PREFIX) {
                continue;
            }
            match self.layers().identify(&name) {
                Some(known) if known.is_since_boot() => {}
                Some(known) => {
                    self.discard_layer(&known.record.diff_id, &name)?;
                    if !path.join(&name).exists() {
                        report.removed.push(path.join(&name));
                    }
                }
                // A recorded one stays to be reported: its tree may be whole.
                None if self
                    .db()
                    .layers()?
                    .iter()
                    .any(|layer| layer.directory == name) => {}
                None => remove(report, &path, &name)?,
            }
        }
        Ok(())
    }

    /// Container directories without a row: the row comes first and goes first.
    fn remove_orphaned_containers(&self, report: &mut RepairReport) -> Result<(), StoreError> {
        let path = self.root().join("containers");
        let mut names = names_in(&path)?;
        names.retain(|name| !name.starts_with(TEMPORARY_PREFIX));
        for name in self.db().without_container(names)? {
            remove(report, &path, &name)?;
        }
        Ok(())
    }

    fn find_missing(&self, report: &mut RepairReport) -> Result<(), StoreError> {
        for layer in self.db().layers()? {
            let known = self.layers().identify(&layer.directory);
            let whole = known.is_some_and(|known| known.record.diff_id == layer.diff_id);
            if !whole || !self.layers().tree(&layer).exists() {
                report.missing.push(Missing::Layer(layer.diff_id));
            }
        }
        for image in self.db().images()? {
            for blob in self.db().blobs_of(&image)? {
                if !self.blobs().path(&blob).is_file() {
                    report.missing.push(Missing::Blob {
                        image: image.id.clone(),
                        blob,
                    });
                }
            }
        }
        for (id, name) in self.db().container_names()? {
            if !self.container_directory(&id).is_dir() {
                report.missing.push(Missing::Container { id, name });
            }
        }
        Ok(())
    }
}

fn remove(report: &mut RepairReport, path: &std::path::Path, name: &str) -> Result<(), StoreError> {
    let directory = pin::open_directory(path)?;
    let target = path.join(name);
    if discard(directory.as_fd(), name).map_err(FileError::at("remove", &target))? {
        report.removed.push(target);
    }
    Ok(())
}
