//! The files below a directory.

use std::ffi::OsStr;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::time::Duration;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::files::{Difference, Facts, Files, by_name};
use crate::erofs::read::Xattr;
use crate::tree;

/// Bytes of a list of names, and of a value: XATTR_LIST_MAX and XATTR_SIZE_MAX of linux/limits.h.
const XATTR_BYTES: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct TreeFiles<'t> {
    top: BorrowedFd<'t>,
    made_since: Option<Duration>,
}

impl<'t> TreeFiles<'t> {
    pub(super) fn new(top: BorrowedFd<'t>) -> Self {
        Self {
            top,
            made_since: None,
        }
    }

    /// Later times are the clock's, and nobody has given them.
    pub(super) fn made_since(self, since_epoch: Duration) -> Self {
        Self {
            made_since: Some(since_epoch),
            ..self
        }
    }

    /// Opens without following links, for looking only.
    fn look(&self, path: &[u8]) -> Result<OwnedFd, Errno> {
        open(self.top, path, OFlags::PATH | OFlags::NOFOLLOW)
    }

    fn mtime(&self, seconds: i64, nanoseconds: u32) -> Option<(i64, u32)> {
        let since = self.made_since.map(|since| {
            let seconds = i64::try_from(since.as_secs()).unwrap_or(i64::MAX);
            (seconds, since.subsec_nanos())
        });
        let time = (seconds, nanoseconds);
        since.is_none_or(|since| time < since).then_some(time)
    }
}

impl Files for TreeFiles<'_> {
    type Open = File;

    fn names(
        &self,
        mut visit: impl FnMut(&[u8]) -> Result<(), Difference>,
    ) -> Result<(), Difference> {
        let mut told = visit(b"");
        tree::names(self.top, |path, _| {
            if told.is_ok() {
                told = visit(path);
            }
        })
        .map_err(|errno| Difference::other(&errno))?;
        told
    }

    fn facts(&self, path: &[u8]) -> Result<Option<Facts>, Difference> {
        let failed = |errno: Errno| Difference::at(path, errno);
        let file = match self.look(path) {
            Ok(file) => file,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(None),
            Err(errno) => return Err(failed(errno)),
        };
        let stat = rustix::fs::fstat(&file).map_err(failed)?;
        let kind = FileType::from_raw_mode(stat.st_mode);
        let target = match kind {
            FileType::Symlink => rustix::fs::readlinkat(&file, c"", Vec::new())
                .map_err(failed)?
                .into_bytes(),
            _ => Vec::new(),
        };
        Ok(Some(Facts {
            mode: stat.st_mode,
            owner: (stat.st_uid, stat.st_gid),
            // Below 10⁹ in every struct stat.
            mtime: self.mtime(
                stat.st_mtime,
                u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
            ),
            size_bytes: match kind {
                FileType::RegularFile => u64::try_from(stat.st_size).unwrap_or(0),
                _ => 0,
            },
            device: match kind {
                FileType::CharacterDevice | FileType::BlockDevice => {
                    let number = stat.st_rdev;
                    (rustix::fs::major(number), rustix::fs::minor(number))
                }
                _ => (0, 0),
            },
            target,
            xattrs: xattrs(&file).map_err(failed)?,
            inode: stat.st_ino,
            links: u32::try_from(stat.st_nlink).unwrap_or(u32::MAX),
        }))
    }

    fn open(&self, path: &[u8]) -> Result<File, Difference> {
        // O_NONBLOCK: whatever has come to lie there, opening it must not wait.
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK;
        match open(self.top, path, flags) {
            Ok(file) => Ok(file.into()),
            Err(errno) => Err(Difference::at(path, errno)),
        }
    }

    fn read(
        &self,
        path: &[u8],
        file: &File,
        buffer: &mut [u8],
        offset: u64,
    ) -> Result<(), Difference> {
        let read = file.read_exact_at(buffer, offset);
        read.map_err(|error| Difference::at(path, error))
    }
}

fn open(top: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
    let flags = flags | OFlags::CLOEXEC;
    // Nothing but the last component may be a link: none is followed, wherever it leads.
    let (parent, name) = match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (
            Some(tree::open_beneath(top, &path[..slash])?),
            &path[slash + 1..],
        ),
        None => (None, path),
    };
    let parent = parent.as_ref().map_or(top, AsFd::as_fd);
    rustix::fs::openat2(
        parent,
        OsStr::from_bytes(name),
        flags,
        Mode::empty(),
        resolve,
    )
}

/// The link in /proc leads to the open file itself, were it a link: O_PATH alone cannot ask.
fn xattrs(file: &OwnedFd) -> Result<Vec<Xattr>, Errno> {
    let path = format!("/proc/self/fd/{}", file.as_raw_fd());
    let mut list = vec![0; XATTR_BYTES];
    let length = match rustix::fs::listxattr(&path, &mut list) {
        Err(Errno::OPNOTSUPP) => 0,
        other => other?,
    };
    let mut found = Vec::new();
    let mut value = vec![0; XATTR_BYTES];
    for name in list[..length].split(|&byte| byte == 0) {
        if !name.is_empty() {
            let length = rustix::fs::getxattr(&path, OsStr::from_bytes(name), &mut value)?;
            found.push((name.to_vec(), value[..length].to_vec()));
        }
    }
    Ok(by_name(found))
}
