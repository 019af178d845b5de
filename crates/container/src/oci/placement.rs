//! Which control group a container is to have, and who makes it; for a user without privileges, whether
//! it has one at all.

use oci_spec::runtime::{LinuxResources, Spec};
use rustix::thread::CapabilitySet;
use serde_json::Value;

use super::error::OciError;
use crate::cgroup::{Cgroup, CgroupError, Extent, Hierarchies, Mode, Needs, Version};
use crate::group::{Own, Scope};
use crate::privilege;
use crate::systemd::{self, Bus, Systemd, Unit};

/// Who makes a container's control group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CgroupDriver {
    /// We do, as directories.
    Cgroupfs,
    /// systemd does, as a transient scope.
    Systemd,
}

/// A group that is to be made, or the caller's own.
#[derive(Debug)]
pub(super) struct GroupPlace {
    pub(super) hierarchies: Hierarchies,
    /// Relative to the base of each hierarchy; empty: the caller's.
    pub(super) cgroup: String,
    pub(super) own: Own,
    /// What systemd is to make, if that is asked for.
    pub(super) scope: Option<Scope>,
}

impl GroupPlace {
    /// "If the path is absolute, it is relative to the cgroups mount point; else the runtime may
    /// interpret it": here below a group of gamut's own.
    ///
    /// Rules of devices are taken out of a configuration that cannot have them enforced: who may make
    /// no devices gets none but what the host's permissions let him have.
    pub(super) fn of(
        id: &str,
        spec: &mut Spec,
        driver: CgroupDriver,
    ) -> Result<GroupPlace, OciError> {
        let found = Hierarchies::discover();
        let all = matches!(&found, Ok(found) if found.extent == Extent::All);
        let privileged = all || privilege::over_host(CapabilitySet::SYS_ADMIN);
        if driver == CgroupDriver::Systemd {
            let (cgroup, scope) = scope(id, spec)?;
            if !privileged {
                drop_device_rules(spec);
            }
            return Ok(GroupPlace {
                hierarchies: found.map_err(OciError::Cgroup)?.from_the_top(),
                cgroup,
                own: Own::Yes,
                scope: Some(scope),
            });
        }
        let linux = spec.linux().as_ref();
        let given = linux.and_then(|linux| linux.cgroups_path().as_ref());
        let given = given.map(|path| path.to_string_lossy()).unwrap_or_default();
        let (absolute, named) = (given.starts_with('/'), !given.is_empty());
        let path = match given.trim_matches('/') {
            "" => format!("gamut-oci/{id}"),
            path if absolute => path.to_owned(),
            path => format!("gamut-oci/{path}"),
        };
        let at = |hierarchies, cgroup| GroupPlace {
            hierarchies,
            cgroup,
            own: Own::Yes,
            scope: None,
        };
        if privileged {
            return Ok(at(found.map_err(OciError::Cgroup)?, path));
        }
        let limits = drop_device_rules(spec).is_some_and(asks);
        let mut hierarchies = match found {
            Err(CgroupError::NotMounted) if !named && !limits => Hierarchies {
                mode: Mode::V2,
                mounted: Vec::new(),
                extent: Extent::Delegated,
            },
            other => other.map_err(OciError::Cgroup)?,
        };
        if hierarchies.mode == Mode::Hybrid {
            // It limits nothing there, and only root moves a process into a part of it.
            hierarchies.mounted.retain(|one| one.version == Version::V1);
            hierarchies.mode = Mode::V1;
        }
        if absolute {
            hierarchies.reach(&path);
        }
        if named || limits || can_be_made(&hierarchies, &path) {
            return Ok(at(hierarchies, path));
        }
        Ok(GroupPlace {
            hierarchies: Hierarchies::own_groups(hierarchies),
            cgroup: String::new(),
            own: Own::No,
            scope: None,
        })
    }

    /// A group that is there already must be nobody's: what is in it would die with the container.
    pub(super) fn check(&self) -> Result<(), OciError> {
        let group = match self.own {
            Own::Yes => Cgroup::open(&self.hierarchies, &self.cgroup),
            Own::No => return Ok(()),
        };
        let Ok(group) = group else { return Ok(()) };
        let processes = group.processes().map_err(OciError::Cgroup)?.len();
        if processes > 0 {
            return Err(OciError::GroupInUse(processes));
        }
        match group.is_frozen() {
            Ok(true) => Err(OciError::GroupFrozen),
            _ => Ok(()),
        }
    }

    /// What is to be remembered of it: the host's own hierarchies are found again.
    pub(super) fn kept(&self) -> Option<Hierarchies> {
        let delegated = self.hierarchies.extent == Extent::Delegated;
        (delegated && self.scope.is_none()).then(|| self.hierarchies.clone())
    }
}

/// Gives the limits that are left.
fn drop_device_rules(spec: &mut Spec) -> Option<&LinuxResources> {
    let resources = spec.linux_mut().as_mut()?.resources_mut().as_mut()?;
    resources.set_devices(None);
    Some(resources)
}

/// The scope that systemd is to make, and the group that it will be.
fn scope(id: &str, spec: &Spec) -> Result<(String, Scope), OciError> {
    let linux = spec.linux().as_ref();
    let path = linux.and_then(|linux| linux.cgroups_path().as_ref());
    let path = path.map(|path| path.to_string_lossy());
    let unit = Unit::from_path(path.as_deref(), id, Bus::of_caller())?;
    let properties = systemd::annotated(spec.annotations().as_ref())?;
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

/// Whether a limit of any kind is asked for. What is written in Go may say nothing at length.
fn asks(resources: &LinuxResources) -> bool {
    fn says(value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(false) => false,
            Value::Bool(true) => true,
            Value::Number(number) => number.as_f64() != Some(0.0),
            Value::String(text) => !text.is_empty(),
            Value::Array(list) => list.iter().any(says),
            Value::Object(fields) => fields.values().any(says),
        }
    }
    serde_json::to_value(resources).is_ok_and(|value| says(&value))
}

/// Tries it: what a user may do with groups has too many rules to foretell.
fn can_be_made(hierarchies: &Hierarchies, path: &str) -> bool {
    match Cgroup::create(hierarchies, path, &Needs::everything()) {
        Ok(group) => group.remove().is_ok(),
        // Somebody has made it, who may use it too.
        Err(CgroupError::Exists { .. }) => true,
        Err(_) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_told_from_words_about_none() {
        let of = |json: &str| -> LinuxResources { serde_json::from_str(json).unwrap() };
        for none in ["{}", r#"{"memory":{},"cpu":{"shares":0},"devices":[]}"#] {
            assert!(!asks(&of(none)), "{none}");
        }
        for some in [r#"{"pids":{"limit":7}}"#, r#"{"unified":{"pids.max":"7"}}"#] {
            assert!(asks(&of(some)), "{some}");
        }
    }
}
