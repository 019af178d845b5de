//! Pins and temporary directories: how processes without a daemon agree on what is in use.
//!
//! A pin is a `flock(2)` on the object itself. A shared one says "somebody relies on this": the
//! collector and the repairer, who take an exclusive one without waiting, leave the object alone.
//! The kernel drops a pin with its last holder, so a killed process leaves none behind.
//!
//! What is being made carries a name that begins with `tmp-` and an exclusive lock of its maker;
//! a `tmp-` object without a lock is a crash's leftover.

use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, FlockOperation, Mode, OFlags};
use rustix::io::Errno;

use crate::file_error::FileError;
use crate::tree;

/// The beginning of every name that is not yet, or no longer, meant to be found.
pub(crate) const TEMPORARY_PREFIX: &str = "tmp-";

/// Keeps one blob, layer or directory from being collected for as long as it lives.
#[derive(Debug)]
pub(crate) struct Pin {
    fd: OwnedFd,
}

/// How an attempt to lock somebody else's object ended.
#[derive(Debug)]
pub(crate) enum Locked {
    /// It is ours now.
    Held(Pin),
    /// Somebody relies on it.
    InUse,
    /// There is no object of that name.
    Absent,
}

impl Pin {
    /// A shared pin on `name` in `directory`; waits for an exclusive holder to be done.
    pub(crate) fn shared(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Option<Self>, Errno> {
        match lock(directory, name, FlockOperation::LockShared)? {
            Locked::Held(pin) => Ok(Some(pin)),
            Locked::InUse | Locked::Absent => Ok(None),
        }
    }

    /// An exclusive pin on `name` in `directory`, without waiting.
    pub(crate) fn exclusive(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Locked, Errno> {
        lock(directory, name, FlockOperation::NonBlockingLockExclusive)
    }

    /// Lets others share what only we held.
    pub(crate) fn share(self) -> Result<Self, Errno> {
        flock(self.fd.as_fd(), FlockOperation::LockShared)?;
        Ok(self)
    }
}

impl AsFd for Pin {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

fn lock(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    operation: FlockOperation,
) -> Result<Locked, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    loop {
        let fd = match rustix::fs::openat(directory, name, flags, Mode::empty()) {
            Ok(fd) => fd,
            Err(Errno::NOENT) => return Ok(Locked::Absent),
            Err(errno) => return Err(errno),
        };
        match flock(fd.as_fd(), operation) {
            Ok(()) => {}
            Err(Errno::WOULDBLOCK) => return Ok(Locked::InUse),
            Err(errno) => return Err(errno),
        }
        if is_named(fd.as_fd(), directory, name)? {
            return Ok(Locked::Held(Pin { fd }));
        }
        // It was renamed or removed while we waited; whoever has the name now is another object.
    }
}

fn flock(fd: BorrowedFd<'_>, operation: FlockOperation) -> Result<(), Errno> {
    rustix::io::retry_on_intr(|| rustix::fs::flock(fd, operation))
}

/// Whether `name` in `directory` still is the open file `fd`.
pub(crate) fn is_named(
    fd: BorrowedFd<'_>,
    directory: BorrowedFd<'_>,
    name: &OsStr,
) -> Result<bool, Errno> {
    let open = rustix::fs::fstat(fd)?;
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(named) => Ok(named.st_ino == open.st_ino && named.st_dev == open.st_dev),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => Err(errno),
    }
}

/// `tmp-` and 16 random hexadecimal digits.
pub(crate) fn temporary_name() -> Result<String, Errno> {
    let mut bytes = [0; 8];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())?;
    Ok(format!(
        "{TEMPORARY_PREFIX}{:016x}",
        u64::from_ne_bytes(bytes)
    ))
}

/// A new, locked, empty file, readable by its owner only, and its temporary name.
pub(crate) fn temporary_file(directory: BorrowedFd<'_>) -> Result<(String, Pin), Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    loop {
        let name = temporary_name()?;
        let fd = rustix::fs::openat(directory, &name, flags, Mode::RUSR | Mode::WUSR)?;
        flock(fd.as_fd(), FlockOperation::LockExclusive)?;
        // A repairer may have come between the two calls.
        if is_named(fd.as_fd(), directory, name.as_ref())? {
            return Ok((name, Pin { fd }));
        }
    }
}

/// Opens a directory of the store by its path.
pub(crate) fn open_directory(path: &Path) -> Result<OwnedFd, FileError> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).map_err(FileError::at("open", path))
}

/// A directory in the making: named `tmp-…`, locked, and removed with its tree when dropped
/// without having been published.
#[derive(Debug)]
pub struct TemporaryDirectory {
    parent: OwnedFd,
    parent_path: PathBuf,
    name: String,
    pin: Option<Pin>,
}

impl TemporaryDirectory {
    /// Makes one in `parent_path`, readable by its owner only.
    pub(crate) fn new(parent_path: &Path) -> Result<Self, FileError> {
        let parent = open_directory(parent_path)?;
        let failed = |errno| FileError::at("make a temporary directory in", parent_path)(errno);
        loop {
            let name = temporary_name().map_err(failed)?;
            rustix::fs::mkdirat(&parent, &name, Mode::RWXU).map_err(failed)?;
            // A repairer may come between the two calls, see no lock, and take it away.
            if let Locked::Held(pin) =
                Pin::exclusive(parent.as_fd(), name.as_ref()).map_err(failed)?
            {
                return Ok(Self {
                    parent,
                    parent_path: parent_path.to_owned(),
                    name,
                    pin: Some(pin),
                });
            }
        }
    }

    /// The directory that holds this one.
    pub(crate) fn parent(&self) -> BorrowedFd<'_> {
        self.parent.as_fd()
    }

    /// The directory itself.
    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.pin {
            Some(pin) => pin.as_fd(),
            // `publish` takes the pin and consumes `self`, so nobody can see this state.
            None => self.parent.as_fd(),
        }
    }

    /// Its present path, for messages.
    pub fn path(&self) -> PathBuf {
        self.parent_path.join(&self.name)
    }

    /// Gives the directory its final name and a shared pin. `None`: the name is taken; ours is
    /// removed.
    pub(crate) fn publish(mut self, name: &str) -> Result<Option<Pin>, FileError> {
        let target = self.parent_path.join(name);
        let flags = rustix::fs::RenameFlags::NOREPLACE;
        match rustix::fs::renameat_with(&self.parent, &self.name, &self.parent, name, flags) {
            Ok(()) => {}
            Err(Errno::EXIST | Errno::NOTEMPTY) => return Ok(None),
            Err(errno) => return Err(FileError::at("rename a directory to", &target)(errno)),
        }
        // Dropping `self` must not remove what has just been published.
        match self.pin.take() {
            Some(pin) => pin
                .share()
                .map(Some)
                .map_err(FileError::at("lock", &target)),
            None => Ok(None),
        }
    }
}

impl Drop for TemporaryDirectory {
    fn drop(&mut self) {
        if self.pin.is_some() {
            // What cannot be removed now is a leftover that the next repair removes.
            let _ = tree::remove(self.parent.as_fd(), self.name.as_ref(), self.parent.as_fd());
        }
    }
}
