//! The root file system of a plan: an overlay over the image's layers, with the container's own on
//! top; or a directory that is the container's alone.

use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_plan::launch::{LaunchPlan, RootPlan};
use gamut_sys::mount::{Change, Reach, propagation, set_attributes};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use rustix::fs::{CWD, Gid, Uid};
use rustix::io::Errno;
use rustix::mount::OpenTreeFlags;

use super::idmap::Maps;
use super::overlay::{Mapping, Marks, Overlay, Writable};

/// Makes the mount. With a user namespace of the plan's own every layer is seen through an
/// id-mapped mount, so that files need not change hands.
pub(crate) fn make(plan: &LaunchPlan) -> Result<OwnedFd, StartError> {
    let mapping = match own_maps(plan) {
        None => None,
        Some(maps) => Some(Mapping {
            userns: maps.namespace()?,
            owner: (Uid::from_raw(maps.uid(0)), Gid::from_raw(maps.gid(0))),
        }),
    };
    mount(&plan.root, mapping.as_ref(), Marks::of(plan))
}

/// Whether the plan's layers are shown with other ids than theirs.
pub(crate) fn has_own_ids(plan: &LaunchPlan) -> bool {
    own_maps(plan).is_some()
}

fn own_maps(plan: &LaunchPlan) -> Option<Maps> {
    let linux = plan.spec.linux().as_ref()?;
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    let own = |n: &LinuxNamespace| n.typ() == LinuxNamespaceType::User && n.path().is_none();
    Maps::of(linux).filter(|_| listed.iter().any(own))
}

/// Mounts the layers as `mapping` shows them.
pub(crate) fn mount(
    plan: &RootPlan,
    mapping: Option<&Mapping>,
    marks: Marks,
) -> Result<OwnedFd, StartError> {
    if plan.lower.is_empty() {
        return directory(&plan.upper, mapping)
            .map_err(|errno| refused(plan, mapping.is_some(), errno));
    }
    let overlay = Overlay {
        lower: &plan.lower,
        writable: Some(Writable {
            upper: &plan.upper,
            work: &plan.work,
            durability: plan.durability,
        }),
        mapping,
        marks,
    };
    overlay
        .mount()
        .map_err(|errno| refused(plan, overlay.mapping.is_some(), errno))
}

/// A root that is no overlay, private: pivot_root(2) takes no other. What is written through a mapped
/// view gets the ids that it shows.
fn directory(path: &Path, mapping: Option<&Mapping>) -> Result<OwnedFd, Errno> {
    let tree = match mapping {
        Some(mapping) => super::overlay::mapped(path, mapping.userns.as_fd())?,
        None => {
            let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
            rustix::mount::open_tree(CWD, path, flags)?
        }
    };
    let change = Change {
        propagation: propagation::PRIVATE,
        ..Change::default()
    };
    set_attributes(tree.as_fd(), Reach::One, &change)?;
    Ok(tree)
}

fn refused(plan: &RootPlan, mapped: bool, errno: Errno) -> StartError {
    let hint = match errno {
        Errno::PERM | Errno::ACCESS => Some("gamut needs root to mount an overlay here".into()),
        Errno::NOENT => Some("a layer is missing: remove the image and pull it again".into()),
        Errno::NODEV => {
            Some("this kernel has no overlayfs: load it with `modprobe overlay`".into())
        }
        Errno::STALE | Errno::BUSY => Some("its writable layer is in use by another mount".into()),
        Errno::TOOBIG => Some(format!(
            "{} layers are too many for this kernel: use Linux 6.5 or newer, or an image with fewer",
            plan.lower.len()
        )),
        Errno::INVAL | Errno::OPNOTSUPP if mapped => Some(
            "`--userns` needs id-mapped layers: Linux 5.19 and a file system that supports them"
                .into(),
        ),
        _ => None,
    };
    let how = if mapped { " with mapped ids" } else { "" };
    let over = if plan.lower.is_empty() {
        "from"
    } else {
        "over"
    };
    StartError::Step {
        step: format!(
            "mount the root file system {over} {}{how}",
            plan.upper.display()
        ),
        reason: std::io::Error::from(errno).to_string(),
        hint,
    }
}
