//! A path as `cp` means it, resolved by the kernel: a name in an open directory. Whatever is `/` for
//! the path, a container's root or the host's, no link in it leads out of that.

use std::ffi::{OsStr, OsString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;

use gamut_spec::{Fault, Kind};
use rustix::fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

/// Why a path leads nowhere.
#[derive(Debug, thiserror::Error)]
pub enum PlaceError {
    #[error("there is no `{0}`")]
    NotFound(String),
    #[error("`{0}` is no directory")]
    NotDirectory(String),
    #[error("the directory of `{0}` does not exist")]
    NoParent(String),
    #[error("cannot open `{path}`: {errno}")]
    Open { path: String, errno: Errno },
}

impl Fault for PlaceError {
    fn kind(&self) -> Kind {
        match self {
            Self::NotFound(_) | Self::NoParent(_) => Kind::NotFound,
            Self::NotDirectory(_) => Kind::Invalid,
            Self::Open { errno, .. } => match *errno {
                Errno::ACCESS | Errno::PERM | Errno::ROFS => Kind::Denied,
                _ => Kind::Invalid,
            },
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::NoParent(_) => Some("make it first".into()),
            _ => None,
        }
    }
}

/// Whether a link that is named as the source is copied, or what it leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Follow {
    #[default]
    No,
    Yes,
}

/// Links in one path, as the kernel has it (path_resolution(7)).
const LINKS_LIMIT: usize = 40;

/// What the end of a path asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    Nothing,
    /// `dir/`: it must be a directory.
    Directory,
    /// `dir/.`: the content of a directory.
    Content,
}

impl Ending {
    /// That of a path.
    #[must_use]
    pub fn of(path: &Path) -> Self {
        match path.as_os_str().as_bytes() {
            text if text.ends_with(b"/.") || text == b"." => Self::Content,
            text if text.ends_with(b"/") => Self::Directory,
            _ => Self::Nothing,
        }
    }
}

/// A path, resolved: a name in an open directory, which may have something of that name.
#[derive(Debug)]
pub struct Place {
    pub parent: OwnedFd,
    pub name: OsString,
    pub found: Option<Stat>,
    pub ending: Ending,
    /// The last component as it was written, before links.
    pub called: OsString,
    pub shown: String,
}

impl Place {
    /// Something that must be there.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn source(root: &OwnedFd, path: &Path, follow: Follow) -> Result<Self, PlaceError> {
        let place = Self::resolve(root.as_fd(), path, follow)?;
        if place.found.is_none() {
            return Err(PlaceError::NotFound(place.shown));
        }
        if place.ending != Ending::Nothing && !place.is_directory() {
            return Err(PlaceError::NotDirectory(place.shown));
        }
        Ok(place)
    }

    /// Something that may be there, links followed.
    ///
    /// # Errors
    /// [`PlaceError`].
    pub fn target(root: &OwnedFd, path: &Path) -> Result<Self, PlaceError> {
        Self::resolve(root.as_fd(), path, Follow::Yes)
    }

    fn resolve(root: BorrowedFd<'_>, path: &Path, follow: Follow) -> Result<Self, PlaceError> {
        let shown = path.display().to_string();
        let text = path.as_os_str().as_bytes();
        let ending = Ending::of(path);
        let mut at = text.to_vec();
        let called = last_component(&at);
        for _ in 0..LINKS_LIMIT {
            let (directory, name) = split(&at);
            let parent = match open_in(root, &directory) {
                Ok(parent) => parent,
                Err(Errno::NOENT | Errno::NOTDIR) => return Err(PlaceError::NoParent(shown)),
                Err(errno) => return Err(PlaceError::Open { path: shown, errno }),
            };
            let found = match rustix::fs::statat(&parent, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => Some(stat),
                Err(Errno::NOENT) => None,
                Err(errno) => return Err(PlaceError::Open { path: shown, errno }),
            };
            let is_link = found
                .as_ref()
                .is_some_and(|stat| is(stat, FileType::Symlink));
            if !is_link || (follow == Follow::No && ending == Ending::Nothing) {
                return Ok(Self {
                    parent,
                    name,
                    found,
                    ending,
                    called,
                    shown,
                });
            }
            let link = rustix::fs::readlinkat(&parent, &name, Vec::new());
            let link = link.map_err(|errno| PlaceError::Open {
                path: shown.clone(),
                errno,
            })?;
            at = match link.as_bytes().first() {
                Some(b'/') => link.into_bytes(),
                _ => [&directory, &b"/"[..], link.as_bytes()].concat(),
            };
        }
        let errno = Errno::LOOP;
        Err(PlaceError::Open { path: shown, errno })
    }

    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.found
            .as_ref()
            .is_some_and(|stat| is(stat, FileType::Directory))
    }

    /// The directory of this name.
    ///
    /// # Errors
    /// [`PlaceError::Open`].
    pub fn open(&self) -> Result<OwnedFd, PlaceError> {
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        rustix::fs::openat(&self.parent, &self.name, flags, Mode::empty()).map_err(|errno| {
            PlaceError::Open {
                path: self.shown.clone(),
                errno,
            }
        })
    }
}

fn is(stat: &Stat, kind: FileType) -> bool {
    FileType::from_raw_mode(stat.st_mode) == kind
}

/// The directory of a path, from the root, and the name in it; the root is `.` in itself. A path that
/// ends in `..` is that directory, which has no other name.
fn split(path: &[u8]) -> (Vec<u8>, OsString) {
    let mut parts: Vec<&[u8]> = path
        .split(|&byte| byte == b'/')
        .filter(|part| !part.is_empty() && *part != b".")
        .collect();
    let name = match parts.last() {
        None | Some(&b"..") => b".".to_vec(),
        Some(_) => parts.pop().unwrap_or_default().to_vec(),
    };
    let directory = [b"/", parts.join(&b'/').as_slice()].concat();
    (directory, OsString::from_vec(name))
}

fn last_component(path: &[u8]) -> OsString {
    match split(path).1 {
        root if root == "." => OsString::new(),
        name => name,
    }
}

/// A directory below `root`, as a process that has it for `/` finds it.
fn open_in(root: BorrowedFd<'_>, path: &[u8]) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    rustix::fs::openat2(root, OsStr::from_bytes(path), flags, Mode::empty(), resolve)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_a_directory_and_a_name() {
        let of = |path: &str| {
            let (directory, name) = split(path.as_bytes());
            (
                String::from_utf8(directory).unwrap(),
                name.into_string().unwrap(),
            )
        };
        let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
        assert_eq!(of("/a/b"), pair("/a", "b"));
        assert_eq!(of("a//b/."), pair("/a", "b"));
        assert_eq!(of("/a/"), pair("/", "a"));
        assert_eq!(of("/"), pair("/", "."));
        assert_eq!(of("/a/.."), pair("/a/..", "."));
        assert_eq!(of("/a/../b"), pair("/a/..", "b"));
    }
}
