//! A layer becomes a tree of files: each entry of the archive gets its place in a directory.
//!
//! Files are made with `O_EXCL` and never opened when they exist, so nothing is ever written
//! through a link. What has a name already is removed first: a later entry replaces an earlier one.

use std::ffi::OsStr;
use std::io::BufRead;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, major, makedev, minor};
use rustix::io::Errno;

use super::archive::{Archive, Attributes, EntryKind};
use super::directories::{Directories, Made, Missing, Opened};
use super::entries::{Marks, Place, Refusal, Sink, clean};
use super::metadata::{self, Creation, Warnings, WithMode};
use super::sparse::Sparse;
use super::whiteout::{self, OpaqueXattr};
use super::{UnpackOptions, UnpackProblem};
use crate::erofs::format::device_number;
use crate::reproduce::Kept;
use crate::reproduce::tape::Tape;
use crate::tree;

/// The tree in the making.
#[derive(Debug)]
pub(crate) struct Placer<'a> {
    directories: Directories<'a>,
    trash: BorrowedFd<'a>,
    opaque: OpaqueXattr,
    creation: Creation,
    /// The archive has an entry for the root.
    has_root: bool,
    size_bytes: u64,
    warnings: Warnings,
}

/// Where an entry goes: the last component of its path in its open directory.
#[derive(Debug)]
struct Spot<'p> {
    parent: Rc<Opened>,
    name: &'p OsStr,
    /// The whole cleaned path.
    path: &'p [u8],
}

impl Spot<'_> {
    /// Where it is in the finished tree: the path without links.
    fn place(&self) -> Vec<u8> {
        self.parent.below(self.name.as_bytes())
    }
}

impl<'a> Placer<'a> {
    pub(crate) fn new(
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
            opaque: options.opaque,
            creation: Creation::of_this_process(),
            has_root: false,
            size_bytes: 0,
            warnings: Warnings::default(),
        })
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
        let file = self.replacing(spot, archive.tape(), "create it", |parent, name| {
            rustix::fs::openat(parent, name, flags, mode)
        })?;
        let place = spot.place();
        self.size_bytes += write_file(&file, &place, sparse.as_ref(), archive)?;
        let warnings = &mut self.warnings;
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

    fn directory(
        &mut self,
        spot: &Spot<'_>,
        attributes: Attributes,
        tape: &mut Tape<'_>,
    ) -> Result<(), UnpackProblem> {
        let made = self
            .directories
            .make(&spot.parent, spot.name, spot.path, attributes)?;
        let Made::InTheWay(attributes) = made else {
            return Ok(());
        };
        self.clear(spot, tape)?;
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
        tape: &mut Tape<'_>,
    ) -> Result<(), UnpackProblem> {
        if target.is_empty() {
            return Err(UnpackProblem::Archive("a symbolic link has no target"));
        }
        // The target is text: only the container, inside its own root, follows it.
        self.replacing(spot, tape, "make the symbolic link", |parent, name| {
            rustix::fs::symlinkat(OsStr::from_bytes(target), parent, name)
        })?;
        self.finish_name(spot, attributes, None)
    }

    /// A further name for a file of this layer. The target's last component is not followed.
    fn hardlink(
        &mut self,
        spot: &Spot<'_>,
        target: &[u8],
        tape: &mut Tape<'_>,
    ) -> Result<(), UnpackProblem> {
        let target = clean(target)?;
        let Place { parent, name, .. } = Place::new(&target);
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
        self.replacing(spot, tape, "make the hard link", |parent, new| {
            rustix::fs::linkat(&from, name, parent, new, AtFlags::empty())
        })
    }

    /// A device or FIFO. Who may not make devices gets a warning: the container has its own /dev.
    fn node(
        &mut self,
        spot: &Spot<'_>,
        (kind, device): (FileType, u64),
        attributes: &Attributes,
        tape: &mut Tape<'_>,
    ) -> Result<(), UnpackProblem> {
        // mknod(2) cuts off what has no room: another device, or a whiteout, would come out.
        let (major, minor) = (major(device), minor(device));
        if device_number(major, minor).is_none() {
            return Err(UnpackProblem::at("make the device")(Errno::INVAL));
        }
        let mode = Mode::from_raw_mode(attributes.mode & 0o777);
        let made = self.replacing(spot, tape, "make the device", |parent, name| {
            rustix::fs::mknodat(parent, name, kind, mode, device)
        });
        match made {
            Ok(()) => {}
            Err(UnpackProblem::System {
                errno: Errno::PERM, ..
            }) => {
                let what = || format!("the device {major}:{minor} was not made: not permitted");
                self.warnings.add(spot.path, what);
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
        let warnings = &mut self.warnings;
        let warn = |what| warnings.add(spot.path, || what);
        let parent = spot.parent.as_fd();
        metadata::apply_to_name(parent, spot.name, attributes, self.creation, mode, warn)
    }

    /// Makes something that must not be there yet; what is in its place is removed.
    fn replacing<T>(
        &mut self,
        spot: &Spot<'_>,
        tape: &mut Tape<'_>,
        action: &'static str,
        make: impl Fn(BorrowedFd<'_>, &OsStr) -> Result<T, Errno>,
    ) -> Result<T, UnpackProblem> {
        match make(spot.parent.as_fd(), spot.name) {
            Err(Errno::EXIST) => {
                self.clear(spot, tape)?;
                make(spot.parent.as_fd(), spot.name).map_err(UnpackProblem::at(action))
            }
            other => other.map_err(UnpackProblem::at(action)),
        }
    }

    fn clear(&mut self, spot: &Spot<'_>, tape: &mut Tape<'_>) -> Result<(), UnpackProblem> {
        self.directories.forget();
        tape.rescue(spot.parent.as_fd(), spot.name, &spot.place())?;
        tree::remove(spot.parent.as_fd(), spot.name, self.trash)
            .map_err(UnpackProblem::at("remove what is in its place"))
    }
}

impl Marks for Placer<'_> {
    fn root(&mut self, attributes: Attributes) -> Result<(), UnpackProblem> {
        self.has_root = true;
        self.directories.remember(b"", Some(attributes))
    }

    fn hide(&mut self, place: Place<'_>) -> Result<(), UnpackProblem> {
        let parent = self.directories.at(place.parent, Missing::Make)?;
        let name = OsStr::from_bytes(place.name);
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

    fn hide_all(&mut self, path: &[u8]) -> Result<(), UnpackProblem> {
        let directory = self.directories.at(path, Missing::Make)?;
        self.opaque.set(directory.as_fd())
    }
}

impl Sink for Placer<'_> {
    fn place(
        &mut self,
        place: Place<'_>,
        kind: EntryKind,
        attributes: Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<(), UnpackProblem> {
        let spot = &Spot {
            parent: self.directories.at(place.parent, Missing::Make)?,
            name: OsStr::from_bytes(place.name),
            path: place.path,
        };
        match kind {
            EntryKind::File { sparse } => self.file(spot, sparse, &attributes, archive),
            EntryKind::Directory => self.directory(spot, attributes, archive.tape()),
            EntryKind::Symlink { target } => {
                self.symlink(spot, &target, &attributes, archive.tape())
            }
            EntryKind::Hardlink { target } => self.hardlink(spot, &target, archive.tape()),
            EntryKind::CharacterDevice { major, minor } => {
                let device = (FileType::CharacterDevice, makedev(major, minor));
                self.node(spot, device, &attributes, archive.tape())
            }
            EntryKind::BlockDevice { major, minor } => {
                let device = (FileType::BlockDevice, makedev(major, minor));
                self.node(spot, device, &attributes, archive.tape())
            }
            EntryKind::Fifo => self.node(spot, (FileType::Fifo, 0), &attributes, archive.tape()),
        }
    }

    fn finish(mut self, _: &mut Tape<'_>) -> Result<(u64, Warnings), Refusal> {
        if !self.has_root {
            self.directories.remember(b"", None)?;
        }
        self.directories
            .finish(self.creation, &mut self.warnings)
            .map_err(|(path, problem)| Refusal::at(&path, problem))?;
        Ok((self.size_bytes, self.warnings))
    }
}

/// Gives an empty file, `place` in the finished tree, the data of the present entry; their number
/// in the end.
pub(crate) fn write_file(
    file: &OwnedFd,
    place: &[u8],
    sparse: Option<&Sparse>,
    archive: &mut Archive<'_, impl BufRead>,
) -> Result<u64, UnpackProblem> {
    match sparse {
        None => write_all(file, place, archive),
        Some(sparse) => write_sparse(file, place, sparse, archive),
    }
}

fn write_all(
    file: &OwnedFd,
    place: &[u8],
    archive: &mut Archive<'_, impl BufRead>,
) -> Result<u64, UnpackProblem> {
    let length = archive.data_bytes();
    archive.tape().content(Kept::InFile(place, 0), length)?;
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
    place: &[u8],
    sparse: &Sparse,
    archive: &mut Archive<'_, impl BufRead>,
) -> Result<u64, UnpackProblem> {
    for &(offset, length) in &sparse.runs {
        let mut at = offset;
        let kept = Kept::InFile(place, offset);
        archive.tape().content(kept, length)?;
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
