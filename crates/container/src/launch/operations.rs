//! What a container's child mounts, drawn from the plan.

use std::os::fd::OwnedFd;
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;

use super::cgroupfs::Shown;
use super::devices::{self, Nodes};
use super::idmap;
use super::mounts::{self, Op};
use super::prepare::{errno_of, step_failed};
use super::target::Kind;
use crate::cgroup::Hierarchies;

/// What is mounted, in order.
#[derive(Default)]
pub(crate) struct Operations {
    pub(crate) now: Vec<Op>,
    /// What waits for the control groups.
    pub(crate) late: Vec<Op>,
    pub(crate) shown: Vec<Shown>,
    /// The container's devpts, from which its terminals come.
    pub(crate) devpts: Option<OwnedFd>,
}

/// The mounts in order: the specification's, with /dev's nodes after its tmpfs, our own devpts in
/// place of the listed one, and the files that gamut writes last. Control groups, and what comes
/// on top of them, wait until those are there.
pub(crate) fn of(
    plan: &LaunchPlan,
    userns: bool,
    maps: Option<&idmap::Maps>,
    hierarchies: &Hierarchies,
) -> Result<Operations, StartError> {
    let linux_devices = plan
        .spec
        .linux()
        .as_ref()
        .and_then(|l| l.devices().as_deref())
        .unwrap_or_default();
    let mut operations = Operations::default();
    let mut below_cgroups = None;
    for mount in plan.spec.mounts().as_deref().unwrap_or_default() {
        let destination = mount.destination().as_path();
        let late = below_cgroups.is_some_and(|above| destination.starts_with(above));
        let ops = if late {
            &mut operations.late
        } else {
            &mut operations.now
        };
        match mount.typ().as_deref() {
            Some("cgroup") => {
                let view = super::cgroupfs::view(plan, mount, hierarchies)?;
                ops.extend(view.directory);
                for (op, shown) in view.groups {
                    operations.late.push(op);
                    operations.shown.push(shown);
                }
                below_cgroups = Some(destination);
            }
            Some("devpts") if destination == Path::new("/dev/pts") => {
                let (root_uid, tty_gid) = maps.map_or((0, 5), |m| (m.uid(0), m.gid(5)));
                let made = mounts::devpts(root_uid, tty_gid)
                    .map_err(|e| step_failed("mount devpts", e))?;
                let tree = made
                    .try_clone()
                    .map_err(|e| step_failed("copy a descriptor", errno_of(&e)))?;
                ops.push(Op::Attach {
                    tree,
                    target: c"/dev/pts".to_owned(),
                    kind: Kind::Directory,
                });
                operations.devpts = Some(made);
            }
            _ => ops.push(mounts::prepare(mount)?),
        }
        if destination == Path::new("/dev") {
            operations.now.push(devices::devices(
                linux_devices,
                if userns { Nodes::Bind } else { Nodes::Make },
            )?);
        }
    }
    operations.now.extend(super::files::write(plan)?);
    Ok(operations)
}
