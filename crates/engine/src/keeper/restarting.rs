//! A workload that has ended and is started again: between the two the keeper keeps the container, its
//! lock, its socket and whoever is attached.

use std::os::fd::OwnedFd;

use gamut_plan::cell::Exit;
use gamut_plan::launch::LaunchPlan;
use gamut_plan::wire::{Reply, Request};
use gamut_plan::{MAIN, Phase, Status, restart, signal};

use super::events::{Keeper, Stopping, Workload, now_ns};
use super::launch::remove_run_directory;
use super::telling::tell_of;
use crate::dirs::Container;
use crate::record;

/// What waits for its next start.
pub(super) struct Resting {
    dirs: Container,
    plan: Box<LaunchPlan>,
    lock: OwnedFd,
    pub(super) listener: OwnedFd,
    status: Status,
    exit: Exit,
    due_ns: u64,
}

impl Keeper {
    /// Whether a workload that has ended so is to be started again.
    pub(super) fn is_restarted(&self, workload: &Workload, exit: Exit) -> bool {
        let policy = workload.plan.restart;
        !self.stopping.by_hand
            && (self.stopping.to_restart || policy.restarts(exit.code, workload.status.restarts))
    }

    /// Keeps what the next start needs; `status` says how the last one ended.
    pub(super) fn rest(&mut self, workload: Workload, mut status: Status, exit: Exit) {
        let ran_ns = status.finished_at_ns.saturating_sub(status.started_at_ns);
        self.waited_ns = restart::wait_ns(ran_ns, self.waited_ns);
        status.phase = Phase::Restarting;
        let _ = record::write_status(&workload.dirs, &status);
        let Workload {
            dirs,
            plan,
            lock,
            listener,
            ..
        } = workload;
        self.stopping = Stopping::default();
        self.resting = Some(Resting {
            dirs,
            plan: Box::new(plan),
            lock,
            listener,
            status,
            exit,
            due_ns: now_ns() + self.waited_ns,
        });
    }

    pub(super) fn restart_due_ns(&self) -> Option<u64> {
        self.resting.as_ref().map(|resting| resting.due_ns)
    }

    pub(super) fn restart_when_due(&mut self) {
        if self.restart_due_ns().is_none_or(|at| at > now_ns()) {
            return;
        }
        let Some(resting) = self.resting.take() else {
            return;
        };
        let Resting {
            dirs,
            plan,
            lock,
            mut status,
            exit,
            ..
        } = resting;
        status.restarts += 1;
        // The plan is read anew: limits and networks may be others by now.
        match self.try_launch(&plan.id, &dirs, status, lock) {
            Ok(workload) => {
                workload.say("start", []);
                self.workload = Some(workload);
                self.watch_workload();
            }
            // It is recorded as failed, and why.
            Err(_) => self.part(exit),
        }
    }

    /// The answer to what wants something that runs.
    pub(super) fn nothing_runs(&self) -> Reply {
        let reason = match self.resting {
            Some(_) => "the container is restarting",
            None => "nothing runs here",
        };
        Reply::Refused {
            reason: reason.to_owned(),
        }
    }

    /// What is asked while nothing runs.
    pub(super) fn on_resting_request(&mut self, id: u32, request: &Request) {
        let Some(resting) = &self.resting else {
            return self.reply(id, &self.nothing_runs());
        };
        let ends = match request {
            Request::Stop { .. } => true,
            Request::Signal { signal: number } => {
                *number == signal::KILL || *number == resting.plan.stop.signal
            }
            _ => false,
        };
        if !ends {
            return self.reply(id, &self.nothing_runs());
        }
        self.reply(id, &Reply::Done);
        if let Some(connection) = self.connections.get_mut(&id) {
            connection.waits_for = Some(MAIN);
        }
        self.give_up();
    }

    /// Starts nothing again.
    pub(super) fn give_up(&mut self) {
        let Some(resting) = self.resting.take() else {
            return;
        };
        let status = Status {
            phase: Phase::Exited,
            ..resting.status
        };
        let _ = record::write_status(&resting.dirs, &status);
        tell_of(&resting.dirs, &resting.plan, "stop", []);
        remove_run_directory(&resting.dirs);
        drop(resting.lock);
        self.part(resting.exit);
    }
}
