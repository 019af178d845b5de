//! The control group of a workload that is being started: where, for what, and when it is made.

use std::os::fd::BorrowedFd;

use gamut_plan::cell::StartError;
use gamut_plan::launch::{Groups, LaunchPlan};
use gamut_spec::Fault;
use oci_spec::runtime::LinuxNamespaceType;
use rustix::fs::Uid;
use rustix::process::Pid;

use crate::cgroup::{Cgroup, CgroupError, Hierarchies, Needs, Version};
use crate::launch::idmap;
use crate::systemd::{self, Bus, Host, Property, Systemd, SystemdError, Unit};

/// The container's cgroup, relative to each hierarchy's base.
pub(crate) fn cgroup_path(plan: &LaunchPlan) -> String {
    let given = plan
        .spec
        .linux()
        .as_ref()
        .and_then(|l| l.cgroups_path().as_ref());
    given.map_or_else(
        || format!("gamut/{}", plan.id),
        |path| path.to_string_lossy().trim_matches('/').to_owned(),
    )
}

pub(crate) fn cgroup_failed(error: &CgroupError) -> StartError {
    match error.kind() {
        gamut_spec::Kind::Invalid => StartError::Request {
            message: error.to_string(),
            hint: error.hint(),
        },
        _ => StartError::Step {
            step: "set up the cgroup".into(),
            reason: error.to_string(),
            hint: error.hint(),
        },
    }
}

pub(crate) fn systemd_failed(error: &SystemdError) -> StartError {
    match error.kind() {
        gamut_spec::Kind::Invalid => StartError::Request {
            message: error.to_string(),
            hint: error.hint(),
        },
        _ => StartError::Step {
            step: "set up the systemd scope".into(),
            reason: error.to_string(),
            hint: error.hint(),
        },
    }
}

/// A cgroup, and perhaps systemd's scope behind it, that go away again unless the start succeeds.
#[derive(Default)]
struct Tentative {
    cgroup: Option<Cgroup>,
    unit: Option<Unit>,
}

impl Drop for Tentative {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill_all();
        }
        if let Some(unit) = &self.unit {
            let _ = unit.stop();
        }
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.remove();
        }
    }
}

/// A group that systemd is to make.
#[derive(Debug)]
pub(crate) struct Scope {
    pub(crate) unit: Unit,
    pub(crate) systemd: Systemd,
    /// Properties besides those of limits, which they win over.
    pub(crate) properties: Vec<Property>,
}

/// The user of the host that the group is given to, if the workload is to have it: one with a
/// cgroup namespace of its own and its group mounted to be written ("Cgroup ownership").
fn owner(plan: &LaunchPlan) -> Option<Uid> {
    let linux = plan.spec.linux().as_ref()?;
    let namespaces = linux.namespaces().as_deref().unwrap_or_default();
    let own = |kind| {
        let mut listed = namespaces.iter();
        listed.any(|namespace| namespace.typ() == kind && namespace.path().is_none())
    };
    let mounts = plan.spec.mounts().as_deref().unwrap_or_default();
    let writable = mounts.iter().any(|mount| {
        matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"))
            && mount.destination().as_os_str() == "/sys/fs/cgroup"
            && !mount
                .options()
                .iter()
                .flatten()
                .any(|option| option == "ro")
    });
    if !writable || !own(LinuxNamespaceType::Cgroup) {
        return None;
    }
    let inside = plan.user.exact.as_ref().map_or(0, |ids| ids.uid);
    let host = match own(LinuxNamespaceType::User) {
        true => idmap::Maps::of(linux)?.uid(inside),
        false => inside,
    };
    (host != 0).then(|| Uid::from_raw(host))
}

/// What a group is made for.
pub(crate) fn needs(plan: &LaunchPlan) -> Needs {
    if plan.groups == Groups::All {
        return Needs::everything();
    }
    let linux = plan.spec.linux().as_ref();
    let needs = match linux.and_then(|l| l.resources().as_ref()) {
        Some(resources) => Needs::of(resources),
        None => Needs::standard(),
    };
    match plan.groups {
        Groups::Unified => needs.and_unified(),
        Groups::Needed | Groups::All => needs,
    }
}

/// What becomes of a group that is there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stale {
    /// It was left over by a keeper that was killed: the start holds the container's lock.
    Kill,
    /// It may be anybody's: only one without processes is taken, as it is.
    IfEmpty,
}

/// Whether a workload gets a group of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Own {
    Yes,
    /// It stays in its maker's.
    No,
}

/// The control group of a start. On v1 it is five directories or more, which are made while the
/// child mounts; on v2 it is one, and the child is cloned into it.
pub(crate) struct Group<'a> {
    plan: &'a LaunchPlan,
    hierarchies: &'a Hierarchies,
    stale: Stale,
    own: Own,
    /// systemd, where that makes it.
    scope: Option<Scope>,
    made: Tentative,
    warnings: Vec<String>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(plan: &'a LaunchPlan, hierarchies: &'a Hierarchies, stale: Stale) -> Self {
        Group {
            plan,
            hierarchies,
            stale,
            own: Own::Yes,
            scope: None,
            made: Tentative::default(),
            warnings: Vec::new(),
        }
    }

    /// The same, made by systemd; the plan's path is that of the scope.
    pub(crate) fn in_scope(mut self, scope: Option<Scope>) -> Self {
        self.scope = scope;
        self
    }

    pub(crate) fn owned(self, own: Own) -> Self {
        Group { own, ..self }
    }

    /// What a child is to be cloned into. Into a scope it is moved: there is none without it.
    pub(crate) fn for_clone(&mut self) -> Result<Option<BorrowedFd<'_>>, StartError> {
        if self.scope.is_some() {
            return Ok(None);
        }
        let places = needs(self.plan).places(self.hierarchies);
        let on_v2 = |index: usize| self.hierarchies.mounted[index].version == Version::V2;
        if places.into_iter().any(on_v2) {
            let made = self.ready(Self::make_directories)?;
            Ok(made.and_then(Cgroup::clone_into))
        } else {
            Ok(None)
        }
    }

    /// Makes the group with its limits for the process `first`, unless that is done. `None`: there is
    /// to be none.
    pub(crate) fn make(&mut self, first: Pid) -> Result<Option<&Cgroup>, StartError> {
        self.ready(|group| match group.scope.take() {
            Some(scope) => group.make_scope(scope, first),
            None => group.make_directories(),
        })
    }

    fn ready(
        &mut self,
        make: impl FnOnce(&mut Self) -> Result<Cgroup, StartError>,
    ) -> Result<Option<&Cgroup>, StartError> {
        if self.own == Own::No {
            return Ok(None);
        }
        if self.made.cgroup.is_none() {
            let made = make(self)?;
            let cgroup = self.made.cgroup.insert(made);
            let linux = self.plan.spec.linux().as_ref();
            if let Some(resources) = linux.and_then(|l| l.resources().as_ref()) {
                let told = cgroup.apply(resources).map_err(|e| cgroup_failed(&e))?;
                self.warnings.extend(told.iter().map(ToString::to_string));
            }
            if let Some(owner) = owner(self.plan) {
                cgroup.give_to(owner).map_err(|e| cgroup_failed(&e))?;
            }
        }
        Ok(self.made.cgroup.as_ref())
    }

    /// Makes the group without a process, unless that is systemd's to do.
    pub(crate) fn make_ahead(&mut self) -> Result<(), StartError> {
        if self.scope.is_none() {
            self.ready(Self::make_directories)?;
        }
        Ok(())
    }

    /// Takes back what was made.
    pub(crate) fn undo(&mut self) {
        self.made = Tentative::default();
    }

    fn make_directories(&mut self) -> Result<Cgroup, StartError> {
        let path = cgroup_path(self.plan);
        let needs = needs(self.plan);
        let made = match Cgroup::create(self.hierarchies, &path, &needs) {
            Err(CgroupError::Exists { .. }) => match self.stale {
                Stale::Kill => remove_stale(self.hierarchies, &path)
                    .and_then(|()| Cgroup::create(self.hierarchies, &path, &needs)),
                Stale::IfEmpty => adopt(self.hierarchies, &path, &needs),
            },
            other => other,
        };
        made.map_err(|e| cgroup_failed(&e))
    }

    fn make_scope(&mut self, scope: Scope, first: Pid) -> Result<Cgroup, StartError> {
        let Scope {
            unit,
            mut systemd,
            properties,
        } = scope;
        let failed = |error| systemd_failed(&error);
        let host = Host {
            groups: self.hierarchies.limits_version(),
            systemd: systemd.version().map_err(failed)?,
        };
        let linux = self.plan.spec.linux().as_ref();
        let limits = linux.and_then(|l| l.resources().as_ref());
        let mut all = limits.map_or_else(Vec::new, |limits| {
            systemd::of_limits(limits, unit.bus, host)
        });
        all.extend(properties);
        let pid = first.as_raw_nonzero().get().unsigned_abs();
        match unit.start(&mut systemd, pid, host, &all) {
            // Somebody else's, to be left alone.
            Err(error) if error.is_taken() => return Err(systemd_failed(&error)),
            other => {
                self.made.unit = Some(unit.clone());
                other.map_err(failed)?;
            }
        }
        let path = cgroup_path(self.plan);
        let mut hierarchies = self.hierarchies.clone();
        if unit.bus == Bus::User {
            hierarchies = hierarchies.as_given_to(&path);
        }
        Cgroup::take_over(&hierarchies, &path, &needs(self.plan), first)
            .map_err(|e| cgroup_failed(&e))
    }

    /// The group for as long as the workload lives, and what this host could not give it.
    pub(crate) fn keep(mut self) -> (Option<Cgroup>, Vec<String>) {
        self.made.unit = None;
        (self.made.cgroup.take(), std::mem::take(&mut self.warnings))
    }
}

fn remove_stale(hierarchies: &Hierarchies, path: &str) -> Result<(), CgroupError> {
    let stale = Cgroup::open(hierarchies, path)?;
    stale.kill_all()?;
    stale.remove()
}

/// Somebody may have made it to give it limits of their own.
fn adopt(hierarchies: &Hierarchies, path: &str, needs: &Needs) -> Result<Cgroup, CgroupError> {
    if !Cgroup::open(hierarchies, path)?.processes()?.is_empty() {
        let path = path.to_owned();
        return Err(CgroupError::Exists { path });
    }
    Cgroup::adopt(hierarchies, path, needs)
}
