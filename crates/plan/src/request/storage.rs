//! What is mounted into a workload's tree.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// Mounts, and the root they stand on.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Storage {
    /// In the order given; a target appears once.
    pub mounts: Vec<Mount>,
    /// Whose mounts are mounted too.
    #[serde(default)]
    pub volumes_from: Vec<VolumesFrom>,
    pub read_only_root: bool,
    /// Size of `/dev/shm`.
    pub shm_size_bytes: Option<u64>,
}

/// `--volumes-from`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumesFrom {
    /// Name, id, or the unambiguous beginning of an id.
    pub container: String,
    /// Else as they are there.
    pub read_only: bool,
}

/// One `-v`, `--mount` or `--tmpfs`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Mount {
    /// Absolute path inside, without `.` and `..`; never `/`.
    pub target: PathBuf,
    pub read_only: bool,
    pub source: MountSource,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MountSource {
    Bind {
        /// Absolute path on the host.
        path: PathBuf,
        /// A missing path becomes a directory (`-v` does this, `--mount` does not).
        create: bool,
        /// Mounts below the source come along.
        recursive: bool,
        /// What is read-only is so itself, and not what is mounted below it.
        #[serde(default)]
        below_writable: bool,
        propagation: Propagation,
        relabel: Option<Relabel>,
    },
    Volume {
        /// `None`: an anonymous volume.
        name: Option<String>,
        /// A new volume starts with what the image has at the target.
        copy_image_content: bool,
        /// What of it is mounted: a relative path that is there already.
        #[serde(default)]
        subpath: Option<PathBuf>,
    },
    Tmpfs(TmpfsOptions),
}

/// Mount propagation (mount_namespaces(7)).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Propagation {
    Private,
    #[default]
    Rprivate,
    Slave,
    Rslave,
    Shared,
    Rshared,
}

/// The `z` and `Z` of `-v`: an SELinux label shared among containers, or of this one alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Relabel {
    Shared,
    Private,
}

/// Options of tmpfs(5); `None`: the default (`nosuid,nodev,noexec`, half of the memory).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct TmpfsOptions {
    pub size_bytes: Option<u64>,
    pub max_inodes: Option<u64>,
    /// Permission bits of the root directory, at most 0o7777.
    pub mode: Option<u32>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    pub exec: Option<bool>,
    pub suid: Option<bool>,
    pub dev: Option<bool>,
    pub noatime: bool,
}
