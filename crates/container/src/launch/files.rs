//! /etc/hosts, /etc/hostname and /etc/resolv.conf: written by gamut into the container's
//! directory on the host, bound over the image's.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;
use oci_spec::runtime::Mount;

use super::bind::clone_host;
use super::operations::Later;
use super::prepare::step_failed;

/// Where each is bound, and what it is.
pub(crate) fn of(plan: &LaunchPlan) -> Vec<(&'static CStr, Later)> {
    let files = &plan.files;
    let listed = [
        ("hosts", c"/etc/hosts", &files.hosts),
        ("hostname", c"/etc/hostname", &files.hostname),
        ("resolv.conf", c"/etc/resolv.conf", &files.resolv_conf),
    ];
    let mounts = plan.spec.mounts().as_deref().unwrap_or_default();
    let given = listed.into_iter().filter_map(|(name, target, contents)| {
        let contents = contents.clone()?;
        let path = files.directory.join(name);
        // A mount of the user's own goes before ours.
        let taken = |m: &Mount| m.destination().to_str() == target.to_str().ok();
        (!mounts.iter().any(taken)).then_some((target, Later::File { path, contents }))
    });
    given.collect()
}

/// Writes one, and opens it for the child to mount.
pub(crate) fn write(path: &Path, contents: &str) -> Result<OwnedFd, StartError> {
    std::fs::write(path, contents).map_err(|error| StartError::Step {
        step: format!("write {}", path.display()),
        reason: error.to_string(),
        hint: (error.kind() == std::io::ErrorKind::StorageFull)
            .then(|| "free some disk space".to_owned()),
    })?;
    let tree = clone_host(path, 0);
    tree.map(|(tree, _)| tree)
        .map_err(|e| step_failed(format!("bind {}", path.display()), e))
}
