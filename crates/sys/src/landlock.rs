//! Landlock (landlock(7)): a process gives up accesses for itself and all that it starts, for good.
//! Only what takes everything away is here; there are no rules.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use rustix::io::Errno;

use crate::mount::last_errno;

/// What is given up, as far as this kernel knows it; `LANDLOCK_*` of `linux/landlock.h`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum GivenUp {
    /// To open, change or look into any file by its path; TCP; the abstract Unix sockets and the
    /// processes of others. What is open already stays usable.
    Everything,
    /// As [`GivenUp::Everything`], but files.
    AllButFiles,
}

/// `struct landlock_ruleset_attr`. Kernels know a beginning of it.
#[repr(C)]
struct RulesetAttr {
    handled_access_fs: u64,
    handled_access_net: u64,
    scoped: u64,
}

const CREATE_RULESET_VERSION: u32 = 1;
/// bind(2) and connect(2) of TCP sockets; the fourth version.
const NET_TCP: u64 = 0b11;
/// Connections to abstract Unix sockets, and signals, that leave the domain; the sixth version.
const SCOPES: u64 = 0b11;

/// The accesses to files that a version handles: `LANDLOCK_ACCESS_FS_*`, a bit each.
const fn file_accesses(version: i64) -> u64 {
    let bits = match version {
        1 => 13,
        // Renaming and linking to another directory.
        2 => 14,
        // truncate(2).
        3 | 4 => 15,
        // ioctl(2) of devices.
        _ => 16,
    };
    (1 << bits) - 1
}

/// Gives it up. `no_new_privs` must be set, unless the caller has CAP_SYS_ADMIN.
///
/// Says whether there is anything that this kernel could take away.
///
/// # Errors
/// `EPERM` without `no_new_privs`; `E2BIG` below sixteen layers of it. A kernel without Landlock is no
/// error.
pub fn give_up(what: GivenUp) -> Result<bool, Errno> {
    // SAFETY: with this flag landlock_create_ruleset wants a null pointer and no size, and answers with
    // a number.
    let version = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            std::ptr::null::<RulesetAttr>(),
            0usize,
            CREATE_RULESET_VERSION,
        )
    };
    if version < 1 {
        return Ok(false);
    }
    let attributes = RulesetAttr {
        handled_access_fs: match what {
            GivenUp::Everything => file_accesses(version),
            GivenUp::AllButFiles => 0,
        },
        handled_access_net: if version >= 4 { NET_TCP } else { 0 },
        scoped: if version >= 6 { SCOPES } else { 0 },
    };
    if attributes.handled_access_fs | attributes.handled_access_net | attributes.scoped == 0 {
        return Ok(false);
    }
    // What an old kernel does not know of the structure is zero, which it accepts.
    // SAFETY: the call reads `size_of` bytes of a live repr(C) structure and gives a descriptor.
    let ruleset = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const attributes,
            size_of::<RulesetAttr>(),
            0,
        )
    };
    if ruleset < 0 {
        return Err(last_errno());
    }
    // SAFETY: a fresh descriptor that nobody else owns.
    let ruleset = unsafe { OwnedFd::from_raw_fd(ruleset as i32) };
    // SAFETY: takes two integers.
    let result = unsafe { libc::syscall(libc::SYS_landlock_restrict_self, ruleset.as_raw_fd(), 0) };
    if result == 0 {
        Ok(true)
    } else {
        Err(last_errno())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_gave_up_files_opens_none() {
        std::thread::spawn(|| {
            rustix::thread::set_no_new_privs(true).unwrap();
            if !give_up(GivenUp::Everything).unwrap() {
                eprintln!("skipped: this kernel has no Landlock");
                return;
            }
            let opened = std::fs::File::open("/proc/self/status");
            assert_eq!(opened.unwrap_err().raw_os_error(), Some(libc::EACCES));
        })
        .join()
        .unwrap();
    }
}
