//! Requests that make, remove and move names.

use std::ffi::CStr;
use std::os::fd::AsFd;

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RenameFlags};
use rustix::io::Errno;
use rustix::process::umask;

use super::files;
use super::node::Descriptors;
use super::protocol::{Answer, Fields, Header, Opcode};
use super::tree::Tree;

/// While it lives files are made as the guest's process would make them. The umask comes along because of
/// default ACLs, which take its place.
struct As {
    before: Mode,
}

impl As {
    fn the_asker(header: &Header, umasked: u32) -> Result<Self, Errno> {
        gamut_sys::file_ids::make_files_as(header.uid, header.gid)?;
        Ok(Self {
            before: umask(Mode::from_raw_mode(umasked & 0o777)),
        })
    }
}

impl Drop for As {
    fn drop(&mut self) {
        umask(self.before);
        let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
        // One's own ids are always allowed.
        let _ = gamut_sys::file_ids::make_files_as(uid.as_raw(), gid.as_raw());
    }
}

impl Tree {
    pub(super) fn symlink(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let (name, target) = (arguments.name()?, arguments.text()?);
        let parent = self.nodes.get(header.node)?;
        let asker = As::the_asker(header, 0)?;
        rustix::fs::symlinkat(target, &*parent, name)?;
        drop(asker);
        self.entry(header.node, name)
    }

    /// `struct fuse_mknod_in`.
    pub(super) fn mknod(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let (mode, device, umasked) = (arguments.u32()?, arguments.u32()?, arguments.u32()?);
        arguments.skip(4)?;
        let name = arguments.name()?;
        let parent = self.nodes.get(header.node)?;
        // As `new_decode_dev` of linux/kdev_t.h.
        let (major, minor) = (
            (device & 0xf_ff00) >> 8,
            device & 0xff | (device >> 12) & 0xf_ff00,
        );
        let asker = As::the_asker(header, umasked)?;
        let (kind, mode) = (FileType::from_raw_mode(mode), Mode::from_raw_mode(mode));
        rustix::fs::mknodat(
            &*parent,
            name,
            kind,
            mode,
            rustix::fs::makedev(major, minor),
        )?;
        drop(asker);
        self.entry(header.node, name)
    }

    /// `struct fuse_mkdir_in`.
    pub(super) fn mkdir(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let (mode, umasked) = (arguments.u32()?, arguments.u32()?);
        let name = arguments.name()?;
        let parent = self.nodes.get(header.node)?;
        let asker = As::the_asker(header, umasked)?;
        rustix::fs::mkdirat(&*parent, name, Mode::from_raw_mode(mode))?;
        drop(asker);
        self.entry(header.node, name)
    }

    /// `struct fuse_create_in`: makes a file and opens it.
    pub(super) fn create(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let (flags, mode, umasked) = (arguments.u32()?, arguments.u32()?, arguments.u32()?);
        arguments.skip(4)?;
        let name = arguments.name()?;
        let parent = self.nodes.get(header.node)?;
        let asked = OFlags::from_bits_retain(flags);
        let made = OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let asker = As::the_asker(header, umasked)?;
        let mode = Mode::from_raw_mode(mode);
        let file = rustix::fs::openat(&*parent, name, made | files::wanted(flags), mode);
        drop(asker);
        match file {
            Ok(file) => {
                let entry = self.entry(header.node, name)?;
                let sharing = parent.sharing;
                let handle = self.keep(file);
                Ok(files::open_out(entry, handle, sharing))
            }
            // Somebody was faster. What is there now is opened by its node, which is no link.
            Err(Errno::EXIST) if !asked.contains(OFlags::EXCL) => {
                let found = self.nodes.look_up(header.node, name)?;
                let node = self.nodes.get(found.number)?;
                let file = match self.open_node(&node, files::wanted(flags)) {
                    Ok(file) => file,
                    Err(error) => {
                        self.nodes.forget(found.number, 1);
                        return Err(error);
                    }
                };
                let entry = self.entry(header.node, name)?;
                self.nodes.forget(found.number, 1);
                let handle = self.keep(file);
                Ok(files::open_out(entry, handle, node.sharing))
            }
            Err(error) => Err(error),
        }
    }

    pub(super) fn unlink(
        &mut self,
        opcode: Opcode,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let name = arguments.name()?;
        let flags = match opcode {
            Opcode::Rmdir => AtFlags::REMOVEDIR,
            _ => AtFlags::empty(),
        };
        let parent = self.nodes.get(header.node)?;
        rustix::fs::unlinkat(&*parent, name, flags)?;
        Ok(Answer::default())
    }

    /// `struct fuse_rename_in` and `fuse_rename2_in`.
    pub(super) fn rename(
        &mut self,
        opcode: Opcode,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let target = arguments.u64()?;
        let mut flags = RenameFlags::empty();
        if opcode == Opcode::Rename2 {
            flags = RenameFlags::from_bits(arguments.u32()?).ok_or(Errno::INVAL)?;
            arguments.skip(4)?;
        }
        let (from, to) = (arguments.name()?, arguments.name()?);
        let (source, target) = (self.nodes.get(header.node)?, self.nodes.get(target)?);
        // A whiteout is made by whoever asks.
        let asker = As::the_asker(header, 0)?;
        rustix::fs::renameat_with(&*source, from, &*target, to, flags)?;
        drop(asker);
        Ok(Answer::default())
    }

    /// `struct fuse_link_in`.
    pub(super) fn link(
        &mut self,
        header: &Header,
        arguments: &mut Fields<'_>,
    ) -> Result<Answer, Errno> {
        let old = self.nodes.get(arguments.u64()?)?;
        let name: &CStr = arguments.name()?;
        let parent = self.nodes.get(header.node)?;
        let descriptor = Descriptors::name(old.as_fd());
        let directory = self.descriptors.directory();
        // The kernel's link to the file that the descriptor names, followed.
        let flags = AtFlags::SYMLINK_FOLLOW;
        rustix::fs::linkat(directory, descriptor, &*parent, name, flags)?;
        self.entry(header.node, name)
    }
}
