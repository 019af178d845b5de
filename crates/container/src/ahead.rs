//! What a start needs and does not depend on its plan, done while, or where, there is time.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use gamut_plan::launch::RootPlan;

use crate::cgroup::{CgroupError, Hierarchies};
use crate::launch;

thread_local! {
    static HIERARCHIES: RefCell<Option<Hierarchies>> = const { RefCell::new(None) };
}

/// Looks at the host's control groups, for a keeper that is busy: see [`remember`]. What is wrong
/// with them, the start will say.
#[must_use]
pub fn look() -> serde_json::Value {
    let seen = Hierarchies::discover().ok();
    serde_json::to_value(seen).unwrap_or_default()
}

/// Takes what [`look`] has seen in another process for the next start.
pub fn remember(seen: serde_json::Value) {
    HIERARCHIES.set(serde_json::from_value(seen).ok());
}

/// What was seen for this start; else what is there now.
pub(crate) fn hierarchies() -> Result<Hierarchies, CgroupError> {
    HIERARCHIES.take().map_or_else(Hierarchies::discover, Ok)
}

/// Mounts a root, as a start without a user namespace of its own would. `None`: that start will
/// say what is wrong.
#[must_use]
pub fn mount(root: &RootPlan) -> Option<OwnedFd> {
    launch::root::mount(root, None).ok()
}
