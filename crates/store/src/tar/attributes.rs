//! Owner, permissions, time and extended attributes of a file, as an archive has them.

use std::ffi::OsStr;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::Stat;
use rustix::io::Errno;

use super::IdMap;
use crate::file_error::FileError;
use crate::unpack::{Attributes, Time, Xattr};
use crate::walk::Found;

/// The kernel's limit for a list of names, and for a value: xattr(7).
const XATTR_BYTES: usize = 64 << 10;
/// `vfs_cap_data` of revision 3 (linux/capability.h): revision 2 with the id of a user namespace's
/// root at its end.
const CAPABILITY_3_BYTES: usize = 24;
const CAPABILITY_2_BYTES: usize = 20;

pub(super) fn of_stat(stat: &Stat, ids: &IdMap) -> Attributes {
    let (uid, gid) = ids.inside(stat.st_uid, stat.st_gid);
    Attributes {
        mode: stat.st_mode & 0o7777,
        uid,
        gid,
        mtime: Time {
            seconds: stat.st_mtime,
            // Below 10⁹.
            nanoseconds: u32::try_from(stat.st_mtime_nsec).unwrap_or(0),
        },
        xattrs: Vec::new(),
    }
}

pub(super) fn of(found: &Found<'_>, ids: &IdMap) -> Result<Attributes, FileError> {
    let mut attributes = of_stat(&found.stat, ids);
    attributes.xattrs = xattrs(found.parent, found.name)
        .map_err(FileError::at("read the attributes of", found.shown()))?;
    Ok(attributes)
}

/// Those that mean something on another machine: the user's own, access lists and capabilities.
/// Labels of this host's security module do not, and overlayfs's marks are no attributes at all.
fn travels(name: &[u8]) -> bool {
    (name.starts_with(b"user.") && !name.starts_with(b"user.overlay."))
        || name == b"security.capability"
        || name == b"system.posix_acl_access"
        || name == b"system.posix_acl_default"
}

/// The attributes of `name` in `directory`, which is not followed if it is a link.
fn xattrs(directory: BorrowedFd<'_>, name: &OsStr) -> Result<Vec<Xattr>, Errno> {
    let path = through_proc(directory, name);
    let path = Path::new(OsStr::from_bytes(&path));
    let mut names = Vec::new();
    loop {
        let wanted = match rustix::fs::llistxattr(path, &mut [0_u8; 0][..]) {
            Ok(0) | Err(Errno::OPNOTSUPP | Errno::NOENT) => return Ok(Vec::new()),
            other => other?,
        };
        names.resize(wanted.min(XATTR_BYTES), 0);
        match rustix::fs::llistxattr(path, names.as_mut_slice()) {
            Ok(length) => break names.truncate(length),
            // It has got another one meanwhile.
            Err(Errno::RANGE) => {}
            Err(errno) => return Err(errno),
        }
    }
    let mut found = Vec::new();
    for name in names.split(|&byte| byte == 0).filter(|name| travels(name)) {
        if let Some(value) = value(path, OsStr::from_bytes(name))? {
            let value = match name {
                b"security.capability" => without_root_id(value),
                _ => value,
            };
            found.push((name.to_vec(), value));
        }
    }
    Ok(found)
}

/// A directory's mark of overlayfs: it hides what lies below it.
pub(super) fn is_opaque(directory: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    let path = through_proc(directory, name);
    let path = Path::new(OsStr::from_bytes(&path));
    for mark in ["trusted.overlay.opaque", "user.overlay.opaque"] {
        if value(path, OsStr::new(mark))?.is_some_and(|value| value == b"y") {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The link in /proc leads to the open directory, and the last component is not followed.
fn through_proc(directory: BorrowedFd<'_>, name: &OsStr) -> Vec<u8> {
    let directory = format!("/proc/self/fd/{}/", directory.as_raw_fd());
    [directory.as_bytes(), name.as_bytes()].concat()
}

fn value(path: &Path, name: &OsStr) -> Result<Option<Vec<u8>>, Errno> {
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::lgetxattr(path, name, value.as_mut_slice()) {
            Ok(length) => {
                value.truncate(length);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < XATTR_BYTES => value.resize(XATTR_BYTES, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP | Errno::NOENT) => return Ok(None),
            Err(errno) => return Err(errno),
        }
    }
}

/// A capability that holds for one user namespace, as one of any: within the container, that is
/// what it was.
fn without_root_id(mut value: Vec<u8>) -> Vec<u8> {
    if value.len() == CAPABILITY_3_BYTES && value[3] == 3 {
        value[3] = 2;
        value.truncate(CAPABILITY_2_BYTES);
    }
    value
}
