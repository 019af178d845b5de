//! What clients ask, one arm for each request.

use std::os::fd::{AsFd, OwnedFd};

use gamut_plan::cell::{CellError, CellFds};
use gamut_plan::launch::ExecPlan;
use gamut_plan::request::StopTimeout;
use gamut_plan::wire::{Reply, Request};
use gamut_plan::{MAIN, Phase, ProcessId};
use rustix::event::epoll::EventFlags;
use rustix::termios::Winsize;

use super::events::{Keeper, Source, Workload, now_ns};
use super::network::Ahead;
use crate::dirs::Dirs;
use crate::record;

impl Keeper {
    pub(super) fn on_request(&mut self, id: u32, request: Request, descriptors: Vec<OwnedFd>) {
        match request {
            Request::Launch {
                root,
                run_root,
                id: container,
                client,
                before,
            } => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.removes = client.removes;
                    if let Some(attached) = client.attached {
                        connection.attach(attached);
                    }
                }
                let dirs = Dirs::new(root, run_root).container(&container);
                let mut descriptors = descriptors.into_iter();
                let lock = descriptors.next();
                self.held = descriptors.collect();
                self.launch(id, &container, &dirs, *before, lock);
            }
            Request::Prepare => {
                self.ahead = Ahead::make();
                self.mark("keeper: network namespace made ahead");
                let _ = record::boot_id();
                gamut_container::ahead::prepare();
            }
            Request::Plan(plan) => self.plan = Some(plan),
            Request::Root(plan) => {
                // What is wrong, the start will say.
                let mounted = gamut_container::ahead::mount(&plan).ok();
                self.root = mounted.map(|mounted| (plan, mounted));
                self.mark("keeper: root mounted ahead");
            }
            Request::Attach(attached) => {
                if let Some(workload) = &self.workload {
                    workload.say("attach", []);
                }
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.attach(attached);
                }
                self.reply(id, &Reply::Done);
            }
            Request::ClearAway => self.clear_away(),
            Request::Wait => {
                if let Some(connection) = self.connections.get_mut(&id) {
                    connection.waits_for = Some(connection.exec.unwrap_or(MAIN));
                }
            }
            Request::Exec(plan) => self.exec(id, &plan, descriptors),
            Request::Check if self.workload.is_some() => self.check_for(id),
            Request::Join(joining) if self.workload.is_some() => {
                let done = self.join(joining.endpoint, joining.resolv_conf);
                self.reply(id, &done.map_or_else(Reply::StartFailed, |()| Reply::Done));
            }
            Request::Rename { name } if self.workload.is_some() => {
                let done = self.call(&name);
                self.reply(id, &done.map_or_else(Reply::StartFailed, |()| Reply::Done));
            }
            Request::Leave { network_id } if self.workload.is_some() => {
                let done = self.leave(&network_id);
                self.reply(id, &done.map_or_else(Reply::StartFailed, |()| Reply::Done));
            }
            other => {
                let reply = match &mut self.workload {
                    Some(_) => self.on_workload_request(id, other),
                    None => return self.on_resting_request(id, &other),
                };
                if let Some(reply) = reply {
                    self.reply(id, &reply);
                }
            }
        }
    }

    fn on_workload_request(&mut self, id: u32, request: Request) -> Option<Reply> {
        let target = self
            .connections
            .get(&id)
            .and_then(|c| c.exec)
            .unwrap_or(MAIN);
        let workload = self.workload.as_mut()?;
        let done = |result: Result<(), CellError>| match result {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(error),
        };
        Some(match request {
            Request::Resize { rows, columns } => resize(workload, target, rows, columns),
            Request::Signal { signal } => {
                let result = workload.cell.signal(target, signal);
                if target == MAIN {
                    workload.say("kill", [("signal", &signal.to_string())]);
                }
                if [gamut_plan::signal::KILL, workload.plan.stop.signal].contains(&signal) {
                    // A frozen process ends when it is thawed only; Docker thaws for these two.
                    self.stopping.by_hand |= target == MAIN;
                    thaw(workload);
                }
                done(result)
            }
            Request::Stop { signal, timeout } => {
                self.stop(Some(id), signal, timeout);
                return None;
            }
            Request::Stats => match workload.cell.stats() {
                Ok(stats) => Reply::Stats(Box::new(stats)),
                Err(error) => Reply::Failed(error),
            },
            Request::Update(limits) => done(workload.cell.update(&limits)),
            Request::Pause => set_paused(workload, Phase::Paused),
            Request::Resume => set_paused(workload, Phase::Running),
            _ => Reply::Refused {
                reason: "not now".into(),
            },
        })
    }

    /// Signals now; the answer is [`Reply::Exited`], at the latest after the kill.
    pub(super) fn stop(
        &mut self,
        id: Option<u32>,
        signal: Option<i32>,
        timeout: Option<StopTimeout>,
    ) {
        let Some(workload) = &mut self.workload else {
            return;
        };
        let signal = signal.unwrap_or(workload.plan.stop.signal);
        let timeout_s = match timeout {
            Some(StopTimeout::Seconds(seconds)) => Some(seconds),
            Some(StopTimeout::Forever) => None,
            None => workload.plan.stop.timeout_s,
        };
        thaw(workload);
        self.stopping.was_asked = true;
        self.stopping.by_hand = true;
        workload.say("kill", [("signal", &signal.to_string())]);
        let _ = workload.cell.signal(MAIN, signal);
        if let Some(seconds) = timeout_s {
            let at = now_ns() + u64::from(seconds) * 1_000_000_000;
            let earlier = self.stopping.kill_at_ns.map_or(at, |known| known.min(at));
            self.stopping.kill_at_ns = Some(earlier);
        }
        if let Some(connection) = id.and_then(|id| self.connections.get_mut(&id)) {
            connection.waits_for = Some(MAIN);
        }
    }

    /// Stops it in order, and has it started again.
    pub(super) fn stop_to_restart(&mut self) {
        let by_hand = self.stopping.by_hand;
        self.stop(None, None, None);
        self.stopping.by_hand = by_hand;
        self.stopping.to_restart = true;
    }

    /// Whoever ends the keeper, as a host that goes down does, ends its workload: as `stop` would.
    pub(super) fn stop_in_order(&mut self) {
        let told = self.signals.as_ref().map(gamut_sys::signal::drain);
        if told.is_some_and(|told| told.is_ok_and(|signals| !signals.is_empty())) {
            self.stop(None, None, None);
            self.give_up();
        }
    }

    pub(super) fn kill_when_due(&mut self) {
        if self.stopping.kill_at_ns.is_some_and(|at| at <= now_ns()) {
            self.stopping.kill_at_ns = None;
            if let Some(workload) = &mut self.workload {
                let _ = workload.cell.signal(MAIN, gamut_plan::signal::KILL);
                thaw(workload);
            }
        }
    }

    fn exec(&mut self, id: u32, plan: &ExecPlan, descriptors: Vec<OwnedFd>) {
        let Some(workload) = &mut self.workload else {
            return self.reply(id, &self.nothing_runs());
        };
        // A machine's agent works on.
        if workload.status.phase == Phase::Paused && plan.task.is_none() {
            return self.reply(
                id,
                &Reply::Refused {
                    reason: "the container is paused".into(),
                },
            );
        }
        let mut streams = descriptors.into_iter();
        let fds = CellFds {
            stdin: streams.next(),
            stdout: streams.next(),
            stderr: streams.next(),
        };
        match workload.cell.exec(plan, fds) {
            Err(error) => self.reply(id, &Reply::StartFailed(error)),
            Ok(process) => {
                let pid = workload.cell.pid(process);
                let terminal = workload.cell.take_terminal(process);
                if let Some(fd) = workload.cell.exit_fd(process) {
                    let _ = self
                        .poll
                        .watch(fd, Source::Process(process), EventFlags::IN);
                }
                let reply = serde_json::to_vec(&Reply::ExecStarted { pid }).unwrap_or_default();
                let number = process.to_string();
                let command = plan.args.join(" ");
                for action in ["exec_create", "exec_start"] {
                    workload.say(&format!("{action}: {command}"), [("execID", &number)]);
                }
                let Some(connection) = self.connections.get_mut(&id) else {
                    return;
                };
                connection.exec = Some(process);
                connection.waits_for = Some(process);
                let master: Vec<_> = terminal.iter().map(AsFd::as_fd).collect();
                if gamut_sys::socket::send(connection.socket.as_fd(), &[&reply], &master).is_err() {
                    self.dismiss(id);
                }
            }
        }
    }
}

/// An exec'd process's terminal is with its client, who sets its size, unless it is elsewhere.
fn resize(workload: &Workload, target: ProcessId, rows: u16, columns: u16) -> Reply {
    if let Some(resizer) = workload.cell.resizer() {
        return match resizer.resize(target, rows, columns) {
            Ok(()) => Reply::Done,
            Err(error) => Reply::Failed(error),
        };
    }
    if let Some(terminal) = workload.streams.terminal().filter(|_| target == MAIN) {
        let size = Winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        let _ = rustix::termios::tcsetwinsize(terminal, size);
    }
    Reply::Done
}

fn thaw(workload: &mut Workload) {
    if workload.status.phase == Phase::Paused {
        let _ = set_paused(workload, Phase::Running);
    }
}

fn set_paused(workload: &mut Workload, phase: Phase) -> Reply {
    if workload.status.phase == phase {
        let word = if phase == Phase::Paused {
            "paused already"
        } else {
            "not paused"
        };
        return Reply::Refused {
            reason: format!("the container is {word}"),
        };
    }
    let Some(freezer) = workload.cell.freezer() else {
        return Reply::Refused {
            reason: "this isolation level cannot pause".into(),
        };
    };
    let result = if phase == Phase::Paused {
        freezer.freeze()
    } else {
        freezer.thaw()
    };
    match result {
        Ok(()) => {
            workload.status.phase = phase;
            let _ = record::write_status(&workload.dirs, &workload.status);
            let word = if phase == Phase::Paused {
                "pause"
            } else {
                "unpause"
            };
            workload.say(word, []);
            Reply::Done
        }
        Err(error) => Reply::Failed(error),
    }
}
