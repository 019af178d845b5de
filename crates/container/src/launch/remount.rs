//! Other options for what the container has mounted already: mount(8), `remount`; fspick(2).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;

use gamut_plan::cell::StartError;
use gamut_sys::mount::{Reach, attr};
use oci_spec::runtime::Mount;
use rustix::io::Errno;
use rustix::mount::{FsPickFlags, fsconfig_reconfigure, fspick};

use super::bind::{Bind, Locks};
use super::mount_options::Options;
use super::mounts::{c_string, configure, parameters};

/// What is mounted at a place, to be changed.
#[derive(Debug)]
pub(crate) struct Remount {
    target: CString,
    /// Of the file system; `None`: the mount alone is changed, as with `bind`.
    options: Option<Vec<(CString, Option<CString>)>>,
    bind: Bind,
}

impl Remount {
    pub(super) fn change(&self, mount: BorrowedFd<'_>) -> Result<(), Errno> {
        if let Some(options) = &self.options {
            let flags = FsPickFlags::FSPICK_CLOEXEC | FsPickFlags::FSPICK_EMPTY_PATH;
            let fs = fspick(mount, c"", flags)?;
            configure(fs.as_fd(), options)?;
            fsconfig_reconfigure(fs.as_fd())?;
        }
        self.bind.change(mount)
    }

    pub(super) fn target(&self) -> &CStr {
        &self.target
    }

    /// From a mount of the specification.
    pub(super) fn of(
        mount: &Mount,
        options: &Options,
        locks: Locks,
    ) -> Result<Remount, StartError> {
        let mut given = parameters(options)?;
        // On the file system too, as mount(2) without MS_BIND.
        let readonly = options.flags.set & attr::RDONLY != 0;
        given.push((if readonly { c"ro" } else { c"rw" }.to_owned(), None));
        let mut flags = options.flags;
        flags.named = true;
        Ok(Remount {
            target: c_string(mount.destination().as_os_str().as_bytes())?,
            options: options.bind.is_none().then_some(given),
            bind: Bind {
                flags,
                recursive: options.recursive,
                propagation: options.propagation.or(Some((0, Reach::One))),
                locks,
                ..Bind::plain(Reach::One)
            },
        })
    }
}
