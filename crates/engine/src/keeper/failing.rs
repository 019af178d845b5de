//! What is written down of a run that has failed: for whoever asks later, when its control group is gone.

use std::collections::BTreeMap;

use gamut_plan::Status;
use gamut_plan::cell::{Exit, StartError};
use gamut_plan::failure::Failure;
use gamut_plan::launch::LogPlan;

use super::events::Workload;
use crate::dirs::Container;
use crate::{logs, record};

/// Lines of its output that are kept.
const LINES: usize = 20;

impl Workload {
    /// It has ended so, and nobody had asked it to. To be called while its control group is there.
    pub(super) fn record_failure(&self, exit: Exit) {
        let oom_killed = self.cell.oom_killed();
        if exit.code == 0 && !oom_killed {
            return;
        }
        let health = self.status.health.map(|verdict| verdict.word().to_owned());
        let failure = Failure {
            at_ns: record::now_ns(),
            started_at_ns: self.status.started_at_ns,
            exit_code: exit.code,
            signal: exit.signal,
            oom_killed,
            error: String::new(),
            restarts: self.status.restarts,
            health,
            stats: self.cell.stats().ok(),
            pressure: pressure(),
            log: match &self.plan.log {
                LogPlan::JsonFile { path, .. } => logs::last_lines(path, LINES),
                LogPlan::None => Vec::new(),
            },
        };
        let _ = record::write_failure(&self.dirs, &failure);
    }
}

/// It never came to run.
pub(super) fn record_refusal(dirs: &Container, error: &StartError, status: &Status) {
    let failure = Failure {
        at_ns: record::now_ns(),
        exit_code: status.exit_code,
        error: error.to_string(),
        restarts: status.restarts,
        pressure: pressure(),
        ..Failure::default()
    };
    let _ = record::write_failure(dirs, &failure);
}

/// Empty where the kernel does not tell.
fn pressure() -> BTreeMap<String, f64> {
    let of = |resource: &str| {
        let text = std::fs::read_to_string(format!("/proc/pressure/{resource}")).ok()?;
        let words = text
            .lines()
            .find(|line| line.starts_with("some"))?
            .split(' ');
        let average = words
            .filter_map(|word| word.strip_prefix("avg10="))
            .next()?;
        Some((resource.to_owned(), average.parse().ok()?))
    };
    ["cpu", "io", "memory"].into_iter().filter_map(of).collect()
}
