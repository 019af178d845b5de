//! What a tree is, name by name, so that two can be compared: one that the kernel shows, and one in
//! an image that our own reader reads.

use std::collections::BTreeMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gamut_store::erofs::format::FileType;
use gamut_store::erofs::read::{Image, Source, Walk};
use rustix::fs::{AtFlags, CWD};
use rustix::mount::{FsMountFlags, FsOpenFlags, MountAttrFlags};

/// One name. What cannot differ between two honest trees only.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Node {
    /// Type and permissions.
    pub(crate) mode: u32,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Of files and links; directories are as large as their file system wants.
    pub(crate) size: u64,
    pub(crate) mtime: (i64, u32),
    /// Major and minor number of a device.
    pub(crate) device: (u32, u32),
    /// Names and values, long ones by their length and hash.
    pub(crate) xattrs: Vec<(String, String)>,
    /// The first name of the same inode.
    pub(crate) first_name: Vec<u8>,
    /// Of a file's bytes, or of a link's target.
    pub(crate) content: u64,
}

/// By path, without a `/` before it; the root's is empty.
pub(crate) type Listing = BTreeMap<Vec<u8>, Node>;

/// Fails with the first difference.
#[track_caller]
pub(crate) fn assert_same(left: &Listing, right: &Listing) {
    for (path, node) in left {
        let shown = path.escape_ascii();
        match right.get(path) {
            Some(other) => assert_eq!(node, other, "at {shown}"),
            None => panic!("{shown} is only in the first: {node:?}"),
        }
    }
    for path in right.keys() {
        let shown = path.escape_ascii();
        assert!(left.contains_key(path), "{shown} is only in the second");
    }
}

/// The tree below a directory, as the kernel shows it.
pub(crate) fn of_directory(root: &Path) -> Listing {
    let mut listing = Listing::new();
    let mut inodes = BTreeMap::new();
    let mut pending = vec![Vec::new()];
    while let Some(path) = pending.pop() {
        let full = root.join(std::ffi::OsStr::from_bytes(&path));
        // Overlayfs lists whiteouts in a directory that only one layer has; there is nothing there.
        let Ok(metadata) = fs::symlink_metadata(&full) else {
            continue;
        };
        // The root may be a link to a descriptor.
        let metadata = match path.is_empty() {
            true => fs::metadata(root).expect("the root"),
            false => metadata,
        };
        if metadata.is_dir() {
            for entry in fs::read_dir(&full).expect("listed") {
                let name = entry.expect("an entry").file_name();
                let mut below = path.clone();
                if !below.is_empty() {
                    below.push(b'/');
                }
                below.extend_from_slice(name.as_bytes());
                pending.push(below);
            }
        }
        let inode = (metadata.dev(), metadata.ino());
        inodes
            .entry(inode)
            .or_insert_with(Vec::new)
            .push(path.clone());
        listing.insert(path, node(&full, &metadata));
    }
    for names in inodes.into_values() {
        name_links(&mut listing, names);
    }
    listing
}

fn name_links(listing: &mut Listing, mut names: Vec<Vec<u8>>) {
    names.sort();
    for name in &names {
        if let Some(node) = listing.get_mut(name) {
            node.first_name.clone_from(&names[0]);
        }
    }
}

fn node(path: &Path, metadata: &fs::Metadata) -> Node {
    let kind = metadata.file_type();
    let content = if kind.is_file() {
        hash_of(fs::File::open(path).expect("opened"))
    } else if kind.is_symlink() {
        hash_of(fs::read_link(path).expect("a link").as_os_str().as_bytes())
    } else {
        0
    };
    let rdev = metadata.rdev();
    Node {
        mode: metadata.mode(),
        uid: metadata.uid(),
        gid: metadata.gid(),
        size: if metadata.is_dir() {
            0
        } else {
            metadata.size()
        },
        mtime: (metadata.mtime(), metadata.mtime_nsec() as u32),
        device: (rustix::fs::major(rdev), rustix::fs::minor(rdev)),
        xattrs: xattrs(path),
        first_name: Vec::new(),
        content,
    }
}

fn xattrs(path: &Path) -> Vec<(String, String)> {
    // The root may be a link to a descriptor, which is to be followed; others are not.
    let directory = path.is_dir() && !fs::symlink_metadata(path).is_ok_and(|m| m.is_symlink());
    let path = match directory {
        true => path.join("."),
        false => path.to_owned(),
    };
    let mut names = vec![0; 64 << 10];
    let count = rustix::fs::llistxattr(&path, &mut names[..]).expect("listed");
    let mut found: Vec<_> = names[..count]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let count = rustix::fs::lgetxattr(&path, name, &mut value[..]).expect("read");
            value.truncate(count);
            (name.to_vec(), value)
        })
        .collect();
    found.sort();
    shown(&found)
}

fn shown(xattrs: &[(Vec<u8>, Vec<u8>)]) -> Vec<(String, String)> {
    let shown = |bytes: &[u8]| match bytes.len() {
        ..=64 => bytes.escape_ascii().to_string(),
        length => format!("{length} bytes, hash {:x}", hash_of(bytes)),
    };
    let pair = |(name, value): &(Vec<u8>, Vec<u8>)| (shown(name), shown(value));
    xattrs.iter().map(pair).collect()
}

fn hash_of(mut bytes: impl Read) -> u64 {
    let mut hasher = DefaultHasher::new();
    let mut buffer = vec![0; 128 << 10];
    loop {
        let mut filled = 0;
        while filled < buffer.len() {
            match bytes.read(&mut buffer[filled..]).expect("read") {
                0 => break,
                count => filled += count,
            }
        }
        buffer[..filled].hash(&mut hasher);
        if filled < buffer.len() {
            return hasher.finish();
        }
    }
}

/// The tree in an image, as our reader reads it.
pub(crate) fn of_image<S: Source>(image: &Image<S>) -> Listing {
    let mut listing = Listing::new();
    let mut inodes = BTreeMap::new();
    for visit in Walk::new(image).expect("a root") {
        let visit = visit.expect("the tree is whole");
        let inode = &visit.inode;
        let content = match inode.kind {
            FileType::File => hash_of(Reading {
                image,
                inode,
                offset: 0,
            }),
            FileType::Symlink => hash_of(&image.link_target(inode).expect("a target")[..]),
            _ => 0,
        };
        let node = Node {
            mode: u32::from(inode.kind.mode_bits() | inode.mode),
            uid: inode.uid,
            gid: inode.gid,
            size: match inode.kind {
                FileType::Directory => 0,
                _ => inode.size,
            },
            mtime: inode.mtime,
            device: inode.device,
            xattrs: shown(&image.xattrs(inode).expect("xattrs")),
            first_name: Vec::new(),
            content,
        };
        let names = inodes.entry(inode.nid).or_insert_with(Vec::new);
        names.push(visit.path.clone());
        listing.insert(visit.path, node);
    }
    for names in inodes.into_values() {
        name_links(&mut listing, names);
    }
    listing
}

struct Reading<'i, S> {
    image: &'i Image<S>,
    inode: &'i gamut_store::erofs::read::Inode,
    offset: u64,
}

impl<S: Source> Read for Reading<'_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let read = self.image.read_at(self.inode, buffer, self.offset);
        let count = read.expect("the file can be read");
        self.offset += count as u64;
        Ok(count)
    }
}

/// A detached mount: it goes with this.
#[derive(Debug)]
pub(crate) struct Mounted(OwnedFd);

impl Mounted {
    /// A file system of `kind` with these options; `None` where the kernel refuses.
    pub(crate) fn new(kind: &str, options: &[(&str, &Path)]) -> Result<Self, rustix::io::Errno> {
        let context = rustix::mount::fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in options {
            rustix::mount::fsconfig_set_string(context.as_fd(), *key, *value)?;
        }
        rustix::mount::fsconfig_set_flag(context.as_fd(), "ro")?;
        rustix::mount::fsconfig_create(context.as_fd())?;
        let flags = FsMountFlags::FSMOUNT_CLOEXEC;
        rustix::mount::fsmount(context.as_fd(), flags, MountAttrFlags::empty()).map(Self)
    }

    pub(crate) fn path(&self) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))
    }
}

/// An image with the devices that it names, as the kernel mounts it from files (Linux 6.12, and the
/// files not on a tmpfs). Says why where it cannot.
pub(crate) fn mounted(image: &Path, devices: &[PathBuf]) -> Option<Mounted> {
    let mut options = vec![("source", image)];
    options.extend(devices.iter().map(|device| ("device", device.as_path())));
    match Mounted::new("erofs", &options) {
        Ok(mounted) => Some(mounted),
        Err(
            errno
            @ (rustix::io::Errno::NOTBLK | rustix::io::Errno::PERM | rustix::io::Errno::NODEV),
        ) => {
            eprintln!("skipped: this kernel mounts no EROFS image from a file: {errno}");
            None
        }
        Err(errno) => panic!("the kernel refuses {}: {errno}", image.display()),
    }
}

/// A directory on a file system that images can be mounted from.
pub(crate) fn scratch() -> tempfile::TempDir {
    tempfile::tempdir_in("/var/tmp").expect("a directory")
}

/// Makes a device, FIFO or whiteout.
pub(crate) fn mknod(path: &Path, kind: rustix::fs::FileType, device: (u32, u32)) {
    let mode = rustix::fs::Mode::from_raw_mode(0o640);
    let device = rustix::fs::makedev(device.0, device.1);
    rustix::fs::mknodat(CWD, path, kind, mode, device).expect("a node");
}

/// Sets a time, of links too.
pub(crate) fn set_mtime(path: &Path, seconds: i64, nanoseconds: u32) {
    let time = rustix::fs::Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds.into(),
    };
    let times = rustix::fs::Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).expect("a time");
}

/// Sets an extended attribute.
pub(crate) fn set_xattr(path: &Path, name: &str, value: &[u8]) {
    rustix::fs::lsetxattr(path, name, value, rustix::fs::XattrFlags::empty()).expect("an xattr");
}
