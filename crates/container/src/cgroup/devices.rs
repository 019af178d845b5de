//! Putting a [`DevicePolicy`] on a group: the devices controller of v1, an eBPF program on v2.

use std::os::fd::AsFd;

use gamut_sys::bpf;
use oci_spec::runtime::LinuxDeviceCgroup;
use rustix::io::Errno;

use super::controller::Controller;
use super::device_policy::{DevicePolicy, Verdict};
use super::device_program::assemble;
use super::dir::Dir;
use super::discover::Version;
use super::error::{Cause, CgroupError, Warning};
use super::group::Cgroup;
use crate::privilege::in_another_user_namespace;

/// Restricts the group to `rules`. There is no running without it: a workload that was to be kept
/// from devices must not start if that fails.
pub(super) fn apply(
    group: &Cgroup,
    rules: &[LinuxDeviceCgroup],
    warnings: &mut Vec<Warning>,
) -> Result<(), CgroupError> {
    let policy = DevicePolicy::from_oci(rules)?;
    let applied = match group.ensure(Controller::Devices)? {
        Some((Version::V1, dir)) => apply_v1(dir, &policy, warnings),
        Some((Version::V2, dir)) => apply_v2(dir, &policy),
        None => Err(CgroupError::DeviceProgram {
            path: group.path().to_owned(),
            step: "no devices controller and no cgroup v2",
            error: Errno::NODEV.into(),
        }),
    };
    match applied {
        Err(error) if is_denied(&error) && in_another_user_namespace() => {
            warnings.push(Warning::DevicesNotEnforced);
            Ok(())
        }
        applied => applied,
    }
}

/// Writes the difference between what `devices.list` says and `policy`, so that an update never
/// takes a device away for a moment that is allowed before and after.
fn apply_v1(
    dir: &Dir,
    policy: &DevicePolicy,
    warnings: &mut Vec<Warning>,
) -> Result<(), CgroupError> {
    let list = dir.read_all("devices.list")?;
    let mut now: Vec<&str> = list.lines().collect();
    let everything = now.iter().any(|line| line.starts_with('a'));
    let wanted: Vec<String> = policy.exceptions.iter().map(ToString::to_string).collect();
    let (reset, to_add, to_remove) = match policy.verdict {
        Verdict::Deny => ("devices.deny", "devices.allow", "devices.deny"),
        Verdict::Allow => ("devices.allow", "devices.deny", "devices.allow"),
    };
    // The exceptions of a group that allows everything are not shown; starting anew clears them.
    if everything || policy.verdict == Verdict::Allow {
        dir.write(reset, "a")?;
        now.clear();
    }
    let file = dir.open_for_writes(to_add)?;
    for rule in wanted.iter().filter(|rule| !now.contains(&rule.as_str())) {
        match file.write(rule) {
            // The group above has a list of its own and this isn't on it.
            Err(error) if is_denied(&error) && policy.verdict == Verdict::Deny => {
                warnings.push(Warning::DeviceNotGranted { rule: rule.clone() });
            }
            written => written?,
        }
    }
    for rule in now {
        if !wanted.iter().any(|wanted| wanted == rule) {
            remove_v1(dir, to_remove, rule, policy)?;
        }
    }
    Ok(())
}

/// Takes an exception away, but only the access that no wanted one of the same devices has.
fn remove_v1(dir: &Dir, file: &str, rule: &str, policy: &DevicePolicy) -> Result<(), CgroupError> {
    let Some((devices, access)) = rule.rsplit_once(' ') else {
        return Err(dir.parse_error("devices.list", rule));
    };
    let kept = policy.exceptions.iter().find_map(|wanted| {
        let wanted = wanted.to_string();
        let (same, access) = wanted.rsplit_once(' ')?;
        (same == devices).then(|| access.to_owned())
    });
    let kept = kept.unwrap_or_default();
    let surplus: String = access.chars().filter(|&one| !kept.contains(one)).collect();
    if surplus.is_empty() {
        return Ok(());
    }
    dir.write(file, &format!("{devices} {surplus}"))
}

fn apply_v2(dir: &Dir, policy: &DevicePolicy) -> Result<(), CgroupError> {
    let failed = |step| {
        move |error: std::io::Error| CgroupError::DeviceProgram {
            path: dir.path().to_owned(),
            step,
            error,
        }
    };
    let open = |id| bpf::open_program(id).map_err(failed("cannot open the program of before"));
    let before = bpf::attached_device_programs(dir.fd())
        .map_err(failed("cannot list the programs of the group"))?;
    if policy.verdict == Verdict::Allow && policy.exceptions.is_empty() {
        for id in before {
            bpf::detach_device_program(dir.fd(), open(id)?.as_fd())
                .map_err(failed("cannot detach the program of before"))?;
        }
        return Ok(());
    }
    let program = bpf::load_device_program(&assemble(policy))
        .map_err(|refused| failed("cannot load the eBPF program")(refused.error))?;
    let replaced = match before.first() {
        Some(&id) => Some(open(id)?),
        None => None,
    };
    let replace = replaced.as_ref().map(AsFd::as_fd);
    bpf::attach_device_program(dir.fd(), program.as_fd(), replace)
        .map_err(failed("cannot attach the eBPF program"))?;
    for &id in before.iter().skip(1) {
        bpf::detach_device_program(dir.fd(), open(id)?.as_fd())
            .map_err(failed("cannot detach the program of before"))?;
    }
    Ok(())
}

fn is_denied(error: &CgroupError) -> bool {
    match error {
        CgroupError::Write { cause, .. } => *cause == Cause::NotDelegated,
        CgroupError::DeviceProgram { error, .. } => {
            error.kind() == std::io::ErrorKind::PermissionDenied
        }
        _ => false,
    }
}
