//! Limits of a process rather than of a group: rlimits and the OOM score, clamped to what this
//! host may give. An unprivileged engine is no reason to refuse an image.

use std::io::ErrorKind;

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;
use oci_spec::runtime::PosixRlimit;
use rustix::process::{Pid, Rlimit};

use crate::launch::prepare::step_failed;
use crate::rlimits::{self, HostLimits};

/// What will be set, and what was clamped.
#[derive(Debug, Default)]
pub(crate) struct ProcessLimits {
    rlimits: Vec<PosixRlimit>,
    oom_score_adj: Option<i32>,
    pub(crate) warnings: Vec<String>,
}

/// Clamps the plan's wishes.
pub(crate) fn of(plan: &LaunchPlan) -> ProcessLimits {
    let mut limits = ProcessLimits::default();
    let Some(process) = plan.spec.process() else {
        return limits;
    };
    let wishes = process.rlimits().as_deref().unwrap_or_default();
    if wishes.is_empty() && process.oom_score_adj().is_none() {
        return limits;
    }
    let host = HostLimits::read();
    for wish in wishes {
        let (limit, warning) = host.clamp(wish);
        limits.rlimits.push(limit);
        limits.warnings.extend(warning.map(|w| w.to_string()));
    }
    if let Some(wish) = process.oom_score_adj() {
        let (value, warning) = host.clamp_oom_score_adj(wish);
        limits.oom_score_adj = Some(value);
        limits.warnings.extend(warning.map(|w| w.to_string()));
    }
    limits
}

impl ProcessLimits {
    /// What is to be written to oom_score_adj.
    pub(crate) fn oom_score_text(&self) -> Option<String> {
        self.oom_score_adj.map(|value| value.to_string())
    }
}

/// Sets them on a process that waits for its start.
pub(crate) fn apply(limits: &ProcessLimits, pid: Pid) -> Result<(), StartError> {
    for limit in &limits.rlimits {
        let value = |n: u64| (n != u64::MAX).then_some(n);
        let wanted = Rlimit {
            current: value(limit.soft()),
            maximum: value(limit.hard()),
        };
        rustix::process::prlimit(Some(pid), rlimits::resource_of(limit.typ()), wanted).map_err(
            |e| {
                step_failed(
                    format!("set the limit {}", rlimits::name_of(limit.typ())),
                    e,
                )
            },
        )?;
    }
    if let Some(value) = limits.oom_score_text() {
        let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
        let there = || std::fs::read_to_string(&path).unwrap_or_default();
        match std::fs::write(&path, &value) {
            // One that is hidden has set it by itself.
            Err(error)
                if error.kind() == ErrorKind::PermissionDenied && there().trim() == value => {}
            set => set.map_err(|e| crate::launch::io_failed("set the OOM score", &e))?,
        }
    }
    Ok(())
}
