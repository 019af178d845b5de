//! Walking a tree that somebody else has filled, in the order of its names: what `tar` writes into
//! archives, and what `compare` compares.
//!
//! Nothing recurses with the depth of the tree, holds a descriptor per level, or follows a symbolic
//! link. The tree may change meanwhile (a container runs): what vanishes is passed over.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::file_error::FileError;
use crate::tree::for_each_entry;

/// Directories kept open at once; those above are opened again when the walk comes back to them.
const OPEN: usize = 32;

/// Something in the tree.
#[derive(Debug)]
pub(crate) struct Found<'a> {
    /// From the top, without a slash at either end.
    pub(crate) path: &'a [u8],
    /// The directory that it lies in.
    pub(crate) parent: BorrowedFd<'a>,
    /// The last component of its path.
    pub(crate) name: &'a OsStr,
    pub(crate) stat: Stat,
}

impl Found<'_> {
    pub(crate) fn kind(&self) -> FileType {
        FileType::from_raw_mode(self.stat.st_mode)
    }

    /// For messages.
    pub(crate) fn shown(&self) -> &Path {
        Path::new(OsStr::from_bytes(self.path))
    }
}

/// What the walk does after a directory; of anything else there is nothing below.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    Enter,
    Pass,
}

/// A directory whose entries are being visited.
struct Level {
    path: Vec<u8>,
    directory: Option<OwnedFd>,
    names: std::vec::IntoIter<OsString>,
}

/// Visits everything below the directory `top`, a directory before what is in it.
pub(crate) fn walk<E: From<FileError>>(
    top: BorrowedFd<'_>,
    mut visit: impl FnMut(&Found<'_>) -> Result<Next, E>,
) -> Result<(), E> {
    let Some(first) = open_level(top, b"")? else {
        return Ok(());
    };
    let mut levels = vec![first];
    while let Some(level) = levels.last_mut() {
        let Some(name) = level.names.next() else {
            levels.pop();
            continue;
        };
        if level.directory.is_none() {
            level.directory = open(top, &level.path)?;
        }
        let Some(directory) = &level.directory else {
            levels.pop();
            continue;
        };
        let path = join(&level.path, name.as_bytes());
        let Some(stat) = stat(directory.as_fd(), &name, &path)? else {
            continue;
        };
        let found = Found {
            path: &path,
            parent: directory.as_fd(),
            name: &name,
            stat,
        };
        let is_directory = found.kind() == FileType::Directory;
        if visit(&found)? == Next::Pass || !is_directory {
            continue;
        }
        if let Some(below) = open_level(top, &path)? {
            levels.push(below);
            if let Some(far) = levels.len().checked_sub(OPEN) {
                levels[far].directory = None;
            }
        }
    }
    Ok(())
}

/// `name` below `directory`.
pub(crate) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match directory {
        b"" => name.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

fn stat(directory: BorrowedFd<'_>, name: &OsStr, path: &[u8]) -> Result<Option<Stat>, FileError> {
    match rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW) {
        Ok(stat) => Ok(Some(stat)),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(failed("look at", path)(errno)),
    }
}

fn open_level(top: BorrowedFd<'_>, path: &[u8]) -> Result<Option<Level>, FileError> {
    let Some(directory) = open(top, path)? else {
        return Ok(None);
    };
    let mut names = Vec::new();
    for_each_entry(directory.as_fd(), |name, _| {
        names.push(OsStr::from_bytes(name.to_bytes()).to_owned());
        Ok(())
    })
    .map_err(failed("list", path))?;
    names.sort_unstable();
    Ok(Some(Level {
        path: path.to_vec(),
        directory: Some(directory),
        names: names.into_iter(),
    }))
}

/// A directory of the tree; `None` when it is gone, or is no directory any more.
fn open(top: BorrowedFd<'_>, path: &[u8]) -> Result<Option<OwnedFd>, FileError> {
    let name = if path.is_empty() { b"." } else { path };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS;
    match rustix::fs::openat2(top, OsStr::from_bytes(name), flags, Mode::empty(), resolve) {
        Ok(directory) => Ok(Some(directory)),
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
        Err(errno) => Err(failed("open", path)(errno)),
    }
}

fn failed(action: &'static str, path: &[u8]) -> impl FnOnce(Errno) -> FileError {
    FileError::at(action, Path::new(OsStr::from_bytes(path)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(top: &Path, next: impl Fn(&Found<'_>) -> Next) -> Vec<String> {
        let top = std::fs::File::open(top).expect("it opens");
        let mut paths = Vec::new();
        walk::<FileError>(top.as_fd(), |found| {
            paths.push(found.shown().display().to_string());
            Ok(next(found))
        })
        .expect("walked");
        paths
    }

    #[test]
    fn the_order_is_that_of_the_names_and_links_are_not_followed() {
        let top = tempfile::tempdir().expect("a directory");
        let at = |name: &str| top.path().join(name);
        std::fs::create_dir_all(at("b/c")).expect("made");
        std::fs::write(at("b/a"), "").expect("written");
        std::fs::write(at("b-"), "").expect("written");
        std::os::unix::fs::symlink(".", at("a")).expect("linked");
        assert_eq!(
            paths(top.path(), |_| Next::Enter),
            ["a", "b", "b/a", "b/c", "b-"]
        );
        assert_eq!(paths(top.path(), |_| Next::Pass), ["a", "b", "b-"]);
    }

    #[test]
    fn a_deep_tree_takes_no_more_descriptors_than_a_flat_one() {
        let top = tempfile::tempdir().expect("a directory");
        let deep = vec!["d"; 3 * OPEN].join("/");
        std::fs::create_dir_all(top.path().join(&deep)).expect("made");
        std::fs::write(top.path().join("d/e"), "").expect("written");
        let found = paths(top.path(), |_| Next::Enter);
        assert_eq!(found.len(), 3 * OPEN + 1);
        assert_eq!(found.last().map(String::as_str), Some("d/e"));
    }
}
