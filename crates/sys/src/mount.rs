//! The parts of the new mount interface that `rustix` lacks: `mount_setattr(2)`.

use std::os::fd::{AsRawFd, BorrowedFd};

use rustix::io::Errno;

/// Mount attributes, `MOUNT_ATTR_*` of `linux/mount.h`.
pub mod attr {
    pub const RDONLY: u64 = 0x1;
    pub const NOSUID: u64 = 0x2;
    pub const NODEV: u64 = 0x4;
    pub const NOEXEC: u64 = 0x8;
    /// The field that holds one of the access-time modes.
    pub const ATIME: u64 = 0x70;
    pub const NOATIME: u64 = 0x10;
    pub const STRICTATIME: u64 = 0x20;
    pub const NODIRATIME: u64 = 0x80;
    pub const IDMAP: u64 = 0x10_0000;
    pub const NOSYMFOLLOW: u64 = 0x20_0000;
}

/// Propagation types, `MS_*` of `linux/mount.h`.
pub mod propagation {
    pub const UNBINDABLE: u64 = 1 << 17;
    pub const PRIVATE: u64 = 1 << 18;
    pub const SLAVE: u64 = 1 << 19;
    pub const SHARED: u64 = 1 << 20;
}

/// Whether a change reaches the mounts below the named one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// The named mount only.
    One,
    /// The named mount and all below it (`AT_RECURSIVE`).
    Tree,
}

/// What `mount_setattr` is to change; `struct mount_attr` of `linux/mount.h`.
#[derive(Debug, Clone, Copy, Default)]
pub struct Change<'a> {
    /// Attributes to set, of [`attr`].
    pub set: u64,
    /// Attributes to clear, of [`attr`].
    pub clear: u64,
    /// One of [`propagation`], or 0 to leave it.
    pub propagation: u64,
    /// The user namespace whose map the mount gets; goes with [`attr::IDMAP`].
    pub userns: Option<BorrowedFd<'a>>,
}

#[repr(C)]
struct MountAttr {
    attr_set: u64,
    attr_clr: u64,
    propagation: u64,
    userns_fd: u64,
}

/// Changes the attributes of the mount that `mount` refers to; mount_setattr(2), Linux 5.12.
///
/// # Errors
/// `EINVAL`: not the root of a mount, or a file system that cannot be id-mapped; `EPERM`: no
/// CAP_SYS_ADMIN or a locked attribute; `ENOSYS`: an older kernel.
pub fn set_attributes(
    mount: BorrowedFd<'_>,
    reach: Reach,
    change: &Change<'_>,
) -> Result<(), Errno> {
    let value = MountAttr {
        attr_set: change.set,
        attr_clr: change.clear,
        propagation: change.propagation,
        userns_fd: change.userns.map_or(0, |fd| fd.as_raw_fd() as u64),
    };
    let flags = libc::AT_EMPTY_PATH
        | match reach {
            Reach::One => 0,
            Reach::Tree => libc::AT_RECURSIVE,
        };
    // SAFETY: mount_setattr reads a NUL-terminated path, here a static empty one, and `size`
    // bytes of a mount_attr, here a live repr(C) value of exactly that size. It writes no memory.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            flags,
            &raw const value,
            size_of::<MountAttr>(),
        )
    };
    if result == 0 {
        Ok(())
    } else {
        Err(last_errno())
    }
}

pub(crate) fn last_errno() -> Errno {
    Errno::from_io_error(&std::io::Error::last_os_error()).unwrap_or(Errno::IO)
}
