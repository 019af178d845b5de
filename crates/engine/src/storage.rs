//! How images are kept here: the storage driver, found by trying once per boot and kept in the run
//! directory, so that a start looks into one small file and tries nothing.

use std::fs::File;
use std::path::{Path, PathBuf};

use gamut_container::erofs::{self as image, Backing};
use gamut_plan::launch::{Durability, RootPlan};
use gamut_store::erofs;
pub use gamut_store::snapshot::Driver;
use serde::{Deserialize, Serialize};

use crate::dirs::Dirs;
use crate::engine::Engine;
use crate::error::EngineError;
use crate::record;

/// What was found, in the run directory.
const FILE: &str = "storage.json";

/// What this host can do with images in this store.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// The boot in which it was tried.
    boot: String,
    /// The store in which it was tried.
    root: PathBuf,
    /// EROFS images are mounted from loop devices.
    pub loop_devices: bool,
    /// Why there is no `erofs`, and no `overlay`; `None`: there is.
    pub no_erofs: Option<String>,
    pub no_overlay: Option<String>,
}

impl Storage {
    /// Why a driver cannot be had; `None`: it can.
    #[must_use]
    pub fn lack(&self, driver: Driver) -> Option<String> {
        match driver {
            Driver::Erofs => self.no_erofs.clone().or_else(|| self.no_overlay.clone()),
            Driver::Overlay => self.no_overlay.clone(),
            Driver::Copy => None,
        }
    }

    /// The best driver of all that can be had.
    #[must_use]
    pub fn best(&self) -> Driver {
        let can = |driver: &Driver| self.lack(*driver).is_none();
        Driver::ALL
            .into_iter()
            .find(can)
            // Cannot be: nothing is lacking for it.
            .unwrap_or(Driver::Copy)
    }
}

impl Engine {
    /// Has images kept and roots made as `driver` does it, instead of in the best way.
    #[must_use]
    pub fn with_driver(mut self, driver: Driver) -> Self {
        self.driver = Some(driver);
        self
    }

    /// The storage driver: the one asked for, else the best.
    ///
    /// # Errors
    /// [`EngineError::StorageDriver`] if this host lacks the one asked for.
    pub fn driver(&self) -> Result<Driver, EngineError> {
        let storage = self.storage()?;
        let Some(driver) = self.driver else {
            return Ok(storage.best());
        };
        match storage.lack(driver) {
            None => Ok(driver),
            Some(reason) => Err(EngineError::StorageDriver {
                driver: driver.name(),
                best: storage.best().name(),
                reason,
            }),
        }
    }

    /// What can be done here, tried now if it was not in this boot.
    ///
    /// # Errors
    /// When nothing can be written to the store.
    pub fn storage(&self) -> Result<&Storage, EngineError> {
        if let Some(storage) = self.storage.get() {
            return Ok(storage);
        }
        let found = match self.remembered() {
            Some(storage) => storage,
            None => self.examine_storage()?,
        };
        Ok(self.storage.get_or_init(|| found))
    }

    /// What can be done here, tried now in any case.
    ///
    /// # Errors
    /// As [`Self::storage`].
    pub fn examine_storage(&self) -> Result<Storage, EngineError> {
        let found = self.try_drivers()?;
        self.remember(&found);
        Ok(found)
    }

    fn remembered(&self) -> Option<Storage> {
        let text = std::fs::read(self.dirs.run_root.join(FILE)).ok()?;
        let known: Storage = serde_json::from_slice(&text).ok()?;
        (known.boot == record::boot_id() && known.root == self.dirs.root).then_some(known)
    }

    /// What cannot be written is tried again the next time.
    fn remember(&self, found: &Storage) {
        let path = self.dirs.run_root.join(FILE);
        let new = path.with_extension(format!("json-{}", std::process::id()));
        let text = serde_json::to_vec(found).unwrap_or_default();
        let written = std::fs::create_dir_all(&self.dirs.run_root)
            .and_then(|()| std::fs::write(&new, text))
            .and_then(|()| std::fs::rename(&new, &path));
        if written.is_err() {
            let _ = std::fs::remove_file(&new);
        }
    }

    fn try_drivers(&self) -> Result<Storage, EngineError> {
        let scratch = self.store.scratch()?;
        let scratch = scratch.path();
        let (no_erofs, loop_devices) = match try_erofs(&scratch)? {
            Ok(backing) => (None, backing == Backing::Loop),
            Err(reason) => (Some(reason), false),
        };
        Ok(Storage {
            boot: record::boot_id().to_owned(),
            root: self.dirs.root.clone(),
            loop_devices,
            no_erofs,
            no_overlay: try_overlay(&scratch)?.err(),
        })
    }
}

/// Removes what was found, for who removes the run directory.
pub(crate) fn forget(dirs: &Dirs) {
    let _ = std::fs::remove_file(dirs.run_root.join(FILE));
}

/// Mounts an image in the store, which nobody sees: one whose data is in another file, as images of
/// several layers are.
fn try_erofs(scratch: &Path) -> Result<Result<Backing, String>, EngineError> {
    Ok(match trial_image(scratch)? {
        Ok([merged, layer]) => match image::mount(&merged, &[layer]) {
            Ok((_mounted, backing)) => Ok(backing),
            Err(errno) => Err(format!("an EROFS image cannot be mounted: {errno}")),
        },
        Err(reason) => Err(reason),
    })
}

/// Writes an image that has its data in another file: both.
pub(crate) fn trial_image(scratch: &Path) -> Result<Result<[PathBuf; 2], String>, EngineError> {
    // The second name is as long as a layer's: a mount option has a limit.
    let (merged, layer) = (scratch.join("merged"), scratch.join("layer.erofs"));
    let open = |path: &Path| {
        let mut options = File::options();
        let new = options.read(true).write(true).create_new(true);
        new.open(path).map_err(failed_at(path))
    };
    let written = erofs::empty::write(&open(&merged)?, &open(&layer)?);
    let written = written.map_err(failed_at(&merged))?;
    Ok(written
        .map(|()| [merged, layer])
        .map_err(|error| error.to_string()))
}

pub(crate) fn failed_at(path: &Path) -> impl FnOnce(std::io::Error) -> EngineError {
    move |source| EngineError::HostPath {
        path: path.display().to_string(),
        source,
    }
}

/// Mounts an overlay in the store, which nobody sees.
fn try_overlay(scratch: &Path) -> Result<Result<(), String>, EngineError> {
    let directory = |name: &str| -> Result<PathBuf, EngineError> {
        let path = scratch.join(name);
        std::fs::create_dir(&path).map_err(failed_at(&path))?;
        Ok(path)
    };
    let root = RootPlan {
        lower: vec![directory("lower")?],
        upper: directory("upper")?,
        work: directory("work")?,
        durability: Durability::Volatile,
    };
    Ok(match gamut_container::ahead::mount(&root) {
        Ok(_mounted) => Ok(()),
        Err(error) => Err(error.to_string()),
    })
}
