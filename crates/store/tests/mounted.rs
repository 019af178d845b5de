//! Oracles for EROFS images: the kernel's own mount, `fsck.erofs`, and the comparison of two trees by
//! walking them.

use std::collections::{BTreeMap, HashMap};
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use gamut_store::layer::{Form, Layer};
use gamut_store::unpack::{UnpackOptions, Warnings};
use rustix::fs::{AtFlags, FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};
use sha2::Digest as _;

use crate::bench::{Scratch, Tar};

/// A mounted image: a detached mount, which goes with this.
#[derive(Debug)]
pub(crate) struct Mounted {
    root: OwnedFd,
    device: Option<PathBuf>,
}

impl Mounted {
    /// A path below the root, for this process while this lives.
    pub(crate) fn path(&self, below: &str) -> PathBuf {
        PathBuf::from(format!("/proc/self/fd/{}/{below}", self.root.as_raw_fd()))
    }

    /// The root of the file system.
    pub(crate) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        if let Some(device) = &self.device {
            // The device goes when the last user, the mount, has gone.
            let _ = Command::new("losetup").arg("-d").arg(device).status();
        }
    }
}

/// Mounts an image: by its file, or, before Linux 6.12, by a loop device.
pub(crate) fn mount(image: &Path) -> Mounted {
    match mount_source(image) {
        Ok(root) => Mounted { root, device: None },
        Err(Errno::NOTBLK) => {
            let output = Command::new("losetup")
                .args(["--find", "--show", "--read-only"])
                .arg(image)
                .output()
                .expect("losetup runs");
            assert!(output.status.success(), "{output:?}");
            let mut name = output.stdout;
            name.truncate(name.trim_ascii_end().len());
            let device = PathBuf::from(OsString::from_vec(name));
            let root = mount_source(&device).unwrap_or_else(|errno| panic!("mounted: {errno}"));
            let device = Some(device);
            Mounted { root, device }
        }
        Err(errno) => panic!("{} cannot be mounted: {errno}", image.display()),
    }
}

fn mount_source(source: &Path) -> Result<OwnedFd, Errno> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(context.as_fd(), "source", source)?;
    fsconfig_set_flag(context.as_fd(), "ro")?;
    fsconfig_create(context.as_fd())?;
    fsmount(
        context.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_RDONLY,
    )
}

/// Whether the kernel has EROFS and lets this process mount it; says why not.
pub(crate) fn can_mount(test: &str) -> bool {
    let opened = match rustix::process::geteuid().is_root() {
        true => fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC).map_err(|errno| errno.to_string()),
        false => Err("needs root".to_owned()),
    };
    match opened {
        Ok(_) => true,
        Err(why) => {
            eprintln!("{test}: skipped: EROFS cannot be mounted: {why}");
            false
        }
    }
}

/// Runs `fsck.erofs`, if it is installed, over all data of an image.
pub(crate) fn fsck(image: &Path) {
    let output = match Command::new("fsck.erofs")
        .arg("--extract")
        .arg(image)
        .output()
    {
        Ok(output) => output,
        Err(error) => {
            eprintln!("fsck: skipped: fsck.erofs: {error}");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    if said.contains("unknown compression format") {
        eprintln!("fsck: skipped: fsck.erofs knows no zstd");
        return;
    }
    assert!(output.status.success(), "{}: {said}", image.display());
}

/// Whether `fsck.erofs` finds compressed files on other devices: 1.5 does not, and says nothing of what it
/// can decompress.
pub(crate) fn fsck_is_new() -> bool {
    let output = Command::new("fsck.erofs").arg("-V").output();
    output.is_ok_and(|output| String::from_utf8_lossy(&output.stdout).contains("zstd"))
}

/// What can be seen of a file.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    kind: FileType,
    mode: u32,
    owner: (u32, u32),
    /// Of files and symbolic links.
    size: u64,
    /// Seconds and nanoseconds.
    mtime: (i64, i64),
    device: u64,
    links: u64,
    /// The first path, in order, of the same inode.
    same_as: Vec<u8>,
    pub(crate) xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// A target, or the hash of a file's data.
    content: Vec<u8>,
}

/// Everything below a directory, by path; the directory itself has the empty path.
pub(crate) fn walk(root: BorrowedFd<'_>) -> BTreeMap<Vec<u8>, Seen> {
    let (mut seen, mut inodes) = (BTreeMap::new(), HashMap::new());
    let path = format!("/proc/self/fd/{}/.", root.as_raw_fd());
    let top = open(&path, OFlags::DIRECTORY);
    visit(&top, b"", &mut seen, &mut inodes);
    let mut pending = vec![(top, Vec::new())];
    while let Some((directory, path)) = pending.pop() {
        let mut names: Vec<Vec<u8>> = rustix::fs::Dir::read_from(&directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").file_name().to_bytes().to_vec())
            .filter(|name| name != b"." && name != b"..")
            .collect();
        names.sort();
        for name in names {
            let below = match path.is_empty() {
                true => name.clone(),
                false => [&path[..], b"/", &name].concat(),
            };
            let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            let name = OsString::from_vec(name);
            let file = rustix::fs::openat(&directory, &name, flags, Mode::empty())
                .unwrap_or_else(|errno| panic!("{}: {errno}", below.escape_ascii()));
            visit(&file, &below, &mut seen, &mut inodes);
            if seen[&below].kind == FileType::Directory {
                let opened = open(&proc_path(&file), OFlags::DIRECTORY);
                pending.push((opened, below));
            }
        }
    }
    seen
}

fn proc_path(file: &OwnedFd) -> String {
    format!("/proc/self/fd/{}", file.as_raw_fd())
}

fn open(path: &str, flags: OFlags) -> OwnedFd {
    let flags = flags | OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty()).unwrap_or_else(|errno| panic!("{path}: {errno}"))
}

fn visit(
    file: &OwnedFd,
    path: &[u8],
    seen: &mut BTreeMap<Vec<u8>, Seen>,
    inodes: &mut HashMap<u64, Vec<u8>>,
) {
    let stat = rustix::fs::statat(file, "", AtFlags::EMPTY_PATH).expect("a stat");
    let kind = FileType::from_raw_mode(stat.st_mode);
    // Through /proc the file itself is reached, even a symbolic link.
    let content = match kind {
        FileType::RegularFile => hash(&open(&proc_path(file), OFlags::empty()), stat.st_size),
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(file, "", Vec::new());
            target.expect("a target").into_bytes()
        }
        _ => Vec::new(),
    };
    let first = inodes.entry(stat.st_ino).or_insert_with(|| path.to_vec());
    let sized = matches!(kind, FileType::RegularFile | FileType::Symlink);
    let facts = Seen {
        kind,
        mode: stat.st_mode & 0o7777,
        owner: (stat.st_uid, stat.st_gid),
        size: if sized { stat.st_size as u64 } else { 0 },
        mtime: (stat.st_mtime, stat.st_mtime_nsec as i64),
        device: stat.st_rdev,
        links: stat.st_nlink as u64,
        same_as: first.clone(),
        xattrs: xattrs(file, kind),
        content,
    };
    seen.insert(path.to_vec(), facts);
}

/// The data of larger files is looked at around every gibibyte and at the end only.
const WHOLE_BYTES: u64 = 256 << 20;

/// The hash of all blocks that are not zero, with their places.
fn hash(file: &OwnedFd, size: i64) -> Vec<u8> {
    let size = size as u64;
    let mut hash = sha2::Sha256::default();
    let mut buffer = vec![0; size.min(1 << 20) as usize];
    let mut at = 0;
    while at < size {
        let count = rustix::io::pread(file, &mut buffer, at).expect("read");
        assert_ne!(count, 0, "the file ends too early");
        for (number, block) in (at / 4096..).zip(buffer[..count].chunks(4096)) {
            if block.iter().any(|&byte| byte != 0) {
                hash.update(number.to_le_bytes());
                hash.update(block);
            }
        }
        at += count as u64;
        let end = (size - 1) / 4096 * 4096;
        if size > WHOLE_BYTES && at < end {
            at = end.min(at.next_multiple_of(1 << 30));
        }
    }
    hash.finalize().to_vec()
}

fn xattrs(file: &OwnedFd, kind: FileType) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let path = proc_path(file);
    let mut names = vec![0; 4 << 10];
    let length = match rustix::fs::listxattr(&path, &mut names) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) if kind != FileType::RegularFile => 0,
        Err(errno) => panic!("{path}: {errno}"),
    };
    let mut value = vec![0; if length == 0 { 0 } else { 64 << 10 }];
    names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let named = OsString::from_vec(name.to_vec());
            let length = rustix::fs::getxattr(&path, &named, &mut value)
                .unwrap_or_else(|errno| panic!("{}: {errno}", name.escape_ascii()));
            (name.to_vec(), value[..length].to_vec())
        })
        .collect()
}

/// Compares a mounted image with the tree that the same archive was unpacked to. Times are compared
/// where the archive says them: what it implies has the time of unpacking in a tree, and none in an
/// image.
fn assert_same(tree: &Path, image: &Mounted) {
    let expected = walk(open(&tree.to_string_lossy(), OFlags::DIRECTORY).as_fd());
    let mut found = walk(image.root());
    for (path, expected) in &expected {
        let mut seen = found
            .remove(path)
            .unwrap_or_else(|| panic!("{} is missing", path.escape_ascii()));
        if seen.mtime == (0, 0) {
            seen.mtime = expected.mtime;
        }
        assert_eq!(seen, *expected, "{}", path.escape_ascii());
    }
    let more: Vec<_> = found
        .keys()
        .map(|path| path.escape_ascii().to_string())
        .collect();
    assert_eq!(more, [""; 0], "there is more in the image");
}

/// For an image.
pub(crate) fn image_options() -> UnpackOptions {
    UnpackOptions {
        form: Form::Erofs,
        ..UnpackOptions::default()
    }
}

/// Unpacks into an image; gives its path too.
pub(crate) fn image(
    scratch: &Scratch,
    tar: &[u8],
    options: &UnpackOptions,
) -> (PathBuf, Layer, Warnings) {
    let (layer, warnings) = scratch
        .unpack_with(tar, options)
        .unwrap_or_else(|error| panic!("{error}"));
    assert_eq!(layer.record.form, Form::Erofs);
    (scratch.store.layers().tree(&layer.record), layer, warnings)
}

/// Unpacks an archive both ways and compares what comes out.
pub(crate) fn compare(tar: &[u8]) {
    compare_with(tar, &image_options());
}

/// The same with options for the image; gives its path, below what has to be kept.
pub(crate) fn compare_with(tar: &[u8], options: &UnpackOptions) -> (Scratch, PathBuf) {
    let (trees, images) = (Scratch::new(), Scratch::new());
    let tree_options = UnpackOptions {
        form: Form::Directory,
        ..options.clone()
    };
    let (layer, expected) = trees
        .unpack_with(tar, &tree_options)
        .expect("unpacked to a tree");
    let tree = trees.store.layers().tree(&layer.record);
    let (image, written, warnings) = image(&images, tar, options);
    assert_eq!(warnings, expected);
    let mut record = written.record.clone();
    record.form = Form::Directory;
    assert_eq!(record, layer.record);
    fsck(&image);
    assert_same(&tree, &mount(&image));
    (images, image)
}

/// An archive of so many files.
pub(crate) fn numbered(count: usize, name: impl Fn(usize) -> String) -> Vec<u8> {
    let tar = (0..count).fold(Tar::new(), |tar, i| tar.file(&name(i), &i.to_string()));
    tar.end()
}
