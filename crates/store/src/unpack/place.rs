//! The second thread: each entry of the archive gets its place in the layer's directory.
//!
//! Files are made with `O_EXCL` and never opened when they exist, so nothing is ever written
//! through a link. What has a name already is removed first: a later entry replaces an earlier one.

use std::ffi::OsStr;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, makedev};
use rustix::io::Errno;

use super::archive::{Archive, Attributes, Entry, EntryKind, Sparse};
use super::directories::{Directories, Made, Missing};
use super::metadata::{self, Creation, Warnings, WithMode};
use super::whiteout::{self, Meaning, OpaqueXattr};
use super::{Limits, RootAttributes, UnpackOptions, UnpackProblem, Unpacked};
use crate::tree;

/// Why the archive was given up, and at which entry.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) entry: Option<String>,
    pub(super) problem: UnpackProblem,
}

/// Reads an archive to its end and places what is in it below the empty directory `into`.
pub(super) fn archive(
    chunks: impl BufRead,
    into: BorrowedFd<'_>,
    trash: BorrowedFd<'_>,
    options: &UnpackOptions,
) -> Result<Unpacked, Refusal> {
    let unnamed = |problem| Refusal {
        entry: None,
        problem,
    };
    let limits = &options.limits;
    let mut archive = Archive::new(chunks, limits);
    let mut placer = Placer::new(into, trash, options).map_err(unnamed)?;
    while let Some(mut entry) = archive.next().map_err(unnamed)? {
        let path = std::mem::take(&mut entry.path);
        placer
            .place(&path, entry, &mut archive)
            .map_err(|problem| Refusal {
                entry: Some(path.escape_ascii().to_string()),
                problem,
            })?;
    }
    archive.drain().map_err(unnamed)?;
    placer.finish()
}

#[derive(Debug)]
struct Placer<'a> {
    directories: Directories<'a>,
    trash: BorrowedFd<'a>,
    limits: &'a Limits,
    opaque: OpaqueXattr,
    creation: Creation,
    unpacked: Unpacked,
}

/// Where an entry goes: the last component of its path in its open directory.
#[derive(Debug)]
struct Spot<'p> {
    parent: Rc<OwnedFd>,
    name: &'p OsStr,
    /// The whole cleaned path.
    path: &'p [u8],
}

impl<'a> Placer<'a> {
    fn new(
        into: BorrowedFd<'a>,
        trash: BorrowedFd<'a>,
        options: &'a UnpackOptions,
    ) -> Result<Self, UnpackProblem> {
        let root = rustix::io::fcntl_dupfd_cloexec(into, 0)
            .map_err(UnpackProblem::at("open the layer's directory"))?;
        // Inherited from the store's directory, a default ACL would change every mode.
        match rustix::fs::fremovexattr(&root, "system.posix_acl_default") {
            Ok(()) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
            Err(errno) => return Err(UnpackProblem::at("remove a default ACL")(errno)),
        }
        Ok(Self {
            directories: Directories::new(root, &options.limits, options.opaque),
            trash,
            limits: &options.limits,
            opaque: options.opaque,
            creation: Creation::of_this_process(),
            unpacked: Unpacked {
                size_bytes: 0,
                entries: 0,
                root: None,
                opaque_root: false,
                warnings: Warnings::default(),
            },
        })
    }

    fn finish(mut self) -> Result<Unpacked, Refusal> {
        if self.unpacked.root.is_none() {
            self.directories
                .remember(b"", None)
                .map_err(|problem| Refusal {
                    entry: None,
                    problem,
                })?;
        }
        self.directories
            .finish(self.creation, &mut self.unpacked.warnings)
            .map_err(|(path, problem)| Refusal {
                entry: Some(path.escape_ascii().to_string()),
                problem,
            })?;
        Ok(self.unpacked)
    }

    fn place(
        &mut self,
        path: &[u8],
        entry: Entry,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<(), UnpackProblem> {
        self.unpacked.entries += 1;
        if self.unpacked.entries > self.limits.entries {
            return Err(UnpackProblem::Limit {
                what: "entries",
                limit: self.limits.entries,
            });
        }
        let path = clean(path)?;
        let (parent, name) = split(&path);
        if parent
            .split(|&byte| byte == b'/')
            .any(|part| part.starts_with(b".wh."))
        {
            // Below AUFS's own directories nothing has a meaning; below a whiteout nothing can be.
            return match parent
                .split(|&byte| byte == b'/')
                .any(|p| p.starts_with(b".wh..wh."))
            {
                true => Ok(()),
                false => Err(UnpackProblem::Unsafe("its path leads through a whiteout")),
            };
        }
        match whiteout::meaning(name)? {
            Meaning::Ignored => Ok(()),
            Meaning::Opaque => self.hide_all(parent),
            Meaning::Whiteout(hidden) => self.hide(parent, hidden),
            Meaning::Ordinary if path.is_empty() => self.root(entry),
            Meaning::Ordinary => {
                let spot = Spot {
                    parent: self.directories.at(parent, Missing::Make)?,
                    name: OsStr::from_bytes(name),
                    path: &path,
                };
                self.place_at(&spot, entry, archive)
            }
        }
    }

    /// An entry for the layer's root itself.
    fn root(&mut self, entry: Entry) -> Result<(), UnpackProblem> {
        if entry.kind != EntryKind::Directory {
            return Err(UnpackProblem::Unsafe("the root can only be a directory"));
        }
        self.unpacked.root = Some(RootAttributes {
            mode: entry.attributes.mode,
            uid: entry.attributes.uid,
            gid: entry.attributes.gid,
        });
        self.directories.remember(b"", Some(entry.attributes))
    }

    fn place_at(
        &mut self,
        spot: &Spot<'_>,
        entry: Entry,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<(), UnpackProblem> {
        let attributes = entry.attributes;
        match entry.kind {
            EntryKind::File { sparse } => self.file(spot, sparse, &attributes, archive),
            EntryKind::Directory => self.directory(spot, attributes),
            EntryKind::Symlink { target } => self.symlink(spot, &target, &attributes),
            EntryKind::Hardlink { target } => self.hardlink(spot, &target),
            EntryKind::CharacterDevice { major, minor } => {
                let kind = FileType::CharacterDevice;
                self.node(spot, kind, (major, minor), &attributes)
            }
            EntryKind::BlockDevice { major, minor } => {
                self.node(spot, FileType::BlockDevice, (major, minor), &attributes)
            }
            EntryKind::Fifo => self.node(spot, FileType::Fifo, (0, 0), &attributes),
        }
    }

    fn file(
        &mut self,
        spot: &Spot<'_>,
        sparse: Option<Sparse>,
        attributes: &Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<(), UnpackProblem> {
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        let file = self.replacing(spot, "create it", |parent, name| {
            rustix::fs::openat(parent, name, flags, mode)
        })?;
        self.unpacked.size_bytes += match sparse {
            None => write_all(&file, archive)?,
            Some(sparse) => write_sparse(&file, &sparse, archive)?,
        };
        let warnings = &mut self.unpacked.warnings;
        let warn = |what| warnings.add(spot.path, || what);
        let creation = self.creation;
        metadata::apply_to_open(
            file.as_fd(),
            attributes,
            creation,
            WithMode::UnlessGiven,
            warn,
        )
    }

    fn directory(&mut self, spot: &Spot<'_>, attributes: Attributes) -> Result<(), UnpackProblem> {
        let made = self
            .directories
            .make(&spot.parent, spot.name, spot.path, attributes)?;
        let Made::InTheWay(attributes) = made else {
            return Ok(());
        };
        self.clear(spot)?;
        match self
            .directories
            .make(&spot.parent, spot.name, spot.path, attributes)?
        {
            Made::Done => Ok(()),
            Made::InTheWay(_) => Err(UnpackProblem::at("make the directory")(Errno::EXIST)),
        }
    }

    fn symlink(
        &mut self,
        spot: &Spot<'_>,
        target: &[u8],
        attributes: &Attributes,
    ) -> Result<(), UnpackProblem> {
        if target.is_empty() {
            return Err(UnpackProblem::Archive("a symbolic link has no target"));
        }
        // The target is text: only the container, inside its own root, follows it.
        self.replacing(spot, "make the symbolic link", |parent, name| {
            rustix::fs::symlinkat(OsStr::from_bytes(target), parent, name)
        })?;
        self.finish_name(spot, attributes, None)
    }

    /// A further name for a file of this layer. The target's last component is not followed.
    fn hardlink(&mut self, spot: &Spot<'_>, target: &[u8]) -> Result<(), UnpackProblem> {
        let target = clean(target)?;
        let (parent, name) = split(&target);
        if name.is_empty() {
            return Err(UnpackProblem::Archive("a hard link has no target"));
        }
        let from = self.directories.at(parent, Missing::Refuse)?;
        let name = OsStr::from_bytes(name);
        let no_target = |errno| match errno {
            Errno::NOENT => UnpackProblem::Unsafe("its target is no file of this layer"),
            errno => UnpackProblem::at("look at its target")(errno),
        };
        let stat = rustix::fs::statat(&from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(no_target)?;
        if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
            return Err(UnpackProblem::Unsafe("a hard link to a directory"));
        }
        let present = rustix::fs::statat(&spot.parent, spot.name, AtFlags::SYMLINK_NOFOLLOW);
        if present.is_ok_and(|p| (p.st_dev, p.st_ino) == (stat.st_dev, stat.st_ino)) {
            return Ok(());
        }
        self.replacing(spot, "make the hard link", |parent, new| {
            rustix::fs::linkat(&from, name, parent, new, AtFlags::empty())
        })
    }

    /// A device or FIFO. Who may not make devices gets a warning: the container has its own /dev.
    fn node(
        &mut self,
        spot: &Spot<'_>,
        kind: FileType,
        (major, minor): (u32, u32),
        attributes: &Attributes,
    ) -> Result<(), UnpackProblem> {
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        let device = makedev(major, minor);
        let made = self.replacing(spot, "make the device", |parent, name| {
            rustix::fs::mknodat(parent, name, kind, mode, device)
        });
        match made {
            Ok(()) => {}
            Err(UnpackProblem::System {
                errno: Errno::PERM, ..
            }) => {
                let what = || format!("the device {major}:{minor} was not made: not permitted");
                self.unpacked.warnings.add(spot.path, what);
                return Ok(());
            }
            Err(problem) => return Err(problem),
        }
        self.finish_name(spot, attributes, Some(Mode::from_raw_mode(attributes.mode)))
    }

    fn finish_name(
        &mut self,
        spot: &Spot<'_>,
        attributes: &Attributes,
        mode: Option<Mode>,
    ) -> Result<(), UnpackProblem> {
        let warnings = &mut self.unpacked.warnings;
        let warn = |what| warnings.add(spot.path, || what);
        let parent = spot.parent.as_fd();
        metadata::apply_to_name(parent, spot.name, attributes, self.creation, mode, warn)
    }

    /// A whiteout. It hides what lies in lower layers only: what this layer has itself stays.
    fn hide(&mut self, parent: &[u8], name: &[u8]) -> Result<(), UnpackProblem> {
        let parent = self.directories.at(parent, Missing::Make)?;
        let name = OsStr::from_bytes(name);
        match whiteout::make(parent.as_fd(), name) {
            Ok(()) => Ok(()),
            Err(Errno::EXIST) => {
                let stat = rustix::fs::statat(&parent, name, AtFlags::SYMLINK_NOFOLLOW)
                    .map_err(UnpackProblem::at("look at what it hides"))?;
                match FileType::from_raw_mode(stat.st_mode) {
                    FileType::Directory => self.directories.mark_opaque(&parent, name),
                    _ => Ok(()),
                }
            }
            Err(errno) => Err(UnpackProblem::at("make the whiteout")(errno)),
        }
    }

    /// An opaque whiteout. overlayfs looks for no such mark at the root of a layer: the
    /// snapshotter leaves out what lies below instead.
    fn hide_all(&mut self, parent: &[u8]) -> Result<(), UnpackProblem> {
        if parent.is_empty() {
            self.unpacked.opaque_root = true;
            return Ok(());
        }
        let directory = self.directories.at(parent, Missing::Make)?;
        self.opaque.set(directory.as_fd())
    }

    /// Makes something that must not be there yet; what is in its place is removed.
    fn replacing<T>(
        &mut self,
        spot: &Spot<'_>,
        action: &'static str,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, UnpackProblem> {
        match make(spot.parent.as_fd(), spot.name) {
            Err(Errno::EXIST) => {
                self.clear(spot)?;
                make(spot.parent.as_fd(), spot.name).map_err(UnpackProblem::at(action))
            }
            other => other.map_err(UnpackProblem::at(action)),
        }
    }

    fn clear(&mut self, spot: &Spot<'_>) -> Result<(), UnpackProblem> {
        self.directories.forget();
        tree::remove(spot.parent.as_fd(), spot.name, self.trash)
            .map_err(UnpackProblem::at("remove what is in its place"))
    }
}

/// A path without empty and `.` components; absolute ones start at the layer's root. `..` is
/// refused: no writer of layers needs it.
fn clean(path: &[u8]) -> Result<Vec<u8>, UnpackProblem> {
    let mut cleaned = Vec::with_capacity(path.len());
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => return Err(UnpackProblem::Unsafe("a path with `..`")),
            part if part.contains(&0) => {
                return Err(UnpackProblem::Archive("a path contains a zero byte"));
            }
            part => {
                if !cleaned.is_empty() {
                    cleaned.push(b'/');
                }
                cleaned.extend_from_slice(part);
            }
        }
    }
    Ok(cleaned)
}

/// A cleaned path's directory and last component.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (b"", path),
    }
}

fn write_all(
    file: &OwnedFd,
    archive: &mut Archive<'_, impl BufRead>,
) -> Result<u64, UnpackProblem> {
    let mut written = 0;
    archive.data(|mut piece| {
        written += piece.len() as u64;
        while !piece.is_empty() {
            let count = rustix::io::retry_on_intr(|| rustix::io::write(file, piece))
                .map_err(UnpackProblem::at("write to it"))?;
            piece = &piece[count..];
        }
        Ok(())
    })?;
    Ok(written)
}

fn write_sparse(
    file: &OwnedFd,
    sparse: &Sparse,
    archive: &mut Archive<'_, impl BufRead>,
) -> Result<u64, UnpackProblem> {
    for &(offset, length) in &sparse.runs {
        let mut at = offset;
        archive.data_run(length, &mut |mut piece: &[u8]| {
            while !piece.is_empty() {
                let count = rustix::io::retry_on_intr(|| rustix::io::pwrite(file, piece, at))
                    .map_err(UnpackProblem::at("write to it"))?;
                at += count as u64;
                piece = &piece[count..];
            }
            Ok(())
        })?;
    }
    rustix::fs::ftruncate(file, sparse.real_bytes).map_err(UnpackProblem::at("extend it"))?;
    Ok(sparse.real_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_cleaned_and_never_lead_up() {
        let cleaned = |path: &str| {
            clean(path.as_bytes())
                .ok()
                .map(|p| p.escape_ascii().to_string())
        };
        assert_eq!(cleaned("./a//b/./c/").as_deref(), Some("a/b/c"));
        assert_eq!(cleaned("/etc/passwd").as_deref(), Some("etc/passwd"));
        assert_eq!(cleaned("./").as_deref(), Some(""));
        assert_eq!(cleaned("a/..b/...").as_deref(), Some("a/..b/..."));
        assert_eq!(cleaned("../a"), None);
        assert_eq!(cleaned("a/../b"), None);
    }
}
