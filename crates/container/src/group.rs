//! The control group of a workload that is being started: where, for what, and when it is made.

use std::os::fd::BorrowedFd;

use gamut_plan::cell::StartError;
use gamut_plan::launch::{Groups, LaunchPlan};
use gamut_spec::Fault;

use crate::cgroup::{Cgroup, CgroupError, Hierarchies, Needs, Version};

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

/// A cgroup that goes away again unless the start succeeds.
struct Tentative(Option<Cgroup>);

impl Drop for Tentative {
    fn drop(&mut self) {
        if let Some(cgroup) = &self.0 {
            let _ = cgroup.kill_all();
            let _ = cgroup.remove();
        }
    }
}

/// What a group is made for.
pub(crate) fn needs(plan: &LaunchPlan) -> Needs {
    if plan.groups == Groups::All {
        return Needs::everything();
    }
    let linux = plan.spec.linux().as_ref();
    match linux.and_then(|l| l.resources().as_ref()) {
        Some(resources) => Needs::of(resources),
        None => Needs::standard(),
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

/// The control group of a start. On v1 it is five directories or more, which are made while the
/// child mounts; on v2 it is one, and the child is cloned into it.
pub(crate) struct Group<'a> {
    plan: &'a LaunchPlan,
    hierarchies: &'a Hierarchies,
    stale: Stale,
    made: Tentative,
    warnings: Vec<String>,
}

impl<'a> Group<'a> {
    pub(crate) fn new(plan: &'a LaunchPlan, hierarchies: &'a Hierarchies, stale: Stale) -> Self {
        Group {
            plan,
            hierarchies,
            stale,
            made: Tentative(None),
            warnings: Vec::new(),
        }
    }

    /// What a child is to be cloned into.
    pub(crate) fn for_clone(&mut self) -> Result<Option<BorrowedFd<'_>>, StartError> {
        let places = needs(self.plan).places(self.hierarchies);
        let on_v2 = |index: usize| self.hierarchies.mounted[index].version == Version::V2;
        if places.into_iter().any(on_v2) {
            Ok(self.make()?.clone_into())
        } else {
            Ok(None)
        }
    }

    /// Makes the group with its limits, unless that is done.
    pub(crate) fn make(&mut self) -> Result<&Cgroup, StartError> {
        if self.made.0.is_none() {
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
            let cgroup = self.made.0.insert(made.map_err(|e| cgroup_failed(&e))?);
            let linux = self.plan.spec.linux().as_ref();
            if let Some(resources) = linux.and_then(|l| l.resources().as_ref()) {
                let told = cgroup.apply(resources).map_err(|e| cgroup_failed(&e))?;
                self.warnings.extend(told.iter().map(ToString::to_string));
            }
        }
        self.made.0.as_ref().ok_or_else(not_made)
    }

    /// The group for as long as the workload lives, and what this host could not give it.
    pub(crate) fn keep(mut self) -> Result<(Cgroup, Vec<String>), StartError> {
        let cgroup = self.made.0.take().ok_or_else(not_made)?;
        Ok((cgroup, self.warnings))
    }
}

fn not_made() -> StartError {
    StartError::Step {
        step: "keep the cgroup".into(),
        reason: "it was not made".into(),
        hint: None,
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
