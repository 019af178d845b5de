//! Files of a tree that a later entry of the archive replaces: `layers/<name>/replaced/<n>`.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use super::REPLACED;
use crate::copy;

/// A copy before it has its number.
const COPY: &str = "tmp-copy";

/// See the module.
#[derive(Debug)]
pub(super) struct Aside {
    directory: OwnedFd,
    /// How many there are.
    count: u64,
}

impl Aside {
    /// In a layer's directory, which has none yet.
    pub(super) fn new(layer: BorrowedFd<'_>) -> Result<Self, Errno> {
        rustix::fs::mkdirat(layer, REPLACED, Mode::RWXU)?;
        let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(Self {
            directory: rustix::fs::openat(layer, REPLACED, flags, Mode::empty())?,
            count: 0,
        })
    }

    /// Moves the file `name` in `parent` here.
    pub(super) fn take(&mut self, parent: BorrowedFd<'_>, name: &OsStr) -> Result<(), Errno> {
        rustix::fs::renameat(parent, name, &self.directory, self.count.to_string())?;
        self.count += 1;
        Ok(())
    }

    /// The tree is complete. What is still in it by another name becomes a copy here, or its number
    /// of links would be wrong there. No file is copied twice.
    pub(super) fn part_from_tree(&self) -> Result<(), Errno> {
        let directory = &self.directory;
        let mut copies: HashMap<u64, String> = HashMap::new();
        for number in 0..self.count {
            let name = number.to_string();
            let stat = rustix::fs::statat(directory, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if stat.st_nlink == 1 {
                continue;
            }
            match copies.get(&stat.st_ino) {
                Some(copy) => {
                    rustix::fs::linkat(directory, copy, directory, COPY, AtFlags::empty())?;
                }
                None => {
                    self.copy(&name, u64::try_from(stat.st_size).unwrap_or(0))?;
                    copies.insert(stat.st_ino, name.clone());
                }
            }
            rustix::fs::renameat(directory, COPY, directory, &name)?;
        }
        Ok(())
    }

    fn copy(&self, name: &str, size_bytes: u64) -> Result<(), Errno> {
        let open = |name, flags| {
            let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            rustix::fs::openat(&self.directory, name, flags, Mode::RUSR | Mode::WUSR)
        };
        let source = open(name, OFlags::RDONLY)?;
        let target = open(COPY, OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL)?;
        copy::data(&source, &target, size_bytes)
    }
}
