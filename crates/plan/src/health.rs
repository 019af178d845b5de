//! Health checks: what is run and how often, and what its results say. Docker's rules
//! (docs.docker.com/reference/dockerfile, "HEALTHCHECK").

use gamut_spec::image::{ContainerConfig, Healthcheck};
use serde::{Deserialize, Serialize};

const SECOND_NS: u64 = 1_000_000_000;
/// Docker's.
const INTERVAL_NS: u64 = 30 * SECOND_NS;
const TIMEOUT_NS: u64 = 30 * SECOND_NS;
const START_INTERVAL_NS: u64 = 5 * SECOND_NS;
const RETRIES: u32 = 3;
const RESULTS: usize = 5;
const OUTPUT_BYTES: usize = 4096;

/// `--health-*`, over what the image says.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthRequest {
    /// What is empty or 0 is as the image has it, else as by default.
    pub check: Healthcheck,
    pub on_failure: OnUnhealthy,
    /// How many results are kept; 0: all of them. `None`: five.
    pub max_results: Option<u32>,
    /// Bytes of a result's output that are kept; 0: all of them. `None`: 4096.
    pub max_output_bytes: Option<u32>,
}

/// What becomes of a container that turns unhealthy. Podman's `--health-on-failure`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnhealthy {
    #[default]
    None,
    Kill,
    /// Stopped in order and started again, whatever its restart policy says.
    Restart,
    Stop,
}

impl OnUnhealthy {
    /// As in `--health-on-failure` and `inspect`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Stop => "stop",
        }
    }
}

/// The check of a container. Times are nanoseconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthPlan {
    pub args: Vec<String>,
    pub interval_ns: u64,
    pub timeout_ns: u64,
    /// Failures so soon after the start do not count.
    pub start_period_ns: u64,
    /// The interval in that time, until the first success.
    pub start_interval_ns: u64,
    /// So many failures in a row are one too many.
    pub retries: u32,
    pub on_failure: OnUnhealthy,
    /// 0: all of them.
    pub max_results: usize,
    /// 0: all of it.
    pub max_output_bytes: usize,
}

/// What the results say so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    #[default]
    Starting,
    Healthy,
    Unhealthy,
}

impl Verdict {
    /// Docker's word.
    #[must_use]
    pub fn word(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Healthy => "healthy",
            Self::Unhealthy => "unhealthy",
        }
    }
}

/// The results of a container's checks: `health.json` in its directory.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Health {
    pub verdict: Verdict,
    /// Failures in a row that count.
    pub streak: u32,
    /// The last ones, oldest first.
    pub results: Vec<CheckResult>,
}

/// One check that is over. Times are nanoseconds since the epoch.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckResult {
    pub began_ns: u64,
    pub ended_ns: u64,
    /// -1 for one that could not be run, or took too long.
    pub exit_code: i32,
    pub output: String,
}

impl HealthRequest {
    /// What was asked for over what the image says; `None` where neither says anything.
    #[must_use]
    pub fn over(&self, image: &ContainerConfig) -> Option<Healthcheck> {
        let known = image.healthcheck.clone().unwrap_or_default();
        let own = &self.check;
        let number = |of: fn(&Healthcheck) -> i64| match of(own) {
            0 => of(&known),
            given => given,
        };
        let test = match own.test.is_empty() {
            true => known.test.clone(),
            false => own.test.clone(),
        };
        let merged = Healthcheck {
            test,
            interval_ns: number(|check| check.interval_ns),
            timeout_ns: number(|check| check.timeout_ns),
            start_period_ns: number(|check| check.start_period_ns),
            start_interval_ns: number(|check| check.start_interval_ns),
            retries: number(|check| check.retries),
        };
        (merged != Healthcheck::default()).then_some(merged)
    }
}

impl HealthPlan {
    /// The check of a container; `None` where neither its user nor its image has one.
    #[must_use]
    pub fn draw(asked: &HealthRequest, image: &ContainerConfig) -> Option<Self> {
        let check = asked.over(image)?;
        let time = |given: i64, default| match given > 0 {
            true => given.unsigned_abs(),
            false => default,
        };
        let retries = u32::try_from(check.retries).unwrap_or(0);
        let or_all = |given: Option<u32>, default| given.map_or(default, |most| most as usize);
        Some(Self {
            args: words(&check.test, image.shell.as_deref())?,
            interval_ns: time(check.interval_ns, INTERVAL_NS),
            timeout_ns: time(check.timeout_ns, TIMEOUT_NS),
            start_period_ns: time(check.start_period_ns, 0),
            start_interval_ns: time(check.start_interval_ns, START_INTERVAL_NS),
            retries: if retries > 0 { retries } else { RETRIES },
            on_failure: asked.on_failure,
            max_results: or_all(asked.max_results, RESULTS),
            max_output_bytes: or_all(asked.max_output_bytes, OUTPUT_BYTES),
        })
    }

    /// Nanoseconds to the next check of what has run for `running_ns`.
    #[must_use]
    pub fn wait_ns(&self, verdict: Verdict, running_ns: u64) -> u64 {
        match verdict == Verdict::Starting && running_ns < self.start_period_ns {
            true => self.start_interval_ns,
            false => self.interval_ns,
        }
    }
}

/// `["CMD", …]` as it is, `["CMD-SHELL", "…"]` by the shell; `["NONE"]` is none.
fn words(test: &[String], shell: Option<&[String]>) -> Option<Vec<String>> {
    let (kind, rest) = test.split_first()?;
    match (kind.as_str(), rest) {
        ("CMD", [_, ..]) => Some(rest.to_vec()),
        ("CMD-SHELL", [line, ..]) => {
            let shell = shell.filter(|words| !words.is_empty());
            let mut words = shell.map_or_else(
                || ["/bin/sh", "-c"].map(str::to_owned).to_vec(),
                <[_]>::to_vec,
            );
            words.push(line.clone());
            Some(words)
        }
        _ => None,
    }
}

impl Health {
    /// Takes a result in. Says whether the verdict is another now.
    pub fn judge(&mut self, plan: &HealthPlan, started_ns: u64, mut result: CheckResult) -> bool {
        let before = self.verdict;
        let early = result.began_ns.saturating_sub(started_ns) < plan.start_period_ns;
        if result.exit_code == 0 {
            self.streak = 0;
            self.verdict = Verdict::Healthy;
        } else if !(early && before == Verdict::Starting) {
            self.streak = self.streak.saturating_add(1);
            if self.streak >= plan.retries {
                self.verdict = Verdict::Unhealthy;
            }
        }
        if plan.max_output_bytes > 0 && result.output.len() > plan.max_output_bytes {
            let cut = result.output.floor_char_boundary(plan.max_output_bytes);
            result.output.truncate(cut);
            result.output.push_str("...");
        }
        self.results.push(result);
        if plan.max_results > 0 {
            let too_many = self.results.len().saturating_sub(plan.max_results);
            self.results.drain(..too_many);
        }
        self.verdict != before
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(test: &[&str]) -> ContainerConfig {
        ContainerConfig {
            healthcheck: Some(Healthcheck {
                test: test.iter().map(|word| (*word).to_owned()).collect(),
                interval_ns: 7,
                ..Healthcheck::default()
            }),
            ..ContainerConfig::default()
        }
    }

    fn plan() -> HealthPlan {
        let mut request = HealthRequest::default();
        request.check.start_period_ns = 100;
        HealthPlan::draw(&request, &image(&["CMD", "probe"])).unwrap()
    }

    fn result(began_ns: u64, exit_code: i32) -> CheckResult {
        CheckResult {
            began_ns,
            exit_code,
            ..CheckResult::default()
        }
    }

    #[test]
    fn the_users_words_go_over_the_images() {
        let drawn = plan();
        assert_eq!(drawn.args, ["probe"]);
        assert_eq!((drawn.interval_ns, drawn.retries), (7, 3));
        assert_eq!(drawn.timeout_ns, TIMEOUT_NS);
        let mut request = HealthRequest::default();
        request.check.test = ["CMD-SHELL", "a | b"].map(str::to_owned).to_vec();
        let drawn = HealthPlan::draw(&request, &image(&["CMD", "probe"])).unwrap();
        assert_eq!(drawn.args, ["/bin/sh", "-c", "a | b"]);
        request.check.test = vec!["NONE".to_owned()];
        assert!(HealthPlan::draw(&request, &image(&["CMD", "probe"])).is_none());
        let none = HealthRequest::default();
        assert!(HealthPlan::draw(&none, &ContainerConfig::default()).is_none());
        assert!(HealthPlan::draw(&none, &image(&["CMD"])).is_none());
    }

    #[test]
    fn failures_count_after_the_start_period_and_in_a_row() {
        let plan = plan();
        let mut health = Health::default();
        assert!(!health.judge(&plan, 1000, result(1050, 1)));
        assert_eq!((health.streak, health.verdict), (0, Verdict::Starting));
        assert!(!health.judge(&plan, 1000, result(1100, 1)));
        assert!(!health.judge(&plan, 1000, result(1200, 1)));
        assert!(health.judge(&plan, 1000, result(1300, -1)));
        assert_eq!((health.streak, health.verdict), (3, Verdict::Unhealthy));
        assert!(health.judge(&plan, 1000, result(1400, 0)));
        assert_eq!((health.streak, health.verdict), (0, Verdict::Healthy));
        // Once it was healthy, the start is over.
        assert!(!health.judge(&plan, 1000, result(1050, 2)));
        assert_eq!((health.streak, health.results.len()), (1, 5));
        assert_eq!(health.results[0].began_ns, 1100);
    }

    #[test]
    fn waits_are_short_in_the_beginning() {
        let plan = plan();
        assert_eq!(plan.wait_ns(Verdict::Starting, 99), START_INTERVAL_NS);
        assert_eq!(plan.wait_ns(Verdict::Starting, 100), 7);
        assert_eq!(plan.wait_ns(Verdict::Healthy, 0), 7);
    }

    #[test]
    fn output_is_cut_between_letters() {
        let mut plan = plan();
        plan.max_output_bytes = 4;
        let mut health = Health::default();
        let told = CheckResult {
            output: "ab€d".to_owned(),
            ..CheckResult::default()
        };
        health.judge(&plan, 0, told);
        assert_eq!(health.results[0].output, "ab...");
    }
}
