//! What each byte of the store's directory belongs to. Blocks on disk are counted, not lengths, and a
//! file with several names once: the sum is what `du -x` says of the directory.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

use crate::file_error::FileError;
use crate::pin::{self, Locked, Pin, TEMPORARY_PREFIX};
use crate::snapshot::BASE;
use crate::store::{Store, StoreError};
use crate::tree::{self, Usage};

/// What a part of the store belongs to, by its name on disk.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// `layers/<name>`: a layer.
    Layer(String),
    /// `merged/<name>`: the metadata of an image's layers together.
    Merged(String),
    /// `blobs/sha256/<name>`: a manifest, a configuration, an attestation.
    Blob(String),
    /// `containers/<id>/{upper,work}`: what a container has changed.
    Changes(String),
    /// `containers/<id>/container.log…`: what it has said.
    Log(String),
    /// The rest of `containers/<id>`: its plan and its status.
    Record(String),
    /// `volumes/<name>`.
    Volume(String),
    /// `ingest/<name>`: a download that is not complete.
    Download(String),
    /// `<directory>/tmp-…`: something in the making, or what a killed process has left of it.
    Temporary(String),
    /// `state.db` and its log.
    Database,
    /// `kernels/<name>`: a guest kernel.
    Kernel(String),
    /// `cache/`: compiled filters, and guests' initramfs.
    Filters,
    /// `events/`: the log of what has happened.
    Events,
    /// The directories that hold the rest, and the mount points below every root.
    Frame,
    /// Nothing that this program knows, by its path.
    Foreign(String),
}

impl Owner {
    /// Where it is below the store's directory, if it is one thing.
    #[must_use]
    pub fn path(&self) -> Option<PathBuf> {
        Some(match self {
            Self::Layer(name) => Path::new("layers").join(name),
            Self::Merged(name) => Path::new("merged").join(name),
            Self::Blob(name) => Path::new("blobs/sha256").join(name),
            Self::Changes(id) => Path::new("containers").join(id).join("upper"),
            Self::Log(id) => Path::new("containers").join(id).join("container.log"),
            Self::Record(id) => Path::new("containers").join(id),
            Self::Volume(name) => Path::new("volumes").join(name),
            Self::Download(name) => Path::new("ingest").join(name),
            Self::Temporary(path) | Self::Foreign(path) => PathBuf::from(path),
            Self::Database => PathBuf::from("state.db"),
            Self::Kernel(name) => Path::new("kernels").join(name),
            Self::Filters => PathBuf::from("cache"),
            Self::Events => PathBuf::from("events"),
            Self::Frame => return None,
        })
    }
}

impl Store {
    /// Whether some process is using a layer, a blob, a download or what is in the making.
    #[must_use]
    pub fn is_in_use(&self, owner: &Owner) -> bool {
        let in_use = || -> Option<bool> {
            let path = self.root().join(owner.path()?);
            let directory = pin::open_directory(path.parent()?).ok()?;
            let locked = Pin::exclusive(directory.as_fd(), path.file_name()?).ok()?;
            Some(matches!(locked, Locked::InUse))
        };
        in_use().unwrap_or(false)
    }

    /// Measures everything in the store's directory.
    pub fn account(&self) -> Result<BTreeMap<Owner, Usage>, StoreError> {
        let root = pin::open_directory(self.root())?;
        let failed = |errno| FileError::at("measure", self.root())(errno);
        let mut account: BTreeMap<Owner, Usage> = BTreeMap::new();
        let itself = rustix::fs::fstat(&root).map_err(failed)?;
        account.entry(Owner::Frame).or_default().add(&itself);
        // One tree after the other: the owner is looked up once for hundreds of files.
        let mut last: Option<(Owner, Usage)> = None;
        tree::walk(root.as_fd(), |path, stat| {
            let owner = owner(path);
            match &mut last {
                Some((same, usage)) if *same == owner => usage.add(stat),
                _ => {
                    let mut usage = Usage::default();
                    usage.add(stat);
                    if let Some((owner, usage)) = last.replace((owner, usage)) {
                        *account.entry(owner).or_default() += usage;
                    }
                }
            }
        })
        .map_err(failed)?;
        if let Some((owner, usage)) = last {
            *account.entry(owner).or_default() += usage;
        }
        Ok(account)
    }
}

impl std::ops::AddAssign for Usage {
    fn add_assign(&mut self, other: Self) {
        self.allotted_bytes += other.allotted_bytes;
        self.inodes += other.inodes;
    }
}

/// Whose the file at `path` below the store's directory is.
fn owner(path: &[u8]) -> Owner {
    let text = String::from_utf8_lossy(path);
    let mut words = text.splitn(4, '/');
    let [first, second, third] = [words.next(), words.next(), words.next()];
    let own = |text: &str| text.to_owned();
    match (first.unwrap_or_default(), second, third) {
        ("state.db" | "state.db-wal" | "state.db-shm", None, None) => Owner::Database,
        ("blobs" | "layers" | "merged" | "containers" | "volumes" | "ingest", None, None)
        | ("blobs", Some("sha256"), None)
        | ("layers", Some(BASE), _) => Owner::Frame,
        ("storage-options.json", None, None) => Owner::Frame,
        ("kernels", None, None) | ("kernels", Some("default" | "build.log"), None) => Owner::Frame,
        ("kernels", Some(name), _) => Owner::Kernel(own(name)),
        ("cache", ..) => Owner::Filters,
        ("events", ..) => Owner::Events,
        (
            directory @ ("layers" | "merged" | "containers" | "ingest" | "volumes"),
            Some(name),
            _,
        ) if name.starts_with(TEMPORARY_PREFIX) => Owner::Temporary(format!("{directory}/{name}")),
        ("blobs", Some("sha256"), Some(name)) if name.starts_with(TEMPORARY_PREFIX) => {
            Owner::Temporary(format!("blobs/sha256/{name}"))
        }
        ("blobs", Some("sha256"), Some(name)) => Owner::Blob(own(name)),
        ("layers", Some(name), _) => Owner::Layer(own(name)),
        ("merged", Some(name), None) => Owner::Merged(own(name)),
        ("ingest", Some(name), _) => Owner::Download(own(name)),
        ("volumes", Some(name), _) => Owner::Volume(own(name)),
        ("containers", Some(id), Some("upper" | "work" | "machine")) => Owner::Changes(own(id)),
        ("containers", Some(id), Some(part)) if part.starts_with("container.log") => {
            Owner::Log(own(id))
        }
        ("containers", Some(id), _) => Owner::Record(own(id)),
        _ => Owner::Foreign(text.into_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_has_its_owner() {
        for (path, wanted) in [
            ("state.db-wal", Owner::Database),
            ("blobs/sha256", Owner::Frame),
            ("blobs/sha256/ab", Owner::Blob("ab".into())),
            (
                "blobs/sha256/tmp-1",
                Owner::Temporary("blobs/sha256/tmp-1".into()),
            ),
            ("layers/ab", Owner::Layer("ab".into())),
            ("layers/ab/fs/a/b/c", Owner::Layer("ab".into())),
            ("layers/base/fs/etc", Owner::Frame),
            ("merged/ab", Owner::Merged("ab".into())),
            ("containers/ab", Owner::Record("ab".into())),
            ("containers/ab/upper/a", Owner::Changes("ab".into())),
            ("containers/ab/work", Owner::Changes("ab".into())),
            ("containers/ab/container.log.1", Owner::Log("ab".into())),
            ("containers/ab/plan.json", Owner::Record("ab".into())),
            ("volumes/v/_data/x", Owner::Volume("v".into())),
            ("kernels", Owner::Frame),
            ("kernels/default", Owner::Frame),
            ("kernels/0123/kernel", Owner::Kernel("0123".into())),
            ("cache", Owner::Filters),
            ("events/log", Owner::Events),
            ("lost+found", Owner::Foreign("lost+found".into())),
        ] {
            assert_eq!(owner(path.as_bytes()), wanted, "{path}");
        }
    }
}
