//! Storage options: what a store is told once, with `--storage-opt KEY=VALUE`, and keeps for whoever makes
//! layers in it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use gamut_spec::{Fault, Kind};
pub use gamut_store::erofs::Compression;
use gamut_store::seal::Sealing;
use gamut_store::unpack::{OpaqueXattr, UnpackOptions};
use serde::{Deserialize, Serialize};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::storage::{Driver, failed_at};

/// What is kept, in the store's directory: a JSON object of keys and values as they were said.
pub(crate) const FILE: &str = "storage-options.json";

const COMPRESSION: &str = "erofs.compression";
const VERITY: &str = "erofs.verity";

/// A key, its values in words, and whether a value is one of them.
type Row = (&'static str, &'static str, fn(&str) -> bool);

const TABLE: [Row; 2] = [
    (
        COMPRESSION,
        "none, lz4, zstd or zstd:LEVEL, from 1 to 22",
        |value| value.parse::<Compression>().is_ok(),
    ),
    (VERITY, "off, fs, dm or auto", |value| {
        Verity::parse(value).is_some()
    }),
];

/// Options with their values, each of which is known.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StorageOptions(BTreeMap<String, String>);

/// Whether layers that are made are sealed, so that the kernel checks them whenever they are read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Verity {
    /// They are not: it costs a pull the time to write everything out and to hash it once more.
    #[default]
    Off,
    /// By fs-verity, or not at all.
    Fs,
    /// By dm-verity, or not at all.
    Dm,
    /// By fs-verity if the kernel and the file system have it, else by dm-verity if the kernel has that.
    Auto,
}

impl Verity {
    fn parse(text: &str) -> Option<Self> {
        Some(match text {
            "off" => Verity::Off,
            "fs" => Verity::Fs,
            "dm" => Verity::Dm,
            "auto" => Verity::Auto,
            _ => return None,
        })
    }
}

/// An option that means nothing here.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum StorageOptionError {
    /// It has no `=`.
    #[error("`{0}` is no storage option: KEY=VALUE is")]
    Form(String),
    /// There is none of that name.
    #[error("there is no storage option `{0}`")]
    Key(String),
    /// It has other values.
    #[error("the storage option `{key}` cannot be `{value}`")]
    Value { key: &'static str, value: String },
}

impl StorageOptions {
    /// Takes one option, as it is written on the command line.
    ///
    /// # Errors
    /// [`StorageOptionError`].
    pub fn set(&mut self, text: &str) -> Result<(), StorageOptionError> {
        let split = text.split_once('=');
        let (key, value) = split.ok_or_else(|| StorageOptionError::Form(text.to_owned()))?;
        let row = TABLE.iter().find(|row| row.0 == key);
        let &(key, _, is_value) = row.ok_or_else(|| StorageOptionError::Key(key.to_owned()))?;
        let value = value.to_owned();
        if !is_value(&value) {
            return Err(StorageOptionError::Value { key, value });
        }
        self.0.insert(key.to_owned(), value);
        Ok(())
    }

    fn compression(&self) -> Option<Compression> {
        self.0.get(COMPRESSION)?.parse().ok()
    }

    fn verity(&self) -> Option<Verity> {
        Verity::parse(self.0.get(VERITY)?)
    }
}

impl Fault for StorageOptionError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        let of = |row: &Row| format!("`{}` ({})", row.0, row.1);
        let of_key = |wanted: &str| TABLE.iter().find(|row| row.0 == wanted).map(of);
        let all = || TABLE.iter().map(of).collect::<Vec<_>>().join(", ");
        Some(match self {
            Self::Form(_) | Self::Key(_) => format!("there is {}", all()),
            Self::Value { key, .. } => format!("it is {}", of_key(key).unwrap_or_else(all)),
        })
    }
}

impl Engine {
    /// Has the store keep options beside those that it was told before, if this host can do what they say.
    ///
    /// # Errors
    /// [`EngineError::Compression`] and [`EngineError::StorageOption`] if it cannot.
    pub fn keep_storage_options(&self, said: &StorageOptions) -> Result<(), EngineError> {
        if said.0.is_empty() {
            return Ok(());
        }
        let driver = self.driver()?;
        if let Some(compression) = said.compression() {
            if compression != Compression::None && driver != Driver::Erofs {
                return Err(EngineError::Compression {
                    compression: compression.to_string(),
                    reason: format!("the storage driver `{}` does not", driver.name()),
                });
            }
            self.check_compression(compression)?;
        }
        self.sealing_by(said.verity().unwrap_or_default())?;
        let mut kept = self.kept_options();
        kept.0.extend(said.0.clone());
        if kept == self.kept_options() {
            return Ok(());
        }
        let path = self.options_path();
        let scratch = self.store.scratch()?;
        let new = scratch.path().join(FILE);
        std::fs::write(&new, serde_json::to_vec(&kept).unwrap_or_default())
            .and_then(|()| std::fs::rename(&new, &path))
            .map_err(failed_at(&path))
    }

    /// What is done to files' data in new layers.
    ///
    /// # Errors
    /// [`EngineError::Compression`] if the store was told to do what this host cannot.
    pub fn compression(&self) -> Result<Compression, EngineError> {
        let compression = match self.driver()? {
            Driver::Erofs => self.kept_options().compression().unwrap_or_default(),
            Driver::Overlay | Driver::Copy => Compression::None,
        };
        self.check_compression(compression)?;
        Ok(compression)
    }

    /// How new layers are sealed.
    ///
    /// # Errors
    /// [`EngineError::StorageOption`] if the store was told to do what this host cannot.
    pub fn sealing(&self) -> Result<Sealing, EngineError> {
        match self.driver()? {
            Driver::Erofs => self.sealing_by(self.kept_options().verity().unwrap_or_default()),
            Driver::Overlay | Driver::Copy => Ok(Sealing::None),
        }
    }

    /// How new layers are made.
    ///
    /// # Errors
    /// As [`Self::driver`], [`Self::compression`] and [`Self::sealing`].
    pub(crate) fn unpack_options(&self) -> Result<UnpackOptions, EngineError> {
        Ok(UnpackOptions {
            opaque: OpaqueXattr::ours(),
            form: self.driver()?.form(),
            compression: self.compression()?,
            sealing: self.sealing()?,
            ..UnpackOptions::default()
        })
    }

    fn check_compression(&self, compression: Compression) -> Result<(), EngineError> {
        if compression == Compression::None {
            return Ok(());
        }
        match self.image_extras()?.compression_lack(compression) {
            None => Ok(()),
            Some(reason) => Err(EngineError::Compression {
                compression: compression.to_string(),
                reason,
            }),
        }
    }

    fn sealing_by(&self, wanted: Verity) -> Result<Sealing, EngineError> {
        if wanted == Verity::Off {
            return Ok(Sealing::None);
        }
        let lacks = match self.driver()? {
            Driver::Erofs => {
                let extras = self.image_extras()?;
                [extras.no_fs_verity, extras.no_dm_verity]
            }
            other => {
                let reason = format!("the driver {} keeps directories", other.name());
                [Some(reason.clone()), Some(reason)]
            }
        };
        let refused = |option, reason| Err(EngineError::StorageOption { option, reason });
        match (wanted, lacks) {
            (Verity::Fs | Verity::Auto, [None, _]) => Ok(Sealing::FsVerity),
            (Verity::Dm | Verity::Auto, [_, None]) => Ok(Sealing::DmVerity),
            (Verity::Fs, [Some(reason), _]) => refused("erofs.verity=fs", reason),
            (Verity::Dm, [_, Some(reason)]) => refused("erofs.verity=dm", reason),
            (Verity::Auto | Verity::Off, _) => Ok(Sealing::None),
        }
    }

    /// Nothing, if nothing has been kept, or a power cut has torn it. What an older or newer gamut kept and
    /// this one does not know stays and means nothing.
    fn kept_options(&self) -> StorageOptions {
        let text = std::fs::read(self.options_path()).unwrap_or_default();
        serde_json::from_slice(&text).unwrap_or_default()
    }

    fn options_path(&self) -> PathBuf {
        self.dirs.root.join(FILE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_read() {
        let mut options = StorageOptions::default();
        options.set("erofs.verity=auto").expect("known");
        options.set("erofs.compression=zstd:9").expect("known");
        for wrong in [
            "erofs.verity",
            "erofs.verity=yes",
            "erofs.compression=gzip",
            "erofs.compression=zstd:99",
            "overlay.size=1G",
            "=",
            "",
        ] {
            let error = options.set(wrong).expect_err("unknown");
            assert!(error.hint().is_some_and(|hint| hint.contains("erofs.")));
        }
        assert_eq!(options.verity(), Some(Verity::Auto));
        assert_eq!(options.compression(), Some(Compression::Zstd(9)));
    }
}
