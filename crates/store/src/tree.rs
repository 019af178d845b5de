//! Directory trees that somebody else has filled: removing them and measuring them.
//!
//! A workload may have nested directories without limit, so nothing here recurses with the depth
//! of the tree, holds a descriptor per level, or follows a symbolic link.

use std::collections::HashSet;
use std::ffi::{CStr, OsStr, OsString};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawDir, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::pin::temporary_name;

/// Below this depth a directory is moved up into the trash instead of being descended into.
const DEPTH: usize = 32;
/// Bytes for `getdents64(2)`.
const LISTING_BYTES: usize = 16 << 10;

/// Removes `name` in `parent` with everything below it; no such name is success.
///
/// `trash` is a directory on the same file system, one whose `tmp-` entries a repair removes: very
/// deep directories pass through it.
pub(crate) fn remove(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    trash: BorrowedFd<'_>,
) -> Result<(), Errno> {
    let mut moved = Vec::new();
    remove_at(parent, name, trash, 0, &mut moved)?;
    while let Some(name) = moved.pop() {
        remove_at(trash, &name, trash, 0, &mut moved)?;
    }
    Ok(())
}

fn remove_at(
    parent: BorrowedFd<'_>,
    name: &OsStr,
    trash: BorrowedFd<'_>,
    depth: usize,
    moved: &mut Vec<OsString>,
) -> Result<(), Errno> {
    match rustix::fs::unlinkat(parent, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => return Ok(()),
        Err(Errno::ISDIR) => {}
        Err(errno) => return Err(errno),
    }
    loop {
        let directory = match open_to_empty(parent, name) {
            Ok(directory) => directory,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno),
        };
        match empty(directory.as_fd(), trash, depth, moved) {
            // Somebody else removes it too: ext4 lists no directory that is gone.
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        match rustix::fs::unlinkat(parent, name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => return Ok(()),
            // `getdents64` may skip entries while others are being removed: look again.
            Err(Errno::NOTEMPTY) => {}
            Err(errno) => return Err(errno),
        }
    }
}

/// Opens a directory for listing, taking the right to do so where its owner gave it up.
fn open_to_empty(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    match open_listed(parent, name) {
        Err(Errno::ACCESS) => {
            rustix::fs::chmodat(parent, name, Mode::RWXU, AtFlags::empty())?;
            open_listed(parent, name)
        }
        other => other,
    }
}

fn open_listed(parent: BorrowedFd<'_>, name: &OsStr) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    rustix::fs::openat(parent, name, flags, Mode::empty())
}

fn empty(
    directory: BorrowedFd<'_>,
    trash: BorrowedFd<'_>,
    depth: usize,
    moved: &mut Vec<OsString>,
) -> Result<(), Errno> {
    for_each_entry(directory, |name, kind| {
        let name = OsStr::from_bytes(name.to_bytes());
        if kind != FileType::Directory && kind != FileType::Unknown {
            return match rustix::fs::unlinkat(directory, name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => Ok(()),
                Err(errno) => Err(errno),
            };
        }
        if depth < DEPTH {
            return remove_at(directory, name, trash, depth + 1, moved);
        }
        let aside = OsString::from(temporary_name()?);
        rustix::fs::renameat(directory, name, trash, &aside)?;
        moved.push(aside);
        Ok(())
    })
}

/// Calls `visit` with each entry of an open directory except `.` and `..`.
pub(crate) fn for_each_entry(
    directory: BorrowedFd<'_>,
    mut visit: impl FnMut(&CStr, FileType) -> Result<(), Errno>,
) -> Result<(), Errno> {
    let mut buffer = vec![MaybeUninit::uninit(); LISTING_BYTES];
    let mut entries = RawDir::new(directory, &mut buffer);
    while let Some(entry) = entries.next() {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            visit(name, entry.file_type())?;
        }
    }
    Ok(())
}

/// What a tree takes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Bytes allotted on disk (`st_blocks` × 512), each hard-linked file once.
    pub allotted_bytes: u64,
    /// Files, directories and other inodes, the top directory not counted.
    pub inodes: u64,
}

/// Measures the tree below the directory `top`, as far as [`names`] reaches.
pub(crate) fn usage(top: BorrowedFd<'_>) -> Result<Usage, Errno> {
    let mut usage = Usage::default();
    walk(top, |_, stat| usage.add(stat))?;
    Ok(usage)
}

impl Usage {
    /// Counts one inode.
    pub(crate) fn add(&mut self, stat: &Stat) {
        self.inodes += 1;
        self.allotted_bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * 512;
    }
}

/// Calls `visit` with each inode that [`names`] finds, and one of its paths: one with several names
/// is visited once.
pub(crate) fn walk(top: BorrowedFd<'_>, mut visit: impl FnMut(&[u8], &Stat)) -> Result<(), Errno> {
    let mut linked = HashSet::new();
    names(top, |path, stat| {
        let is_directory = FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        if is_directory || stat.st_nlink == 1 || linked.insert(stat.st_ino) {
            visit(path, stat);
        }
    })
}

/// Calls `visit` with each name below the directory `top`, on its file system, as a path relative to
/// it. What vanishes meanwhile is left out, as is what lies deeper than a path of `PATH_MAX` (4096)
/// bytes reaches.
pub(crate) fn names(top: BorrowedFd<'_>, mut visit: impl FnMut(&[u8], &Stat)) -> Result<(), Errno> {
    let device = rustix::fs::fstat(top)?.st_dev;
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let directory = match open_beneath(top, &path) {
            Ok(directory) => directory,
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::NAMETOOLONG) => continue,
            Err(errno) => return Err(errno),
        };
        let listed = for_each_entry(directory.as_fd(), |name, _| {
            let stat = match rustix::fs::statat(&directory, name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => stat,
                Err(Errno::NOENT) => return Ok(()),
                Err(errno) => return Err(errno),
            };
            if stat.st_dev != device {
                return Ok(());
            }
            let mut below = path.clone();
            if !below.is_empty() {
                below.push(b'/');
            }
            below.extend_from_slice(name.to_bytes());
            visit(&below, &stat);
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                pending.push(below);
            }
            Ok(())
        });
        // A directory that has been removed since it was opened lists nothing more: getdents(2).
        match listed {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
}

/// Opens the directory `path` below `top`, through no link; the empty path is `top`.
pub(crate) fn open_beneath(top: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    rustix::fs::openat2(top, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_deeper_than_any_path_is_removed() {
        let top = tempfile::tempdir().expect("a directory");
        let root = std::fs::File::open(top.path()).expect("it opens");
        rustix::fs::mkdirat(&root, "deep", Mode::RWXU).expect("made");
        let mut at = open_listed(root.as_fd(), "deep".as_ref()).expect("opened");
        let name = "d".repeat(100);
        for _ in 0..200 {
            rustix::fs::mkdirat(&at, &name, Mode::RWXU).expect("made");
            at = open_listed(at.as_fd(), name.as_ref()).expect("opened");
        }
        let measured = usage(root.as_fd()).expect("measured");
        assert!(measured.inodes > 30, "{measured:?}");
        remove(root.as_fd(), "deep".as_ref(), root.as_fd()).expect("removed");
        assert_eq!(std::fs::read_dir(top.path()).expect("listed").count(), 0);
    }

    #[test]
    fn several_may_remove_the_same_tree() {
        let top = tempfile::tempdir().expect("a directory");
        let root = std::fs::File::open(top.path()).expect("it opens");
        for _ in 0..30 {
            for nested in 0..20 {
                let path = top.path().join(format!("tree/{nested}/a/b/c"));
                std::fs::create_dir_all(path).expect("made");
            }
            let one = || remove(root.as_fd(), "tree".as_ref(), root.as_fd());
            let (first, second) = std::thread::scope(|scope| {
                let other = scope.spawn(one);
                (one(), other.join().expect("no panic"))
            });
            assert_eq!((first, second), (Ok(()), Ok(())));
            assert!(!top.path().join("tree").exists());
        }
    }

    #[test]
    fn what_vanishes_while_it_is_measured_is_left_out() {
        let top = tempfile::tempdir().expect("a directory");
        for name in ["a", "b"] {
            std::fs::create_dir(top.path().join(name)).expect("made");
            std::fs::write(top.path().join(name).join("file"), "x").expect("written");
        }
        let root = std::fs::File::open(top.path()).expect("it opens");
        let mut seen = 0;
        names(root.as_fd(), |path, _| {
            seen += 1;
            // Everything goes as soon as something is seen in one of the two, which is open then.
            if path.ends_with(b"file") {
                for name in ["a", "b"] {
                    let gone = std::fs::remove_dir_all(top.path().join(name));
                    gone.expect("removed");
                }
            }
        })
        .expect("measured");
        assert_eq!(seen, 3);
    }

    #[test]
    fn links_out_of_a_tree_are_not_followed() {
        let top = tempfile::tempdir().expect("a directory");
        let outside = tempfile::tempdir().expect("another");
        std::fs::write(outside.path().join("kept"), "x").expect("written");
        let inside = top.path().join("t");
        std::fs::create_dir(&inside).expect("made");
        std::os::unix::fs::symlink(outside.path(), inside.join("out")).expect("linked");
        let root = std::fs::File::open(top.path()).expect("it opens");
        remove(root.as_fd(), "t".as_ref(), root.as_fd()).expect("removed");
        assert!(outside.path().join("kept").exists() && !inside.exists());
    }
}
