//! Whiteouts: how a layer says that something below it is gone (OCI image spec, "layer.md",
//! "Whiteouts"), and how overlayfs says it (kernel documentation, overlayfs, "whiteouts and opaque
//! directories").

use std::ffi::OsStr;
use std::os::fd::BorrowedFd;

use rustix::fs::{AtFlags, FileType, Mode, XattrFlags, makedev};
use rustix::io::Errno;

use super::UnpackProblem;

/// The attribute that marks a directory as hiding what lies below it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OpaqueXattr {
    /// `trusted.overlay.opaque`: needs CAP_SYS_ADMIN in the first user namespace.
    #[default]
    Trusted,
    /// `user.overlay.opaque`, for mounts with the option `userxattr`.
    User,
}

impl OpaqueXattr {
    /// The one that this process may set.
    #[must_use]
    pub fn ours() -> Self {
        match gamut_sys::user_namespace::is_first() {
            Some(false) => Self::User,
            _ => Self::Trusted,
        }
    }

    /// The attribute's name; its value is `y`.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Trusted => "trusted.overlay.opaque",
            Self::User => "user.overlay.opaque",
        }
    }

    /// Marks an open directory.
    pub(super) fn set(self, directory: BorrowedFd<'_>) -> Result<(), UnpackProblem> {
        rustix::fs::fsetxattr(directory, self.name(), b"y", XattrFlags::empty())
            .map_err(UnpackProblem::at("mark a directory as opaque"))
    }
}

/// What the last component of an entry's path means.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Meaning<'n> {
    /// An entry of that name.
    Ordinary,
    /// The name that is gone.
    Whiteout(&'n [u8]),
    /// Everything below the directory is gone.
    Opaque,
    /// Something of AUFS's own (`.wh..wh.plnk` and its like), which has no meaning here.
    Ignored,
}

/// Reads the last component of a path.
pub(super) fn meaning(name: &[u8]) -> Result<Meaning<'_>, UnpackProblem> {
    let Some(hidden) = name.strip_prefix(b".wh.") else {
        return Ok(Meaning::Ordinary);
    };
    match hidden {
        b".wh..opq" => Ok(Meaning::Opaque),
        b"" | b"." | b".." => Err(UnpackProblem::Unsafe("a whiteout of no name")),
        _ if hidden.starts_with(b".wh.") => Ok(Meaning::Ignored),
        _ => Ok(Meaning::Whiteout(hidden)),
    }
}

/// Whether `name` in `directory` is a whiteout as overlayfs has them.
pub(super) fn is_whiteout(directory: BorrowedFd<'_>, name: &OsStr) -> Result<bool, Errno> {
    let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
    Ok(FileType::from_raw_mode(stat.st_mode) == FileType::CharacterDevice && stat.st_rdev == 0)
}

/// Makes `name` in `directory` a whiteout: character device 0/0. EEXIST when the name is taken.
pub(super) fn make(directory: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
    let kind = FileType::CharacterDevice;
    rustix::fs::mknodat(directory, name, kind, Mode::empty(), makedev(0, 0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_mean_what_the_specification_says() {
        let of = |name: &'static str| meaning(name.as_bytes());
        assert_eq!(of("a").expect("read"), Meaning::Ordinary);
        assert_eq!(of(".wh").expect("read"), Meaning::Ordinary);
        assert_eq!(of(".wh.a").expect("read"), Meaning::Whiteout(b"a"));
        assert_eq!(of(".wh..a").expect("read"), Meaning::Whiteout(b".a"));
        assert_eq!(of(".wh..wh..opq").expect("read"), Meaning::Opaque);
        assert_eq!(of(".wh..wh.plnk").expect("read"), Meaning::Ignored);
        for name in [".wh.", ".wh..", ".wh..."] {
            assert!(of(name).is_err(), "{name}");
        }
    }
}
