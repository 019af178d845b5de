//! What a process in a jail sees of the file system: nothing, or what it serves.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_sys::mount::{Change, Reach, attr, propagation, set_attributes};
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

use super::{At, JailError};
use crate::launch::child::{attach, pivot};

/// What a process sees of the file system.
#[derive(Debug)]
pub enum Root<'a> {
    /// An empty directory, and it gives up files altogether.
    Empty,
    /// A directory that cannot be written to, with these in it.
    Shares(&'a [Share]),
}

/// A directory or a single file, in the root by its name.
#[derive(Debug)]
pub struct Share {
    /// One name, and not `.` or `..`.
    pub name: CString,
    /// A mount that is attached nowhere (open_tree(2), `OPEN_TREE_CLONE`), with those below it.
    pub tree: OwnedFd,
    pub access: Access,
}

/// What may be done to a share.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Access {
    ReadOnly,
    ReadWrite,
}

/// Changes the root of this process, which is in a mount namespace of its own.
pub(super) fn enter(root: &Root<'_>) -> Result<(), JailError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let host = rustix::fs::open(c"/", flags, Mode::empty()).at("open the root")?;
    // Nothing that is done here is seen outside, and nothing outside is seen here.
    let private = Change {
        propagation: propagation::PRIVATE,
        ..Change::default()
    };
    set_attributes(host.as_fd(), Reach::Tree, &private).at("make mounts private")?;
    let shares = match root {
        Root::Empty => &[],
        Root::Shares(shares) => *shares,
    };
    let directory = directory_for(shares.len()).at("make a root")?;
    attach(directory.as_fd(), host.as_fd()).at("mount the root")?;
    for share in shares {
        put(directory.as_fd(), share).at("mount what is served")?;
    }
    let read_only = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    set_attributes(directory.as_fd(), Reach::One, &read_only).at("make the root read-only")?;
    pivot(directory.as_fd()).at("change the root")
}

/// Room for so many names, and for nothing else.
fn directory_for(names: usize) -> Result<OwnedFd, Errno> {
    let fs = rustix::mount::fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let inodes = (names + 1).to_string();
    for (option, value) in [
        ("size", "4096"),
        ("nr_inodes", inodes.as_str()),
        ("mode", "0555"),
    ] {
        rustix::mount::fsconfig_set_string(fs.as_fd(), option, value)?;
    }
    rustix::mount::fsconfig_create(fs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    rustix::mount::fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// What is served is neither executed here, nor is a device of it opened.
fn put(root: BorrowedFd<'_>, share: &Share) -> Result<(), Errno> {
    let read_only = match share.access {
        Access::ReadOnly => attr::RDONLY,
        Access::ReadWrite => 0,
    };
    let change = Change {
        set: read_only | attr::NOSUID | attr::NODEV | attr::NOEXEC,
        propagation: propagation::PRIVATE,
        ..Change::default()
    };
    set_attributes(share.tree.as_fd(), Reach::Tree, &change)?;
    let name = share.name.as_c_str();
    if matches!(name.to_bytes(), b"" | b"." | b"..") || name.to_bytes().contains(&b'/') {
        return Err(Errno::INVAL);
    }
    let status = rustix::fs::fstat(&share.tree)?;
    if FileType::from_raw_mode(status.st_mode) == FileType::Directory {
        rustix::fs::mkdirat(root, name, Mode::from_raw_mode(0o555))?;
    } else {
        let mode = Mode::from_raw_mode(0o444);
        rustix::fs::mknodat(root, name, FileType::RegularFile, mode, 0)?;
    }
    let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let target = rustix::fs::openat(root, name, flags, Mode::empty())?;
    attach(share.tree.as_fd(), target.as_fd())
}
