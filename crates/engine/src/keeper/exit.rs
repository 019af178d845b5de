//! The end of a process, and of the keeper with its workload's first one.

use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::process::{Command, Stdio};

use gamut_plan::cell::Exit;
use gamut_plan::launch::{LaunchPlan, Removal};
use gamut_plan::wire::{Reply, SOCKET_NAME};
use gamut_plan::{MAIN, Phase, ProcessId, Status};

use super::connection::Connection;
use super::events::{Keeper, Workload, now_ns};
use super::launch::remove_run_directory;
use super::telling::tell_of;
use crate::dirs::Container;
use crate::record;
use crate::remove::clear_directories;

impl Keeper {
    pub(super) fn on_process_end(&mut self, process: ProcessId) {
        let Some(workload) = &mut self.workload else {
            return;
        };
        if let Some(fd) = workload.cell.exit_fd(process) {
            self.poll.forget(fd);
        }
        let Ok(Some(exit)) = workload.cell.try_wait(process) else {
            return;
        };
        if process == MAIN {
            self.finish(exit);
        } else if !self.on_probe_end(process, exit.code)
            && let Some(workload) = &self.workload
        {
            let (code, number) = (exit.code.to_string(), process.to_string());
            workload.say("exec_die", [("exitCode", &code), ("execID", &number)]);
            self.tell(process, exit);
        }
    }

    /// Tells everybody who waits for the end of `process`.
    fn tell(&mut self, process: ProcessId, exit: Exit) {
        let concerned = |c: &Connection| {
            c.waits_for == Some(process) || (process == MAIN && c.attached && !c.removes)
        };
        self.tell_those(concerned, exit);
    }

    fn tell_those(&mut self, concerned: impl Fn(&Connection) -> bool, exit: Exit) {
        let ids: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| concerned(c))
            .map(|(id, _)| *id)
            .collect();
        for id in ids {
            self.reply(id, &Reply::Exited { exit });
        }
    }

    /// Whoever waits for another process hears of its end, too: it dies with the first one, if it has not
    /// ended before and that was not seen yet.
    fn tell_companions(&mut self) {
        let waited_for = self.connections.values().filter_map(|c| c.waits_for);
        let companions: Vec<ProcessId> = waited_for.filter(|of| *of != MAIN).collect();
        for process in companions {
            let Some(workload) = &mut self.workload else {
                return;
            };
            let killed = Exit {
                code: 128 + gamut_plan::signal::KILL,
                signal: Some(gamut_plan::signal::KILL),
            };
            let ended = workload.cell.try_wait(process).ok().flatten();
            self.tell(process, ended.unwrap_or(killed));
        }
    }

    /// Records the end, takes everything back, then says so: who hears of the end finds the
    /// container stopped and its ports free.
    fn finish(&mut self, exit: Exit) {
        self.drain_output();
        self.tell_companions();
        let Some(mut workload) = self.workload.take() else {
            return;
        };
        let bindings = std::mem::take(&mut workload.status.ports);
        workload.tell_denials();
        workload.naming.release();
        workload.ports.release(&bindings);
        let removal = workload.plan.removal;
        let handed_over =
            removal == Removal::OnExit && self.connections.values().any(|c| c.removes);
        if handed_over {
            // It forgets the container while the rest is cleared away here.
            self.tell_those(|c| c.removes, exit);
        }
        workload.end_checks();
        if let Some(lost) = workload
            .log
            .herald
            .as_ref()
            .map(|h| h.lost)
            .filter(|lost| *lost > 0)
        {
            let told = format!("{lost} lines of output were not told to the log's daemon");
            workload.status.warnings.push(told);
        }
        let mut status = workload.status.clone();
        status.oom_killed = workload.cell.oom_killed();
        if status.oom_killed {
            workload.say("oom", []);
        }
        workload.say("die", [("exitCode", &exit.code.to_string())]);
        if std::mem::take(&mut self.stopping.was_asked) {
            workload.say("stop", []);
        }
        if !self.stopping.by_hand {
            workload.record_failure(exit);
        }
        // What could not be removed is found by its name at the next repair.
        let _ = workload.cell.destroy();
        workload.egress.release();
        status.phase = Phase::Exited;
        status.pid = 0;
        status.exit_code = exit.code;
        status.finished_at_ns = record::now_ns();
        if handed_over {
            let Workload {
                dirs, plan, lock, ..
            } = workload;
            self.leaving = Some(Leaving {
                dirs,
                plan: Box::new(plan),
                lock,
                status,
                exit,
                until_ns: now_ns() + CLIENT_PATIENCE_NS,
            });
            return;
        }
        if self.is_restarted(&workload, exit) {
            return self.rest(workload, status, exit);
        }
        let _ = record::write_status(&workload.dirs, &status);
        if removal == Removal::Keep {
            remove_run_directory(&workload.dirs);
        } else {
            let _ = std::fs::remove_file(workload.dirs.run().join(SOCKET_NAME));
        }
        let dirs = workload.dirs.clone();
        let id = workload.plan.id.clone();
        drop(workload);
        if removal == Removal::OnExit {
            call(&dirs, &["rm", &id]);
        }
        self.part(exit);
    }

    /// The container has been forgotten: nothing of it stays on disk.
    pub(super) fn clear_away(&mut self) {
        if let Some(leaving) = self.leaving.take() {
            let _ = clear_directories(&leaving.dirs);
            tell_of(&leaving.dirs, &leaving.plan, "destroy", []);
            drop(leaving.lock);
            self.part(leaving.exit);
        }
    }

    /// Who was to forget the container has left without.
    pub(super) fn remove_after_all(&mut self) {
        let Some(leaving) = self.leaving.take() else {
            return;
        };
        let _ = record::write_status(&leaving.dirs, &leaving.status);
        let _ = std::fs::remove_file(leaving.dirs.run().join(SOCKET_NAME));
        drop(leaving.lock);
        call(&leaving.dirs, &["rm", &leaving.plan.id]);
        self.part(leaving.exit);
    }

    /// When somebody else is to remove what a client does not.
    pub(super) fn leaving_until_ns(&self) -> Option<u64> {
        self.leaving.as_ref().map(|leaving| leaving.until_ns)
    }

    pub(super) fn leave_when_due(&mut self) {
        if self.leaving_until_ns().is_some_and(|at| at <= now_ns()) {
            self.remove_after_all();
        }
    }

    /// The last words to everybody.
    pub(super) fn part(&mut self, exit: Exit) {
        if let Some((pod, dirs)) = self.pod.take() {
            call(&dirs, &["pod", "stop", "--if-idle", &pod]);
        }
        self.tell(MAIN, exit);
        // Those that have everything are let go; the others when they have read it.
        let finished: Vec<u32> = self
            .connections
            .iter()
            .filter(|(_, c)| !c.has_backlog())
            .map(|(id, _)| *id)
            .collect();
        for id in finished {
            self.dismiss(id);
        }
    }
}

/// A `--rm` container that has ended and that a client is about to forget.
pub(super) struct Leaving {
    dirs: Container,
    plan: Box<LaunchPlan>,
    /// Held until nothing of it is left.
    lock: OwnedFd,
    status: Status,
    exit: Exit,
    until_ns: u64,
}

/// How long a client that was told of the end may take to forget the container: one that was
/// stopped (SIGSTOP) must not hold it for ever.
const CLIENT_PATIENCE_NS: u64 = 5_000_000_000;

/// Has the command line do what needs the database, which the keeper has not got: `--rm` of a container that
/// nobody is attached to, and the end of a pod with its last one.
fn call(dirs: &Container, words: &[&str]) {
    let Some((root, run_root)) = dirs.roots() else {
        return;
    };
    let mut command = Command::new("/proc/self/exe");
    command
        .arg0("gamut")
        .arg("--root")
        .arg(root)
        .arg("--runroot")
        .arg(run_root)
        .args(words);
    let _ = command
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
}
