//! Mount points inside a root that an attacker wrote: found with `openat2` below the root only,
//! and made where they are missing. Runs in the child: allocates nothing.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;

use super::child::IN_ROOT;

/// What a mount point must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Directory,
    File,
}

const MAX_PATH_BYTES: usize = 4096;
const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

pub(crate) fn is_directory(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(fd, c"", AtFlags::EMPTY_PATH)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// Opens `path` below `root`, first making it and the directories above it if it isn't there.
/// A link on the way is followed inside the root, as the workload itself would follow it.
pub(crate) fn open_or_make(
    root: BorrowedFd<'_>,
    path: &CStr,
    kind: Kind,
) -> Result<OwnedFd, Errno> {
    match rustix::fs::openat2(root, path, PATH_FLAGS, Mode::empty(), IN_ROOT) {
        Err(Errno::NOENT) => make(root, path.to_bytes(), kind),
        opened => opened,
    }
}

/// Walks down component by component, so that each new name is made in a directory that was
/// opened below the root.
fn make(root: BorrowedFd<'_>, path: &[u8], kind: Kind) -> Result<OwnedFd, Errno> {
    if path.len() >= MAX_PATH_BYTES {
        return Err(Errno::NAMETOOLONG);
    }
    let mut buffer = [0u8; MAX_PATH_BYTES];
    let mut at = rustix::fs::openat2(
        root,
        c".",
        PATH_FLAGS | OFlags::DIRECTORY,
        Mode::empty(),
        IN_ROOT,
    )?;
    let mut end = 0;
    while end < path.len() {
        let start = end + path[end..].iter().take_while(|b| **b == b'/').count();
        let name_length = path[start..].iter().take_while(|b| **b != b'/').count();
        end = start + name_length;
        if name_length == 0 {
            break;
        }
        let name = &path[start..end];
        if name == b".." {
            return Err(Errno::INVAL);
        }
        // The prefix from the root, for links; the bare name, for making.
        let prefix = c_string(&mut buffer, &path[..end])?;
        at = match rustix::fs::openat2(root, prefix, PATH_FLAGS, Mode::empty(), IN_ROOT) {
            Ok(next) => next,
            Err(Errno::NOENT) => {
                let last = path[end..].iter().all(|b| *b == b'/');
                let name = c_string(&mut buffer, name)?;
                make_one(&at, name, if last { kind } else { Kind::Directory })?
            }
            Err(errno) => return Err(errno),
        };
    }
    Ok(at)
}

fn make_one(parent: &OwnedFd, name: &CStr, kind: Kind) -> Result<OwnedFd, Errno> {
    match kind {
        Kind::Directory => match rustix::fs::mkdirat(parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        },
        Kind::File => {
            let flags =
                OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC | OFlags::WRONLY;
            match rustix::fs::openat(parent, name, flags, Mode::from_raw_mode(0o644)) {
                Ok(_) | Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno),
            }
        }
    }
    // A dangling link has the name: not ours to replace.
    rustix::fs::openat(parent, name, PATH_FLAGS | OFlags::NOFOLLOW, Mode::empty()).and_then(|fd| {
        let stat = rustix::fs::statat(&fd, c"", AtFlags::EMPTY_PATH)?;
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => Err(Errno::LOOP),
            _ => Ok(fd),
        }
    })
}

fn c_string<'a>(buffer: &'a mut [u8; MAX_PATH_BYTES], bytes: &[u8]) -> Result<&'a CStr, Errno> {
    let length = bytes.len();
    if length >= MAX_PATH_BYTES {
        return Err(Errno::NAMETOOLONG);
    }
    buffer[..length].copy_from_slice(bytes);
    buffer[length] = 0;
    CStr::from_bytes_until_nul(&buffer[..=length]).map_err(|_| Errno::INVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd;

    #[test]
    fn makes_what_is_missing_and_never_leaves_the_root() {
        let outside = std::env::temp_dir().join(format!("gamut-target-{}", std::process::id()));
        let root_path = outside.join("root");
        std::fs::create_dir_all(root_path.join("real")).unwrap();
        std::os::unix::fs::symlink("/real", root_path.join("link")).unwrap();
        std::os::unix::fs::symlink("../../escape", root_path.join("up")).unwrap();
        let root =
            rustix::fs::open(&root_path, PATH_FLAGS | OFlags::DIRECTORY, Mode::empty()).unwrap();
        open_or_make(root.as_fd(), c"/a/b/c", Kind::Directory).unwrap();
        assert!(root_path.join("a/b/c").is_dir());
        open_or_make(root.as_fd(), c"/link/x/file", Kind::File).unwrap();
        assert!(
            root_path.join("real/x/file").is_file(),
            "an absolute link stays inside"
        );
        assert!(
            open_or_make(root.as_fd(), c"/up/x", Kind::File).is_err(),
            "a dangling link is not replaced"
        );
        assert!(!outside.join("escape").exists());
        assert_eq!(
            open_or_make(root.as_fd(), c"/../n/../m", Kind::Directory).unwrap_err(),
            Errno::INVAL
        );
        std::fs::remove_dir_all(&outside).unwrap();
    }
}
