//! User namespaces (user_namespaces(7)): which this process is in, and one that no process needs.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions};

use crate::process::{Lineage, Side, clone3, namespace};

/// Whether the ids of this process are the host's. `None`: its map cannot be read.
#[must_use]
pub fn is_first() -> Option<bool> {
    let map = std::fs::read_to_string("/proc/self/uid_map").ok()?;
    let first = || map.split_ascii_whitespace().eq(["0", "0", "4294967295"]);
    (!map.is_empty()).then(first)
}

/// Calls `look` with a process that does nothing, in a new user namespace, and ends it. For a namespace that
/// no process needs, such as an id-mapped mount's: its maps are written and it is opened meanwhile.
///
/// # Errors
/// As [`clone3`].
pub fn in_new<T>(look: impl FnOnce(Pid) -> T) -> Result<T, Errno> {
    // SAFETY: the caller may have other threads, whose locks the child would see locked for ever; it
    // takes none: it makes two system calls, over and over the second, and returns to nobody.
    let side = unsafe { clone3(namespace::USER, None, Lineage::Child) }?;
    let Side::Parent { child, pidfd } = side else {
        // Ends with its parent, or by the signal below, whichever is first.
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        loop {
            rustix::event::pause();
        }
    };
    let seen = look(child);
    let _ = rustix::process::pidfd_send_signal(&pidfd, Signal::KILL);
    // Who waits for all its children may have waited for this one.
    let _ = rustix::process::waitpid(Some(child), WaitOptions::empty());
    Ok(seen)
}
