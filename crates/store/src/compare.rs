//! What differs between two trees: Docker's `diff`, with its letters A, C and D.
//!
//! A container's changes are found where overlayfs has put them: only what is in its upper directory
//! is looked at ([`upper`]). Two images are compared file by file ([`trees`]).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::PathBuf;

use rustix::fs::{FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::file_error::FileError;
use crate::tar::{is_opaque, is_whiteout};
use crate::walk::{Found, Next, join, walk};

/// What happened to a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ChangeKind {
    /// It was changed, or something below it was.
    Modified,
    /// It was not there before.
    Added,
    /// It is not there any more; what was below it is not listed.
    Deleted,
}

/// A path that differs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// Absolute, the tree's top being `/`.
    pub path: PathBuf,
    /// What happened to it.
    pub kind: ChangeKind,
}

/// Changes by path: the order of the list, and each once.
#[derive(Debug, Default)]
struct Changes(BTreeMap<Vec<u8>, ChangeKind>);

impl Changes {
    fn add(&mut self, path: &[u8], kind: ChangeKind) {
        self.0.insert(path.to_vec(), kind);
        // A directory whose content has changed is itself changed.
        let mut path = path;
        while let Some(slash) = path.iter().rposition(|&byte| byte == b'/') {
            path = &path[..slash];
            self.0.entry(path.to_vec()).or_insert(ChangeKind::Modified);
        }
    }

    fn list(self) -> Vec<Change> {
        let absolute = |path: Vec<u8>| {
            PathBuf::from(std::ffi::OsString::from_vec(
                [b"/", path.as_slice()].concat(),
            ))
        };
        let listed = self.0.into_iter().map(|(path, kind)| Change {
            path: absolute(path),
            kind,
        });
        listed.collect()
    }
}

/// What an overlay's upper directory changes of the tree `below` it.
///
/// # Errors
/// A tree that cannot be read.
pub fn upper(upper: BorrowedFd<'_>, below: BorrowedFd<'_>) -> Result<Vec<Change>, FileError> {
    let mut changes = Changes::default();
    walk(upper, |found| {
        let before = stat_at(below, found.path)?;
        let kind = match before {
            None if is_whiteout(found) => return Ok(Next::Pass),
            None => ChangeKind::Added,
            Some(_) if is_whiteout(found) => ChangeKind::Deleted,
            Some(_) => ChangeKind::Modified,
        };
        changes.add(found.path, kind);
        let both = is_directory(before.as_ref()) && is_directory(Some(&found.stat));
        if both && is_opaque(found)? {
            hidden(upper, below, found.path, &mut changes)?;
        }
        Ok::<_, FileError>(Next::Enter)
    })?;
    Ok(changes.list())
}

/// What is in the directory `path` below and not above it any more, because it is opaque.
fn hidden(
    upper: BorrowedFd<'_>,
    below: BorrowedFd<'_>,
    path: &[u8],
    changes: &mut Changes,
) -> Result<(), FileError> {
    let Some(directory) = open_at(below, path, OFlags::RDONLY | OFlags::DIRECTORY)? else {
        return Ok(());
    };
    walk(directory.as_fd(), |found| {
        let path = join(path, found.path);
        if stat_at(upper, &path)?.is_none() {
            changes.add(&path, ChangeKind::Deleted);
        }
        // What is in it is deleted along with it, or looked at in its own turn.
        Ok::<_, FileError>(Next::Pass)
    })
}

/// What `after` has that `before` has not, and the other way round.
///
/// # Errors
/// A tree that cannot be read.
pub fn trees(before: BorrowedFd<'_>, after: BorrowedFd<'_>) -> Result<Vec<Change>, FileError> {
    let mut changes = Changes::default();
    walk(after, |found| {
        match stat_at(before, found.path)? {
            None => changes.add(found.path, ChangeKind::Added),
            Some(old) if !is_same(before, found, &old)? => {
                changes.add(found.path, ChangeKind::Modified);
            }
            Some(_) => {}
        }
        Ok::<_, FileError>(Next::Enter)
    })?;
    walk(before, |found| {
        if stat_at(after, found.path)?.is_some() {
            return Ok(Next::Enter);
        }
        changes.add(found.path, ChangeKind::Deleted);
        Ok::<_, FileError>(Next::Pass)
    })?;
    Ok(changes.list())
}

/// Whether nothing tells two files apart; contents are taken for the same where sizes and times are,
/// as Docker does. A directory's time and size change with what is in it.
fn is_same(before: BorrowedFd<'_>, found: &Found<'_>, old: &Stat) -> Result<bool, FileError> {
    let new = &found.stat;
    let inode = |stat: &Stat| (stat.st_mode, stat.st_uid, stat.st_gid, stat.st_rdev);
    let content = |stat: &Stat| (stat.st_size, stat.st_mtime, stat.st_mtime_nsec);
    if inode(old) != inode(new) {
        return Ok(false);
    }
    match found.kind() {
        FileType::Directory => Ok(true),
        FileType::Symlink => {
            let Some(link) = open_at(before, found.path, OFlags::PATH | OFlags::NOFOLLOW)? else {
                return Ok(false);
            };
            let old = rustix::fs::readlinkat(&link, c"", Vec::new()).ok();
            Ok(old == rustix::fs::readlinkat(found.parent, found.name, Vec::new()).ok())
        }
        _ => Ok(content(old) == content(new)),
    }
}

pub(crate) fn is_directory(stat: Option<&Stat>) -> bool {
    stat.is_some_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory)
}

/// What has a path in a tree.
pub(crate) fn stat_at(top: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Stat>, FileError> {
    let Some(file) = open_at(top, path, OFlags::PATH | OFlags::NOFOLLOW)? else {
        return Ok(None);
    };
    rustix::fs::fstat(&file)
        .map(Some)
        .map_err(FileError::at("look at", OsStr::from_bytes(path).as_ref()))
}

/// `None`: the path leads to nothing, as where a directory of one tree is a link in the other. With
/// `O_PATH | O_NOFOLLOW` the last component may itself be a link: openat2(2), RESOLVE_NO_SYMLINKS.
fn open_at(top: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<Option<OwnedFd>, FileError> {
    let name = OsStr::from_bytes(path);
    let flags = flags | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(top, name, flags, Mode::empty(), resolve) {
        Ok(file) => Ok(Some(file)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(FileError::at("open", name.as_ref())(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    fn shown(changes: Vec<Change>) -> Vec<String> {
        let line = |change: &Change| format!("{:?} {}", change.kind, change.path.display());
        changes.iter().map(line).collect()
    }

    fn fill(top: &Path, files: &[(&str, &str)]) {
        for (name, content) in files {
            let path = top.join(name);
            if let Some(parent) = path.parent() {
                std::fs::create_dir_all(parent).expect("made");
            }
            std::fs::write(path, content).expect("written");
        }
    }

    #[test]
    fn trees_are_compared_file_by_file() {
        let (one, two) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        fill(
            one.path(),
            &[("a/same", "1"), ("a/gone/b", "1"), ("l", "x")],
        );
        fill(two.path(), &[("a/same", "1"), ("a/new", "1"), ("c/d", "2")]);
        std::os::unix::fs::symlink("a", two.path().join("l")).expect("linked");
        let time = std::time::SystemTime::UNIX_EPOCH;
        for top in [one.path(), two.path()] {
            let file = std::fs::File::open(top.join("a/same")).expect("it opens");
            file.set_modified(time).expect("set");
        }
        let open = |path: &Path| std::fs::File::open(path).expect("it opens");
        let (one, two) = (open(one.path()), open(two.path()));
        let changes = trees(one.as_fd(), two.as_fd()).expect("compared");
        assert_eq!(
            shown(changes),
            [
                "Modified /a",
                "Deleted /a/gone",
                "Added /a/new",
                "Added /c",
                "Added /c/d",
                "Modified /l"
            ]
        );
        assert_eq!(trees(one.as_fd(), one.as_fd()).expect("compared"), []);
    }

    #[test]
    fn an_upper_directory_adds_changes_and_hides() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: whiteouts need root");
            return;
        }
        let (low, up) = (
            tempfile::tempdir().expect("a directory"),
            tempfile::tempdir().expect("a directory"),
        );
        fill(
            low.path(),
            &[("d/1", ""), ("d/2", ""), ("e", ""), ("f", "")],
        );
        fill(up.path(), &[("d/2", ""), ("f", "2"), ("n/m", "")]);
        let open = |path: &Path| std::fs::File::open(path).expect("it opens");
        let directory = open(&up.path().join("d"));
        let mark = rustix::fs::XattrFlags::empty();
        rustix::fs::fsetxattr(&directory, "trusted.overlay.opaque", b"y", mark).expect("marked");
        let (low, up) = (open(low.path()), open(up.path()));
        for gone in ["e", "never"] {
            let kind = FileType::CharacterDevice;
            rustix::fs::mknodat(&up, gone, kind, Mode::empty(), 0).expect("made");
        }
        let changes = upper(up.as_fd(), low.as_fd()).expect("compared");
        assert_eq!(
            shown(changes),
            [
                "Modified /d",
                "Deleted /d/1",
                "Modified /d/2",
                "Deleted /e",
                "Modified /f",
                "Added /n",
                "Added /n/m"
            ]
        );
    }
}
