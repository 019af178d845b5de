//! /sys/fs/cgroup as the container sees it: its own group as the root of each hierarchy.
//!
//! The group's directories are bound, on v1 below a small tmpfs. With the cgroup namespace the
//! workload cannot tell it from a mount of its own, and no hierarchy of the host is reachable.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;
use gamut_sys::mount::{Reach, attr};
use oci_spec::runtime::Mount;
use rustix::io::Errno;

use super::mounts::{self, Op};
use super::prepare::{c_string, step_failed};
use super::target::Kind;
use crate::cell::cgroup_path;
use crate::cgroup::{Hierarchies, Mode, Version};

pub(crate) fn operations(
    plan: &LaunchPlan,
    mount: &Mount,
    hierarchies: &Hierarchies,
) -> Result<Vec<Op>, StartError> {
    let destination = c_string(mount.destination().as_os_str().as_bytes())?;
    let options = mount.options().as_deref().unwrap_or_default();
    let readonly = if options.iter().any(|o| o == "rw") {
        0
    } else {
        attr::RDONLY
    };
    let attributes = readonly | attr::NOSUID | attr::NODEV | attr::NOEXEC;
    let path = cgroup_path(plan);
    if hierarchies.mode == Mode::V2 {
        let Some(unified) = hierarchies
            .mounted
            .iter()
            .find(|h| h.version == Version::V2)
        else {
            return Ok(Vec::new());
        };
        let group = format!("{}{}/{path}", unified.mount_point, unified.base);
        return Ok(bind(&group, destination, attributes)?.into_iter().collect());
    }
    let mut names = Vec::new();
    let mut binds = Vec::new();
    for hierarchy in &hierarchies.mounted {
        let Some(name) = Path::new(&hierarchy.mount_point).file_name() else {
            continue;
        };
        let group = format!("{}{}/{path}", hierarchy.mount_point, hierarchy.base);
        let target = c_string(mount.destination().join(name).as_os_str().as_bytes())?;
        if let Some(op) = bind(&group, target, attributes)? {
            names.push(c_string(name.as_bytes())?);
            binds.push(op);
        }
    }
    let mut ops = vec![mounts::directory_tree(&destination, names)];
    ops.extend(binds);
    Ok(ops)
}

/// `None` where the container has no group in the hierarchy.
fn bind(group: &str, target: CString, attributes: u64) -> Result<Option<Op>, StartError> {
    match mounts::clone_host_tree(Path::new(group), Reach::One, attributes, 0) {
        Ok((tree, _)) => Ok(Some(Op::Attach {
            tree,
            target,
            kind: Kind::Directory,
        })),
        Err(Errno::NOENT) => Ok(None),
        Err(errno) => Err(step_failed(format!("bind the cgroup {group}"), errno)),
    }
}
