//! The system-call filter, in words.

use gamut_container::seccomp::{Action, Arch, KernelVersion, Profile, Subject};
use gamut_plan::LaunchPlan;
use gamut_plan::caps::CapSet;
use gamut_plan::launch::SeccompPlan;
use serde::Serialize;

/// What becomes of system calls.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Filter {
    /// `default`, `unconfined`, `profile` or `specification`.
    pub source: &'static str,
    /// How many calls always pass.
    pub allowed: usize,
    /// Those that depend on their arguments.
    pub conditional: Vec<Call>,
    /// Those that never pass.
    pub denied: Vec<Call>,
    /// Why nothing can be said.
    pub unknown: Option<String>,
}

/// A system call, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Call {
    pub name: &'static str,
    pub verdict: String,
}

pub(super) fn of(plan: &LaunchPlan, caps: CapSet) -> Filter {
    let (source, profile) = match &plan.seccomp {
        SeccompPlan::Unconfined => {
            return Filter {
                source: "unconfined",
                ..Filter::default()
            };
        }
        SeccompPlan::Default => ("default", Profile::DockerDefault),
        SeccompPlan::File(json) => ("profile", Profile::File(json.as_bytes())),
        SeccompPlan::Oci(section) => ("specification", Profile::Oci(section)),
    };
    let unknown = |why: String| Filter {
        source,
        unknown: Some(why),
        ..Filter::default()
    };
    let Some(subject) = subject(caps) else {
        return unknown("this machine's architecture has no table of calls".into());
    };
    match profile.policy(&subject) {
        Ok(policy) => {
            let summary = policy.summary();
            let verdict = |(name, action): &(&'static str, Action)| Call {
                name,
                verdict: action.to_string(),
            };
            Filter {
                source,
                allowed: summary.allowed,
                conditional: summary
                    .conditional
                    .into_iter()
                    .map(|(name, verdict)| Call { name, verdict })
                    .collect(),
                denied: summary.denied.iter().map(verdict).collect(),
                unknown: None,
            }
        }
        Err(error) => unknown(error.to_string()),
    }
}

/// For whom the policy is drawn, as at the start.
fn subject(caps: CapSet) -> Option<Subject> {
    let uname = rustix::system::uname();
    let oldest = KernelVersion {
        version: 0,
        patchlevel: 0,
    };
    Some(Subject {
        caps,
        arch: Arch::native()?,
        kernel: KernelVersion::from_release(&uname.release().to_string_lossy()).unwrap_or(oldest),
    })
}
