//! The directories of the layer in the making: found by path, kept open, finished last.
//!
//! This file is the wall. A path of the archive is walked one component at a time from an open
//! directory of ours, without following links. Where a component is a symbolic link of the
//! archive's own, the path so far goes to `openat2(2)` with `RESOLVE_IN_ROOT`, which reads the link
//! as if the layer's directory were `/`: `..` stops there, and absolute targets start there.
//!
//! A cached descriptor stays right because names change their meaning only by removing something,
//! and whoever removes something calls [`Directories::forget`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::rc::Rc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::archive::Attributes;
use super::metadata::{self, Creation, Warnings, WithMode};
use super::whiteout::{self, OpaqueXattr};
use super::{Limits, UnpackProblem};

/// Descriptors kept open by one unpacking. Several may run at once below a limit of 1024.
const OPEN: usize = 64;
/// Permission bits of a directory that the archive implies but has no entry for, as Docker has it.
const IMPLIED_MODE: u32 = 0o755;

/// See the module's description.
#[derive(Debug)]
pub(super) struct Directories<'l> {
    root: Rc<Opened>,
    open: HashMap<Vec<u8>, Rc<Opened>>,
    /// By path, what each directory gets in the end. `None`: implied by an entry below it.
    pending: HashMap<Vec<u8>, Option<Attributes>>,
    pending_bytes: usize,
    limits: &'l Limits,
    opaque: OpaqueXattr,
}

/// An open directory of the layer.
#[derive(Debug)]
pub(super) struct Opened {
    fd: OwnedFd,
    /// Where it is: its path without links.
    place: Vec<u8>,
}

impl Opened {
    /// Where `name` in it is.
    pub(super) fn below(&self, name: &[u8]) -> Vec<u8> {
        match self.place.as_slice() {
            b"" => name.to_vec(),
            place => [place, b"/", name].concat(),
        }
    }
}

impl AsFd for Opened {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// What to do about a directory that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Missing {
    Make,
    Refuse,
}

impl<'l> Directories<'l> {
    pub(super) fn new(root: OwnedFd, limits: &'l Limits, opaque: OpaqueXattr) -> Self {
        Self {
            root: Rc::new(Opened {
                fd: root,
                place: Vec::new(),
            }),
            open: HashMap::new(),
            pending: HashMap::new(),
            pending_bytes: 0,
            limits,
            opaque,
        }
    }

    /// The open directory at a cleaned path (see `place::clean`); empty is the root.
    pub(super) fn at(
        &mut self,
        path: &[u8],
        missing: Missing,
    ) -> Result<Rc<Opened>, UnpackProblem> {
        if path.is_empty() {
            return Ok(Rc::clone(&self.root));
        }
        if let Some(found) = self.open.get(path) {
            return Ok(Rc::clone(found));
        }
        // From the longest part of the path that is open already.
        let mut known = path.len();
        let mut at = loop {
            let Some(slash) = path[..known].iter().rposition(|&byte| byte == b'/') else {
                known = 0;
                break Rc::clone(&self.root);
            };
            known = slash;
            if let Some(found) = self.open.get(&path[..known]) {
                break Rc::clone(found);
            }
        };
        while known < path.len() {
            let start = if known == 0 { 0 } else { known + 1 };
            let length = path[start..].iter().position(|&byte| byte == b'/');
            let end = length.map_or(path.len(), |length| start + length);
            at = Rc::new(self.step(&at, &path[..end], &path[start..end], missing)?);
            if self.open.len() >= OPEN {
                self.open.clear();
            }
            self.open.insert(path[..end].to_vec(), Rc::clone(&at));
            known = end;
        }
        Ok(at)
    }

    /// One component: `name` in `parent`, together `path`.
    fn step(
        &mut self,
        parent: &Opened,
        path: &[u8],
        name: &[u8],
        missing: Missing,
    ) -> Result<Opened, UnpackProblem> {
        let place = parent.below(name);
        let name = OsStr::from_bytes(name);
        let fd = match open(parent, name) {
            Ok(directory) => directory,
            Err(Errno::NOENT) if missing == Missing::Make => {
                rustix::fs::mkdirat(parent, name, Mode::RWXU)
                    .map_err(UnpackProblem::at("make a directory for it"))?;
                self.remember(path, None)?;
                open(parent, name).map_err(UnpackProblem::at("open its directory"))?
            }
            Err(Errno::NOENT) => {
                return Err(UnpackProblem::Unsafe("its target is no file of this layer"));
            }
            Err(Errno::NOTDIR | Errno::LOOP) => {
                return self.step_through(parent, path, name, missing);
            }
            Err(errno) => return Err(UnpackProblem::at("open its directory")(errno)),
        };
        Ok(Opened { fd, place })
    }

    /// A component that is no directory: a link of the archive's own, a whiteout, or a mistake.
    fn step_through(
        &mut self,
        parent: &Opened,
        path: &[u8],
        name: &OsStr,
        missing: Missing,
    ) -> Result<Opened, UnpackProblem> {
        let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(UnpackProblem::at("look at its directory"))?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                let found = self.resolve(path, OFlags::empty()).and_then(|fd| {
                    let place = self.place_of(fd.as_fd())?;
                    Ok(Opened { fd, place })
                });
                found.map_err(|errno| match errno {
                    Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV => {
                        UnpackProblem::Unsafe(
                            "its path leads through a symbolic link that is no directory of this \
                             layer",
                        )
                    }
                    errno => UnpackProblem::at("open its directory")(errno),
                })
            }
            FileType::CharacterDevice if stat.st_rdev == 0 && missing == Missing::Make => {
                self.make_over_whiteout(parent, name)?;
                self.remember(path, None)?;
                Ok(Opened {
                    fd: open(parent, name).map_err(UnpackProblem::at("open its directory"))?,
                    place: parent.below(name.as_bytes()),
                })
            }
            _ => Err(UnpackProblem::Unsafe(
                "its path leads through a file that is no directory",
            )),
        }
    }

    /// A directory in the place of a whiteout: it hides what the whiteout hid.
    pub(super) fn make_over_whiteout(
        &mut self,
        parent: &Opened,
        name: &OsStr,
    ) -> Result<(), UnpackProblem> {
        rustix::fs::unlinkat(parent, name, AtFlags::empty())
            .and_then(|()| rustix::fs::mkdirat(parent, name, Mode::RWXU))
            .map_err(UnpackProblem::at("make a directory"))?;
        self.mark_opaque(parent, name)
    }

    /// Marks the directory `name` in `parent` as hiding what lies below it.
    pub(super) fn mark_opaque(&self, parent: &Opened, name: &OsStr) -> Result<(), UnpackProblem> {
        let directory = open(parent, name).map_err(UnpackProblem::at("open a directory"))?;
        self.opaque.set(directory.as_fd())
    }

    /// Makes the directory `name` in `parent`, together `path`; one that is there stays.
    pub(super) fn make(
        &mut self,
        parent: &Opened,
        name: &OsStr,
        path: &[u8],
        attributes: Attributes,
    ) -> Result<Made, UnpackProblem> {
        let made = match rustix::fs::mkdirat(parent, name, Mode::RWXU) {
            Ok(()) => Made::Done,
            Err(Errno::EXIST) => {
                let failed = "look at what is in its place";
                if whiteout::is_whiteout(parent.as_fd(), name).map_err(UnpackProblem::at(failed))? {
                    self.make_over_whiteout(parent, name)?;
                    Made::Done
                } else {
                    let stat = rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW)
                        .map_err(UnpackProblem::at(failed))?;
                    match FileType::from_raw_mode(stat.st_mode) {
                        FileType::Directory => Made::Done,
                        _ => return Ok(Made::InTheWay(attributes)),
                    }
                }
            }
            Err(errno) => return Err(UnpackProblem::at("make the directory")(errno)),
        };
        self.remember(path, Some(attributes))?;
        Ok(made)
    }

    /// What the directory at `path` gets in the end.
    pub(super) fn remember(
        &mut self,
        path: &[u8],
        attributes: Option<Attributes>,
    ) -> Result<(), UnpackProblem> {
        let xattrs = attributes.iter().flat_map(|attributes| &attributes.xattrs);
        let taken: usize = xattrs.map(|(name, value)| name.len() + value.len()).sum();
        self.pending_bytes += path.len() + taken + size_of::<Option<Attributes>>();
        if self.pending_bytes > self.limits.directory_memory_bytes {
            return Err(UnpackProblem::Limit {
                what: "bytes of directory names and attributes",
                limit: self.limits.directory_memory_bytes as u64,
            });
        }
        self.pending.insert(path.to_vec(), attributes);
        Ok(())
    }

    /// Something was removed: no cached path can be relied on.
    pub(super) fn forget(&mut self) {
        self.open.clear();
    }

    /// Gives every directory its attributes, the deepest first: setting a directory's mode or
    /// time does not change its parent's, but a parent may become unreadable for us.
    pub(super) fn finish(
        mut self,
        creation: Creation,
        warnings: &mut Warnings,
    ) -> Result<(), (Vec<u8>, UnpackProblem)> {
        self.open.clear();
        let mut pending: Vec<_> = std::mem::take(&mut self.pending).into_iter().collect();
        pending.sort_unstable_by(|(a, _), (b, _)| b.cmp(a));
        for (path, attributes) in pending {
            let directory = match self.resolve(&path, OFlags::NOFOLLOW) {
                Ok(directory) => directory,
                // A later entry has replaced it.
                Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::XDEV) => continue,
                Err(errno) => return Err((path, UnpackProblem::at("open the directory")(errno))),
            };
            let applied = match &attributes {
                Some(attributes) => {
                    let warn = |what| warnings.add(&path, || what);
                    let fd = directory.as_fd();
                    metadata::apply_to_open(fd, attributes, creation, WithMode::Always, warn)
                }
                None => apply_implied(&directory),
            };
            applied.map_err(|problem| (path, problem))?;
        }
        Ok(())
    }

    /// A directory by its path, links read as if the layer's root were `/`.
    /// `last` may forbid the last component to be a link.
    fn resolve(&self, path: &[u8], last: OFlags) -> Result<OwnedFd, Errno> {
        let path = if path.is_empty() { b"." } else { path };
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC | last;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
        let path = OsStr::from_bytes(path);
        loop {
            match rustix::fs::openat2(&self.root.fd, path, flags, Mode::empty(), resolve) {
                // Something, anywhere, was renamed or mounted while the path led through `..`.
                Err(Errno::AGAIN) => {}
                other => return other,
            }
        }
    }

    /// Where an open directory of the layer is, as the kernel has it: proc_pid_fd(5).
    fn place_of(&self, directory: BorrowedFd<'_>) -> Result<Vec<u8>, Errno> {
        let path = |fd: BorrowedFd<'_>| {
            rustix::fs::readlink(format!("/proc/self/fd/{}", fd.as_raw_fd()), Vec::new())
        };
        let (root, directory) = (path(self.root.as_fd())?, path(directory)?);
        let below = directory.as_bytes().strip_prefix(root.as_bytes());
        match below {
            Some(b"") => Ok(Vec::new()),
            Some(below) if below[0] == b'/' => Ok(below[1..].to_vec()),
            _ => Err(Errno::XDEV),
        }
    }
}

/// How making a directory ended.
#[derive(Debug)]
pub(super) enum Made {
    /// It is there.
    Done,
    /// Something else has its name; the attributes come back.
    InTheWay(Attributes),
}

/// One component, not followed if it is a link.
fn open(parent: &Opened, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn apply_implied(directory: &OwnedFd) -> Result<(), UnpackProblem> {
    rustix::fs::fchmod(directory, Mode::from_raw_mode(IMPLIED_MODE))
        .map_err(UnpackProblem::at("set the mode"))
}
