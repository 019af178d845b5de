//! Health checks: `--health-*` and `--no-healthcheck`.

use clap::ValueEnum;
use gamut_plan::health::{HealthRequest, OnUnhealthy};
use gamut_spec::image::Healthcheck;

use crate::convert::{ArgumentError, parse_duration_ns};
use crate::error::Failure;

/// Flags about the workload's health.
#[derive(Debug, clap::Args)]
pub struct HealthArgs {
    /// Command that tells whether the workload is well, by its exit status: a line for the shell, or
    /// words as a JSON list; none: no check
    #[arg(long = "health-cmd", value_name = "COMMAND")]
    pub command: Option<String>,

    /// Time between two checks (default 30s)
    #[arg(long = "health-interval", value_name = "DURATION", value_parser = parse_duration_ns)]
    pub interval: Option<i64>,

    /// Time that a check may take (default 30s)
    #[arg(long = "health-timeout", value_name = "DURATION", value_parser = parse_duration_ns)]
    pub timeout: Option<i64>,

    /// Time after the start in which a failure does not count
    #[arg(long = "health-start-period", value_name = "DURATION", value_parser = parse_duration_ns)]
    pub start_period: Option<i64>,

    /// Time between two checks in the start period (default 5s)
    #[arg(long = "health-start-interval", value_name = "DURATION", value_parser = parse_duration_ns)]
    pub start_interval: Option<i64>,

    /// Failures in a row from which it is unhealthy (default 3)
    #[arg(long = "health-retries", value_name = "COUNT")]
    pub retries: Option<u32>,

    /// What becomes of it when it turns unhealthy
    #[arg(long = "health-on-failure", value_enum, value_name = "ACTION")]
    pub on_failure: Option<OnFailureArg>,

    /// Results that are kept; 0: all of them (default 5)
    #[arg(long = "health-max-log-count", value_name = "COUNT")]
    pub max_results: Option<u32>,

    /// Characters of a result's output that are kept; 0: all of them (default 4096)
    #[arg(long = "health-max-log-size", value_name = "BYTES")]
    pub max_output: Option<u32>,

    /// Leave the image's check alone
    #[arg(long, conflicts_with_all = [
        "command", "interval", "timeout", "start_period", "start_interval", "retries",
    ])]
    pub no_healthcheck: bool,
}

/// `--health-on-failure`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum OnFailureArg {
    None,
    Kill,
    /// Stop it, and start it again
    Restart,
    Stop,
}

impl From<OnFailureArg> for OnUnhealthy {
    fn from(arg: OnFailureArg) -> Self {
        match arg {
            OnFailureArg::None => Self::None,
            OnFailureArg::Kill => Self::Kill,
            OnFailureArg::Restart => Self::Restart,
            OnFailureArg::Stop => Self::Stop,
        }
    }
}

/// Docker's least.
const LEAST_NS: i64 = 1_000_000;

impl HealthArgs {
    pub(super) fn request(&self) -> Result<HealthRequest, Failure> {
        let time = |flag, given: Option<i64>| match given {
            None | Some(0) => Ok(0),
            Some(ns) if ns >= LEAST_NS => Ok(ns),
            Some(_) => Err(Failure::engine(ArgumentError::HealthTime { flag })),
        };
        let test = match (&self.command, self.no_healthcheck) {
            (_, true) => vec!["NONE".to_owned()],
            (None, false) => Vec::new(),
            (Some(text), false) => test(text),
        };
        Ok(HealthRequest {
            check: Healthcheck {
                test,
                interval_ns: time("--health-interval", self.interval)?,
                timeout_ns: time("--health-timeout", self.timeout)?,
                start_period_ns: time("--health-start-period", self.start_period)?,
                start_interval_ns: time("--health-start-interval", self.start_interval)?,
                retries: self.retries.unwrap_or(0).into(),
            },
            on_failure: self.on_failure.map_or(OnUnhealthy::None, Into::into),
            max_results: self.max_results,
            max_output_bytes: self.max_output,
        })
    }
}

/// Docker's line for the shell, or one of podman's other forms: `none`, a JSON list.
fn test(text: &str) -> Vec<String> {
    if text == "none" {
        return vec!["NONE".to_owned()];
    }
    match serde_json::from_str::<Vec<String>>(text) {
        Ok(words) if words.first().is_some_and(|word| word.starts_with("CMD")) => words,
        Ok(words) if !words.is_empty() => ["CMD".to_owned()].into_iter().chain(words).collect(),
        _ => vec!["CMD-SHELL".to_owned(), text.to_owned()],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_has_three_forms() {
        assert_eq!(test("curl -f x | y"), ["CMD-SHELL", "curl -f x | y"]);
        assert_eq!(test(r#"["CMD", "true"]"#), ["CMD", "true"]);
        assert_eq!(test(r#"["true", "a b"]"#), ["CMD", "true", "a b"]);
        assert_eq!(test("none"), ["NONE"]);
        assert_eq!(test("[ -f /x ]"), ["CMD-SHELL", "[ -f /x ]"]);
    }
}
