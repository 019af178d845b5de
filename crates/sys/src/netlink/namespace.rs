//! Network namespaces of the calling thread.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};
use rustix::io;
use rustix::thread::UnshareFlags;

/// Puts the calling thread, and no other, into a new, empty network namespace (unshare(2),
/// `CLONE_NEWNET`). Needs `CAP_SYS_ADMIN`.
pub fn unshare_network() -> io::Result<()> {
    // SAFETY: `unshare_unsafe` asks that no file descriptor table is unshared that other code
    // relies on sharing. CLONE_NEWNET changes the thread's network namespace only; descriptors,
    // sockets among them, stay open and keep the namespace they were made in.
    unsafe { rustix::thread::unshare_unsafe(UnshareFlags::NEWNET) }
}

/// The calling thread's network namespace (`/proc/thread-self/ns/net`, namespaces(7)).
pub fn own_network_namespace() -> io::Result<OwnedFd> {
    rustix::fs::open(
        "/proc/thread-self/ns/net",
        OFlags::RDONLY | OFlags::CLOEXEC,
        Mode::empty(),
    )
}
