//! /sys/fs/cgroup as the container sees it: its own group as the root of each hierarchy.
//!
//! The group's directories are bound, on v1 below a small tmpfs. With the cgroup namespace the
//! workload cannot tell it from a mount of its own, and no hierarchy of the host is reachable.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_plan::launch::{Groups, LaunchPlan};
use gamut_sys::mount::attr;
use oci_spec::runtime::Mount;

use super::mounts::{self, Op};
use super::operations::Later;
use super::prepare::c_string;
use crate::cgroup::{Hierarchies, Hierarchy, Mode, Version};
use crate::group::{cgroup_path, needs};

/// Whether the workload sees version 2 alone, whatever its limits are on.
fn is_unified(plan: &LaunchPlan, hierarchies: &Hierarchies) -> bool {
    let mut mounted = hierarchies.mounted.iter();
    plan.groups == Groups::Unified && mounted.any(|one| one.version == Version::V2)
}

/// What the child mounts for it.
pub(crate) struct View {
    /// On v1: the directory of the hierarchies.
    pub(crate) directory: Option<Op>,
    /// Where each group is shown, when the keeper has made it.
    pub(crate) groups: Vec<(CString, Later)>,
}

pub(crate) fn view(
    plan: &LaunchPlan,
    mount: &Mount,
    hierarchies: &Hierarchies,
) -> Result<View, StartError> {
    let options = mount.options().as_deref().unwrap_or_default();
    let readonly = super::mount_options::sort_options(options).flags.set & attr::RDONLY;
    let attributes = readonly | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let path = cgroup_path(plan);
    let group = |hierarchy: &Hierarchy| Later::Group {
        path: format!("{}{}/{path}", hierarchy.mount_point, hierarchy.base).into(),
        attributes,
    };
    let destination = c_string(mount.destination().as_os_str().as_bytes())?;
    let mut groups = Vec::new();
    if hierarchies.mode == Mode::V2 || is_unified(plan, hierarchies) {
        if let Some(unified) = hierarchies.mounted.last() {
            groups.push((destination, group(unified)));
        }
        return Ok(View {
            directory: None,
            groups,
        });
    }
    let mut names = Vec::new();
    for index in needs(plan).places(hierarchies) {
        let hierarchy = &hierarchies.mounted[index];
        let Some(name) = Path::new(&hierarchy.mount_point).file_name() else {
            continue;
        };
        let target = c_string(mount.destination().join(name).as_os_str().as_bytes())?;
        names.push(c_string(name.as_bytes())?);
        groups.push((target, group(hierarchy)));
    }
    Ok(View {
        directory: Some(mounts::directory_tree(&destination, names)),
        groups,
    })
}
