//! FUSE on the wire, `linux/fuse.h` (7.31 and what is compatible with it): requests read field by field
//! from bytes that the guest chose, and answers made of fields. All numbers are little-endian, because
//! guest and host are.

use std::ffi::CStr;

use rustix::io::Errno;

/// The protocol spoken: version 7, and the newest minor one whose additions are known here.
pub(super) const MAJOR: u32 = 7;
pub(super) const MINOR: u32 = 36;
/// The oldest minor version whose structures are the ones below.
pub(super) const MINOR_MIN: u32 = 31;

/// `struct fuse_in_header`.
pub(super) const IN_HEADER_BYTES: usize = 40;
/// `struct fuse_out_header`.
pub(super) const OUT_HEADER_BYTES: u64 = 16;
/// `struct fuse_write_in`, which data follow.
pub(super) const WRITE_IN_BYTES: usize = 40;
/// The most that arguments take, but for what is written to files: an attribute of 64 KiB with its name.
pub(super) const ARGUMENTS_BYTES_MAX: u64 = (64 << 10) + 4096;

/// What is asked, `enum fuse_opcode`, as far as it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(super) enum Opcode {
    Lookup = 1,
    Forget = 2,
    Getattr = 3,
    Setattr = 4,
    Readlink = 5,
    Symlink = 6,
    Mknod = 8,
    Mkdir = 9,
    Unlink = 10,
    Rmdir = 11,
    Rename = 12,
    Link = 13,
    Open = 14,
    Read = 15,
    Write = 16,
    Statfs = 17,
    Release = 18,
    Fsync = 20,
    Setxattr = 21,
    Getxattr = 22,
    Listxattr = 23,
    Removexattr = 24,
    Init = 26,
    Opendir = 27,
    Readdir = 28,
    Releasedir = 29,
    Fsyncdir = 30,
    Create = 35,
    Interrupt = 36,
    Destroy = 38,
    BatchForget = 42,
    Fallocate = 43,
    Rename2 = 45,
    Lseek = 46,
    CopyFileRange = 47,
    Syncfs = 50,
}

impl Opcode {
    const ALL: [Self; 36] = [
        Self::Lookup,
        Self::Forget,
        Self::Getattr,
        Self::Setattr,
        Self::Readlink,
        Self::Symlink,
        Self::Mknod,
        Self::Mkdir,
        Self::Unlink,
        Self::Rmdir,
        Self::Rename,
        Self::Link,
        Self::Open,
        Self::Read,
        Self::Write,
        Self::Statfs,
        Self::Release,
        Self::Fsync,
        Self::Setxattr,
        Self::Getxattr,
        Self::Listxattr,
        Self::Removexattr,
        Self::Init,
        Self::Opendir,
        Self::Readdir,
        Self::Releasedir,
        Self::Fsyncdir,
        Self::Create,
        Self::Interrupt,
        Self::Destroy,
        Self::BatchForget,
        Self::Fallocate,
        Self::Rename2,
        Self::Lseek,
        Self::CopyFileRange,
        Self::Syncfs,
    ];

    /// `None`: one that is answered with `ENOSYS`, after which guests do without.
    pub(super) fn from_number(number: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|known| *known as u32 == number)
    }
}

/// `FUSE_*` of the negotiation (`struct fuse_init_in`).
pub(super) mod init {
    pub(crate) const ASYNC_READ: u32 = 1 << 0;
    pub(crate) const BIG_WRITES: u32 = 1 << 5;
    pub(crate) const DONT_MASK: u32 = 1 << 6;
    pub(crate) const AUTO_INVAL_DATA: u32 = 1 << 12;
    pub(crate) const ASYNC_DIO: u32 = 1 << 15;
    pub(crate) const PARALLEL_DIROPS: u32 = 1 << 18;
    pub(crate) const POSIX_ACL: u32 = 1 << 20;
    pub(crate) const MAX_PAGES: u32 = 1 << 22;
    pub(crate) const CACHE_SYMLINKS: u32 = 1 << 23;
    pub(crate) const SUBMOUNTS: u32 = 1 << 27;
    pub(crate) const HANDLE_KILLPRIV_V2: u32 = 1 << 28;
}

/// `FATTR_*` of `struct fuse_setattr_in`.
pub(super) mod setattr {
    pub(crate) const MODE: u32 = 1 << 0;
    pub(crate) const UID: u32 = 1 << 1;
    pub(crate) const GID: u32 = 1 << 2;
    pub(crate) const SIZE: u32 = 1 << 3;
    pub(crate) const ATIME: u32 = 1 << 4;
    pub(crate) const MTIME: u32 = 1 << 5;
    pub(crate) const FH: u32 = 1 << 6;
    pub(crate) const ATIME_NOW: u32 = 1 << 7;
    pub(crate) const MTIME_NOW: u32 = 1 << 8;
    pub(crate) const KILL_SUIDGID: u32 = 1 << 11;
}

/// The entry is the root of another mount: the guest gives it a device number of its own.
pub(super) const ATTR_SUBMOUNT: u32 = 1 << 0;
/// What the guest has in its page cache is still right.
pub(super) const OPEN_KEEP_CACHE: u32 = 1 << 1;
/// The guest keeps the listing of a directory.
pub(super) const OPEN_CACHE_DIR: u32 = 1 << 3;
/// Who writes may not keep set-id bits.
pub(super) const WRITE_KILL_SUIDGID: u32 = 1 << 2;
/// Only data, no metadata (`FUSE_FSYNC_FDATASYNC`).
pub(super) const FSYNC_FDATASYNC: u32 = 1 << 0;

/// `struct fuse_in_header`, without its length, which the chain has, and the pid.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header {
    pub(super) opcode: u32,
    pub(super) unique: u64,
    pub(super) node: u64,
    pub(super) uid: u32,
    pub(super) gid: u32,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; IN_HEADER_BYTES]) -> Result<Self, Errno> {
        let mut fields = Fields(bytes);
        let _length = fields.u32()?;
        Ok(Self {
            opcode: fields.u32()?,
            unique: fields.u64()?,
            node: fields.u64()?,
            uid: fields.u32()?,
            gid: fields.u32()?,
        })
    }
}

/// `struct fuse_out_header` of an answer with so many bytes behind it.
pub(super) fn out_header(unique: u64, payload_bytes: u64, error: Option<Errno>) -> [u8; 16] {
    let mut bytes = [0; 16];
    // Answers are at most a few MiB.
    let length = (OUT_HEADER_BYTES + payload_bytes) as u32;
    let error = error.map_or(0, |error| -error.raw_os_error());
    bytes[..4].copy_from_slice(&length.to_le_bytes());
    bytes[4..8].copy_from_slice(&error.to_le_bytes());
    bytes[8..].copy_from_slice(&unique.to_le_bytes());
    bytes
}

/// Arguments, used up from the front. What is too short is `EINVAL`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Fields<'a>(pub(super) &'a [u8]);

impl<'a> Fields<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Errno> {
        let (front, rest) = self.0.split_at_checked(count).ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(front)
    }

    pub(super) fn skip(&mut self, count: usize) -> Result<(), Errno> {
        self.bytes(count).map(drop)
    }

    pub(super) fn u32(&mut self) -> Result<u32, Errno> {
        let (front, rest) = self.0.split_first_chunk().ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(u32::from_le_bytes(*front))
    }

    pub(super) fn u64(&mut self) -> Result<u64, Errno> {
        let (front, rest) = self.0.split_first_chunk().ok_or(Errno::INVAL)?;
        self.0 = rest;
        Ok(u64::from_le_bytes(*front))
    }

    /// A string and its NUL.
    pub(super) fn text(&mut self) -> Result<&'a CStr, Errno> {
        let text = CStr::from_bytes_until_nul(self.0).map_err(|_| Errno::INVAL)?;
        self.skip(text.to_bytes_with_nul().len())?;
        Ok(text)
    }

    /// One name of a directory: no path, and no way up.
    pub(super) fn name(&mut self) -> Result<&'a CStr, Errno> {
        let name = self.text()?;
        match name.to_bytes() {
            b"" | b"." | b".." => Err(Errno::INVAL),
            bytes if bytes.contains(&b'/') => Err(Errno::INVAL),
            bytes if bytes.len() > 255 => Err(Errno::NAMETOOLONG),
            _ => Ok(name),
        }
    }
}

/// Fields of an answer.
#[derive(Debug, Default)]
pub(super) struct Answer(pub(super) Vec<u8>);

impl Answer {
    pub(super) fn u16(mut self, value: u16) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u32(mut self, value: u32) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn u64(mut self, value: u64) -> Self {
        self.0.extend_from_slice(&value.to_le_bytes());
        self
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_one_name() {
        for (bytes, is_name) in [
            (&b"file\0"[..], true),
            (b"...\0", true),
            (b" \0", true),
            (b"\0", false),
            (b".\0", false),
            (b"..\0", false),
            (b"a/b\0", false),
            (b"/\0", false),
            (b"no end", false),
            (b"", false),
        ] {
            assert_eq!(Fields(bytes).name().is_ok(), is_name, "{bytes:?}");
        }
        let long = [b'n'; 256];
        let long = [&long[..], b"\0"].concat();
        assert_eq!(Fields(&long).name(), Err(Errno::NAMETOOLONG));
        assert!(Fields(&long[1..]).name().is_ok());
    }

    #[test]
    fn what_is_cut_is_refused() {
        let mut fields = Fields(&[1, 2, 3]);
        assert_eq!(fields.u32(), Err(Errno::INVAL));
        assert_eq!(fields.u64(), Err(Errno::INVAL));
        assert_eq!(fields.bytes(4), Err(Errno::INVAL));
        assert_eq!(fields.bytes(3), Ok(&[1, 2, 3][..]));
    }
}
