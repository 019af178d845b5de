//! Where a layer that is not whole comes from: `lazy.json`.

use std::path::Path;

use gamut_spec::digest::Digest;
use serde::{Deserialize, Serialize};

use super::LazyError;
use super::toc::Dialect;
use crate::file_error::FileError;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Origin {
    /// The image's name where it was found, which says registry and repository.
    pub reference: String,
    /// The blob.
    pub digest: Digest,
    /// Its bytes.
    pub size_bytes: u64,
    /// Its media type.
    pub media_type: String,
}

/// `lazy.json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Document {
    #[serde(flatten)]
    pub(super) origin: Origin,
    pub(super) dialect: Dialect,
    /// What the table of contents said of all entries (`super::summary`).
    pub(super) entries: Digest,
}

impl Document {
    pub(super) fn write(&self, path: &Path) -> Result<(), FileError> {
        // Cannot fail: there is nothing in it but text and numbers.
        let text = serde_json::to_vec(self).expect("an origin is JSON");
        std::fs::write(path, text).map_err(FileError::io("write", path))
    }

    pub(super) fn read(path: &Path) -> Result<Self, LazyError> {
        let text = std::fs::read(path).map_err(FileError::io("read", path))?;
        serde_json::from_slice(&text)
            .map_err(|error| LazyError::Damaged(format!("{}: {error}", path.display())))
    }
}
