//! A tree on disk and one in an image: whether they are the same.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use gamut_store::erofs::format::FileType;
use gamut_store::erofs::read::{Image, Visit, Walk, Xattr};

/// Bytes of a path in an image that can still be looked at below another directory.
const PATH_BYTES: usize = 3500;

/// Panics with the first difference. Times are compared where the image has one: what an archive
/// implies has the time of unpacking in a tree.
pub(super) fn compare(image: &Image<&[u8]>, tree: &Path) {
    let mut names = 0;
    // The numbers of inodes here and there: as many names of one must be names of the other.
    let mut inodes = HashMap::new();
    for visit in Walk::new(image).expect("our own image") {
        let visit = visit.expect("our own image");
        names += 1;
        if visit.path.len() > PATH_BYTES {
            return;
        }
        // The root's attributes are the record's business, not the tree's.
        if !visit.path.is_empty() {
            same(image, &visit, tree, &mut inodes);
        }
    }
    assert_eq!(names, count(tree), "names in the image and in the tree");
}

fn same(image: &Image<&[u8]>, visit: &Visit, tree: &Path, inodes: &mut HashMap<u64, u64>) {
    let inode = &visit.inode;
    let path = tree.join(OsStr::from_bytes(&visit.path));
    let shown = visit.path.escape_ascii();
    let found = match fs::symlink_metadata(&path) {
        Ok(found) => found,
        Err(error) => panic!("{shown} is not in the tree: {error}"),
    };
    let mode = u32::from(inode.kind.mode_bits() | inode.mode);
    assert_eq!(
        found.mode(),
        mode,
        "mode of {shown}: {:o} {mode:o}",
        found.mode()
    );
    assert_eq!(
        (found.uid(), found.gid()),
        (inode.uid, inode.gid),
        "owner of {shown}"
    );
    if inode.mtime != (0, 0) {
        let mtime = (found.mtime(), found.mtime_nsec() as u32);
        assert_eq!(mtime, inode.mtime, "time of {shown}");
    }
    if inode.kind != FileType::Directory {
        assert_eq!(found.len(), inode.size, "size of {shown}");
        assert_eq!(found.nlink(), u64::from(inode.links), "links of {shown}");
    }
    let device = (
        rustix::fs::major(found.rdev()),
        rustix::fs::minor(found.rdev()),
    );
    assert_eq!(device, inode.device, "device of {shown}");
    let other = *inodes.entry(inode.nid).or_insert(found.ino());
    assert_eq!(other, found.ino(), "the other names of {shown}");
    assert_eq!(
        xattrs(&path),
        image.xattrs(inode).expect("xattrs"),
        "xattrs of {shown}"
    );
    match inode.kind {
        FileType::File => {
            let mut bytes = vec![0; inode.size as usize];
            image.read_at(inode, &mut bytes, 0).expect("our own image");
            assert!(fs::read(&path).expect("a file") == bytes, "data of {shown}");
        }
        FileType::Symlink => {
            let target = fs::read_link(&path).expect("a link");
            let here = image.link_target(inode).expect("our own image");
            assert_eq!(target.as_os_str().as_bytes(), here, "target of {shown}");
        }
        _ => {}
    }
}

fn xattrs(path: &Path) -> Vec<Xattr> {
    let mut names = vec![0; 64 << 10];
    let Ok(length) = rustix::fs::llistxattr(path, &mut names[..]) else {
        return Vec::new();
    };
    let mut found: Vec<_> = names[..length]
        .split(|&byte| byte == 0)
        .filter(|name| !name.is_empty())
        .map(|name| {
            let mut value = vec![0; 64 << 10];
            let length = rustix::fs::lgetxattr(path, name, &mut value[..]).expect("an xattr");
            (name.to_vec(), value[..length].to_vec())
        })
        .collect();
    found.sort();
    found
}

fn count(tree: &Path) -> usize {
    let mut names = 1;
    let mut pending = vec![tree.to_owned()];
    while let Some(directory) = pending.pop() {
        for entry in fs::read_dir(directory).expect("a directory") {
            let entry = entry.expect("an entry");
            names += 1;
            if entry.file_type().expect("a type").is_dir() {
                pending.push(entry.path());
            }
        }
    }
    names
}
