//! What a start needs and does not depend on its plan, done where there is time.

use std::cell::RefCell;
use std::os::fd::OwnedFd;

use gamut_plan::cell::StartError;
use gamut_plan::draw;
use gamut_plan::launch::RootPlan;
use oci_spec::runtime::Mount;

use crate::cgroup::{CgroupError, Hierarchies};
use crate::launch;

thread_local! {
    static HIERARCHIES: RefCell<Option<Hierarchies>> = const { RefCell::new(None) };
    static DEV: RefCell<Option<(Mount, OwnedFd)>> = const { RefCell::new(None) };
}

/// Stack that a start goes through: a fault for each page of it takes longer than the page's use.
const STACK_BYTES: usize = 128 << 10;

/// Looks at the host's control groups, and makes a /dev as most containers have it, for the next
/// start of this thread. What fails here, the start will say.
pub fn prepare() {
    touch_stack();
    HIERARCHIES.set(Hierarchies::discover().ok());
    DEV.set(draw::dev().ok().and_then(|mount| {
        let tree = launch::devices::tree(&mount)?;
        Some((mount, tree))
    }));
}

#[inline(never)]
fn touch_stack() {
    std::hint::black_box(&mut [0u8; STACK_BYTES]);
}

/// The /dev that was made for this start, with the default nodes, if it is the one asked for.
pub(crate) fn dev(asked: &Mount) -> Option<OwnedFd> {
    DEV.take()
        .filter(|(mount, _)| mount == asked)
        .map(|(_, tree)| tree)
}

/// What was seen for this start; else what is there now.
pub(crate) fn hierarchies() -> Result<Hierarchies, CgroupError> {
    HIERARCHIES.take().map_or_else(Hierarchies::discover, Ok)
}

/// Mounts a root, as a start without a user namespace of its own would.
///
/// # Errors
/// As that start would fail.
pub fn mount(root: &RootPlan) -> Result<OwnedFd, StartError> {
    launch::root::mount(root, None, launch::overlay::Marks::ours())
}
