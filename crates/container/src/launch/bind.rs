//! Binds: a copy of a tree that is there already, with flags of its own. The keeper makes those of
//! the host's trees ahead; the child makes those of the container's own mounts, without allocation.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gamut_sys::mount::{self as sysmount, Change, Reach, attr};
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags, StatVfsMountFlags};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::child::{IN_ROOT, PRIVATE};
use super::mount_options::{AccessTime, Flags};
use super::target::{Kind, is_directory};

/// How a tree is to be shown in another place.
#[derive(Debug)]
pub(crate) struct Bind {
    pub(super) reach: Reach,
    pub(super) flags: Flags,
    pub(super) recursive: Flags,
    /// What passes between the copy and its source; nothing if it is not said.
    pub(super) propagation: Option<(u64, Reach)>,
    /// The user namespace whose ids files are shown with.
    pub(super) mapped: Option<(OwnedFd, Reach)>,
    pub(super) locks: Locks,
}

/// Whether flags of the source stay that are not spoken of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locks {
    /// Where the kernel says so: who made this mount namespace had less privileges.
    Kernels,
    /// In any case: the copy is for a user namespace that may not clear them, and it is only made
    /// outside (mount_namespaces(7), "Restrictions").
    Assumed,
}

/// What a mount can have of its own, but for access times.
const FLAGS: u64 = attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC | attr::NOSYMFOLLOW;
/// Those among them that can be locked.
const LOCKABLE: u64 = FLAGS & !attr::NOSYMFOLLOW;
const TIMES: u64 = attr::ATIME | attr::NODIRATIME;

impl Bind {
    /// A copy of one mount or of a tree, with nothing changed.
    pub(super) fn plain(reach: Reach) -> Self {
        Bind {
            reach,
            flags: Flags::default(),
            recursive: Flags::default(),
            propagation: None,
            mapped: None,
            locks: Locks::Kernels,
        }
    }

    /// Copies what is at `source`, seen from `directory`.
    pub(super) fn of(
        &self,
        directory: BorrowedFd<'_>,
        source: &CStr,
    ) -> Result<(OwnedFd, Kind), Errno> {
        let (tree, kind) = self.of_unmapped(directory, source)?;
        self.map(tree.as_fd())?;
        Ok((tree, kind))
    }

    fn of_unmapped(
        &self,
        directory: BorrowedFd<'_>,
        source: &CStr,
    ) -> Result<(OwnedFd, Kind), Errno> {
        let mut flags = OpenTreeFlags::OPEN_TREE_CLONE
            | OpenTreeFlags::OPEN_TREE_CLOEXEC
            | OpenTreeFlags::AT_EMPTY_PATH;
        if self.reach == Reach::Tree {
            flags |= OpenTreeFlags::AT_RECURSIVE;
        }
        let tree = rustix::mount::open_tree(directory, source, flags)?;
        self.change(tree.as_fd())?;
        let kind = if is_directory(tree.as_fd())? {
            Kind::Directory
        } else {
            Kind::File
        };
        Ok((tree, kind))
    }

    /// A place in a container's root, found as the workload would find it; its owners are still to be
    /// mapped.
    pub(super) fn of_inside(
        &self,
        root: BorrowedFd<'_>,
        source: &CStr,
    ) -> Result<(OwnedFd, Kind), Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let source = rustix::fs::openat2(root, source, flags, Mode::empty(), IN_ROOT)?;
        self.of_unmapped(source.as_fd(), c"")
    }

    /// What is at `below` in the directory `source` of the host, whose content others may have made: the
    /// way there never leaves it, and what was found is what is shown.
    pub(super) fn of_below(&self, source: &CStr, below: &CStr) -> Result<(OwnedFd, Kind), Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        let directory = rustix::fs::open(source, flags | OFlags::DIRECTORY, Mode::empty())?;
        let stay = ResolveFlags::BENEATH | ResolveFlags::NO_MAGICLINKS;
        let found = rustix::fs::openat2(directory, below, flags, Mode::empty(), stay)?;
        let (tree, kind) = self.of_unmapped(found.as_fd(), c"")?;
        self.map(tree.as_fd())?;
        Ok((tree, kind))
    }

    pub(super) fn change(&self, tree: BorrowedFd<'_>) -> Result<(), Errno> {
        // Events pass through none of it unless somebody wants that.
        let (mut propagation, reach) = self.propagation.unwrap_or((PRIVATE, self.reach));
        if reach == Reach::Tree {
            let change = Change {
                propagation,
                ..Change::default()
            };
            sysmount::set_attributes(tree, Reach::Tree, &change)?;
            propagation = 0;
        }
        if self.flags.named {
            self.set_flags(tree, propagation)?;
        } else if propagation != 0 {
            let change = Change {
                propagation,
                ..Change::default()
            };
            sysmount::set_attributes(tree, Reach::One, &change)?;
        }
        if self.recursive.named {
            let (set, clear) = with_times(&self.recursive, self.recursive.clear);
            let change = Change {
                set,
                clear,
                ..Change::default()
            };
            sysmount::set_attributes(tree, Reach::Tree, &change)?;
        }
        Ok(())
    }

    pub(super) fn is_mapped(&self) -> bool {
        self.mapped.is_some()
    }

    /// Shows files with the owners that are asked for, if any are.
    pub(crate) fn map(&self, tree: BorrowedFd<'_>) -> Result<(), Errno> {
        let Some((userns, reach)) = &self.mapped else {
            return Ok(());
        };
        let change = Change {
            set: attr::IDMAP,
            userns: Some(userns.as_fd()),
            ..Change::default()
        };
        sysmount::set_attributes(tree, *reach, &change)
    }

    /// As runc has it: the mount has the flags that are asked for and no others; where the source's
    /// are locked it keeps those, too, unless it was asked not to have them.
    fn set_flags(&self, tree: BorrowedFd<'_>, propagation: u64) -> Result<(), Errno> {
        let asked = &self.flags;
        let (set, clear) = with_times(asked, FLAGS & !asked.set);
        let mut change = Change {
            set,
            clear,
            propagation,
            ..Change::default()
        };
        let locked = self.locks == Locks::Assumed && breaks_lock(asked, source_flags(tree)?);
        if !locked {
            match sysmount::set_attributes(tree, Reach::One, &change) {
                Err(Errno::PERM) => {}
                done => return done,
            }
        }
        let source = source_flags(tree)?;
        let (kept, times) = (source & LOCKABLE, source & TIMES);
        let refused = asked.clear & source & (LOCKABLE | TIMES) != 0;
        if refused || (asked.access_time == AccessTime::Chosen && times_of(asked) != times) {
            return Err(Errno::PERM);
        }
        change.set = (asked.set & !TIMES) | kept;
        change.clear = FLAGS & !change.set;
        sysmount::set_attributes(tree, Reach::One, &change)
    }
}

/// What is set and cleared: with a way to keep access times, as many bits as tell it from the others.
fn with_times(flags: &Flags, clear: u64) -> (u64, u64) {
    match flags.access_time {
        AccessTime::Kept => (flags.set, clear & !TIMES),
        AccessTime::Chosen => {
            let other = attr::ATIME | (attr::NODIRATIME & !flags.set);
            (flags.set, (clear & !TIMES) | other)
        }
    }
}

fn times_of(flags: &Flags) -> u64 {
    flags.set & TIMES
}

/// Whether the flags as asked for would take away one of `source` that can be locked.
fn breaks_lock(asked: &Flags, source: u64) -> bool {
    let times = asked.access_time == AccessTime::Chosen && times_of(asked) != source & TIMES;
    source & LOCKABLE & !asked.set != 0 || times
}

/// The flags that a mount has now, of [`attr`]; fstatvfs(3).
fn source_flags(tree: BorrowedFd<'_>) -> Result<u64, Errno> {
    let has = rustix::fs::fstatvfs(tree)?.f_flag;
    let named = [
        (StatVfsMountFlags::RDONLY, attr::RDONLY),
        (StatVfsMountFlags::NOSUID, attr::NOSUID),
        (StatVfsMountFlags::NODEV, attr::NODEV),
        (StatVfsMountFlags::NOEXEC, attr::NOEXEC),
        (StatVfsMountFlags::NOATIME, attr::NOATIME),
        (StatVfsMountFlags::NODIRATIME, attr::NODIRATIME),
    ];
    let mut flags = named
        .into_iter()
        .fold(0, |flags, (there, flag)| match has.contains(there) {
            true => flags | flag,
            false => flags,
        });
    if !has.intersects(StatVfsMountFlags::NOATIME | StatVfsMountFlags::RELATIME) {
        flags |= attr::STRICTATIME;
    }
    Ok(flags)
}

/// A copy of one mount of the host with these flags; with no others, if there is one.
pub(crate) fn clone_host(source: &Path, set: u64) -> Result<(OwnedFd, Kind), Errno> {
    let source = CString::new(source.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    let mut bind = Bind::plain(Reach::One);
    bind.flags.set = set;
    bind.flags.named = set != 0;
    bind.of(CWD, &source)
}

/// A copy of a tree of the host.
pub(crate) fn clone_host_tree(source: &Path) -> Result<(OwnedFd, Kind), Errno> {
    let source = CString::new(source.as_os_str().as_bytes()).map_err(|_| Errno::INVAL)?;
    Bind::plain(Reach::Tree).of(CWD, &source)
}
