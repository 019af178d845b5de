//! The ground: what `rustix` does not offer of the kernel's interface, behind safe functions.
//!
//! Rooms call `rustix` directly for what it has; a wrapper here exists only where `rustix` has
//! none, or where several calls must be made in one order to be safe.

pub mod bpf;
pub mod command;
pub mod dedupe;
pub mod device_mapper;
#[cfg(all(target_arch = "x86_64", target_env = "gnu"))]
pub mod early;
/// Elsewhere the C library starts fast enough, or another way: nothing is begun before it.
#[cfg(not(all(target_arch = "x86_64", target_env = "gnu")))]
pub mod early {
    /// `None`: no keeper was begun.
    #[must_use]
    pub fn keeper() -> Option<std::os::fd::OwnedFd> {
        None
    }
}
pub mod fanotify;
pub mod file_ids;
pub mod fs_verity;
pub mod guest;
pub mod interface;
pub mod landlock;
pub mod loop_device;
pub mod mount;
pub mod netlink;
pub mod own_program;
pub mod process;
pub mod schedule;
pub mod seccomp;
pub mod signal;
pub mod socket;
pub mod spawn;
pub mod tap;
#[cfg(target_arch = "x86_64")]
pub mod tsc;
mod turn;
pub mod user_namespace;
