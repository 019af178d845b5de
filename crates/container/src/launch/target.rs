//! Mount points inside a root that an attacker wrote: found with `openat2` below the root only,
//! and made where they are missing. Runs in the child: allocates nothing.

use std::ffi::CStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags};
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

/// [`open_or_make`] for something to be mounted there. /proc and /sys themselves are no links, and no
/// link leads into a proc: masks, sysctls and labels would meet another file than they are for
/// (CVE-2019-19921, CVE-2023-27561, CVE-2025-52881). `ELOOP` says so.
pub(crate) fn for_mount(root: BorrowedFd<'_>, path: &CStr, kind: Kind) -> Result<OwnedFd, Errno> {
    let made = open_or_make(root, path, kind)?;
    let names = path.to_bytes().split(|byte| *byte == b'/');
    let mut names = names.filter(|name| !matches!(*name, b"" | b"."));
    let first = names.next().unwrap_or_default();
    if names.next().is_none() && matches!(first, b"proc" | b"sys") {
        let plain = IN_ROOT.union(ResolveFlags::NO_SYMLINKS);
        return rustix::fs::openat2(root, path, PATH_FLAGS, Mode::empty(), plain);
    }
    // statfs(2), PROC_SUPER_MAGIC.
    const PROC: u64 = 0x9fa0;
    if first != b"proc" && rustix::fs::fstatfs(&made)?.f_type as u64 == PROC {
        return Err(Errno::LOOP);
    }
    Ok(made)
}

/// How many dangling links are followed on the way to one mount point, as the kernel's own limit.
const MAX_LINKS: usize = 40;

/// Walks down component by component, so that each new name is made in a directory that was
/// opened below the root. A link that leads nowhere yet is followed inside the root: what it
/// names is made.
fn make(root: BorrowedFd<'_>, path: &[u8], kind: Kind) -> Result<OwnedFd, Errno> {
    let mut current = [0u8; MAX_PATH_BYTES];
    let mut length = path.len();
    current
        .get_mut(..length)
        .ok_or(Errno::NAMETOOLONG)?
        .copy_from_slice(path);
    for _ in 0..MAX_LINKS {
        match walk(root, &current[..length], kind)? {
            Walked::There(fd) => return Ok(fd),
            Walked::Link {
                parent,
                name_start,
                name_end,
            } => {
                length = follow(&parent, &mut current, length, name_start, name_end)?;
            }
        }
    }
    Err(Errno::LOOP)
}

enum Walked {
    There(OwnedFd),
    /// The name between these bytes is a link to what is not there.
    Link {
        parent: OwnedFd,
        name_start: usize,
        name_end: usize,
    },
}

fn walk(root: BorrowedFd<'_>, path: &[u8], kind: Kind) -> Result<Walked, Errno> {
    let mut buffer = [0u8; MAX_PATH_BYTES];
    let directory = PATH_FLAGS | OFlags::DIRECTORY;
    let mut at = rustix::fs::openat2(root, c".", directory, Mode::empty(), IN_ROOT)?;
    let mut end = 0;
    while end < path.len() {
        let start = end + path[end..].iter().take_while(|b| **b == b'/').count();
        let name_length = path[start..].iter().take_while(|b| **b != b'/').count();
        end = start + name_length;
        if name_length == 0 {
            break;
        }
        // The prefix from the root, for links; the bare name, for making.
        let prefix = c_string(&mut buffer, &path[..end])?;
        match rustix::fs::openat2(root, prefix, PATH_FLAGS, Mode::empty(), IN_ROOT) {
            Ok(next) => at = next,
            Err(Errno::NOENT) => {
                let last = path[end..].iter().all(|b| *b == b'/');
                let name = c_string(&mut buffer, &path[start..end])?;
                match make_one(&at, name, if last { kind } else { Kind::Directory }) {
                    Ok(made) => at = made,
                    Err(Errno::LOOP) => {
                        return Ok(Walked::Link {
                            parent: at,
                            name_start: start,
                            name_end: end,
                        });
                    }
                    Err(errno) => return Err(errno),
                }
            }
            Err(errno) => return Err(errno),
        }
    }
    Ok(Walked::There(at))
}

/// Puts a link's target in the place of its name; returns the new length of the path.
fn follow(
    parent: &OwnedFd,
    path: &mut [u8; MAX_PATH_BYTES],
    length: usize,
    name_start: usize,
    name_end: usize,
) -> Result<usize, Errno> {
    let mut name = [0u8; MAX_PATH_BYTES];
    let name = c_string(&mut name, &path[name_start..name_end])?;
    let mut target = [0u8; MAX_PATH_BYTES];
    let target_length = rustix::fs::readlinkat_raw(parent, name, &mut target[..])?;
    let target = &target[..target_length];
    let keep = if target.first() == Some(&b'/') {
        0
    } else {
        name_start
    };
    let mut rest = [0u8; MAX_PATH_BYTES];
    let rest_length = length - name_end;
    rest[..rest_length].copy_from_slice(&path[name_end..length]);
    let target_end = keep + target.len();
    let total = target_end + rest_length;
    path.get_mut(keep..target_end)
        .ok_or(Errno::NAMETOOLONG)?
        .copy_from_slice(target);
    path.get_mut(target_end..total)
        .ok_or(Errno::NAMETOOLONG)?
        .copy_from_slice(&rest[..rest_length]);
    Ok(total)
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
    // A link has the name: the caller follows it.
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
        open_or_make(root.as_fd(), c"/up/x", Kind::File).unwrap();
        assert!(!outside.join("escape").exists());
        assert!(
            root_path.join("escape/x").is_file(),
            "a dangling link is followed inside"
        );
        std::os::unix::fs::symlink("loop", root_path.join("loop")).unwrap();
        assert_eq!(
            open_or_make(root.as_fd(), c"/loop/x", Kind::File).unwrap_err(),
            Errno::LOOP
        );
        open_or_make(root.as_fd(), c"/../n/../m", Kind::Directory).unwrap();
        assert!(root_path.join("m").is_dir());
        std::fs::remove_dir_all(&outside).unwrap();
    }
}
