//! Which control group a container is to have, and who makes it.

use super::bundle::Bundle;
use super::error::OciError;
use crate::cgroup::{Cgroup, Hierarchies};
use crate::group::Scope;
use crate::systemd::{self, Bus, Systemd, Unit};

/// Who makes a container's control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// We do, as directories.
    Cgroupfs,
    /// systemd does, as a transient scope.
    Systemd,
}

/// "If the path is absolute, it is relative to the cgroups mount point; else the runtime may
/// interpret it": here below a group of gamut's own.
fn cgroup_path(id: &str, bundle: &Bundle) -> String {
    let linux = bundle.spec.linux().as_ref();
    let given = linux.and_then(|linux| linux.cgroups_path().as_ref());
    match given.map(|path| path.to_string_lossy()) {
        Some(path) if path.starts_with('/') => path.trim_matches('/').to_owned(),
        Some(path) if !path.is_empty() => format!("gamut-oci/{}", path.trim_matches('/')),
        _ => format!("gamut-oci/{id}"),
    }
}

/// Which control group a container is to have.
pub(super) struct GroupPlace {
    pub(super) hierarchies: Hierarchies,
    pub(super) cgroup: String,
    /// Who is to make it, if not we.
    pub(super) scope: Option<Scope>,
}

impl GroupPlace {
    pub(super) fn of(id: &str, bundle: &Bundle, driver: CgroupDriver) -> Result<Self, OciError> {
        let mut hierarchies = Hierarchies::discover().map_err(OciError::Cgroup)?;
        let (cgroup, scope) = match driver {
            CgroupDriver::Cgroupfs => (cgroup_path(id, bundle), None),
            CgroupDriver::Systemd => {
                hierarchies = hierarchies.from_the_top();
                let (path, scope) = scope(id, bundle)?;
                (path, Some(scope))
            }
        };
        Ok(GroupPlace {
            hierarchies,
            cgroup,
            scope,
        })
    }
}

/// The scope that systemd is to make, and the group that it will be.
fn scope(id: &str, bundle: &Bundle) -> Result<(String, Scope), OciError> {
    let linux = bundle.spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_ref());
    let path = path.map(|path| path.to_string_lossy());
    let unit = Unit::from_path(path.as_deref(), id, Bus::of_caller())?;
    let properties = systemd::annotated(bundle.spec.annotations().as_ref())?;
    let mut systemd = Systemd::open(unit.bus)?;
    let above = match unit.bus {
        Bus::System => String::new(),
        Bus::User => systemd.control_group()?,
    };
    let scope = Scope {
        unit,
        systemd,
        properties,
    };
    Ok((scope.unit.group(&above)?, scope))
}

/// A group that is there already must be nobody's: what is in it would die with the container.
pub(super) fn check_group(hierarchies: &Hierarchies, path: &str) -> Result<(), OciError> {
    let Ok(group) = Cgroup::open(hierarchies, path) else {
        return Ok(());
    };
    let processes = group.processes().map_err(OciError::Cgroup)?.len();
    if processes > 0 {
        return Err(OciError::GroupInUse(processes));
    }
    match group.is_frozen() {
        Ok(true) => Err(OciError::GroupFrozen),
        _ => Ok(()),
    }
}
