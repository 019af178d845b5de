//! The task service: a call's name, its message, and who carries it out. What only looks or notes is
//! answered at once, by the loop; what calls the OCI runtime gets a thread for as long as it takes, so that
//! the shim at rest has none of them.

mod checkpoint;
mod control;
mod exec;
mod launch;
mod lifecycle;
mod query;

pub use lifecycle::PID_FILE;

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use prost::Message;

use crate::container::{Container, Pids, State};
use crate::error::ShimError;
use crate::log;
use crate::message::event::TaskOOM;
use crate::message::rpc::Request;
use crate::oom::{Outcome, Watches};
use crate::publish::Publisher;
use crate::pump::{Flow, Pumps};
use crate::reaper::Reaper;
use crate::ttrpc::peer::Reply;

/// Both are served; their messages are the same.
const SERVICES: [&str; 2] = ["containerd.task.v3.Task", "containerd.task.v2.Task"];
/// Enough for spawning a program and reading its JSON; most of it is never touched.
const STACK_BYTES: usize = 256 << 10;

/// What all calls share.
#[derive(Debug)]
pub struct Shim {
    pub namespace: String,
    /// For sockets: its path is short.
    pub directory: PathBuf,
    pub pumps: Pumps,
    pub watches: Watches,
    pub reaper: Reaper,
    pub publisher: Publisher,
    pub state: Mutex<State>,
}

/// What the loop does after a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    Call,
    End,
}

type Answer = Result<Vec<u8>, ShimError>;

/// Reads a request, and makes bytes of what it is answered with.
fn call<A: Message + Default, B: Message>(
    payload: &[u8],
    answer: impl FnOnce(A) -> Result<B, ShimError>,
) -> Answer {
    Ok(answer(A::decode(payload)?)?.encode_to_vec())
}

impl Shim {
    /// # Panics
    /// Never: a panic aborts, so no lock is ever poisoned.
    pub fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Answers a call, or has it answered.
    pub fn dispatch(self: &Arc<Shim>, request: Request, reply: Reply) -> Next {
        if !SERVICES.contains(&&*request.service) {
            let service = request.service;
            reply.send(Err(ShimError::Unimplemented(format!("service {service}"))));
            return Next::Call;
        }
        let payload = &*request.payload;
        let answer = match &*request.method {
            "State" => call(payload, |request| self.state_of(&request)),
            "Connect" => call(payload, |request| self.connect(&request)),
            "Exec" => call(payload, |request| self.exec(request)),
            "ResizePty" => call(payload, |request| self.resize(&request)),
            "CloseIO" => call(payload, |request| self.close_io(&request)),
            "Wait" => {
                self.wait(payload, reply);
                return Next::Call;
            }
            "Shutdown" => {
                reply.send(Ok(Vec::new()));
                let state = self.lock();
                let empty = state.containers.is_empty() && state.creating.is_empty();
                return if empty { Next::End } else { Next::Call };
            }
            "Create" | "Start" | "Delete" | "Pause" | "Resume" | "Kill" | "Pids" | "Update"
            | "Stats" | "Checkpoint" => {
                let shim = Arc::clone(self);
                // A thread that cannot be had drops the reply, which then says so.
                let _ = std::thread::Builder::new()
                    .stack_size(STACK_BYTES)
                    .spawn(move || reply.send(shim.run(&request)));
                return Next::Call;
            }
            method => Err(ShimError::Unimplemented(method.to_owned())),
        };
        reply.send(answer);
        Next::Call
    }

    /// Carries out a call that takes its time.
    fn run(self: &Arc<Shim>, request: &Request) -> Answer {
        let payload = &*request.payload;
        match &*request.method {
            "Create" => call(payload, |request| self.create(&request)),
            "Start" => call(payload, |request| self.start(&request)),
            "Delete" => call(payload, |request| self.delete(&request)),
            "Pause" => call(payload, |request| self.pause(&request)),
            "Resume" => call(payload, |request| self.resume(&request)),
            "Kill" => call(payload, |request| self.kill(&request)),
            "Pids" => call(payload, |request| self.pids(&request)),
            "Update" => call(payload, |request| self.update(&request)),
            "Stats" => call(payload, |request| self.stats(&request)),
            "Checkpoint" => call(payload, |request| self.checkpoint(&request)),
            method => Err(ShimError::Unimplemented(method.to_owned())),
        }
    }

    /// After SIGCHLD: notes who has ended, and tells what may be told.
    pub fn reap(self: &Arc<Shim>) {
        let mut state = self.lock();
        // Under the lock, so that a number of a process that is said to run has not been given away.
        for (pid, exit) in self.reaper.reap() {
            let Some(container) = state.ended(pid, exit) else {
                continue;
            };
            if container.init.pid == pid && container.pids == Pids::Shared {
                self.kill_rest(container);
            }
            self.tell(container);
        }
    }

    /// Publishes the ends that may be told now.
    fn tell(&self, container: &mut Container) {
        for event in container.tell() {
            if event.id == event.container_id {
                self.pumps.stop(container.init.key, Some(Flow::Input));
                container.init.input_held = None;
                if self.watches.finish(&container.id) == Outcome::Killed {
                    self.publish_oom(container.id.clone());
                }
            } else if let Some(process) = container.execs.get_mut(&event.id) {
                self.pumps.stop(process.key, Some(Flow::Input));
                process.input_held = None;
            }
            self.publisher.publish(&event);
        }
    }

    pub fn publish_oom(&self, container_id: String) {
        self.publisher.publish(&TaskOOM { container_id });
    }

    /// Kills what is left of a container whose processes do not die with its first.
    fn kill_rest(self: &Arc<Shim>, container: &Container) {
        let (shim, runtime, id) = (
            Arc::clone(self),
            container.runtime.clone(),
            container.id.clone(),
        );
        let kill = move || {
            if let Err(error) = runtime.run(&shim.reaper, &["kill", "--all", &id, "KILL"]) {
                log::warn(format!("{id}: {error}"));
            }
        };
        let _ = std::thread::Builder::new()
            .stack_size(STACK_BYTES)
            .spawn(kill);
    }
}
