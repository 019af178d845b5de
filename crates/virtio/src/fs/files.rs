//! Requests on files that the guest has open, and on opening them.

use std::os::fd::BorrowedFd;

use rustix::fs::{FallocateFlags, FileType, Mode, OFlags, RawDir, SeekFrom};
use rustix::io::Errno;

use super::node::Sharing;
use super::protocol::{Answer, FSYNC_FDATASYNC, Fields, Header, OPEN_CACHE_DIR, OPEN_KEEP_CACHE};
use super::tree::Tree;

/// What of the guest's flags matters to the host. Creation is asked for by requests of its own; the guest's
/// O_DIRECT keeps its own page cache out of the way, and the host's goes on serving everybody.
pub(super) fn wanted(flags: u32) -> OFlags {
    let kept = OFlags::ACCMODE | OFlags::APPEND | OFlags::SYNC | OFlags::DSYNC;
    OFlags::from_bits_retain(flags) & kept
}

/// `struct fuse_open_out`, behind what comes before it.
pub(super) fn open_out(before: Answer, handle: u64, sharing: Sharing) -> Answer {
    // Of what others change the guest looks again at each opening.
    let flags = match sharing {
        Sharing::Private => OPEN_KEEP_CACHE,
        Sharing::Shared => 0,
    };
    before.u64(handle).u32(flags).u32(0)
}

impl Tree {
    /// `struct fuse_open_in`.
    pub(super) fn open(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let flags = arguments.u32()?;
        let node = self.nodes.get(header.node)?;
        if node.kind == FileType::Directory {
            return Err(Errno::ISDIR);
        }
        let file = self.open_node(&node, wanted(flags))?;
        let handle = self.keep(file);
        Ok(open_out(Answer::default(), handle, node.sharing))
    }

    pub(super) fn opendir(&mut self, header: &Header) -> Result<Answer, Errno> {
        let node = self.nodes.get(header.node)?;
        if node.kind != FileType::Directory {
            return Err(Errno::NOTDIR);
        }
        let directory = self.open_node(&node, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let handle = self.keep(directory);
        let flags = match node.sharing {
            Sharing::Private => OPEN_KEEP_CACHE | OPEN_CACHE_DIR,
            Sharing::Shared => 0,
        };
        Ok(Answer::default().u64(handle).u32(flags).u32(0))
    }

    /// `struct fuse_read_in` to `struct fuse_dirent`s, as many as there is room for.
    pub(super) fn readdir(
        &mut self,
        arguments: &mut Fields<'_>,
        room_bytes: usize,
    ) -> Result<Answer, Errno> {
        const AT_MOST: usize = 64 << 10;
        let (handle, offset, size) = (arguments.u64()?, arguments.u64()?, arguments.u32()?);
        let directory = self.handle(handle)?;
        rustix::fs::seek(directory, SeekFrom::Start(offset))?;
        let room_bytes = room_bytes.min(size as usize).min(AT_MOST);
        // The kernel's entries are no longer than the protocol's: what is read here and does not fit
        // there is read again, from the last one that did.
        let mut buffer = Vec::with_capacity(room_bytes);
        let mut entries = RawDir::new(directory, &mut buffer.spare_capacity_mut()[..room_bytes]);
        let mut answer = Answer::default();
        // One call's worth: the buffer is what the guest asked for.
        while let Some(entry) = entries.next() {
            let entry = entry?;
            let name = entry.file_name().to_bytes();
            let length = (24 + name.len()).next_multiple_of(8);
            if answer.0.len() + length > room_bytes {
                break;
            }
            answer = answer
                .u64(entry.ino())
                .u64(entry.next_entry_cookie())
                .u32(name.len() as u32)
                .u32(kind_of(entry.file_type()))
                .bytes(name);
            let padded = answer.0.len().next_multiple_of(8);
            answer.0.resize(padded, 0);
            if entries.is_buffer_empty() {
                break;
            }
        }
        Ok(answer)
    }

    /// `struct fuse_fsync_in`, of files and directories.
    pub(super) fn fsync(&mut self, arguments: &mut Fields<'_>) -> Result<Answer, Errno> {
        let (handle, flags) = (arguments.u64()?, arguments.u32()?);
        let file = self.handle(handle)?;
        if flags & FSYNC_FDATASYNC == 0 {
            rustix::fs::fsync(file)?;
        } else {
            rustix::fs::fdatasync(file)?;
        }
        Ok(Answer::default())
    }

    pub(super) fn syncfs(&mut self, header: &Header) -> Result<Answer, Errno> {
        let node = self.nodes.get(header.node)?;
        let file = self.open_node(&node, OFlags::RDONLY)?;
        rustix::fs::syncfs(&file)?;
        Ok(Answer::default())
    }

    /// `struct fuse_kstatfs`.
    pub(super) fn statfs(&mut self, header: &Header) -> Result<Answer, Errno> {
        let node = self.nodes.get(header.node)?;
        let found = rustix::fs::fstatfs(&*node)?;
        let answer = Answer::default()
            .u64(found.f_blocks)
            .u64(found.f_bfree)
            .u64(found.f_bavail)
            .u64(found.f_files)
            .u64(found.f_ffree)
            .u32(found.f_bsize as u32)
            .u32(found.f_namelen as u32)
            .u32(found.f_frsize as u32);
        Ok(answer.bytes(&[0; 28]))
    }

    /// `struct fuse_fallocate_in`.
    pub(super) fn fallocate(&mut self, arguments: &mut Fields<'_>) -> Result<Answer, Errno> {
        let (handle, offset, length) = (arguments.u64()?, arguments.u64()?, arguments.u64()?);
        let mode = FallocateFlags::from_bits_retain(arguments.u32()?);
        rustix::fs::fallocate(self.handle(handle)?, mode, offset, length)?;
        Ok(Answer::default())
    }

    /// `struct fuse_lseek_in`: holes and data; the guest knows the rest itself.
    pub(super) fn lseek(&mut self, arguments: &mut Fields<'_>) -> Result<Answer, Errno> {
        const SEEK_DATA: u32 = 3;
        const SEEK_HOLE: u32 = 4;
        let (handle, offset, whence) = (arguments.u64()?, arguments.u64()?, arguments.u32()?);
        let to = match whence {
            SEEK_DATA => SeekFrom::Data(offset),
            SEEK_HOLE => SeekFrom::Hole(offset),
            _ => return Err(Errno::INVAL),
        };
        let found = rustix::fs::seek(self.handle(handle)?, to)?;
        Ok(Answer::default().u64(found))
    }

    /// `struct fuse_copy_file_range_in`.
    pub(super) fn copy_file_range(&mut self, arguments: &mut Fields<'_>) -> Result<Answer, Errno> {
        let (from, mut from_at, _node) = (arguments.u64()?, arguments.u64()?, arguments.u64()?);
        let (to, mut to_at) = (arguments.u64()?, arguments.u64()?);
        // The answer's field has 32 bits.
        let length = arguments.u64()?.min(1 << 30) as usize;
        let (from, to) = (self.handle(from)?, self.handle(to)?);
        let copied =
            rustix::fs::copy_file_range(from, Some(&mut from_at), to, Some(&mut to_at), length)?;
        Ok(Answer::default().u32(copied as u32).u32(0))
    }
}

/// Takes set-id bits away after somebody wrote who may not keep them. Capabilities of the file the host has
/// taken away itself.
pub(super) fn kill_set_ids(file: BorrowedFd<'_>) -> Result<(), Errno> {
    let mode = rustix::fs::fstat(file)?.st_mode;
    let kept = without_set_ids(mode);
    if kept != mode {
        rustix::fs::fchmod(file, Mode::from_raw_mode(kept))?;
    }
    Ok(())
}

/// As `setattr_should_drop_suidgid` of the kernel: set-group-id without execution by the group means
/// mandatory locking.
fn without_set_ids(mode: u32) -> u32 {
    let group = Mode::SGID.bits() | Mode::XGRP.bits();
    let mut dropped = Mode::SUID.bits();
    if mode & group == group {
        dropped |= Mode::SGID.bits();
    }
    mode & !dropped
}

/// `DT_*` of readdir(3).
fn kind_of(kind: FileType) -> u32 {
    match kind {
        FileType::Fifo => 1,
        FileType::CharacterDevice => 2,
        FileType::Directory => 4,
        FileType::BlockDevice => 6,
        FileType::RegularFile => 8,
        FileType::Symlink => 10,
        FileType::Socket => 12,
        FileType::Unknown => 0,
    }
}
