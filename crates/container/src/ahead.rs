//! What a start needs and does not depend on its plan, done while there is time.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use gamut_plan::launch::RootPlan;

use crate::cgroup::{CgroupError, Hierarchies};
use crate::launch;

thread_local! {
    static HIERARCHIES: RefCell<Option<Hierarchies>> = const { RefCell::new(None) };
}

/// Looks at the host's control groups. What is wrong with them, the start will say.
pub fn look() {
    HIERARCHIES.set(Hierarchies::discover().ok());
}

/// What [`look`] has seen, once; else what is there now.
pub(crate) fn hierarchies() -> Result<Hierarchies, CgroupError> {
    HIERARCHIES.take().map_or_else(Hierarchies::discover, Ok)
}

/// Mounts a root, as a start without a user namespace of its own would. `None`: that start will
/// say what is wrong.
#[must_use]
pub fn mount(root: &RootPlan) -> Option<OwnedFd> {
    launch::root::mount(root, None).ok()
}
