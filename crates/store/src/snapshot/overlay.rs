//! Roots as overlayfs over plain directories: `containers/<id>/{upper,work}` above
//! `layers/*/fs`.

use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::{OverlayMount, SnapshotError, Snapshotter, Usage};
use crate::file_error::FileError;
use crate::layer::{LayerRecord, TREE};
use crate::pin::{self, Pin};
use crate::tree;
use crate::unpack::RootAttributes;

/// Lower directories that overlayfs takes: OVL_MAX_STACK in fs/overlayfs/ovl_entry.h.
const LOWER_LIMIT: usize = 500;
/// The root directory of an image that says nothing of it.
const ROOT: RootAttributes = RootAttributes {
    mode: 0o755,
    uid: 0,
    gid: 0,
};
/// A directory under `layers` that lies below every root, for two reasons: overlayfs wants one
/// lower directory, and what is mounted in every container finds its place there, so that none of
/// it need be made in the container's own layer, one inode after the other. An image's own files
/// hide it, as every layer hides those below.
pub(crate) const BASE: &str = "base";
/// What is in it: mount points, with their modes.
pub(crate) const MOUNT_POINTS: [(&str, FileType, u32); 7] = [
    ("dev", FileType::Directory, 0o755),
    ("etc", FileType::Directory, 0o755),
    ("etc/hostname", FileType::RegularFile, 0o644),
    ("etc/hosts", FileType::RegularFile, 0o644),
    ("etc/resolv.conf", FileType::RegularFile, 0o644),
    ("proc", FileType::Directory, 0o555),
    ("sys", FileType::Directory, 0o555),
];

/// See the module.
#[derive(Debug, Clone)]
pub struct Overlay {
    layers: PathBuf,
    containers: PathBuf,
}

impl Overlay {
    /// `layers` and `containers` are directories of one store, on one file system.
    pub fn new(layers: PathBuf, containers: PathBuf) -> Self {
        Self { layers, containers }
    }

    /// How the root of container `id` will be mounted, and what its root directory is: what
    /// [`make`] needs. Touches nothing.
    pub fn draw(
        &self,
        id: &str,
        layers: &[LayerRecord],
    ) -> Result<(OverlayMount, RootAttributes), SnapshotError> {
        check(id)?;
        if layers.len() >= LOWER_LIMIT {
            return Err(SnapshotError::TooManyLayers {
                count: layers.len(),
                limit: LOWER_LIMIT - 1,
            });
        }
        let mut lower: Vec<_> = visible(layers)
            .map(|layer| self.layers.join(&layer.directory).join(TREE))
            .collect();
        lower.push(self.layers.join(BASE).join(TREE));
        let container = self.containers.join(id);
        let mount = OverlayMount {
            lower,
            upper: container.join("upper"),
            work: container.join("work"),
        };
        let root = visible(layers).find_map(|layer| layer.root).unwrap_or(ROOT);
        Ok((mount, root))
    }
}

/// A root that was just made. While this lives, nobody takes it for a leftover.
#[derive(Debug)]
pub struct Fresh {
    _pin: Pin,
}

/// Makes the directories of a root, which are `upper` and `work` in the container's own. That one
/// may be there: others keep files in it too. On failure nothing is left behind.
pub fn make(container: &Path, root: RootAttributes) -> Result<Fresh, SnapshotError> {
    let id = container.file_name().unwrap_or_default();
    let containers = pin::open_directory(container.parent().unwrap_or(Path::new("/")))?;
    let pin = loop {
        match rustix::fs::mkdirat(&containers, id, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(FileError::at("make the directory", container)(errno).into()),
        }
        // A repair may have come between: then there is none of that name.
        if let Some(pin) =
            Pin::shared(containers.as_fd(), id).map_err(FileError::at("open", container))?
        {
            break pin;
        }
    };
    let upper = container.join("upper");
    let failed = |action| FileError::at(action, &upper);
    match rustix::fs::mkdirat(pin.as_fd(), "upper", Mode::RWXU) {
        Ok(()) => {}
        Err(Errno::EXIST) => {
            let id = id.to_string_lossy().into_owned();
            return Err(SnapshotError::Exists(id));
        }
        Err(errno) => return Err(failed("make the directory")(errno).into()),
    }
    // The root directory of the mount is the upper one, with its owner and mode.
    let made = rustix::fs::mkdirat(pin.as_fd(), "work", Mode::RWXU)
        .and_then(|()| set_root(pin.as_fd(), root));
    match made {
        Ok(()) => Ok(Fresh { _pin: pin }),
        Err(errno) => {
            let _ = remove_parts(pin.as_fd(), containers.as_fd(), container);
            let _ = rustix::fs::unlinkat(&containers, id, AtFlags::REMOVEDIR);
            Err(failed("prepare")(errno).into())
        }
    }
}

/// `work` last: while it is there, the root can still be found and removed again.
fn remove_parts(
    container: BorrowedFd<'_>,
    trash: BorrowedFd<'_>,
    path: &Path,
) -> Result<(), FileError> {
    for part in ["upper", "work"] {
        tree::remove(container, part.as_ref(), trash)
            .map_err(FileError::at("remove", &path.join(part)))?;
    }
    Ok(())
}

/// From the top layer down to the first that hides everything below it.
fn visible(layers: &[LayerRecord]) -> impl Iterator<Item = &LayerRecord> {
    let mut hidden = false;
    layers
        .iter()
        .rev()
        .take_while(move |layer| !std::mem::replace(&mut hidden, layer.opaque_root))
}

impl Snapshotter for Overlay {
    fn prepare(&self, id: &str, layers: &[LayerRecord]) -> Result<OverlayMount, SnapshotError> {
        let (mount, root) = self.draw(id, layers)?;
        make(&self.containers.join(id), root)?;
        Ok(mount)
    }

    fn open(&self, id: &str, layers: &[LayerRecord]) -> Result<OverlayMount, SnapshotError> {
        let (mount, _) = self.draw(id, layers)?;
        match rustix::fs::stat(&mount.work) {
            Ok(_) => Ok(mount),
            Err(Errno::NOENT) => Err(SnapshotError::NotFound(id.to_owned())),
            Err(errno) => Err(FileError::at("look at", &mount.work)(errno).into()),
        }
    }

    fn remove(&self, id: &str) -> Result<(), SnapshotError> {
        check(id)?;
        let path = self.containers.join(id);
        let containers = pin::open_directory(&self.containers)?;
        let container = match pin::open_directory(&path) {
            Err(error) if error.errno == Errno::NOENT => return Ok(()),
            other => other?,
        };
        remove_parts(container.as_fd(), containers.as_fd(), &path)?;
        match rustix::fs::unlinkat(&containers, id, AtFlags::REMOVEDIR) {
            // Somebody else keeps files there.
            Ok(()) | Err(Errno::NOENT | Errno::NOTEMPTY | Errno::EXIST) => Ok(()),
            Err(errno) => Err(FileError::at("remove", &path)(errno).into()),
        }
    }

    fn usage(&self, id: &str) -> Result<Usage, SnapshotError> {
        check(id)?;
        let path = self.containers.join(id).join("upper");
        let upper = match pin::open_directory(&path) {
            Err(error) if error.errno == Errno::NOENT => {
                return Err(SnapshotError::NotFound(id.to_owned()));
            }
            other => other?,
        };
        Ok(tree::usage(upper.as_fd()).map_err(FileError::at("measure", &path))?)
    }

    fn list(&self) -> Result<Vec<String>, SnapshotError> {
        let containers = pin::open_directory(&self.containers)?;
        let mut ids = Vec::new();
        tree::for_each_entry(containers.as_fd(), |name, kind| {
            let Ok(id) = name.to_str() else { return Ok(()) };
            if kind != FileType::Directory || check(id).is_err() {
                return Ok(());
            }
            let root = Path::new(id).join("work");
            if rustix::fs::statat(&containers, root.as_os_str().as_bytes(), AtFlags::empty())
                .is_ok()
            {
                ids.push(id.to_owned());
            }
            Ok(())
        })
        .map_err(FileError::at("list", &self.containers))?;
        Ok(ids)
    }
}

fn set_root(container: BorrowedFd<'_>, root: RootAttributes) -> Result<(), Errno> {
    if (root.uid, root.gid) != (ROOT.uid, ROOT.gid) {
        let (uid, gid) = (Uid::from_raw(root.uid), Gid::from_raw(root.gid));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(container, "upper", Some(uid), Some(gid), flags)?;
    }
    let mode = Mode::from_raw_mode(root.mode);
    rustix::fs::chmodat(container, "upper", mode, AtFlags::empty())
}

/// An id is one component of a path, and no temporary name.
pub(crate) fn check(id: &str) -> Result<(), SnapshotError> {
    let letters = id
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
    if letters && (1..=64).contains(&id.len()) && !id.starts_with(pin::TEMPORARY_PREFIX) {
        Ok(())
    } else {
        Err(SnapshotError::Id(id.to_owned()))
    }
}
