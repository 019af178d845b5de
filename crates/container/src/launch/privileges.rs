//! Capabilities and the filter of a process, from the plan.

use gamut_plan::caps::CapSet;
use gamut_plan::cell::StartError;
use gamut_plan::launch::{LaunchPlan, SeccompPlan};
use gamut_spec::Fault;
use gamut_sys::process::namespace;
use gamut_sys::seccomp::{Flags, Program};
use oci_spec::runtime::Process;

use super::prepare::step_failed;
use super::program::Capabilities;
use super::users::Identity;
use crate::seccomp::{Arch, KernelVersion, Profile, Subject, load};

#[derive(Debug)]
pub(crate) struct Privileges {
    pub(crate) capabilities: Capabilities,
    pub(crate) seccomp: Option<(Program, Flags)>,
}

pub(crate) fn of(
    plan: &LaunchPlan,
    process: &Process,
    identity: &Identity,
) -> Result<Privileges, StartError> {
    let capabilities = match plan.user.exact {
        // Who enters another user namespace has all of them there (user_namespaces(7)).
        Some(_) if super::exec::joined(plan) & namespace::USER != 0 => as_given(process, u64::MAX),
        Some(_) => as_given(process, everything()?.permitted),
        None => capabilities(process, identity),
    };
    let caps = CapSet::from_bits(capabilities.bounding);
    let seccomp = match &plan.seccomp {
        SeccompPlan::Unconfined => None,
        SeccompPlan::Default => Some(filter(plan, &Profile::DockerDefault, caps)?),
        SeccompPlan::File(json) => Some(filter(plan, &Profile::File(json.as_bytes()), caps)?),
        SeccompPlan::Oci(section) => Some(filter(plan, &Profile::Oci(section), caps)?),
    };
    Ok(Privileges {
        capabilities,
        seccomp,
    })
}

/// What a policy is chosen for: these capabilities on this machine. `None`: a machine that we have
/// no table of system calls for.
pub(crate) fn subject(caps: CapSet) -> Option<Subject> {
    let uname = rustix::system::uname();
    let release = uname.release().to_string_lossy();
    // A release that says nothing counts as the oldest kernel: no rule for newer ones applies.
    let oldest = KernelVersion {
        version: 0,
        patchlevel: 0,
    };
    let kernel = KernelVersion::from_release(&release).unwrap_or(oldest);
    Some(Subject {
        caps,
        arch: Arch::native()?,
        kernel,
    })
}

fn filter(
    plan: &LaunchPlan,
    profile: &Profile<'_>,
    caps: CapSet,
) -> Result<(Program, Flags), StartError> {
    let subject = subject(caps).ok_or_else(|| StartError::Request {
        message: "seccomp: no table of system calls for this machine".into(),
        hint: Some("use `--security-opt seccomp=unconfined`".into()),
    })?;
    match load(&plan.files.cache, profile, &subject) {
        Ok(loaded) => Ok((loaded.program, loaded.flags)),
        Err(error) => Err(StartError::Request {
            message: format!("seccomp: {error}"),
            hint: error.hint(),
        }),
    }
}

fn bits(set: Option<&oci_spec::runtime::Capabilities>) -> u64 {
    let names: Vec<String> = set
        .into_iter()
        .flatten()
        .map(|one| format!("CAP_{one}"))
        .collect();
    names
        .iter()
        .filter_map(|name| name.parse().ok())
        .collect::<CapSet>()
        .bits()
}

/// The sets of a runtime specification as they are, as far as they may be given.
fn as_given(process: &Process, ours: u64) -> Capabilities {
    let Some(sets) = process.capabilities() else {
        return Capabilities::default();
    };
    let permitted = bits(sets.permitted().as_ref()) & ours;
    Capabilities {
        bounding: bits(sets.bounding().as_ref()),
        effective: bits(sets.effective().as_ref()) & permitted,
        permitted,
        inheritable: bits(sets.inheritable().as_ref()) & ours,
        ambient: bits(sets.ambient().as_ref()) & permitted & bits(sets.inheritable().as_ref()),
    }
}

/// For a user that is not root only the bounding set counts: what it may gain by a setuid program.
fn capabilities(process: &Process, identity: &Identity) -> Capabilities {
    let Some(sets) = process.capabilities() else {
        return Capabilities::default();
    };
    let bounding = bits(sets.bounding().as_ref());
    if identity.uid != 0 {
        return Capabilities {
            bounding,
            ..Capabilities::default()
        };
    }
    Capabilities {
        bounding,
        effective: bits(sets.effective().as_ref()),
        permitted: bits(sets.permitted().as_ref()),
        inheritable: bits(sets.inheritable().as_ref()),
        ambient: bits(sets.ambient().as_ref()),
    }
}

/// All that this process itself has: `exec --privileged`.
pub(crate) fn everything() -> Result<Capabilities, StartError> {
    let sets = rustix::thread::capabilities(None)
        .map_err(|e| step_failed("read the host's capabilities", e))?;
    Ok(Capabilities::all_of(sets.permitted.bits()))
}
