//! The root file system of a plan: an overlay over the image's layers, with the container's own on
//! top.

use std::os::fd::OwnedFd;

use gamut_plan::cell::StartError;
use gamut_plan::launch::RootPlan;
use rustix::fs::{Gid, Uid};
use rustix::io::Errno;

use super::idmap::Maps;
use super::overlay::{Mapping, Overlay, Writable};

/// Makes the overlay. With `maps` every layer is seen through an id-mapped mount, so that files
/// need not change hands for a user namespace.
pub(crate) fn make(plan: &RootPlan, maps: Option<&Maps>) -> Result<OwnedFd, StartError> {
    let mapping = maps.map(|maps| -> Result<Mapping, StartError> {
        Ok(Mapping {
            userns: maps.namespace()?,
            owner: (Uid::from_raw(maps.uid(0)), Gid::from_raw(maps.gid(0))),
        })
    });
    let overlay = Overlay {
        lower: &plan.lower,
        writable: Some(Writable {
            upper: &plan.upper,
            work: &plan.work,
            durability: plan.durability,
        }),
        mapping: mapping.transpose()?,
    };
    overlay
        .mount()
        .map_err(|errno| refused(plan, overlay.mapping.is_some(), errno))
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
    StartError::Step {
        step: format!(
            "mount the root file system over {}{how}",
            plan.upper.display()
        ),
        reason: std::io::Error::from(errno).to_string(),
        hint,
    }
}
