//! Volumes: directories of the host that outlive a container's root. Each is `volumes/<name>` with its data
//! in `_data`, and beside them what was said when it was made ([`record::Record`]). A container's row comes
//! before its volumes: whoever removes a volume looks for rows that need it. A container's anonymous volumes
//! lie together in a directory of its own, and go with it.

mod device;
mod error;
mod fill;
mod lending;
mod mounted;
mod record;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use gamut_plan::request::{MountSource, RunRequest, is_name};
use gamut_store::db;

use crate::engine::Engine;
use crate::error::EngineError;
use crate::events::{self, Event, Kind};
use crate::names;
pub use device::DRIVER;
pub(crate) use device::release_all;
pub use error::VolumeError;
pub(crate) use lending::{borrowers, remove_nameless};
use record::Record;

/// What says that nobody gave a volume its name: Docker's label.
pub const ANONYMOUS: &str = "com.docker.volume.anonymous";
/// How the directories of containers' anonymous volumes begin.
const OF_CONTAINER: &str = "of-";

/// One volume.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Volume {
    pub name: String,
    /// When it was made: nanoseconds since the epoch.
    pub created_ns: u64,
    pub labels: BTreeMap<String, String>,
    /// What its driver was told: `type`, `device`, `o`.
    pub options: BTreeMap<String, String>,
    /// Where its data are.
    pub mountpoint: PathBuf,
    /// The ids of the containers that use it, be they running or not.
    pub users: Vec<String>,
}

impl Volume {
    /// Whether nobody gave it its name.
    #[must_use]
    pub fn is_anonymous(&self) -> bool {
        self.labels.contains_key(ANONYMOUS)
    }
}

/// A volume to be.
#[derive(Debug, Clone, Default)]
pub struct NewVolume {
    /// `None`: 64 hexadecimal digits.
    pub name: Option<String>,
    pub labels: BTreeMap<String, String>,
    pub options: BTreeMap<String, String>,
}

impl Engine {
    /// Makes a volume; one that is there already is as good, if it was made with the same options.
    /// Returns its name.
    ///
    /// # Errors
    /// [`VolumeError`].
    pub fn create_volume(&self, new: NewVolume) -> Result<String, EngineError> {
        let NewVolume {
            name,
            mut labels,
            options,
        } = new;
        device::parse(&options)?;
        let name = name.unwrap_or_else(|| {
            labels.insert(ANONYMOUS.to_owned(), String::new());
            names::container_id()
        });
        if !is_name(&name) || is_own(&name) {
            return Err(VolumeError::Name(name).into());
        }
        let directory = self.dirs.volumes().join(&name);
        let is_new = record::read(&directory)?.is_none();
        let wanted = Record::new(labels, options);
        let found = record::ensure(&directory, &wanted)?;
        if found.options != wanted.options {
            return Err(VolumeError::Exists { name }.into());
        }
        if is_new {
            self.tell_of_volume("create", &name);
        }
        Ok(name)
    }

    /// All volumes with names, by name.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub fn volumes(&self) -> Result<Vec<Volume>, EngineError> {
        let users = users_of_volumes(self.store.db())?;
        let mut volumes = Vec::new();
        for name in record::names(&self.dirs.volumes())? {
            volumes.extend(self.volume_of(&name, &users)?);
        }
        Ok(volumes)
    }

    /// The volume of this name.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`].
    pub fn volume(&self, name: &str) -> Result<Volume, EngineError> {
        let found = match is_name(name) && !is_own(name) {
            true => self.volume_of(name, &users_of_volumes(self.store.db())?)?,
            false => None,
        };
        found.ok_or_else(|| VolumeError::NotFound(name.to_owned()).into())
    }

    fn volume_of(
        &self,
        name: &str,
        users: &BTreeMap<String, Vec<String>>,
    ) -> Result<Option<Volume>, EngineError> {
        let record = record::read(&self.dirs.volumes().join(name))?;
        Ok(record.map(|record| Volume {
            name: name.to_owned(),
            created_ns: record.created_ns,
            labels: record.labels,
            options: record.options,
            mountpoint: self.dirs.volumes().join(name).join("_data"),
            users: users.get(name).cloned().unwrap_or_default(),
        }))
    }

    /// Removes a volume with its content.
    ///
    /// # Errors
    /// [`VolumeError::NotFound`], [`VolumeError::InUse`], or what the disk says.
    pub fn remove_volume(&mut self, name: &str) -> Result<(), EngineError> {
        let Volume {
            name, mountpoint, ..
        } = self.volume(name)?;
        let directory = self.dirs.volumes().join(&name);
        // Under another name at once: a start makes a new one meanwhile.
        let going =
            directory.with_file_name(format!("{}{}", record::TEMPORARY, names::container_id()));
        // In one transaction: whoever makes a container is recorded before, and seen here, or after, and
        // finds no volume.
        self.store.db_mut().write(|transaction| {
            if let Some(users) = users_of_volumes(transaction)?.remove(&name) {
                let name = name.clone();
                return Err(EngineError::from(VolumeError::InUse { name, users }));
            }
            device::unmount(&mountpoint)?;
            std::fs::rename(&directory, &going).map_err(VolumeError::at("remove", &directory))?;
            Ok(())
        })?;
        std::fs::remove_dir_all(&going).map_err(VolumeError::at("remove", &going))?;
        self.tell_of_volume("destroy", &name);
        Ok(())
    }

    /// Removes those volumes with names that no container uses and that `takes` wants; returns their names.
    ///
    /// # Errors
    /// As [`Self::remove_volume`]; what came before is gone.
    pub fn prune_named_volumes(
        &mut self,
        takes: impl Fn(&Volume) -> bool,
    ) -> Result<Vec<String>, EngineError> {
        let mut names = Vec::new();
        for volume in self.volumes()? {
            if volume.users.is_empty() && takes(&volume) {
                match self.remove_volume(&volume.name) {
                    Ok(()) => names.push(volume.name),
                    // Somebody has it by now.
                    Err(EngineError::Volume(VolumeError::InUse { .. })) => {}
                    Err(error) => return Err(error),
                }
            }
        }
        Ok(names)
    }

    /// The directory of a named volume that a container is to have; a new one begins as `fill` makes it.
    pub(crate) fn furnish_volume(
        &self,
        name: &str,
        fill: impl FnOnce(&Path) -> Result<(), EngineError>,
    ) -> Result<PathBuf, EngineError> {
        self.create_volume_if_new(name)?;
        let directory = self.dirs.volumes().join(name);
        let data = directory.join("_data");
        let record = record::read(&directory)?.unwrap_or_default();
        match device::parse(&record.options)? {
            Some(device) => device.mount(name, &data)?,
            None if !data.exists() => fill(&data)?,
            None => {}
        }
        Ok(data)
    }

    fn create_volume_if_new(&self, name: &str) -> Result<(), EngineError> {
        if record::read(&self.dirs.volumes().join(name))?.is_some() {
            return Ok(());
        }
        let name = Some(name.to_owned());
        self.create_volume(NewVolume {
            name,
            ..NewVolume::default()
        })
        .map(drop)
    }

    /// Has what is mounted over the volumes of a container mounted again, after a boot.
    pub(crate) fn remount_volumes(&self, row: &db::Container) -> Result<(), EngineError> {
        for name in named_volumes(row) {
            let directory = self.dirs.volumes().join(&name);
            let record = record::read(&directory)?.unwrap_or_default();
            if let Some(device) = device::parse(&record.options)? {
                device.mount(&name, &directory.join("_data"))?;
            }
        }
        Ok(())
    }

    fn tell_of_volume(&self, action: &str, name: &str) {
        let attributes = events::attributes([("driver", DRIVER)]);
        self.tell(&Event::now(Kind::Volume, action, name, attributes));
    }
}

/// Volume → the ids of the containers that use it.
fn users_of_volumes(session: &db::Session) -> Result<BTreeMap<String, Vec<String>>, EngineError> {
    let mut users: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for row in session.containers()? {
        for name in named_volumes(&row) {
            users.entry(name).or_default().push(row.id.clone());
        }
    }
    Ok(users)
}

/// What is being removed, or was, by somebody who was killed.
pub(crate) fn going(volumes: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(volumes).into_iter().flatten().flatten();
    let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
    names
        .filter(|name| name.starts_with(record::TEMPORARY))
        .collect()
}

/// Names that the engine uses itself.
fn is_own(name: &str) -> bool {
    name.starts_with(record::TEMPORARY) || name.starts_with(OF_CONTAINER)
}

/// The volumes that a container's request names.
fn named_volumes(row: &db::Container) -> Vec<String> {
    let request: Option<RunRequest> = serde_json::from_str(&row.request).ok();
    let mounts = request.map(|request| request.storage.mounts);
    let names = mounts.unwrap_or_default().into_iter();
    names
        .filter_map(|mount| match mount.source {
            MountSource::Volume { name, .. } => name,
            _ => None,
        })
        .collect()
}
