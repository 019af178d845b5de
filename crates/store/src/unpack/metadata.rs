//! Owners, permissions, times and extended attributes of what has been placed, and the list of
//! what could not be reproduced on this host.

use std::ffi::OsStr;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, Gid, Mode, Timespec, Timestamps, Uid, XattrFlags};
use rustix::io::Errno;

use super::UnpackProblem;
use super::archive::Attributes;
use super::pax::{Time, Xattr};

/// Warnings kept; more are only counted.
const KEPT_WARNINGS: usize = 100;

/// Something of an archive that this host could not reproduce, or that must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Warning {
    /// The entry.
    pub entry: String,
    /// What is missing of it.
    pub what: String,
}

/// The warnings of one layer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Warnings {
    /// The first hundred.
    pub kept: Vec<Warning>,
    /// How many there were in all.
    pub count: u64,
}

impl Warnings {
    pub(crate) fn add(&mut self, entry: &[u8], what: impl FnOnce() -> String) {
        self.count += 1;
        if self.kept.len() < KEPT_WARNINGS {
            self.kept.push(Warning {
                entry: entry.escape_ascii().to_string(),
                what: what(),
            });
        }
    }
}

/// What new files get without being told: knowing it saves two system calls per file.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Creation {
    uid: u32,
    gid: u32,
    /// Permission bits that `open(2)` takes away.
    umask: u32,
}

impl Creation {
    /// What holds for this process. Directories keep its owner and have no set-group-id bit until
    /// the archive is at its end, so no group is inherited either.
    pub(crate) fn of_this_process() -> Self {
        Self {
            uid: rustix::process::geteuid().as_raw(),
            gid: rustix::process::getegid().as_raw(),
            umask: umask().unwrap_or(0o777),
        }
    }

    /// The owner of what this process makes.
    pub(crate) fn owner(self) -> (u32, u32) {
        (self.uid, self.gid)
    }

    pub(crate) fn owns(self, attributes: &Attributes) -> bool {
        (self.uid, self.gid) == (attributes.uid, attributes.gid)
    }

    /// Whether `open(2)` with the attributes' mode gives exactly that mode.
    pub(crate) fn gives_mode(self, attributes: &Attributes) -> bool {
        attributes.mode & (0o7000 | self.umask) == 0
    }
}

/// The umask without changing it: proc_pid_status(5), Linux 4.7.
fn umask() -> Option<u32> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("Umask:"))?;
    u32::from_str_radix(line.trim(), 8).ok()
}

pub(crate) fn timestamps(time: Time) -> Timestamps {
    let time = Timespec {
        tv_sec: time.seconds,
        tv_nsec: time.nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

pub(crate) fn owner(attributes: &Attributes) -> (Option<Uid>, Option<Gid>) {
    // Reading the archive has refused `u32::MAX`, the one value that is no id.
    (
        Some(Uid::from_raw(attributes.uid)),
        Some(Gid::from_raw(attributes.gid)),
    )
}

/// Everything of an open file or directory, in the order in which nothing undoes another:
/// `chown(2)` clears set-id bits and `security.capability`.
pub(crate) fn apply_to_open(
    fd: BorrowedFd<'_>,
    attributes: &Attributes,
    creation: Creation,
    with_mode: WithMode,
    mut warn: impl FnMut(String),
) -> Result<(), UnpackProblem> {
    let owned = creation.owns(attributes);
    if !owned {
        let (uid, gid) = owner(attributes);
        rustix::fs::fchown(fd, uid, gid).map_err(UnpackProblem::at("set the owner"))?;
    }
    if with_mode == WithMode::Always || !creation.gives_mode(attributes) {
        let mode = Mode::from_raw_mode(attributes.mode);
        rustix::fs::fchmod(fd, mode).map_err(UnpackProblem::at("set the mode"))?;
    }
    for (name, value) in &attributes.xattrs {
        let set = |name: &OsStr| rustix::fs::fsetxattr(fd, name, value, XattrFlags::empty());
        set_xattr(name, set, &mut warn)?;
    }
    let times = timestamps(attributes.mtime);
    rustix::fs::futimens(fd, &times).map_err(UnpackProblem::at("set the time"))
}

/// Whether the mode has to be set or may have been given at creation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum WithMode {
    Always,
    UnlessGiven,
}

/// The same for what cannot be opened: `name` in `directory`, which we have just made there.
pub(crate) fn apply_to_name(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    attributes: &Attributes,
    creation: Creation,
    mode: Option<Mode>,
    mut warn: impl FnMut(String),
) -> Result<(), UnpackProblem> {
    if !creation.owns(attributes) {
        let (uid, gid) = owner(attributes);
        rustix::fs::chownat(directory, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
            .map_err(UnpackProblem::at("set the owner"))?;
    }
    if let Some(mode) = mode {
        rustix::fs::chmodat(directory, name, mode, AtFlags::empty())
            .map_err(UnpackProblem::at("set the mode"))?;
    }
    set_xattrs_of_name(directory, name, &attributes.xattrs, &mut warn)?;
    let times = timestamps(attributes.mtime);
    rustix::fs::utimensat(directory, name, &times, AtFlags::SYMLINK_NOFOLLOW)
        .map_err(UnpackProblem::at("set the time"))
}

/// Attributes of a symbolic link or device. The link in /proc leads to the open directory, and the
/// last component is not followed.
fn set_xattrs_of_name(
    directory: BorrowedFd<'_>,
    name: &OsStr,
    xattrs: &[Xattr],
    warn: &mut impl FnMut(String),
) -> Result<(), UnpackProblem> {
    if xattrs.is_empty() {
        return Ok(());
    }
    let mut path = format!("/proc/self/fd/{}/", directory.as_fd().as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    let path = OsStr::from_bytes(&path);
    for (name, value) in xattrs {
        let set = |name: &OsStr| rustix::fs::lsetxattr(path, name, value, XattrFlags::empty());
        set_xattr(name, set, warn)?;
    }
    Ok(())
}

/// Whether an attribute is overlayfs's own: an archive that could set it could redirect lookups to
/// other directories of the host's layers.
pub(crate) fn is_overlayfs_own(name: &[u8]) -> bool {
    name.starts_with(b"trusted.overlay.") || name.starts_with(b"user.overlay.")
}

/// The warning for one that is.
pub(crate) fn overlayfs_own_dropped(name: &[u8]) -> String {
    let shown = name.escape_ascii();
    format!("the attribute {shown} is overlayfs's own and was dropped")
}

/// The warning for one that Linux refuses.
pub(crate) fn xattr_not_set(name: &[u8], errno: Errno) -> String {
    format!("the attribute {} was not set: {errno}", name.escape_ascii())
}

/// Sets one attribute.
fn set_xattr(
    name: &[u8],
    set: impl FnOnce(&OsStr) -> Result<(), Errno>,
    warn: &mut impl FnMut(String),
) -> Result<(), UnpackProblem> {
    if is_overlayfs_own(name) {
        warn(overlayfs_own_dropped(name));
        return Ok(());
    }
    match set(OsStr::from_bytes(name)) {
        Ok(()) => Ok(()),
        // ext4 says ENOSPC when the attributes of one file do not fit.
        Err(
            errno @ (Errno::OPNOTSUPP
            | Errno::PERM
            | Errno::ACCESS
            | Errno::INVAL
            | Errno::RANGE
            | Errno::TOOBIG
            | Errno::NOSPC),
        ) => {
            warn(xattr_not_set(name, errno));
            Ok(())
        }
        Err(errno) => Err(UnpackProblem::at("set an extended attribute")(errno)),
    }
}
