//! A tree of files becomes a tar archive: deterministic (in order of names), with hard links,
//! nanoseconds and the extended attributes that travel.
//!
//! | function | for | what it writes |
//! |---|---|---|
//! | [`tree`] | `export` | everything below a directory |
//! | [`changes`] | `commit` | an overlay's upper directory, whiteouts as a layer has them |
//! | [`difference`] | `commit` | the same of a root that is no overlay |
//! | [`copy`] | `cp` | one file or directory, under another name |
//!
//! [`Files`] is what `save` writes.
//!
//! What cannot be said in an archive (sockets) is left out, as everywhere. Nothing outside the tree
//! can be reached: see `walk`.

mod attributes;
mod files;
mod header;
mod ids;
mod produced;

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gamut_spec::{Fault, Kind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, major, minor};
use rustix::io::Errno;

pub use files::Files;
pub(crate) use header::{Kind as EntryKind, TarWriter};
pub use ids::{IdMap, IdRange};
pub use produced::{Produced, produce};

use crate::compare::{ChangeKind, is_directory, stat_at, trees};
use crate::file_error::FileError;
use crate::snapshot::RootAttributes;
use crate::unpack::Attributes;
use crate::walk::{Found, Next, join, walk};

/// Mode of a whiteout's entry: nobody reads it, but the bytes are to be the same everywhere.
const WHITEOUT_MODE: u32 = 0o600;

/// Why a tree could not be packed.
#[derive(Debug, thiserror::Error)]
pub enum TarError {
    /// A system call failed; the path is that in the tree.
    #[error(transparent)]
    File(#[from] FileError),
    /// Reading a file, or writing the archive, failed.
    #[error("cannot pack `{}`", path.display())]
    Copy {
        /// In the tree.
        path: PathBuf,
        /// What happened.
        source: io::Error,
    },
    /// Writing the archive failed.
    #[error("cannot write the archive")]
    Write(#[source] io::Error),
    /// In a layer, such a name takes a file away.
    #[error("`{}` cannot stand in a layer: names that begin with `.wh.` are whiteouts", .0.display())]
    WhiteoutName(PathBuf),
}

impl Fault for TarError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Copy { .. } | Self::Write(_) => Kind::Unavailable,
            Self::WhiteoutName(_) => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::WhiteoutName(_) => Some("rename or remove it in the container".into()),
            Self::Copy { .. } | Self::Write(_) => None,
        }
    }
}

/// Writes everything below the directory `top`.
///
/// # Errors
/// [`TarError`]; what is written then is no archive.
pub fn tree<W: Write>(top: BorrowedFd<'_>, ids: &IdMap, out: W) -> Result<W, TarError> {
    let mut packer = Packer::new(out, ids);
    walk(top, |found| {
        packer.add(found, found.path)?;
        Ok::<_, TarError>(Next::Enter)
    })?;
    packer.finish()
}

/// Writes what an overlay's upper directory has changed, as a layer: OCI image specification,
/// "layer.md". `root` is what the directory itself was; if it is different now, it has an entry.
///
/// # Errors
/// [`TarError`]; what is written then is no archive.
pub fn changes<W: Write>(
    upper: BorrowedFd<'_>,
    root: RootAttributes,
    ids: &IdMap,
    out: W,
) -> Result<W, TarError> {
    let mut packer = Packer::new(out, ids);
    packer.root(upper, root)?;
    walk(upper, |found| {
        packer.change(found)?;
        Ok::<_, TarError>(Next::Enter)
    })?;
    packer.finish()
}

/// Writes what tells the tree `after` from the tree `before`, as a layer: for roots that are no
/// overlay.
///
/// # Errors
/// [`TarError`]; what is written then is no archive.
pub fn difference<W: Write>(
    before: BorrowedFd<'_>,
    after: BorrowedFd<'_>,
    ids: &IdMap,
    out: W,
) -> Result<W, TarError> {
    let changes: HashMap<PathBuf, ChangeKind> = trees(before, after)?
        .into_iter()
        .map(|change| (change.path, change.kind))
        .collect();
    let kind_of = |found: &Found<'_>| changes.get(&Path::new("/").join(found.shown()));
    let mut packer = Packer::new(out, ids);
    walk(after, |found| {
        if kind_of(found).is_none() {
            return Ok(Next::Pass);
        }
        if found.name.as_bytes().starts_with(b".wh.") {
            return Err(TarError::WhiteoutName(found.shown().to_owned()));
        }
        packer.add(found, found.path)?;
        Ok(Next::Enter)
    })?;
    walk(before, |found| {
        if kind_of(found) == Some(&ChangeKind::Deleted) {
            packer.whiteout(found, found.name.as_bytes())?;
            return Ok(Next::Pass);
        }
        // What was in a directory is gone along with it, if there is something else now.
        Ok::<_, TarError>(match is_directory(stat_at(after, found.path)?.as_ref()) {
            true => Next::Enter,
            false => Next::Pass,
        })
    })?;
    packer.finish()
}

/// Writes `name` in `directory`, and everything below it, as if it were called `renamed`. With an
/// empty new name, which only a directory can have, only what is in it.
///
/// # Errors
/// [`TarError`]; what is written then is no archive.
pub fn copy<W: Write>(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    renamed: &OsStr,
    ids: &IdMap,
    out: W,
) -> Result<W, TarError> {
    let shown = Path::new(name);
    let mut packer = Packer::new(out, ids);
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(FileError::at("look at", shown))?;
    let top = Found {
        path: name.as_bytes(),
        parent: directory,
        name,
        stat,
    };
    if !renamed.is_empty() {
        packer.add(&top, renamed.as_bytes())?;
    }
    if top.kind() == FileType::Directory {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let below = rustix::fs::openat(directory, name, flags, Mode::empty())
            .map_err(FileError::at("open", shown))?;
        walk(below.as_fd(), |found| {
            packer.add(found, &join(renamed.as_bytes(), found.path))?;
            Ok::<_, TarError>(match is_kernels_own(found)? {
                true => Next::Pass,
                false => Next::Enter,
            })
        })?;
    }
    packer.finish()
}

/// Whether a directory is where one of the kernel's own file systems is mounted: what it shows are
/// no files, and reading some of them waits for ever.
fn is_kernels_own(found: &Found<'_>) -> Result<bool, FileError> {
    /// linux/magic.h: proc, sysfs, cgroup, cgroup2, devpts, mqueue, debugfs, tracefs, securityfs, bpf.
    const MAGIC: [u64; 10] = [
        0x9fa0,
        0x6265_6572,
        0x0027_e0eb,
        0x6367_7270,
        0x1cd1,
        0x1980_0202,
        0x6462_6720,
        0x7472_6163,
        0x7363_6673,
        0xcafe_4a11,
    ];
    let failed = |errno| FileError::at("look at", found.shown())(errno);
    if found.kind() != FileType::Directory
        || rustix::fs::fstat(found.parent).map_err(failed)?.st_dev == found.stat.st_dev
    {
        return Ok(false);
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let directory = rustix::fs::openat(found.parent, found.name, flags, Mode::empty());
    let stat = rustix::fs::fstatfs(directory.map_err(failed)?).map_err(failed)?;
    Ok(u64::try_from(stat.f_type).is_ok_and(|kind| MAGIC.contains(&kind)))
}

/// Whether the upper directory of an overlay says `found` is gone.
pub(crate) fn is_whiteout(found: &Found<'_>) -> bool {
    found.kind() == FileType::CharacterDevice && found.stat.st_rdev == 0
}

/// Whether a directory of an upper directory hides what lies below it.
pub(crate) fn is_opaque(found: &Found<'_>) -> Result<bool, FileError> {
    attributes::is_opaque(found.parent, found.name)
        .map_err(FileError::at("read the attributes of", found.shown()))
}

struct Packer<'i, W> {
    tar: TarWriter<W>,
    ids: &'i IdMap,
    /// Where each file with several names stands in the archive.
    linked: HashMap<(u64, u64), Vec<u8>>,
}

impl<'i, W: Write> Packer<'i, W> {
    fn new(out: W, ids: &'i IdMap) -> Self {
        Self {
            tar: TarWriter::new(out),
            ids,
            linked: HashMap::new(),
        }
    }

    fn finish(self) -> Result<W, TarError> {
        self.tar.finish().map_err(TarError::Write)
    }

    fn root(&mut self, top: BorrowedFd<'_>, before: RootAttributes) -> Result<(), TarError> {
        let here = Path::new(".");
        let stat = rustix::fs::fstat(top).map_err(FileError::at("look at", here))?;
        let now = attributes::of_stat(&stat, self.ids);
        if (now.mode, now.uid, now.gid) == (before.mode, before.uid, before.gid) {
            return Ok(());
        }
        let written = self.tar.entry(b".", EntryKind::Directory, &now);
        written.map_err(TarError::Write)
    }

    /// An entry of an upper directory.
    fn change(&mut self, found: &Found<'_>) -> Result<(), TarError> {
        if is_whiteout(found) {
            return self.whiteout(found, found.name.as_bytes());
        }
        if found.name.as_bytes().starts_with(b".wh.") {
            return Err(TarError::WhiteoutName(found.shown().to_owned()));
        }
        self.add(found, found.path)?;
        if found.kind() == FileType::Directory && is_opaque(found)? {
            let path = join(found.path, b".wh..wh..opq");
            return self.empty_file(&path, found);
        }
        Ok(())
    }

    fn whiteout(&mut self, found: &Found<'_>, hidden: &[u8]) -> Result<(), TarError> {
        let directory = &found.path[..found.path.len() - hidden.len()];
        let path = [directory, b".wh.", hidden].concat();
        self.empty_file(&path, found)
    }

    fn empty_file(&mut self, path: &[u8], of: &Found<'_>) -> Result<(), TarError> {
        let attributes = Attributes {
            mode: WHITEOUT_MODE,
            ..attributes::of_stat(&of.stat, self.ids)
        };
        let written = self.tar.file(path, &[], &attributes);
        written.map_err(TarError::Write)
    }

    /// Writes what was found, as `path`.
    fn add(&mut self, found: &Found<'_>, path: &[u8]) -> Result<(), TarError> {
        let stat = &found.stat;
        let kind = found.kind();
        if kind != FileType::Directory && stat.st_nlink > 1 {
            let inode = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&inode) {
                let attributes = attributes::of_stat(stat, self.ids);
                let written = self
                    .tar
                    .entry(path, EntryKind::Hardlink(first), &attributes);
                return written.map_err(TarError::Write);
            }
            self.linked.insert(inode, path.to_vec());
        }
        let device = || (major(stat.st_rdev), minor(stat.st_rdev));
        let entry = match kind {
            FileType::RegularFile => return self.add_file(found, path),
            FileType::Directory => EntryKind::Directory,
            FileType::Symlink => return self.add_link(found, path),
            FileType::CharacterDevice => EntryKind::CharacterDevice(device().0, device().1),
            FileType::BlockDevice => EntryKind::BlockDevice(device().0, device().1),
            FileType::Fifo => EntryKind::Fifo,
            _ => return Ok(()),
        };
        let attributes = attributes::of(found, self.ids)?;
        let written = self.tar.entry(path, entry, &attributes);
        written.map_err(TarError::Write)
    }

    fn add_file(&mut self, found: &Found<'_>, path: &[u8]) -> Result<(), TarError> {
        // Whatever has the name now: a FIFO in its place must not make us wait.
        let flags =
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(found.parent, found.name, flags, Mode::empty()) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::LOOP | Errno::NXIO) => return Ok(()),
            Err(errno) => return Err(FileError::at("open", found.shown())(errno).into()),
        };
        let stat = rustix::fs::fstat(&file).map_err(FileError::at("look at", found.shown()))?;
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile {
            return Ok(());
        }
        let size_bytes = u64::try_from(stat.st_size).unwrap_or(0);
        let attributes = attributes::of(found, self.ids)?;
        let written = self
            .tar
            .entry(path, EntryKind::File(size_bytes), &attributes)
            .and_then(|()| self.tar.data(File::from(file), size_bytes));
        written.map(drop).map_err(|source| TarError::Copy {
            path: found.shown().to_owned(),
            source,
        })
    }

    fn add_link(&mut self, found: &Found<'_>, path: &[u8]) -> Result<(), TarError> {
        let target = match rustix::fs::readlinkat(found.parent, found.name, Vec::new()) {
            Ok(target) => target,
            // Replaced, or gone.
            Err(Errno::NOENT | Errno::INVAL) => return Ok(()),
            Err(errno) => return Err(FileError::at("read the link", found.shown())(errno).into()),
        };
        let attributes = attributes::of(found, self.ids)?;
        let kind = EntryKind::Symlink(target.as_bytes());
        let written = self.tar.entry(path, kind, &attributes);
        written.map_err(TarError::Write)
    }
}
