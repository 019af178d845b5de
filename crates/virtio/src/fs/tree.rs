//! A directory tree, served: what each request does, as a function of the request's header and arguments.

use std::collections::HashMap;
use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::Statx;
use rustix::io::Errno;

use super::node::{Descriptors, Found, Node, Nodes, Sharing};
use super::protocol::{ATTR_SUBMOUNT, Answer, Fields, Header, Opcode};

/// How long the guest may believe what it was told of a name, or of a file, that nobody else changes.
const PRIVATE_VALID_S: u64 = 24 * 60 * 60;

/// What is served, and what the guest has open of it.
#[derive(Debug)]
pub(super) struct Tree {
    pub(super) nodes: Nodes,
    pub(super) descriptors: Descriptors,
    handles: HashMap<u64, OwnedFd>,
    last_handle: u64,
}

impl Tree {
    pub(super) fn new(
        root: OwnedFd,
        descriptors: OwnedFd,
        private: CString,
    ) -> Result<Self, Errno> {
        Ok(Self {
            nodes: Nodes::new(root, private)?,
            descriptors: Descriptors(descriptors),
            handles: HashMap::new(),
            last_handle: 0,
        })
    }

    /// As it was before the first request.
    pub(super) fn forget_all(&mut self) {
        self.nodes.forget_all();
        self.handles.clear();
    }

    /// How many files the guest has open.
    pub(super) fn open_count(&self) -> u64 {
        self.handles.len() as u64
    }

    pub(super) fn keep(&mut self, file: OwnedFd) -> u64 {
        self.last_handle += 1;
        self.handles.insert(self.last_handle, file);
        self.last_handle
    }

    pub(super) fn handle(&self, handle: u64) -> Result<BorrowedFd<'_>, Errno> {
        self.handles
            .get(&handle)
            .map(AsFd::as_fd)
            .ok_or(Errno::BADF)
    }

    pub(super) fn release(&mut self, handle: u64) {
        self.handles.remove(&handle);
    }

    /// Answers a request that has its answer in bytes: all but INIT, READ, WRITE, and those without one.
    pub(super) fn answer(
        &mut self,
        opcode: Opcode,
        header: &Header,
        mut arguments: Fields<'_>,
        room_bytes: usize,
    ) -> Result<Answer, Errno> {
        let arguments = &mut arguments;
        match opcode {
            Opcode::Lookup => {
                let name = arguments.name()?;
                self.entry(header.node, name)
            }
            Opcode::Getattr => self.getattr(header, arguments),
            Opcode::Setattr => self.setattr(header, arguments),
            Opcode::Readlink => self.readlink(header),
            Opcode::Symlink => self.symlink(header, arguments),
            Opcode::Mknod => self.mknod(header, arguments),
            Opcode::Mkdir => self.mkdir(header, arguments),
            Opcode::Create => self.create(header, arguments),
            Opcode::Unlink | Opcode::Rmdir => self.unlink(opcode, header, arguments),
            Opcode::Rename | Opcode::Rename2 => self.rename(opcode, header, arguments),
            Opcode::Link => self.link(header, arguments),
            Opcode::Open => self.open(header, arguments),
            Opcode::Opendir => self.opendir(header),
            Opcode::Readdir => self.readdir(arguments, room_bytes),
            Opcode::Release | Opcode::Releasedir => {
                self.release(arguments.u64()?);
                Ok(Answer::default())
            }
            Opcode::Fsync | Opcode::Fsyncdir => self.fsync(arguments),
            Opcode::Syncfs => self.syncfs(header),
            Opcode::Statfs => self.statfs(header),
            Opcode::Fallocate => self.fallocate(arguments),
            Opcode::Lseek => self.lseek(arguments),
            Opcode::CopyFileRange => self.copy_file_range(arguments),
            Opcode::Setxattr => self.setxattr(header, arguments),
            Opcode::Getxattr => self.getxattr(header, arguments),
            Opcode::Listxattr => self.listxattr(header, arguments),
            Opcode::Removexattr => self.removexattr(header, arguments),
            Opcode::Init
            | Opcode::Read
            | Opcode::Write
            | Opcode::Forget
            | Opcode::BatchForget
            | Opcode::Interrupt
            | Opcode::Destroy => Err(Errno::NOSYS),
        }
    }

    /// Requests that are not answered: what the guest forgets.
    pub(super) fn forget(
        &mut self,
        opcode: Opcode,
        header: &Header,
        mut arguments: Fields<'_>,
    ) -> Result<(), Errno> {
        if opcode == Opcode::Forget {
            self.nodes.forget(header.node, arguments.u64()?);
            return Ok(());
        }
        let count = arguments.u32()?;
        arguments.skip(4)?;
        for _ in 0..count {
            let (number, lookups) = (arguments.u64()?, arguments.u64()?);
            self.nodes.forget(number, lookups);
        }
        Ok(())
    }

    /// Looks a name up: `struct fuse_entry_out`.
    pub(super) fn entry(&mut self, parent: u64, name: &std::ffi::CStr) -> Result<Answer, Errno> {
        let found = self.nodes.look_up(parent, name)?;
        Ok(entry_out(&found))
    }

    pub(super) fn open_node(
        &self,
        node: &Node,
        flags: rustix::fs::OFlags,
    ) -> Result<OwnedFd, Errno> {
        self.descriptors.open(node, flags)
    }
}

fn valid_s(sharing: Sharing) -> u64 {
    match sharing {
        Sharing::Private => PRIVATE_VALID_S,
        Sharing::Shared => 0,
    }
}

fn entry_out(found: &Found) -> Answer {
    let valid_s = valid_s(found.sharing);
    let flags = if found.is_mount { ATTR_SUBMOUNT } else { 0 };
    let generation = 0;
    let answer = Answer::default()
        .u64(found.number)
        .u64(generation)
        .u64(valid_s)
        .u64(valid_s)
        .u32(0)
        .u32(0);
    attributes(answer, &found.status, flags)
}

/// `struct fuse_attr_out`.
pub(super) fn attr_out(sharing: Sharing, status: &Statx) -> Answer {
    let answer = Answer::default().u64(valid_s(sharing)).u32(0).u32(0);
    attributes(answer, status, 0)
}

/// `struct fuse_attr`.
fn attributes(answer: Answer, status: &Statx, flags: u32) -> Answer {
    // The kernel's own encoding of device numbers (`new_encode_dev` of linux/kdev_t.h).
    let (major, minor) = (status.stx_rdev_major, status.stx_rdev_minor);
    let device = minor & 0xff | major << 8 | (minor & !0xff) << 12;
    answer
        .u64(status.stx_ino)
        .u64(status.stx_size)
        .u64(status.stx_blocks)
        .u64(status.stx_atime.tv_sec as u64)
        .u64(status.stx_mtime.tv_sec as u64)
        .u64(status.stx_ctime.tv_sec as u64)
        .u32(status.stx_atime.tv_nsec)
        .u32(status.stx_mtime.tv_nsec)
        .u32(status.stx_ctime.tv_nsec)
        .u32(status.stx_mode.into())
        .u32(status.stx_nlink)
        .u32(status.stx_uid)
        .u32(status.stx_gid)
        .u32(device)
        .u32(status.stx_blksize)
        .u32(flags)
}
