//! What this process may do on the host, as the kernel sees it: root of a user namespace is a user of
//! the one above, whatever its number and its capabilities (user_namespaces(7)).

use rustix::thread::CapabilitySet;

/// Whether this process has the capability over the host: `capable`, not `ns_capable`.
pub(crate) fn over_host(capability: CapabilitySet) -> bool {
    has(capability) && in_first_user_namespace()
}

/// Whether this process has the capability in its own user namespace.
pub(crate) fn has(capability: CapabilitySet) -> bool {
    let effective = rustix::thread::capabilities(None).map(|sets| sets.effective);
    effective.is_ok_and(|set| set.contains(capability))
}

/// Whether the ids of this process are the host's. An unreadable map says nothing.
fn in_first_user_namespace() -> bool {
    is_first(&own_map())
}

/// Whether this process is in another user namespace than the first, where the kernel lets nobody
/// make device nodes. An unreadable map says nothing.
#[must_use]
pub fn in_another_user_namespace() -> bool {
    let map = own_map();
    !map.is_empty() && !is_first(&map)
}

fn own_map() -> String {
    std::fs::read_to_string("/proc/self/uid_map").unwrap_or_default()
}

fn is_first(map: &str) -> bool {
    map.split_ascii_whitespace().eq(["0", "0", "4294967295"])
}
