//! `/snapshot/create` and `/snapshot/load`. They are read, so that what is wrong with a request is said first.

use std::path::PathBuf;

use serde::Deserialize;

/// `PUT /snapshot/create`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotCreate {
    #[serde(default)]
    pub snapshot_type: SnapshotType,
    pub snapshot_path: PathBuf,
    pub mem_file_path: PathBuf,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum SnapshotType {
    Diff,
    #[default]
    Full,
}

/// `PUT /snapshot/load`, as it comes.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SnapshotLoadRequest {
    pub snapshot_path: PathBuf,
    /// Deprecated.
    pub mem_file_path: Option<PathBuf>,
    pub mem_backend: Option<MemoryBackend>,
    /// Deprecated.
    #[serde(default)]
    pub enable_diff_snapshots: bool,
    #[serde(default)]
    pub track_dirty_pages: bool,
    #[serde(default)]
    pub resume_vm: bool,
    #[serde(default)]
    pub network_overrides: Vec<NetworkOverride>,
    pub vsock_override: Option<VsockOverride>,
    #[serde(default)]
    pub clock_realtime: bool,
    #[serde(default)]
    pub huge_pages: SnapshotPages,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryBackend {
    pub backend_path: PathBuf,
    pub backend_type: MemoryBackendType,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum MemoryBackendType {
    File,
    Uffd,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct NetworkOverride {
    pub iface_id: String,
    pub host_dev_name: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct VsockOverride {
    pub uds_path: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum SnapshotPages {
    #[default]
    Snapshot,
    None,
    Transparent,
    #[serde(rename = "2M")]
    Huge,
}

/// A load that makes sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SnapshotLoad {
    pub snapshot_path: PathBuf,
    pub memory: MemoryBackend,
}

/// Which of the two fields for memory a load has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotRequestError {
    #[error("missing field: either `mem_backend` or `mem_file_path` is required")]
    NoMemory,
    #[error("too many fields: either `mem_backend` or `mem_file_path` exclusively is required")]
    TwoMemories,
}

impl SnapshotLoadRequest {
    /// Whether it has fields that Firecracker will not have one day.
    #[must_use]
    pub fn has_deprecated_fields(&self) -> bool {
        self.mem_file_path.is_some() || self.enable_diff_snapshots
    }
}

impl TryFrom<SnapshotLoadRequest> for SnapshotLoad {
    type Error = SnapshotRequestError;

    fn try_from(request: SnapshotLoadRequest) -> Result<Self, SnapshotRequestError> {
        let memory = match (request.mem_backend, request.mem_file_path) {
            (Some(_), Some(_)) => return Err(SnapshotRequestError::TwoMemories),
            (None, None) => return Err(SnapshotRequestError::NoMemory),
            (Some(backend), None) => backend,
            (None, Some(backend_path)) => MemoryBackend {
                backend_path,
                backend_type: MemoryBackendType::File,
            },
        };
        Ok(Self {
            snapshot_path: request.snapshot_path,
            memory,
        })
    }
}
