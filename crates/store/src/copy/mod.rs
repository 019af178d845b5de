//! Copies of trees: a layer onto what lies below it, the content of an image into a volume.
//!
//! Data is shared where the file system can (ioctl_ficlone(2)), copied by the kernel where it
//! cannot, and holes stay holes. Neither tree is changed by anybody else meanwhile; links in them
//! are never followed, and nothing here recurses with their depth.

mod image;

use std::collections::HashMap;
use std::ffi::{CStr, OsStr};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, SeekFrom, Stat, Timespec, Timestamps, Uid, XattrFlags,
};
use rustix::io::Errno;

pub use image::{ImageCopyError, image_onto};

use crate::tree::{for_each_entry, open_beneath, remove};

/// Bytes that pass through memory at once where the kernel does not copy by itself.
const BUFFER_BYTES: usize = 128 << 10;
/// Bytes of an extended attribute's value, and of a list of their names: XATTR_SIZE_MAX and
/// XATTR_LIST_MAX of linux/limits.h.
const XATTR_BYTES: usize = 64 << 10;
/// How overlayfs's own attributes begin; which of them makes a directory opaque.
const OVERLAY: [&[u8]; 2] = [b"trusted.overlay.", b"user.overlay."];
const OPAQUE: [&str; 2] = ["trusted.overlay.opaque", "user.overlay.opaque"];

/// Copies everything in the directory `from` into the directory `into`, with owners, modes, times,
/// extended attributes and hard links, and gives `into` what `from` itself has of them. What is
/// there of the same name is replaced; directories are merged. overlayfs's marks are obeyed: a
/// whiteout removes its name, an opaque directory replaces the one below.
///
/// # Errors
/// As the system calls say; `ENAMETOOLONG`: a path of more than `PATH_MAX` (4096) bytes. What was
/// copied until then stays.
pub fn onto(from: BorrowedFd<'_>, into: BorrowedFd<'_>) -> Result<(), Errno> {
    let mut copier = Copier {
        into,
        linked: HashMap::new(),
        pending: vec![Vec::new()],
        value: vec![0; XATTR_BYTES],
    };
    let mut directories = Vec::new();
    while let Some(path) = copier.pending.pop() {
        let source = open_beneath(from, &path)?;
        let target = open_beneath(into, &path)?;
        for_each_entry(source.as_fd(), |name, _| {
            copier.entry(source.as_fd(), target.as_fd(), &path, name)
        })?;
        directories.push(path);
    }
    // Those below first: each change of a directory's content sets its time.
    for path in directories.into_iter().rev() {
        let source = open_beneath(from, &path)?;
        let target = open_beneath(into, &path)?;
        copier.attributes(source.as_fd(), target.as_fd())?;
    }
    Ok(())
}

struct Copier<'a> {
    into: BorrowedFd<'a>,
    /// Files with several names: where the first of them is, below `into`.
    linked: HashMap<(u64, u64), Vec<u8>>,
    /// Directories whose entries are still to be copied.
    pending: Vec<Vec<u8>>,
    /// Room for an attribute's value.
    value: Vec<u8>,
}

impl Copier<'_> {
    fn entry(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        directory: &[u8],
        name: &CStr,
    ) -> Result<(), Errno> {
        let stat = rustix::fs::statat(source, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let mut path = directory.to_vec();
        if !path.is_empty() {
            path.push(b'/');
        }
        path.extend_from_slice(name.to_bytes());
        let clear = || remove(target, OsStr::from_bytes(name.to_bytes()), target);
        if kind == FileType::Directory {
            self.directory(source, target, name)?;
            self.pending.push(path);
            return Ok(());
        }
        clear()?;
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            return Ok(());
        }
        if stat.st_nlink > 1 {
            let key = (stat.st_dev, stat.st_ino);
            if let Some(first) = self.linked.get(&key) {
                let first = OsStr::from_bytes(first);
                return rustix::fs::linkat(self.into, first, target, name, AtFlags::empty());
            }
            self.linked.insert(key, path);
        }
        match kind {
            FileType::RegularFile => self.file(source, target, name, &stat),
            _ => self.special(source, target, name, &stat),
        }
    }

    /// Makes a directory, or keeps the one that is there.
    fn directory(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
    ) -> Result<(), Errno> {
        let there = match rustix::fs::statat(target, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => FileType::from_raw_mode(stat.st_mode) == FileType::Directory,
            Err(Errno::NOENT) => false,
            Err(errno) => return Err(errno),
        };
        if there && !self.is_opaque(source, name)? {
            return Ok(());
        }
        remove(target, OsStr::from_bytes(name.to_bytes()), target)?;
        rustix::fs::mkdirat(target, name, Mode::RWXU)
    }

    fn is_opaque(&mut self, source: BorrowedFd<'_>, name: &CStr) -> Result<bool, Errno> {
        let directory = rustix::fs::openat(source, name, DIRECTORY, Mode::empty())?;
        for mark in OPAQUE {
            match rustix::fs::fgetxattr(&directory, mark, &mut self.value[..]) {
                Ok(length) if self.value[..length] == *b"y" => return Ok(true),
                Ok(_) | Err(Errno::NODATA | Errno::OPNOTSUPP) => {}
                Err(errno) => return Err(errno),
            }
        }
        Ok(false)
    }

    fn file(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), Errno> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let source = rustix::fs::openat(source, name, flags, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
        let target = rustix::fs::openat(target, name, flags, Mode::RUSR | Mode::WUSR)?;
        data(&source, &target, u64::try_from(stat.st_size).unwrap_or(0))?;
        self.attributes(source.as_fd(), target.as_fd())
    }

    /// Owner, mode, extended attributes and times of an open file or directory, in the order in
    /// which nothing undoes another: chown(2) clears set-id bits and `security.capability`.
    fn attributes(&mut self, source: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
        let stat = rustix::fs::fstat(source)?;
        let (uid, gid) = owner(&stat);
        rustix::fs::fchown(target, uid, gid)?;
        rustix::fs::fchmod(target, Mode::from_raw_mode(stat.st_mode))?;
        let mut names = vec![0; XATTR_BYTES];
        let length = match rustix::fs::flistxattr(source, &mut names[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        for name in xattr_names(&names[..length]) {
            let length = rustix::fs::fgetxattr(source, name, &mut self.value[..])?;
            let value = &self.value[..length];
            settled(rustix::fs::fsetxattr(
                target,
                name,
                value,
                XattrFlags::empty(),
            ))?;
        }
        rustix::fs::futimens(target, &times(&stat))
    }

    /// A symbolic link, device, FIFO or socket: what cannot be opened.
    fn special(
        &mut self,
        source: BorrowedFd<'_>,
        target: BorrowedFd<'_>,
        name: &CStr,
        stat: &Stat,
    ) -> Result<(), Errno> {
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::Symlink {
            let to = rustix::fs::readlinkat(source, name, Vec::new())?;
            rustix::fs::symlinkat(to.as_c_str(), target, name)?;
        } else {
            let mode = Mode::from_raw_mode(stat.st_mode);
            rustix::fs::mknodat(target, name, kind, mode, stat.st_rdev)?;
        }
        let (uid, gid) = owner(stat);
        rustix::fs::chownat(target, name, uid, gid, AtFlags::SYMLINK_NOFOLLOW)?;
        if kind != FileType::Symlink {
            let mode = Mode::from_raw_mode(stat.st_mode);
            rustix::fs::chmodat(target, name, mode, AtFlags::empty())?;
        }
        // The link in /proc leads to the open directory; the last component is not followed.
        let path = |directory: BorrowedFd<'_>| {
            let mut path = format!("/proc/self/fd/{}/", directory.as_raw_fd()).into_bytes();
            path.extend_from_slice(name.to_bytes());
            path
        };
        let (from, to) = (path(source), path(target));
        let mut names = vec![0; XATTR_BYTES];
        let length = match rustix::fs::llistxattr(&from[..], &mut names[..]) {
            Err(Errno::OPNOTSUPP) => 0,
            other => other?,
        };
        for name in xattr_names(&names[..length]) {
            let length = rustix::fs::lgetxattr(&from[..], name, &mut self.value[..])?;
            let value = &self.value[..length];
            settled(rustix::fs::lsetxattr(
                &to[..],
                name,
                value,
                XattrFlags::empty(),
            ))?;
        }
        rustix::fs::utimensat(target, name, &times(stat), AtFlags::SYMLINK_NOFOLLOW)
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::NOFOLLOW)
    .union(OFlags::CLOEXEC);

fn owner(stat: &Stat) -> (Option<Uid>, Option<Gid>) {
    (
        Some(Uid::from_raw(stat.st_uid)),
        Some(Gid::from_raw(stat.st_gid)),
    )
}

fn times(stat: &Stat) -> Timestamps {
    let time = |tv_sec: i64, tv_nsec| Timespec {
        tv_sec,
        // Below 10⁹ in every struct stat.
        tv_nsec: i64::try_from(tv_nsec).unwrap_or(0),
    };
    Timestamps {
        last_access: time(stat.st_atime, stat.st_atime_nsec),
        last_modification: time(stat.st_mtime, stat.st_mtime_nsec),
    }
}

/// The names of a list as listxattr(2) gives it, overlayfs's own left out.
fn xattr_names(list: &[u8]) -> impl Iterator<Item = &OsStr> {
    list.split(|byte| *byte == 0)
        .filter(|name| !name.is_empty() && !is_overlay_own(name))
        .map(OsStr::from_bytes)
}

/// Whether an attribute is overlayfs's own.
fn is_overlay_own(name: &[u8]) -> bool {
    OVERLAY.iter().any(|own| name.starts_with(own))
}

/// An attribute that the target's file system does not take is left out, as in unpacking.
fn settled(set: Result<(), Errno>) -> Result<(), Errno> {
    match set {
        Err(Errno::OPNOTSUPP | Errno::PERM | Errno::NOSPC) => Ok(()),
        other => other,
    }
}

/// Copies what a file holds, without its holes, into an empty one.
pub(crate) fn data(source: &OwnedFd, target: &OwnedFd, size_bytes: u64) -> Result<(), Errno> {
    if size_bytes == 0 {
        return Ok(());
    }
    if rustix::fs::ioctl_ficlone(target, source).is_ok() {
        return Ok(());
    }
    let mut at = 0;
    while at < size_bytes {
        // lseek(2): ENXIO, nothing but a hole follows; EINVAL, this file system does not tell.
        let begin = match rustix::fs::seek(source, SeekFrom::Data(at)) {
            Ok(begin) => begin,
            Err(Errno::NXIO) => break,
            Err(Errno::INVAL) => at,
            Err(errno) => return Err(errno),
        };
        let end = rustix::fs::seek(source, SeekFrom::Hole(begin)).unwrap_or(size_bytes);
        piece(source, begin, target, begin, end - begin)?;
        at = end.max(begin + 1);
    }
    rustix::fs::ftruncate(target, size_bytes)
}

/// Copies `length` bytes from `from` in the source to `to` in the target, or fewer if it ends there. The
/// file system may let them share their blocks (copy_file_range(2)).
fn piece(
    source: impl AsFd,
    mut from: u64,
    target: &OwnedFd,
    mut to: u64,
    length: u64,
) -> Result<(), Errno> {
    let source = source.as_fd();
    let end = from + length;
    while from < end {
        let length = usize::try_from(end - from).unwrap_or(usize::MAX);
        match rustix::fs::copy_file_range(source, Some(&mut from), target, Some(&mut to), length) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(Errno::XDEV | Errno::INVAL | Errno::OPNOTSUPP | Errno::NOSYS) => {
                return piece_by_hand(source, from, target, to, end - from);
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

fn piece_by_hand(
    source: BorrowedFd<'_>,
    from: u64,
    target: &OwnedFd,
    to: u64,
    length: u64,
) -> Result<(), Errno> {
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut done = 0;
    while done < length {
        let room =
            usize::try_from(length - done).map_or(BUFFER_BYTES, |left| left.min(BUFFER_BYTES));
        let count = rustix::io::pread(source, &mut buffer[..room], from + done)?;
        if count == 0 {
            return Ok(());
        }
        let mut written = 0;
        while written < count {
            let here = to + done + written as u64;
            written += rustix::io::pwrite(target, &buffer[written..count], here)?;
        }
        done += count as u64;
    }
    Ok(())
}
