//! Limits of a process rather than of a group: rlimits and the OOM score, clamped to what this
//! host may give. An unprivileged engine is no reason to refuse an image.

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;
use rustix::process::{Pid, Resource, Rlimit};

use crate::launch::prepare::step_failed;
use crate::rlimits;

/// What will be set, and what was clamped.
#[derive(Debug, Default)]
pub(crate) struct ProcessLimits {
    rlimits: Vec<(Resource, Rlimit)>,
    oom_score_adj: Option<i32>,
    pub(crate) warnings: Vec<String>,
}

/// Clamps the plan's wishes.
pub(crate) fn of(plan: &LaunchPlan) -> ProcessLimits {
    let mut limits = ProcessLimits::default();
    let Some(process) = plan.spec.process() else { return limits };
    let host = rlimits::Host::read();
    for wish in process.rlimits().as_deref().unwrap_or_default() {
        let (resource, limit, warning) = host.clamp(wish);
        limits.rlimits.push((resource, limit));
        limits.warnings.extend(warning);
    }
    if let Some(wish) = process.oom_score_adj() {
        let (value, warning) = host.clamp_oom_score_adj(wish);
        limits.oom_score_adj = Some(value);
        limits.warnings.extend(warning);
    }
    limits
}

/// Sets them on a process that waits for its start.
pub(crate) fn apply(limits: &ProcessLimits, pid: Pid) -> Result<(), StartError> {
    for (resource, limit) in &limits.rlimits {
        rustix::process::prlimit(Some(pid), *resource, limit.clone())
            .map_err(|e| step_failed(format!("set the limit {resource:?}"), e))?;
    }
    if let Some(value) = limits.oom_score_adj {
        let path = format!("/proc/{}/oom_score_adj", pid.as_raw_nonzero());
        std::fs::write(path, value.to_string())
            .map_err(|e| crate::launch::io_failed("set the OOM score", &e))?;
    }
    Ok(())
}
