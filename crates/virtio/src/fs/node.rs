//! What the guest knows of the tree: each file it has looked up is a node, with a descriptor that names it
//! (`O_PATH`) whatever becomes of its name.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, Statx, StatxFlags};
use rustix::io::Errno;

/// The root's number, `FUSE_ROOT_ID`.
pub(super) const ROOT: u64 = 1;

/// Who else changes a part of the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Sharing {
    /// Nobody as long as the machine runs.
    Private,
    /// The host, at any time.
    Shared,
}

/// A file that the guest has looked up.
#[derive(Debug)]
pub(super) struct Node {
    fd: OwnedFd,
    pub(super) sharing: Sharing,
    pub(super) kind: FileType,
    /// Of the mount that it was reached by.
    mount: u64,
}

impl AsFd for Node {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

/// The same file by the same mount. By another one, it may be one that cannot be written to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Key {
    mount: u64,
    device: (u32, u32),
    inode: u64,
}

#[derive(Debug)]
struct Known {
    node: Arc<Node>,
    key: Key,
    /// How often the guest was told of it.
    lookups: u64,
}

/// A file as it was found.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) number: u64,
    pub(super) status: Statx,
    /// Whether its directory is on another mount.
    pub(super) is_mount: bool,
    pub(super) sharing: Sharing,
}

/// All nodes of a tree.
#[derive(Debug)]
pub(super) struct Nodes {
    root: Arc<Node>,
    known: HashMap<u64, Known>,
    numbers: HashMap<Key, u64>,
    last: u64,
    /// Names in the root of what is private.
    private: CString,
}

const LOOKED_AT: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::MNT_ID);

/// statx(2) of what a descriptor names.
pub(super) fn status(fd: BorrowedFd<'_>) -> Result<Statx, Errno> {
    rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, LOOKED_AT)
}

impl Nodes {
    pub(super) fn new(root: OwnedFd, private: CString) -> Result<Self, Errno> {
        let status = status(root.as_fd())?;
        let root = Node {
            fd: root,
            sharing: Sharing::Shared,
            kind: FileType::from_raw_mode(status.stx_mode.into()),
            mount: status.stx_mnt_id,
        };
        Ok(Self {
            root: Arc::new(root),
            known: HashMap::new(),
            numbers: HashMap::new(),
            last: ROOT,
            private,
        })
    }

    /// How many there are.
    pub(super) fn count(&self) -> u64 {
        self.known.len() as u64
    }

    pub(super) fn get(&self, number: u64) -> Result<Arc<Node>, Errno> {
        if number == ROOT {
            return Ok(Arc::clone(&self.root));
        }
        let known = self.known.get(&number).ok_or(Errno::NOENT)?;
        Ok(Arc::clone(&known.node))
    }

    /// Opens a name of a directory, and tells the guest of it once more.
    pub(super) fn look_up(&mut self, parent: u64, name: &std::ffi::CStr) -> Result<Found, Errno> {
        let directory = self.get(parent)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let fd = rustix::fs::openat(&*directory, name, flags, Mode::empty())?;
        let status = status(fd.as_fd())?;
        let sharing = match parent {
            ROOT if name == self.private.as_c_str() => Sharing::Private,
            _ => directory.sharing,
        };
        let key = Key {
            mount: status.stx_mnt_id,
            device: (status.stx_dev_major, status.stx_dev_minor),
            inode: status.stx_ino,
        };
        let number = match self.numbers.get(&key) {
            Some(number) => *number,
            None => {
                self.last += 1;
                let node = Node {
                    fd,
                    sharing,
                    kind: FileType::from_raw_mode(status.stx_mode.into()),
                    mount: status.stx_mnt_id,
                };
                let known = Known {
                    node: Arc::new(node),
                    key,
                    lookups: 0,
                };
                self.known.insert(self.last, known);
                self.numbers.insert(key, self.last);
                self.last
            }
        };
        if let Some(known) = self.known.get_mut(&number) {
            known.lookups = known.lookups.saturating_add(1);
        }
        Ok(Found {
            number,
            is_mount: status.stx_mnt_id != directory.mount,
            status,
            sharing,
        })
    }

    /// The guest no longer counts on `lookups` of what it was told.
    pub(super) fn forget(&mut self, number: u64, lookups: u64) {
        let Some(known) = self.known.get_mut(&number) else {
            return;
        };
        known.lookups = known.lookups.saturating_sub(lookups);
        if known.lookups == 0 {
            let key = known.key;
            self.known.remove(&number);
            self.numbers.remove(&key);
        }
    }

    /// The guest knows nothing any more.
    pub(super) fn forget_all(&mut self) {
        self.known.clear();
        self.numbers.clear();
    }
}

/// The directory in which the kernel shows this process's descriptors, `/proc/self/fd`: what an `O_PATH`
/// descriptor names is opened by it.
#[derive(Debug)]
pub(super) struct Descriptors(pub(super) OwnedFd);

impl Descriptors {
    /// The name of a descriptor in [`Self::directory`].
    pub(super) fn name(fd: BorrowedFd<'_>) -> String {
        fd.as_raw_fd().to_string()
    }

    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Opens a regular file or directory, and nothing of which the opening would do something.
    pub(super) fn open(&self, node: &Node, flags: OFlags) -> Result<OwnedFd, Errno> {
        match node.kind {
            FileType::RegularFile | FileType::Directory => {}
            FileType::Symlink => return Err(Errno::LOOP),
            _ => return Err(Errno::NXIO),
        }
        let flags = flags | OFlags::CLOEXEC | OFlags::NOCTTY | OFlags::NONBLOCK;
        rustix::fs::openat(&self.0, Self::name(node.as_fd()), flags, Mode::empty())
    }
}
