//! What becomes of a workload that has ended by itself.

use serde::{Deserialize, Serialize};

/// Docker's policies.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RestartPolicy {
    #[default]
    No,
    /// If it has failed, and at most so often; `None`: as often as it does.
    OnFailure {
        at_most: Option<u32>,
    },
    Always,
    /// If it has failed or has turned unhealthy, and at most so often. Ours.
    OnUnhealthy {
        at_most: Option<u32>,
    },
    /// As always; a host that boots leaves it stopped if it was.
    UnlessStopped,
}

/// The wait before the first restart; it doubles with each one.
const FIRST_NS: u64 = 100_000_000;
const LONGEST_NS: u64 = 60_000_000_000;
/// After so long a run the waits begin anew.
const STEADY_NS: u64 = 10_000_000_000;

impl RestartPolicy {
    /// Whether one that has ended so, and has been restarted so often, is started again.
    #[must_use]
    pub fn restarts(self, exit_code: i32, restarts: u32) -> bool {
        match self {
            Self::No => false,
            Self::OnFailure { at_most } | Self::OnUnhealthy { at_most } => {
                exit_code != 0 && at_most.is_none_or(|most| restarts < most)
            }
            Self::Always | Self::UnlessStopped => true,
        }
    }

    /// Whether one that has turned unhealthy, and has been restarted so often, is ended and started again.
    #[must_use]
    pub fn restarts_unhealthy(self, restarts: u32) -> bool {
        match self {
            Self::OnUnhealthy { at_most } => at_most.is_none_or(|most| restarts < most),
            _ => false,
        }
    }

    /// As in `--restart` and `inspect`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::No => "no",
            Self::OnFailure { .. } => "on-failure",
            Self::OnUnhealthy { .. } => "on-unhealthy",
            Self::Always => "always",
            Self::UnlessStopped => "unless-stopped",
        }
    }
}

/// Nanoseconds to wait after a run of `ran_ns`, when the wait before was `waited_ns`.
#[must_use]
pub fn wait_ns(ran_ns: u64, waited_ns: u64) -> u64 {
    match waited_ns == 0 || ran_ns >= STEADY_NS {
        true => FIRST_NS,
        false => waited_ns.saturating_mul(2).min(LONGEST_NS),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn policies_are_dockers() {
        let thrice = RestartPolicy::OnFailure { at_most: Some(3) };
        assert!(thrice.restarts(1, 2) && !thrice.restarts(1, 3) && !thrice.restarts(0, 0));
        assert!(RestartPolicy::OnFailure { at_most: None }.restarts(1, 1000));
        assert!(RestartPolicy::Always.restarts(0, 7) && !RestartPolicy::No.restarts(1, 0));
        let ill = RestartPolicy::OnUnhealthy { at_most: Some(2) };
        assert!(ill.restarts_unhealthy(1) && !ill.restarts_unhealthy(2) && !ill.restarts(0, 0));
        assert!(ill.restarts(1, 1) && !RestartPolicy::Always.restarts_unhealthy(0));
    }

    #[test]
    fn waits_double_until_a_run_is_steady() {
        assert_eq!(wait_ns(0, 0), FIRST_NS);
        assert_eq!(wait_ns(0, FIRST_NS), 2 * FIRST_NS);
        assert_eq!(wait_ns(0, LONGEST_NS), LONGEST_NS);
        assert_eq!(wait_ns(STEADY_NS, LONGEST_NS), FIRST_NS);
    }
}
