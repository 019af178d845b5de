//! Requests on what files say of themselves, and on their extended attributes.
//!
//! **Overlays.** The guest's overlay has its upper directory in the private part, and writes its marks there as
//! `trusted.overlay.` attributes, which on the host take CAP_SYS_ADMIN. They are kept as `user.overlay.`
//! ones, which overlayfs understands as well (`userxattr`) and which the store reads as it reads the others.
//! What programs of the guest call `user.overlay.` does not get there.

use std::ffi::{CStr, CString};
use std::os::fd::AsFd;

use rustix::fs::{
    AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT, Uid,
    XattrFlags,
};
use rustix::io::Errno;

use super::files::kill_set_ids;
use super::node::{Descriptors, Node, Sharing, status};
use super::protocol::{Answer, Fields, Header, setattr};
use super::tree::{Tree, attr_out};

/// `XATTR_SIZE_MAX` and `XATTR_LIST_MAX` of linux/limits.h.
const XATTR_BYTES_MAX: usize = 64 << 10;

const GUESTS: &[u8] = b"trusted.overlay.";
const HOSTS: &[u8] = b"user.overlay.";

impl Tree {
    pub(super) fn getattr(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        const BY_HANDLE: u32 = 1;
        let flags = arguments.u32()?;
        let node = self.nodes.get(header.node)?;
        if flags & BY_HANDLE != 0 {
            arguments.skip(4)?;
            let file = self.handle(arguments.u64()?)?;
            return Ok(attr_out(node.sharing, &status(file)?));
        }
        Ok(attr_out(node.sharing, &status(node.as_fd())?))
    }

    /// `struct fuse_setattr_in`.
    pub(super) fn setattr(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let change = Change::parse(arguments)?;
        let node = self.nodes.get(header.node)?;
        if change.has(setattr::MODE) {
            let name = Descriptors::name(node.as_fd());
            let mode = Mode::from_raw_mode(change.mode);
            if node.kind == FileType::Symlink {
                return Err(Errno::OPNOTSUPP);
            }
            let directory = self.descriptors.directory();
            rustix::fs::chmodat(directory, name, mode, AtFlags::empty())?;
        }
        if change.has(setattr::UID | setattr::GID) {
            let uid = change.has(setattr::UID).then(|| Uid::from_raw(change.uid));
            let gid = change.has(setattr::GID).then(|| Gid::from_raw(change.gid));
            rustix::fs::chownat(&*node, c"", uid, gid, AtFlags::EMPTY_PATH)?;
        }
        if change.has(setattr::SIZE) {
            self.truncate(&node, &change)?;
        }
        if change.has(setattr::ATIME | setattr::MTIME) {
            rustix::fs::utimensat(&*node, c"", &change.times, AtFlags::EMPTY_PATH)?;
        }
        Ok(attr_out(node.sharing, &status(node.as_fd())?))
    }

    fn truncate(&self, node: &Node, change: &Change) -> Result<(), Errno> {
        let opened;
        let file = if change.has(setattr::FH) {
            self.handle(change.handle)?
        } else {
            opened = self.open_node(node, OFlags::WRONLY)?;
            opened.as_fd()
        };
        rustix::fs::ftruncate(file, change.size)?;
        if change.has(setattr::KILL_SUIDGID) {
            kill_set_ids(file)?;
        }
        Ok(())
    }

    pub(super) fn readlink(&mut self, header: &Header) -> Result<Answer, Errno> {
        let node = self.nodes.get(header.node)?;
        let target = rustix::fs::readlinkat(&*node, c"", Vec::with_capacity(4096))?;
        Ok(Answer(target.into_bytes()))
    }

    /// `struct fuse_setxattr_in`.
    pub(super) fn setxattr(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let (size, flags) = (arguments.u32()?, arguments.u32()?);
        let name = arguments.text()?;
        let value = arguments.bytes(size as usize)?;
        let node = self.nodes.get(header.node)?;
        let name = host_name(&node, name)?;
        let flags = XattrFlags::from_bits(flags).ok_or(Errno::INVAL)?;
        let file = self.with_attributes(&node)?.ok_or(Errno::PERM)?;
        rustix::fs::fsetxattr(&file, &*name, value, flags)?;
        Ok(Answer::default())
    }

    pub(super) fn removexattr(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let name = arguments.text()?;
        let node = self.nodes.get(header.node)?;
        let name = host_name(&node, name)?;
        let file = self.with_attributes(&node)?.ok_or(Errno::NODATA)?;
        rustix::fs::fremovexattr(&file, &*name)?;
        Ok(Answer::default())
    }

    /// `struct fuse_getxattr_in`.
    pub(super) fn getxattr(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let size = arguments.u32()? as usize;
        arguments.skip(4)?;
        let name = arguments.text()?;
        let node = self.nodes.get(header.node)?;
        let name = host_name(&node, name)?;
        let file = self.with_attributes(&node)?.ok_or(Errno::NODATA)?;
        let mut value = vec![0; XATTR_BYTES_MAX];
        let length = rustix::fs::fgetxattr(&file, &*name, &mut value[..])?;
        value.truncate(length);
        sized(value, size)
    }

    pub(super) fn listxattr(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let size = arguments.u32()? as usize;
        let node = self.nodes.get(header.node)?;
        let Some(file) = self.with_attributes(&node)? else {
            return sized(Vec::new(), size);
        };
        let mut names = vec![0; XATTR_BYTES_MAX];
        let length = rustix::fs::flistxattr(&file, &mut names[..])?;
        names.truncate(length);
        let mut shown = Vec::with_capacity(length);
        for name in names.split_inclusive(|&byte| byte == 0) {
            match name.strip_prefix(HOSTS) {
                Some(rest) if node.sharing == Sharing::Private => {
                    shown.extend_from_slice(GUESTS);
                    shown.extend_from_slice(rest);
                }
                _ => shown.extend_from_slice(name),
            }
        }
        sized(shown, size)
    }

    /// What has extended attributes that we may touch. Links and special files have none: theirs would be
    /// `trusted` or a security module's.
    fn with_attributes(&self, node: &Node) -> Result<Option<std::os::fd::OwnedFd>, Errno> {
        match node.kind {
            FileType::RegularFile | FileType::Directory => {
                self.open_node(node, OFlags::RDONLY).map(Some)
            }
            _ => Ok(None),
        }
    }
}

/// `struct fuse_getxattr_out` where only the size was asked for.
fn sized(value: Vec<u8>, size: usize) -> Result<Answer, Errno> {
    match size {
        0 => Ok(Answer::default().u32(value.len() as u32).u32(0)),
        _ if value.len() <= size => Ok(Answer(value)),
        _ => Err(Errno::RANGE),
    }
}

/// An attribute's name on the host.
fn host_name(node: &Node, name: &CStr) -> Result<CString, Errno> {
    let bytes = name.to_bytes();
    if node.sharing == Sharing::Private {
        if bytes.starts_with(HOSTS) {
            return Err(Errno::OPNOTSUPP);
        }
        if let Some(rest) = bytes.strip_prefix(GUESTS) {
            return CString::new([HOSTS, rest].concat()).map_err(|_| Errno::INVAL);
        }
    }
    Ok(name.to_owned())
}

/// `struct fuse_setattr_in`.
struct Change {
    valid: u32,
    handle: u64,
    size: u64,
    times: Timestamps,
    mode: u32,
    uid: u32,
    gid: u32,
}

impl Change {
    fn has(&self, any_of: u32) -> bool {
        self.valid & any_of != 0
    }

    fn parse(arguments: &mut Fields<'_>) -> Result<Self, Errno> {
        let valid = arguments.u32()?;
        arguments.skip(4)?;
        let (handle, size) = (arguments.u64()?, arguments.u64()?);
        let _lock_owner = arguments.u64()?;
        let (atime_s, mtime_s) = (arguments.u64()?, arguments.u64()?);
        let _ctime_s = arguments.u64()?;
        let (atime_ns, mtime_ns) = (arguments.u32()?, arguments.u32()?);
        let _ctime_ns = arguments.u32()?;
        let mode = arguments.u32()?;
        arguments.skip(4)?;
        let time = |is_set: u32, is_now: u32, seconds: u64, nanoseconds: u32| Timespec {
            tv_sec: seconds as i64,
            tv_nsec: match () {
                () if valid & is_set == 0 => UTIME_OMIT,
                () if valid & is_now != 0 => UTIME_NOW,
                () => nanoseconds.into(),
            },
        };
        Ok(Self {
            valid,
            handle,
            size,
            times: Timestamps {
                last_access: time(setattr::ATIME, setattr::ATIME_NOW, atime_s, atime_ns),
                last_modification: time(setattr::MTIME, setattr::MTIME_NOW, mtime_s, mtime_ns),
            },
            mode,
            uid: arguments.u32()?,
            gid: arguments.u32()?,
        })
    }
}
