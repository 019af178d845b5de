//! `tmpcopyup`, an option of runc and crun: a tmpfs begins with what its mount point holds.
//!
//! The image wrote what is copied: nothing of it is followed, and what is neither a directory, a
//! file nor a link is left out.

use std::ffi::CStr;
use std::fs::File;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Dir, FileType, Gid, Mode, OFlags, Stat, Uid};
use rustix::io::Errno;

use super::child::IN_ROOT;

/// More than an image has below any directory that makes sense.
const MAX_DEPTH: u32 = 64;

/// Copies what `target` holds below `root` into `tree`. A target that is not there is empty.
pub(super) fn copy_up(
    root: BorrowedFd<'_>,
    target: &CStr,
    tree: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    match rustix::fs::openat2(root, target, flags, Mode::empty(), IN_ROOT) {
        Ok(from) => {
            let to = rustix::fs::openat(tree, c".", flags, Mode::empty())?;
            let stat = rustix::fs::fstat(&from)?;
            copy_directory(&from, &to, 0)?;
            same_owner(&to, &stat)
        }
        Err(Errno::NOENT | Errno::NOTDIR) => Ok(()),
        Err(errno) => Err(errno),
    }
}

fn same_owner(to: &OwnedFd, stat: &Stat) -> Result<(), Errno> {
    let (uid, gid) = (Uid::from_raw(stat.st_uid), Gid::from_raw(stat.st_gid));
    rustix::fs::fchown(to, Some(uid), Some(gid))?;
    rustix::fs::fchmod(to, Mode::from_raw_mode(stat.st_mode))
}

fn copy_directory(from: &OwnedFd, to: &OwnedFd, depth: u32) -> Result<(), Errno> {
    if depth > MAX_DEPTH {
        return Err(Errno::LOOP);
    }
    for entry in Dir::read_from(from)? {
        let entry = entry?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        copy_entry(from, to, name, depth)?;
    }
    Ok(())
}

fn copy_entry(from: &OwnedFd, to: &OwnedFd, name: &CStr, depth: u32) -> Result<(), Errno> {
    let stat = rustix::fs::statat(from, name, AtFlags::SYMLINK_NOFOLLOW)?;
    let read = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let none = Mode::empty();
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::Directory => {
            rustix::fs::mkdirat(to, name, Mode::from_raw_mode(0o700))?;
            let flags = read | OFlags::DIRECTORY;
            let inner = rustix::fs::openat(from, name, flags, none)?;
            let made = rustix::fs::openat(to, name, flags, none)?;
            copy_directory(&inner, &made, depth + 1)?;
            same_owner(&made, &stat)
        }
        FileType::RegularFile => {
            let inner = rustix::fs::openat(from, name, read | OFlags::NONBLOCK, none)?;
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let made = rustix::fs::openat(to, name, flags, Mode::from_raw_mode(0o600))?;
            let (mut inner, mut written) = (File::from(inner), File::from(made));
            let copied = std::io::copy(&mut inner, &mut written);
            copied.map_err(|error| super::prepare::errno_of(&error))?;
            same_owner(&OwnedFd::from(written), &stat)
        }
        FileType::Symlink => {
            let link = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(link.as_c_str(), to.as_fd(), name)
        }
        _ => Ok(()),
    }
}
