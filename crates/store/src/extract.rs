//! An archive is extracted into a tree that is in use: `cp` into a container, and out of one.
//!
//! It differs from unpacking a layer: what is there stays, names that begin with `.wh.` are names,
//! and a directory never takes the place of a file, nor a file that of a directory. The archive is as
//! hostile, and so is the tree: paths are resolved by `openat2(2)` with `RESOLVE_IN_ROOT`, as if the
//! directory that is extracted into were `/`, and the last component is made anew, never opened.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, makedev};
use rustix::io::Errno;

use crate::decompress::{decompressed, peek};
use crate::reproduce::tape::Tape;
use crate::tar::IdMap;
use crate::unpack::metadata::{self, Creation, WithMode};
use crate::unpack::{Archive, Attributes, EntryKind, Limits, Place, UnpackProblem, Warnings};

pub use crate::extract_error::ExtractError;

/// Bytes read at a time.
const INPUT_BYTES: usize = 256 << 10;
/// Permission bits of a directory that an entry needs and the archive has not.
const IMPLIED_MODE: u32 = 0o755;

/// Whose the extracted files are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// As the archive says.
    AsSaid,
    /// Who extracts them.
    Extractor,
    /// This user and group, in the container's eyes.
    Fixed(u32, u32),
}

/// Extracts a tar archive, which may be compressed, into a directory.
///
/// # Errors
/// [`ExtractError`].
pub fn extract(
    archive: impl Read + Send,
    into: BorrowedFd<'_>,
    owner: Owner,
    ids: &IdMap,
) -> Result<Warnings, ExtractError> {
    extract_tar(uncompressed(archive)?, into, owner, ids)
}

/// What an archive is that may be compressed.
///
/// # Errors
/// [`ExtractError::Entry`]: it cannot be read.
pub fn uncompressed<'a>(
    archive: impl Read + Send + 'a,
) -> Result<Box<dyn Read + Send + 'a>, ExtractError> {
    let stream = peek(archive).and_then(|(format, stream)| decompressed(format, stream));
    stream.map_err(|error| unnamed(UnpackProblem::Stream(error.to_string())))
}

fn unnamed(problem: UnpackProblem) -> ExtractError {
    ExtractError::Entry {
        entry: None,
        problem,
    }
}

/// As [`extract`], of a tar that is not compressed: without the code of decompressors, which a machine's agent does
/// not have.
///
/// # Errors
/// [`ExtractError`].
pub fn extract_tar(
    archive: impl Read,
    into: BorrowedFd<'_>,
    owner: Owner,
    ids: &IdMap,
) -> Result<Warnings, ExtractError> {
    let limits = Limits::default();
    let mut archive = Archive::new(
        BufReader::with_capacity(INPUT_BYTES, archive),
        &limits,
        Tape::off(),
    );
    let mut extractor = Extractor {
        into,
        owner,
        ids,
        limits: &limits,
        creation: Creation::of_this_process(),
        directories: Vec::new(),
        directory_bytes: 0,
        warnings: Warnings::default(),
    };
    let mut entries = 0;
    while let Some(entry) = archive.next().map_err(unnamed)? {
        entries += 1;
        if entries > limits.entries {
            return Err(unnamed(UnpackProblem::Limit {
                what: "entries",
                limit: limits.entries,
            }));
        }
        let path = entry.path.clone();
        extractor
            .place(&path, entry.kind, entry.attributes, &mut archive)
            .map_err(|refusal| refusal.of(&path))?;
    }
    extractor.finish()
}

/// Why one entry was not extracted.
enum Refusal {
    Problem(UnpackProblem),
    OverFile,
    OverDirectory,
}

impl From<UnpackProblem> for Refusal {
    fn from(problem: UnpackProblem) -> Self {
        Self::Problem(problem)
    }
}

impl Refusal {
    fn of(self, path: &[u8]) -> ExtractError {
        let path = path.escape_ascii().to_string();
        match self {
            Self::Problem(problem) => ExtractError::Entry {
                entry: Some(path),
                problem,
            },
            Self::OverFile => ExtractError::OverFile(path),
            Self::OverDirectory => ExtractError::OverDirectory(path),
        }
    }
}

struct Extractor<'a> {
    into: BorrowedFd<'a>,
    owner: Owner,
    ids: &'a IdMap,
    limits: &'a Limits,
    creation: Creation,
    /// What each directory gets in the end: its time changes while it is filled, and its mode may
    /// forbid to fill it.
    directories: Vec<(Vec<u8>, Attributes)>,
    directory_bytes: usize,
    warnings: Warnings,
}

impl Extractor<'_> {
    fn place(
        &mut self,
        path: &[u8],
        kind: EntryKind,
        mut attributes: Attributes,
        archive: &mut Archive<'_, impl BufRead>,
    ) -> Result<(), Refusal> {
        let path = crate::unpack::clean(path)?;
        (attributes.uid, attributes.gid) = self.owner_of(&attributes)?;
        let Place {
            parent: directory,
            name,
            ..
        } = Place::new(&path);
        if name.is_empty() {
            // The directory itself stays as it is.
            return Ok(());
        }
        let parent = self.directory(directory)?;
        let name = OsStr::from_bytes(name);
        if kind == EntryKind::Directory {
            return self.make_directory(parent.as_fd(), name, path.clone(), attributes);
        }
        remove_file(parent.as_fd(), name)?;
        let parent = parent.as_fd();
        match kind {
            EntryKind::File { sparse } => {
                let file = create(parent, name, &attributes)?;
                crate::unpack::write_file(&file, &path, sparse.as_ref(), archive)?;
                let warn = |what| self.warnings.add(&path, || what);
                let with = WithMode::Always;
                metadata::apply_to_open(file.as_fd(), &attributes, self.creation, with, warn)?;
                return Ok(());
            }
            EntryKind::Hardlink { target } => return self.hardlink(&target, parent, name),
            EntryKind::Symlink { target } => {
                rustix::fs::symlinkat(OsStr::from_bytes(&target), parent, name)
                    .map_err(UnpackProblem::at("make the symbolic link"))?;
            }
            EntryKind::CharacterDevice { major, minor } => {
                make_node(parent, name, FileType::CharacterDevice, (major, minor))?;
            }
            EntryKind::BlockDevice { major, minor } => {
                make_node(parent, name, FileType::BlockDevice, (major, minor))?;
            }
            EntryKind::Fifo => make_node(parent, name, FileType::Fifo, (0, 0))?,
            EntryKind::Directory => {}
        }
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(UnpackProblem::at("look at it"))?;
        let is_link = FileType::from_raw_mode(stat.st_mode) == FileType::Symlink;
        let mode = (!is_link).then(|| Mode::from_raw_mode(attributes.mode));
        let warn = |what| self.warnings.add(&path, || what);
        metadata::apply_to_name(parent, name, &attributes, self.creation, mode, warn)?;
        Ok(())
    }

    /// The host's ids for an entry.
    fn owner_of(&self, attributes: &Attributes) -> Result<(u32, u32), UnpackProblem> {
        let (uid, gid) = match self.owner {
            Owner::Extractor => return Ok(self.creation.owner()),
            Owner::AsSaid => (attributes.uid, attributes.gid),
            Owner::Fixed(uid, gid) => (uid, gid),
        };
        self.ids.outside(uid, gid).ok_or(UnpackProblem::Archive(
            "its owner has no id in the container's user namespace",
        ))
    }

    /// The directory at a cleaned path, made where it is missing.
    fn directory(&mut self, path: &[u8]) -> Result<OwnedFd, UnpackProblem> {
        match self.open(path) {
            Err(Errno::NOENT) => {}
            other => return other.map_err(UnpackProblem::at("open its directory")),
        }
        let Place { parent, name, .. } = Place::new(path);
        let parent = self.directory(parent)?;
        rustix::fs::mkdirat(&parent, name, Mode::from_raw_mode(IMPLIED_MODE))
            .map_err(UnpackProblem::at("make a directory for it"))?;
        let (uid, gid) = match self.owner {
            Owner::Fixed(uid, gid) => self.ids.outside(uid, gid),
            _ => self.ids.outside(0, 0),
        }
        .unwrap_or_else(|| self.creation.owner());
        let made = Attributes {
            mode: IMPLIED_MODE,
            uid,
            gid,
            ..Attributes::default()
        };
        if !self.creation.owns(&made) {
            let (uid, gid) = metadata::owner(&made);
            rustix::fs::chownat(&parent, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                .map_err(UnpackProblem::at("set the owner"))?;
        }
        self.open(path)
            .map_err(UnpackProblem::at("open its directory"))
    }

    fn open(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = OsStr::from_bytes(path);
        rustix::fs::openat2(self.into, path, flags, Mode::empty(), resolve)
    }

    fn make_directory(
        &mut self,
        parent: BorrowedFd<'_>,
        name: &OsStr,
        path: Vec<u8>,
        attributes: Attributes,
    ) -> Result<(), Refusal> {
        match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => {}
            Err(Errno::EXIST) => {
                if kind_of_name(parent, name)? != Some(FileType::Directory) {
                    return Err(Refusal::OverFile);
                }
            }
            Err(errno) => return Err(UnpackProblem::at("make the directory")(errno).into()),
        }
        let xattrs = attributes.xattrs.iter();
        let taken: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
        self.directory_bytes += path.len() + taken + size_of::<Attributes>();
        if self.directory_bytes > self.limits.directory_memory_bytes {
            return Err(Refusal::Problem(UnpackProblem::Limit {
                what: "bytes of directory names and attributes",
                limit: self.limits.directory_memory_bytes as u64,
            }));
        }
        self.directories.push((path, attributes));
        Ok(())
    }

    /// A further name for what has been extracted; its last component is not followed.
    fn hardlink(
        &mut self,
        target: &[u8],
        parent: BorrowedFd<'_>,
        name: &OsStr,
    ) -> Result<(), Refusal> {
        let target = crate::unpack::clean(target)?;
        let Place {
            parent: directory,
            name: of,
            ..
        } = Place::new(&target);
        let from = self
            .open(directory)
            .map_err(UnpackProblem::at("open its target's directory"))?;
        rustix::fs::linkat(&from, OsStr::from_bytes(of), parent, name, AtFlags::empty())
            .map_err(UnpackProblem::at("make the hard link"))?;
        Ok(())
    }

    /// Gives the directories what they are to have, the deepest first.
    fn finish(mut self) -> Result<Warnings, ExtractError> {
        let mut directories = std::mem::take(&mut self.directories);
        directories.reverse();
        for (path, attributes) in directories {
            let applied = match self.open(&path) {
                // A later entry, or the container, has replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
                Err(errno) => Err(UnpackProblem::at("open the directory")(errno)),
                Ok(directory) => {
                    let warn = |what| self.warnings.add(&path, || what);
                    let with = WithMode::Always;
                    let fd = directory.as_fd();
                    metadata::apply_to_open(fd, &attributes, self.creation, with, warn)
                }
            };
            applied.map_err(|problem| Refusal::Problem(problem).of(&path))?;
        }
        Ok(self.warnings)
    }
}

fn kind_of_name(parent: BorrowedFd<'_>, name: &OsStr) -> Result<Option<FileType>, UnpackProblem> {
    match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(UnpackProblem::at("look at what is in its place")(errno)),
    }
}

/// Whatever has the name, if it is no directory.
fn remove_file(parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Refusal> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(Errno::ISDIR | Errno::PERM)
            if kind_of_name(parent, name)? == Some(FileType::Directory) =>
        {
            Err(Refusal::OverDirectory)
        }
        Err(errno) => Err(UnpackProblem::at("remove what is in its place")(errno).into()),
    }
}

fn create(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    attributes: &Attributes,
) -> Result<OwnedFd, UnpackProblem> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mode = Mode::from_raw_mode(attributes.mode & 0o700);
    rustix::fs::openat(parent, name, flags, mode).map_err(UnpackProblem::at("create it"))
}

fn make_node(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    kind: FileType,
    (major, minor): (u32, u32),
) -> Result<(), UnpackProblem> {
    let device = makedev(major, minor);
    rustix::fs::mknodat(parent, name, kind, Mode::RUSR | Mode::WUSR, device)
        .map_err(UnpackProblem::at("make the device"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tar::{EntryKind as Packed, TarWriter};

    fn attributes(mode: u32) -> Attributes {
        let (uid, gid) = Creation::of_this_process().owner();
        Attributes {
            mode,
            uid,
            gid,
            ..Attributes::default()
        }
    }

    fn archive(fill: impl FnOnce(&mut TarWriter<Vec<u8>>)) -> Vec<u8> {
        let mut writer = TarWriter::new(Vec::new());
        fill(&mut writer);
        writer.finish().expect("written")
    }

    fn extracted(bytes: &[u8], into: &std::path::Path) -> Result<Warnings, ExtractError> {
        let into = std::fs::File::open(into).expect("it opens");
        extract(bytes, into.as_fd(), Owner::AsSaid, &IdMap::default())
    }

    #[test]
    fn files_are_replaced_and_directories_merged() {
        let into = tempfile::tempdir().expect("a directory");
        let at = |name: &str| into.path().join(name);
        std::fs::create_dir(at("d")).expect("made");
        std::fs::write(at("d/stays"), "s").expect("written");
        std::fs::write(at("outside"), "o").expect("written");
        std::os::unix::fs::symlink("../outside", at("d/f")).expect("linked");
        let bytes = archive(|tar| {
            tar.entry(b"d", Packed::Directory, &attributes(0o750))
                .expect("written");
            tar.file(b"d/f", b"new", &attributes(0o640))
                .expect("written");
            tar.file(b"x/.wh.y", b"a name", &attributes(0o600))
                .expect("written");
            tar.entry(b"l", Packed::Hardlink(b"d/f"), &attributes(0))
                .expect("written");
        });
        extracted(&bytes, into.path()).expect("extracted");
        assert_eq!(std::fs::read(at("outside")).expect("read"), b"o");
        assert_eq!(std::fs::read(at("l")).expect("read"), b"new");
        assert!(at("d/stays").exists() && at("x/.wh.y").exists());
    }

    #[test]
    fn neither_takes_the_place_of_the_other() {
        let into = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(into.path().join("d")).expect("made");
        std::fs::write(into.path().join("f"), "").expect("written");
        let over_directory = archive(|tar| {
            tar.file(b"d", b"", &attributes(0o644)).expect("written");
        });
        let over_file = archive(|tar| {
            tar.entry(b"f", Packed::Directory, &attributes(0o755))
                .expect("written");
        });
        assert!(matches!(
            extracted(&over_directory, into.path()),
            Err(ExtractError::OverDirectory(_))
        ));
        assert!(matches!(
            extracted(&over_file, into.path()),
            Err(ExtractError::OverFile(_))
        ));
    }

    #[test]
    fn nothing_leads_out() {
        let top = tempfile::tempdir().expect("a directory");
        let into = top.path().join("into");
        std::fs::create_dir(&into).expect("made");
        for (target, path) in [(&b"/"[..], &b"l/escaped"[..]), (b"..", b"l/escaped")] {
            let bytes = archive(|tar| {
                tar.entry(b"l", Packed::Symlink(target), &attributes(0o777))
                    .expect("written");
                tar.file(path, b"", &attributes(0o644)).expect("written");
            });
            extracted(&bytes, &into).expect("extracted");
            assert!(into.join("escaped").exists());
            assert!(!top.path().join("escaped").exists());
        }
        let up = archive(|tar| {
            tar.file(b"../up", b"", &attributes(0o644))
                .expect("written");
        });
        assert!(extracted(&up, &into).is_err());
    }
}
