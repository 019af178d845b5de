//! The directories of roots, `containers/<id>/{upper,work}`, whichever way they are mounted: making,
//! finding, measuring and removing them.

use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;

use super::{Copied, Drawing, Place, RootMount, SnapshotError, Usage};
use crate::copy::ImageCopyError;
use crate::erofs::read::Image;
use crate::file_error::FileError;
use crate::pin::{self, Pin};
use crate::unpack::RootAttributes;
use crate::{copy, tree};

/// Holds a root's directories where somebody else is to have them and nothing beside them: a machine's
/// kernel.
const APART: &str = "machine";

/// The roots of one store.
#[derive(Debug, Clone)]
pub struct Roots {
    containers: PathBuf,
}

/// A root that was just made. While this lives, nobody takes it for a leftover.
#[derive(Debug)]
pub struct Fresh {
    _pin: Pin,
}

impl Roots {
    /// `containers` is a directory of the store, on the file system of its layers.
    pub fn new(containers: PathBuf) -> Self {
        Self { containers }
    }

    /// Where the root of container `id` is, and what is stacked below it.
    pub(super) fn mount(
        &self,
        id: &str,
        lower: Vec<super::Lower>,
    ) -> Result<RootMount, SnapshotError> {
        check(id)?;
        let container = self.containers.join(id);
        Ok(RootMount {
            lower,
            upper: container.join("upper"),
            work: container.join("work"),
        })
    }

    /// Whether there is a root of that id.
    pub(super) fn find(&self, id: &str) -> Result<(), SnapshotError> {
        check(id)?;
        match self.part(id, "work")? {
            Some(_) => Ok(()),
            None => Err(SnapshotError::NotFound(id.to_owned())),
        }
    }

    /// Where a directory of a root is, if it is there.
    fn part(&self, id: &str, name: &str) -> Result<Option<PathBuf>, SnapshotError> {
        let container = self.containers.join(id);
        for path in [container.join(name), container.join(APART).join(name)] {
            match rustix::fs::stat(&path) {
                Ok(_) => return Ok(Some(path)),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(FileError::at("look at", &path)(errno).into()),
            }
        }
        Ok(None)
    }

    /// Deletes a root with its changes. One that is not there is success: a removal that was cut
    /// short is finished by another.
    pub fn remove(&self, id: &str) -> Result<(), SnapshotError> {
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

    /// What a root takes on disk for itself; layers that are stacked below it are not counted.
    pub fn usage(&self, id: &str) -> Result<Usage, SnapshotError> {
        check(id)?;
        let Some(path) = self.part(id, "upper")? else {
            return Err(SnapshotError::NotFound(id.to_owned()));
        };
        let upper = pin::open_directory(&path)?;
        Ok(tree::usage(upper.as_fd()).map_err(FileError::at("measure", &path))?)
    }

    /// The ids of all roots, in no particular order.
    pub fn list(&self) -> Result<Vec<String>, SnapshotError> {
        let containers = pin::open_directory(&self.containers)?;
        let mut ids = Vec::new();
        tree::for_each_entry(containers.as_fd(), |name, kind| {
            let Ok(id) = name.to_str() else { return Ok(()) };
            if kind != FileType::Directory || check(id).is_err() {
                return Ok(());
            }
            if self.part(id, "work").is_ok_and(|work| work.is_some()) {
                ids.push(id.to_owned());
            }
            Ok(())
        })
        .map_err(FileError::at("list", &self.containers))?;
        Ok(ids)
    }
}

impl Drawing {
    /// The same root with its directories in one that holds nothing else.
    #[must_use]
    pub fn apart(mut self) -> Self {
        let container = self.container().join(APART);
        self.mount.upper = container.join("upper");
        self.mount.work = container.join("work");
        self.place = Place::Apart;
        self
    }

    fn container(&self) -> &Path {
        let directory = self.mount.upper.parent();
        let container = match self.place {
            Place::Beside => directory,
            Place::Apart => directory.and_then(Path::parent),
        };
        container.unwrap_or(Path::new("/"))
    }

    /// Makes the directories of the root, which are `upper` and `work` in the container's own. That
    /// one may be there: others keep files in it too. On failure nothing is left behind.
    pub fn make(&self) -> Result<Fresh, SnapshotError> {
        let container = self.container();
        let id = container.file_name().unwrap_or_default();
        let containers = pin::open_directory(container.parent().unwrap_or(Path::new("/")))?;
        let pin = loop {
            match rustix::fs::mkdirat(&containers, id, Mode::RWXU) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(errno) => {
                    return Err(FileError::at("make the directory", container)(errno).into());
                }
            }
            // A repair may have come between: then there is none of that name.
            let pinned = Pin::shared(containers.as_fd(), id);
            if let Some(pin) = pinned.map_err(FileError::at("open", container))? {
                break pin;
            }
        };
        let apart = match self.place {
            Place::Beside => None,
            Place::Apart => {
                Some(make_apart(pin.as_fd()).map_err(FileError::at("make", container))?)
            }
        };
        let directory = apart.as_ref().map_or(pin.as_fd(), AsFd::as_fd);
        match rustix::fs::mkdirat(directory, "upper", Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                let id = id.to_string_lossy().into_owned();
                return Err(SnapshotError::Exists(id));
            }
            Err(errno) => {
                let path = &self.mount.upper;
                return Err(FileError::at("make the directory", path)(errno).into());
            }
        }
        match self.fill(directory) {
            Ok(()) => Ok(Fresh { _pin: pin }),
            Err(error) => {
                let _ = remove_parts(pin.as_fd(), containers.as_fd(), container);
                let _ = rustix::fs::unlinkat(&containers, id, AtFlags::REMOVEDIR);
                Err(error)
            }
        }
    }

    fn fill(&self, container: BorrowedFd<'_>) -> Result<(), SnapshotError> {
        let upper = &self.mount.upper;
        let prepare = || FileError::at("prepare", upper);
        rustix::fs::mkdirat(container, "work", Mode::RWXU).map_err(prepare())?;
        if !self.copied.is_empty() {
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let into =
                rustix::fs::openat(container, "upper", flags, Mode::empty()).map_err(prepare())?;
            for layer in &self.copied {
                copy_layer(layer, into.as_fd())?;
            }
        }
        // The root directory of the mount is the upper one, with its owner and mode.
        Ok(set_root(container, self.root).map_err(prepare())?)
    }
}

fn make_apart(container: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    match rustix::fs::mkdirat(container, APART, Mode::RWXU) {
        Ok(()) | Err(Errno::EXIST) => {}
        Err(errno) => return Err(errno),
    }
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(container, APART, flags, Mode::empty())
}

fn copy_layer(layer: &Copied, into: BorrowedFd<'_>) -> Result<(), SnapshotError> {
    match layer {
        Copied::Tree(path) => {
            let from = pin::open_directory(path)?;
            let copied = copy::onto(from.as_fd(), into);
            Ok(copied.map_err(FileError::at("copy the layer", path))?)
        }
        Copied::Image(path) => {
            let file = File::open(path).map_err(FileError::io("open", path))?;
            let copied = Image::open(file)
                .map_err(ImageCopyError::from)
                .and_then(|image| copy::image_onto(&image, into));
            copied.map_err(|error| match error {
                ImageCopyError::Write(errno) => FileError::at("copy the layer", path)(errno).into(),
                ImageCopyError::Read(error) => SnapshotError::Image {
                    path: path.clone(),
                    error,
                },
            })
        }
    }
}

/// `work` last: while it is there, the root can still be found and removed again.
fn remove_parts(
    container: BorrowedFd<'_>,
    trash: BorrowedFd<'_>,
    path: &Path,
) -> Result<(), FileError> {
    for part in [APART, "upper", "work"] {
        tree::remove(container, part.as_ref(), trash)
            .map_err(FileError::at("remove", &path.join(part)))?;
    }
    Ok(())
}

fn set_root(container: BorrowedFd<'_>, root: RootAttributes) -> Result<(), Errno> {
    if (root.uid, root.gid) != (0, 0) {
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
