//! Health checks: a program run beside the workload every so often, and what becomes of one that fails.

use std::io::Read;
use std::os::fd::BorrowedFd;

use gamut_plan::cell::CellFds;
use gamut_plan::health::{CheckResult, Health, HealthPlan, OnUnhealthy, Verdict};
use gamut_plan::launch::ExecPlan;
use gamut_plan::wire::Reply;
use gamut_plan::{MAIN, Phase, ProcessId, signal};
use gamut_spec::Fault;
use rustix::event::epoll::EventFlags;
use rustix::fs::OFlags;
use rustix::pipe::{PipeFlags, pipe_with};

use super::events::{Keeper, Source, Workload, now_ns};
use crate::record;

/// What a check may say; the rest is read and thrown away.
const MOST_OUTPUT_BYTES: usize = 64 * 1024;

/// The checks of a workload.
pub(super) struct Checks {
    plan: HealthPlan,
    health: Health,
    /// When the workload began, on the monotonic clock.
    began_ns: u64,
    due_ns: u64,
    probe: Option<Probe>,
    /// Connections that wait for the result of the one that runs, or is to run now.
    asked_by: Vec<u32>,
}

/// A check that runs.
struct Probe {
    process: ProcessId,
    output: std::fs::File,
    said: Vec<u8>,
    /// Nanoseconds since the epoch.
    began_ns: u64,
    /// `None`: it has been killed for taking too long.
    kill_at_ns: Option<u64>,
}

impl Checks {
    pub(super) fn new(plan: HealthPlan) -> Self {
        let began_ns = now_ns();
        let due_ns = began_ns + plan.wait_ns(Verdict::Starting, 0);
        Self {
            plan,
            health: Health::default(),
            began_ns,
            due_ns,
            probe: None,
            asked_by: Vec::new(),
        }
    }

    fn schedule(&mut self) {
        let now = now_ns();
        let running_ns = now.saturating_sub(self.began_ns);
        self.due_ns = now + self.plan.wait_ns(self.health.verdict, running_ns);
    }
}

impl Probe {
    fn read(&mut self) {
        let mut buffer = [0; 4096];
        while let Ok(count @ 1..) = self.output.read(&mut buffer) {
            let room = MOST_OUTPUT_BYTES.saturating_sub(self.said.len());
            self.said.extend_from_slice(&buffer[..count.min(room)]);
        }
    }
}

impl Workload {
    /// There is nothing to be checked any more. Docker's word for that is "unhealthy".
    pub(super) fn end_checks(&mut self) {
        if let Some(mut checks) = self.checks.take() {
            checks.health.verdict = Verdict::Unhealthy;
            self.status.health = Some(Verdict::Unhealthy);
            let _ = record::write_health(&self.dirs, &checks.health);
        }
    }

    fn start_probe(&mut self) -> Result<Probe, String> {
        let Some(checks) = &self.checks else {
            return Err("there is no health check".to_owned());
        };
        let told = |error: std::io::Error| error.to_string();
        let (output, end) = pipe_with(PipeFlags::CLOEXEC).map_err(|errno| told(errno.into()))?;
        rustix::fs::fcntl_setfl(&output, OFlags::NONBLOCK).map_err(|errno| told(errno.into()))?;
        let fds = CellFds {
            stdin: None,
            stdout: Some(end.try_clone().map_err(told)?),
            stderr: Some(end),
        };
        let exec = ExecPlan {
            args: checks.plan.args.clone(),
            ..ExecPlan::default()
        };
        let timeout_ns = checks.plan.timeout_ns;
        let began_ns = record::now_ns();
        let process = self
            .cell
            .exec(&exec, fds)
            .map_err(|error| match error.hint() {
                Some(hint) => format!("{error} ({hint})"),
                None => error.to_string(),
            })?;
        Ok(Probe {
            process,
            output: output.into(),
            said: Vec::new(),
            began_ns,
            kill_at_ns: Some(now_ns().saturating_add(timeout_ns)),
        })
    }

    /// The descriptors of the check that runs.
    fn probe_fds(&self) -> Option<(ProcessId, BorrowedFd<'_>, &std::fs::File)> {
        let probe = self.checks.as_ref()?.probe.as_ref()?;
        Some((
            probe.process,
            self.cell.exit_fd(probe.process)?,
            &probe.output,
        ))
    }
}

impl Keeper {
    /// When the next check begins, or the one that runs has taken too long. A workload that is frozen is
    /// not asked.
    pub(super) fn check_due_ns(&self) -> Option<u64> {
        let workload = self.workload.as_ref()?;
        let checks = workload.checks.as_ref()?;
        match (&checks.probe, workload.status.phase) {
            (_, Phase::Paused) => None,
            (Some(probe), _) => probe.kill_at_ns,
            (None, _) => Some(checks.due_ns),
        }
    }

    pub(super) fn check_when_due(&mut self) {
        if self.check_due_ns().is_none_or(|at| at > now_ns()) {
            return;
        }
        let Some(workload) = &mut self.workload else {
            return;
        };
        if let Some(probe) = workload.checks.as_mut().and_then(|c| c.probe.as_mut()) {
            probe.kill_at_ns = None;
            let _ = workload.cell.signal(probe.process, signal::KILL);
            return;
        }
        match workload.start_probe() {
            Ok(probe) => {
                if let Some(checks) = &mut workload.checks {
                    checks.probe = Some(probe);
                }
                if let Some((process, exit, output)) = workload.probe_fds() {
                    let _ = self
                        .poll
                        .watch(exit, Source::Process(process), EventFlags::IN);
                    let _ = self.poll.watch(output, Source::Probe, EventFlags::IN);
                }
            }
            Err(reason) => {
                let now = record::now_ns();
                self.judge(CheckResult {
                    began_ns: now,
                    ended_ns: now,
                    exit_code: -1,
                    output: reason,
                });
            }
        }
    }

    /// Reads what the check says. At its end the descriptor is not looked at again.
    pub(super) fn on_probe_output(&mut self, flags: EventFlags) {
        let workload = self.workload.as_mut();
        let Some(probe) = workload.and_then(|w| w.checks.as_mut()?.probe.as_mut()) else {
            return;
        };
        probe.read();
        if flags.contains(EventFlags::HUP) {
            self.poll.forget(&probe.output);
        }
    }

    /// Whether this process was the check; its result is taken in then.
    pub(super) fn on_probe_end(&mut self, process: ProcessId, code: i32) -> bool {
        let checks = self.workload.as_mut().and_then(|w| w.checks.as_mut());
        let Some(checks) = checks else {
            return false;
        };
        let Some(mut probe) = checks.probe.take_if(|probe| probe.process == process) else {
            return false;
        };
        probe.read();
        self.poll.forget(&probe.output);
        let mut output = String::from_utf8_lossy(&probe.said).into_owned();
        let mut exit_code = code;
        if probe.kill_at_ns.is_none() {
            exit_code = -1;
            let seconds = checks.plan.timeout_ns as f64 / 1e9;
            let late = format!("Health check exceeded timeout ({seconds}s)");
            output = match output.is_empty() {
                true => late,
                false => format!("{late}: {output}"),
            };
        }
        self.judge(CheckResult {
            began_ns: probe.began_ns,
            ended_ns: record::now_ns(),
            exit_code,
            output,
        });
        true
    }

    fn judge(&mut self, result: CheckResult) {
        let Some(workload) = &mut self.workload else {
            return;
        };
        let Some(checks) = &mut workload.checks else {
            return;
        };
        let exit_code = result.exit_code;
        let started_ns = workload.status.started_at_ns;
        let is_news = checks.health.judge(&checks.plan, started_ns, result);
        checks.schedule();
        let verdict = checks.health.verdict;
        let on_failure = checks.plan.on_failure;
        let asked_by = std::mem::take(&mut checks.asked_by);
        let _ = record::write_health(&workload.dirs, &checks.health);
        if is_news {
            workload.status.health = Some(verdict);
            let _ = record::write_status(&workload.dirs, &workload.status);
            workload.say(&format!("health_status: {}", verdict.word()), []);
        }
        for id in asked_by {
            self.reply(id, &Reply::Checked { exit_code });
        }
        if is_news && verdict == Verdict::Unhealthy {
            self.on_unhealthy(on_failure);
        }
    }

    fn on_unhealthy(&mut self, wanted: OnUnhealthy) {
        let Some(workload) = &mut self.workload else {
            return;
        };
        let policy = workload.plan.restart;
        let is_restarted = policy.restarts_unhealthy(workload.status.restarts);
        match wanted {
            OnUnhealthy::None if is_restarted => self.stop_to_restart(),
            OnUnhealthy::None => {}
            OnUnhealthy::Restart => self.stop_to_restart(),
            OnUnhealthy::Stop => self.stop(None, None, None),
            OnUnhealthy::Kill => {
                workload.say("kill", [("signal", &signal::KILL.to_string())]);
                let _ = workload.cell.signal(MAIN, signal::KILL);
            }
        }
    }

    /// Checks now, for a client.
    pub(super) fn check_for(&mut self, id: u32) {
        let workload = self.workload.as_mut();
        let is_paused = workload
            .as_ref()
            .is_some_and(|w| w.status.phase == Phase::Paused);
        match workload.and_then(|workload| workload.checks.as_mut()) {
            Some(checks) if !is_paused => {
                checks.asked_by.push(id);
                checks.due_ns = 0;
                if let Some(connection) = self.connections.get_mut(&id) {
                    // It hears of an end that comes before.
                    connection.waits_for = Some(MAIN);
                }
                self.check_when_due();
            }
            found => {
                let reason = match found {
                    Some(_) => "the container is paused",
                    None => "the container has no health check",
                };
                self.reply(
                    id,
                    &Reply::Refused {
                        reason: reason.to_owned(),
                    },
                );
            }
        }
    }
}
