//! The root of a container with users of its own: `uidmap=` and `gidmap=` among the options of a mount, as
//! containerd's snapshotters give them. What is mounted shows the files of the map's users as those of the
//! container's; an overlay cannot be mapped itself, so its lower layers are. mount_setattr(2), "ID-mapped mounts".

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use gamut_sys::mount::{Change, Reach, attr, set_attributes};
use gamut_sys::{process, user_namespace};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags};

/// Both maps, as the options have them: `CONTAINER:HOST:LENGTH`, several with `,` between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Maps<'a> {
    pub uids: &'a str,
    pub gids: &'a str,
}

impl Maps<'_> {
    /// A user namespace with these maps.
    ///
    /// # Errors
    /// `EINVAL`: no such maps; those of clone(2).
    pub fn namespace(&self) -> Result<OwnedFd, Errno> {
        let (uids, gids) = (lines(self.uids)?, lines(self.gids)?);
        user_namespace::in_new(|child| {
            let place = format!("/proc/{}", child.as_raw_nonzero());
            let write = |file: &str, text: &str| {
                std::fs::write(format!("{place}/{file}"), text)
                    .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))
            };
            write("uid_map", &uids)?;
            write("gid_map", &gids)?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open(format!("{place}/ns/user"), flags, Mode::empty())
        })?
    }
}

/// The maps as user_namespaces(7) wants them.
fn lines(maps: &str) -> Result<String, Errno> {
    let line = |map: &str| {
        let numbers: Result<Vec<u32>, _> = map.split(':').map(str::parse).collect();
        match numbers.as_deref() {
            Ok([inside, outside, length]) => Ok(format!("{inside} {outside} {length}\n")),
            _ => Err(Errno::INVAL),
        }
    };
    maps.split(',').map(line).collect()
}

/// Covers what is mounted on `target` with a mapped view of it.
///
/// # Errors
/// `EINVAL`: a file system that cannot be mapped.
pub fn cover(target: &Path, users: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let view = rustix::mount::open_tree(CWD, target, flags)?;
    let change = Change {
        set: attr::IDMAP,
        userns: Some(users),
        ..Change::default()
    };
    set_attributes(view.as_fd(), Reach::One, &change)?;
    attach(view.as_fd(), target)
}

/// Calls `mount`, which mounts on `target`, where each of `layers` is mapped; what it has mounted is then on
/// `target` for everybody. Nobody else sees the mapped layers, and no directory is needed for them.
///
/// # Errors
/// Those of [`cover`] and of `mount`.
pub fn over_layers<'a>(
    layers: impl Iterator<Item = &'a str> + Send,
    users: BorrowedFd<'_>,
    target: &Path,
    mount: impl FnOnce() -> Result<(), Errno> + Send,
) -> Result<(), Errno> {
    let aside = || {
        process::unshare(process::namespace::MOUNT)?;
        let slave = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
        rustix::mount::mount_change("/", slave)?;
        for layer in layers {
            cover(Path::new(layer), users)?;
        }
        mount()?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        rustix::mount::open_tree(CWD, target, flags)
    };
    // A thread of its own: a mount namespace cannot be left again without a descriptor of the old one.
    let mounted = std::thread::scope(|scope| scope.spawn(aside).join());
    attach(mounted.map_err(|_panic| Errno::IO)??.as_fd(), target)
}

fn attach(tree: BorrowedFd<'_>, target: &Path) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    rustix::mount::move_mount(tree, "", CWD, target, flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn maps_become_lines() {
        assert_eq!(lines("0:100000:65536").unwrap(), "0 100000 65536\n");
        assert_eq!(lines("0:1:2,3:4:5").unwrap(), "0 1 2\n3 4 5\n");
        for wrong in ["", "0:1", "0:1:2:3", "0:1:x", "0:1:2,"] {
            assert_eq!(lines(wrong), Err(Errno::INVAL), "{wrong}");
        }
    }
}
