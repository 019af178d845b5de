//! What this process may do on the host, as the kernel sees it: root of a user namespace is a user of
//! the one above, whatever its number and its capabilities (user_namespaces(7)).

use gamut_sys::user_namespace;
use rustix::thread::CapabilitySet;

/// Whether this process has the capability over the host: `capable`, not `ns_capable`.
pub(crate) fn over_host(capability: CapabilitySet) -> bool {
    has(capability) && user_namespace::is_first() == Some(true)
}

/// Whether this process has the capability in its own user namespace.
pub(crate) fn has(capability: CapabilitySet) -> bool {
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective);
    effective.is_ok_and(|set| set.contains(capability))
}

/// Whether this process is in another user namespace than the first, where the kernel lets nobody
/// make device nodes. An unreadable map says nothing.
#[must_use]
pub fn in_another_user_namespace() -> bool {
    user_namespace::is_first() == Some(false)
}
