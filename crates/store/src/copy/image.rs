//! A layer that is an EROFS image, copied out of it: [`image_onto`], by the rules of [`super::onto`].

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType as Kind, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

use super::{BUFFER_BYTES, OPAQUE, is_overlay_own, piece, settled};
use crate::erofs::format::{FileType, device_number};
use crate::erofs::read::{Extent, Image, Inode, Place, ReadError, Walk, Xattr};
use crate::tree::{open_beneath, remove};

/// Why an image could not be copied.
#[derive(Debug, thiserror::Error)]
pub enum ImageCopyError {
    /// The image cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// What is read cannot be written.
    #[error(transparent)]
    Write(#[from] Errno),
}

/// Copies everything in an image into the directory `into`, as [`super::onto`] copies a tree. The image
/// is one of a layer: all data is in its own file.
///
/// # Errors
/// What was copied until then stays.
pub fn image_onto(image: &Image<File>, into: BorrowedFd<'_>) -> Result<(), ImageCopyError> {
    let mut copier = Copier {
        image,
        into,
        parent: None,
        linked: HashMap::new(),
    };
    let mut directories = Vec::new();
    for found in Walk::new(image)? {
        let found = found?;
        if found.inode.kind == FileType::Directory {
            copier.directory(&found.path, &found.inode)?;
            directories.push(found);
        } else {
            copier.entry(&found.path, &found.inode)?;
        }
    }
    // Those below first: each change of a directory's content sets its time.
    for found in directories.into_iter().rev() {
        let directory = open_beneath(into, &found.path)?;
        attributes(image, directory.as_fd(), &found.inode)?;
    }
    Ok(())
}

struct Copier<'i> {
    image: &'i Image<File>,
    into: BorrowedFd<'i>,
    /// The directory of the last entry, with its path: neighbours share theirs.
    parent: Option<(Vec<u8>, OwnedFd)>,
    /// Inodes of several names: the first of their paths.
    linked: HashMap<u64, Vec<u8>>,
}

impl Copier<'_> {
    /// Makes a directory, or keeps the one that is there, unless this one hides what lies below.
    fn directory(&mut self, path: &[u8], inode: &Inode) -> Result<(), ImageCopyError> {
        if path.is_empty() {
            return Ok(());
        }
        let xattrs = self.image.xattrs(inode)?;
        let opaque = xattrs.iter().any(is_opaque);
        let (parent, name) = self.parent(path)?;
        let there = match rustix::fs::statat(parent, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Kind::from_raw_mode(stat.st_mode) == Kind::Directory,
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(errno.into()),
        };
        if there && !opaque {
            return Ok(());
        }
        remove(parent, name, parent)?;
        Ok(rustix::fs::mkdirat(parent, name, Mode::RWXU)?)
    }

    /// Anything else.
    fn entry(&mut self, path: &[u8], inode: &Inode) -> Result<(), ImageCopyError> {
        let into = self.into;
        let first = match inode.links > 1 {
            true => self.linked.get(&inode.nid).cloned(),
            false => None,
        };
        let image = self.image;
        let (parent, name) = self.parent(path)?;
        remove(parent, name, parent)?;
        if inode.kind == FileType::CharacterDevice && inode.device == (0, 0) {
            return Ok(());
        }
        if let Some(first) = first {
            let first = OsStr::from_bytes(&first);
            rustix::fs::linkat(into, first, parent, name, AtFlags::empty())?;
            return Ok(());
        }
        match inode.kind {
            FileType::File => file(image, parent, name, inode)?,
            _ => special(image, parent, name, inode)?,
        }
        if inode.links > 1 {
            self.linked.insert(inode.nid, path.to_vec());
        }
        Ok(())
    }

    /// The directory that a path's last component is in, and that component.
    fn parent<'p>(&mut self, path: &'p [u8]) -> Result<(BorrowedFd<'_>, &'p OsStr), Errno> {
        let (above, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let known = self.parent.take().filter(|(path, _)| path == above);
        let opened = match known {
            Some(known) => known,
            None => (above.to_vec(), open_beneath(self.into, above)?),
        };
        let (_, directory) = &*self.parent.insert(opened);
        Ok((directory.as_fd(), OsStr::from_bytes(name)))
    }
}

fn file(
    image: &Image<File>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    inode: &Inode,
) -> Result<(), ImageCopyError> {
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let target = rustix::fs::openat(parent, name, flags, Mode::RUSR | Mode::WUSR)?;
    for extent in image.extents(inode, 0) {
        data(image, &target, inode, extent?)?;
    }
    rustix::fs::ftruncate(&target, inode.size)?;
    attributes(image, target.as_fd(), inode)
}

fn data(
    image: &Image<File>,
    target: &OwnedFd,
    inode: &Inode,
    extent: Extent,
) -> Result<(), ImageCopyError> {
    let (begin, end) = (extent.offset, extent.offset + extent.length);
    match extent.place {
        Place::Hole => Ok(()),
        Place::Blocks { device: 0, start } => {
            Ok(piece(image.source(), start, target, begin, extent.length)?)
        }
        _ => {
            let mut buffer = vec![0; BUFFER_BYTES.min(extent.length as usize)];
            let mut at = begin;
            while at < end {
                let room = buffer.len().min((end - at) as usize);
                let count = image.read_at(inode, &mut buffer[..room], at)?;
                let mut written = 0;
                while written < count {
                    let here = at + written as u64;
                    written += rustix::io::pwrite(target, &buffer[written..count], here)?;
                }
                at += count.max(1) as u64;
            }
            Ok(())
        }
    }
}

/// Owner, mode, extended attributes and times of an open file or directory, in the order in which
/// nothing undoes another: chown(2) clears set-id bits and `security.capability`.
fn attributes(
    image: &Image<File>,
    target: BorrowedFd<'_>,
    inode: &Inode,
) -> Result<(), ImageCopyError> {
    let (uid, gid) = (Uid::from_raw(inode.uid), Gid::from_raw(inode.gid));
    rustix::fs::fchown(target, Some(uid), Some(gid))?;
    rustix::fs::fchmod(target, Mode::from_raw_mode(inode.mode.into()))?;
    for (name, value) in image.xattrs(inode)? {
        if !is_overlay_own(&name) {
            let name = OsStr::from_bytes(&name);
            let set = rustix::fs::fsetxattr(target, name, &value, XattrFlags::empty());
            settled(set)?;
        }
    }
    Ok(rustix::fs::futimens(target, &times(inode))?)
}

/// A symbolic link, device, FIFO or socket: what cannot be opened.
fn special(
    image: &Image<File>,
    parent: BorrowedFd<'_>,
    name: &OsStr,
    inode: &Inode,
) -> Result<(), ImageCopyError> {
    let mode = Mode::from_raw_mode(inode.mode.into());
    let flags = AtFlags::SYMLINK_NOFOLLOW;
    if inode.kind == FileType::Symlink {
        let target = image.link_target(inode)?;
        rustix::fs::symlinkat(OsStr::from_bytes(&target), parent, name)?;
    } else {
        let kind = Kind::from_raw_mode(inode.kind.mode_bits().into());
        let (major, minor) = inode.device;
        // What was read from 12 and 20 bits fits into them.
        device_number(major, minor).ok_or(Errno::INVAL)?;
        let number = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(parent, name, kind, mode, number)?;
    }
    let (uid, gid) = (Uid::from_raw(inode.uid), Gid::from_raw(inode.gid));
    rustix::fs::chownat(parent, name, Some(uid), Some(gid), flags)?;
    if inode.kind != FileType::Symlink {
        rustix::fs::chmodat(parent, name, mode, AtFlags::empty())?;
    }
    // The link in /proc leads to the open directory; the last component is not followed.
    let mut path = format!("/proc/self/fd/{}/", parent.as_raw_fd()).into_bytes();
    path.extend_from_slice(name.as_bytes());
    for (xattr, value) in image.xattrs(inode)? {
        if !is_overlay_own(&xattr) {
            let xattr = OsStr::from_bytes(&xattr);
            let set = rustix::fs::lsetxattr(&path[..], xattr, &value, XattrFlags::empty());
            settled(set)?;
        }
    }
    Ok(rustix::fs::utimensat(parent, name, &times(inode), flags)?)
}

fn times(inode: &Inode) -> Timestamps {
    let (seconds, nanoseconds) = inode.mtime;
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

fn is_opaque((name, value): &Xattr) -> bool {
    OPAQUE.iter().any(|mark| mark.as_bytes() == name) && value == b"y"
}
