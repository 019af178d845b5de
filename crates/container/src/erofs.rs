//! EROFS images, mounted: from the file itself (Linux 6.12, and not every file system can hold it),
//! else from loop devices.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};

use gamut_sys::device_mapper;
use gamut_sys::loop_device::{self, LoopDevice};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

/// What an image was mounted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Backing {
    /// The file.
    File,
    /// A loop device for each file; they go with the mount.
    Loop,
}

/// A file that an image consists of, and the tree of hashes that its blocks are held against, if any.
#[derive(Debug)]
pub struct Checked<'f> {
    pub file: &'f Path,
    pub tree: Option<HashTree<'f>>,
}

/// See [`gamut_sys::device_mapper::Tree`].
#[derive(Debug)]
pub struct HashTree<'f> {
    pub file: BorrowedFd<'f>,
    pub root: &'f [u8; 32],
    pub blocks: u64,
}

/// Mounts the image that consists of `files`, the first of which is its own, from loop devices, and those
/// with a tree from devices over them under dm-verity, whose names `name` gives. All of them go with the mount.
///
/// # Errors
/// As [`mount`] and [`device_mapper::verity`].
pub fn mount_checked(files: &[Checked<'_>], name: impl Fn() -> String) -> Result<OwnedFd, Errno> {
    let mut loops = Vec::new();
    let mut verities = Vec::new();
    let mut paths = Vec::new();
    for Checked { file, tree } in files {
        let data = attach(file)?;
        match tree {
            None => paths.push(data.path.clone()),
            Some(tree) => {
                let hashes = loop_device::attach(tree.file)?;
                let over = device_mapper::Tree {
                    device: &hashes.path,
                    root: tree.root,
                    blocks: tree.blocks,
                };
                let verity = device_mapper::verity(&name(), &data.path, over)?;
                paths.push(verity.path.clone());
                verities.push(verity);
                loops.push(hashes);
            }
        }
        loops.push(data);
    }
    let paths: Vec<&Path> = paths.iter().map(PathBuf::as_path).collect();
    mount_paths(&paths)
}

fn attach(path: &Path) -> Result<LoopDevice, Errno> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(CWD, path, flags, Mode::empty())?;
    loop_device::attach(file.as_fd())
}

/// Mounts the image in `file`, with its device slots in order, detached. Nothing in it can be
/// executed or opened as a device by way of this mount; an overlay over it is another mount.
///
/// # Errors
/// `ENODEV`: no EROFS; `EINVAL`, `EUCLEAN`, `EOPNOTSUPP`: not an image that this kernel can read; what
/// [`loop_device::attach`] says where the file itself cannot be mounted.
pub fn mount(file: &Path, devices: &[PathBuf]) -> Result<(OwnedFd, Backing), Errno> {
    let paths: Vec<&Path> = std::iter::once(file)
        .chain(devices.iter().map(PathBuf::as_path))
        .collect();
    match mount_paths(&paths) {
        // ENOTBLK: an older kernel, or a file system whose files cannot be mounted.
        Err(Errno::NOTBLK) => {}
        other => return Ok((other?, Backing::File)),
    }
    let attached = paths
        .iter()
        .map(|path| attach(path))
        .collect::<Result<Vec<LoopDevice>, Errno>>()?;
    let paths: Vec<&Path> = attached.iter().map(|device| &*device.path).collect();
    Ok((mount_paths(&paths)?, Backing::Loop))
}

fn mount_paths(paths: &[&Path]) -> Result<OwnedFd, Errno> {
    let fs = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let fs = fs.as_fd();
    for (index, path) in paths.iter().enumerate() {
        let key = if index == 0 { c"source" } else { c"device" };
        fsconfig_set_string(fs, key, *path)?;
    }
    // A loop device that can only be read cannot be mounted in any other way.
    fsconfig_set_flag(fs, "ro")?;
    fsconfig_create(fs)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV
        | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}
