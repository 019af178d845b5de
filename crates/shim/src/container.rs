//! What the shim knows of its containers: [`State`], under one lock, with [`Container`]s and their
//! [`Process`]es. No runtime is called, and nothing is waited for, while it is locked.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::os::fd::OwnedFd;
use std::path::PathBuf;

use prost::Message;

use crate::error::ShimError;
use crate::message::event::TaskExit;
use crate::message::task::{Status, WaitResponse};
use crate::reaper::Exit;
use crate::runtime::Runtime;
use crate::stdio::Names;
use crate::ttrpc::peer::Reply;

/// How far a process has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// The first process waits for its start; an exec is only known.
    Created,
    /// The runtime is at it. An end in this phase is told after the start.
    Starting,
    Running,
    /// The runtime is at it.
    Deleting,
}

/// A process of a container: its first, or one of an exec.
#[derive(Debug)]
pub struct Process {
    /// Owner of its pumps.
    pub key: u64,
    pub names: Names,
    /// 0: none yet.
    pub pid: u32,
    pub phase: Phase,
    /// It has been reaped.
    pub ended: Option<Exit>,
    /// The world has been told.
    pub told: bool,
    /// The master side of its terminal.
    pub console: Option<OwnedFd>,
    /// See [`crate::stdio::Streams`].
    pub input_held: Option<OwnedFd>,
    /// An exec's `process`, in JSON.
    pub spec: Vec<u8>,
    pub waiters: Vec<Reply>,
}

impl Process {
    #[must_use]
    pub fn new(key: u64, names: Names) -> Process {
        Process {
            key,
            names,
            pid: 0,
            phase: Phase::Created,
            ended: None,
            told: false,
            console: None,
            input_held: None,
            spec: Vec::new(),
            waiters: Vec::new(),
        }
    }

    /// How it ended, if the world has been told.
    #[must_use]
    pub fn exit(&self) -> Option<Exit> {
        self.ended.filter(|_| self.told)
    }

    #[must_use]
    pub fn status(&self) -> Status {
        match (self.exit(), self.phase) {
            (Some(_), _) | (None, Phase::Deleting) => Status::Stopped,
            (None, Phase::Created | Phase::Starting) => Status::Created,
            (None, Phase::Running) => Status::Running,
        }
    }

    fn runs(&self) -> bool {
        self.pid != 0 && self.ended.is_none()
    }

    /// Tells those who wait, and gives the event, if it has ended and nobody has said so.
    fn tell(&mut self, container: &str, id: &str) -> Option<TaskExit> {
        let exit = self
            .ended
            .filter(|_| !self.told && self.phase != Phase::Starting)?;
        self.told = true;
        for waiter in self.waiters.drain(..) {
            waiter.send(Ok(waited(exit)));
        }
        Some(TaskExit {
            container_id: container.to_owned(),
            id: id.to_owned(),
            pid: self.pid,
            exit_status: exit.status,
            exited_at: Some(exit.at),
        })
    }
}

/// The answer to `Wait`.
#[must_use]
pub fn waited(exit: Exit) -> Vec<u8> {
    let response = WaitResponse {
        exit_status: exit.status,
        exited_at: Some(exit.at),
    };
    response.encode_to_vec()
}

/// Whether a container's processes die with its first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pids {
    /// A pid namespace of its own: the kernel sees to it.
    Own,
    /// One of others: the runtime has to kill them.
    Shared,
}

impl Pids {
    /// What the bundle's `config.json` says.
    #[must_use]
    pub fn of(config: &[u8]) -> Pids {
        let config: serde_json::Value = serde_json::from_slice(config).unwrap_or_default();
        let own = |namespace: &serde_json::Value| {
            namespace["type"] == "pid" && namespace["path"].as_str().unwrap_or_default().is_empty()
        };
        match config["linux"]["namespaces"].as_array() {
            Some(namespaces) if namespaces.iter().any(own) => Pids::Own,
            _ => Pids::Shared,
        }
    }
}

/// A task of containerd's.
#[derive(Debug)]
pub struct Container {
    pub id: String,
    pub bundle: PathBuf,
    pub runtime: Runtime,
    pub pids: Pids,
    pub paused: bool,
    /// The directory of the checkpoint that it is started from, if it is.
    pub images: Option<PathBuf>,
    pub init: Process,
    pub execs: BTreeMap<String, Process>,
}

impl Container {
    /// The process of a request; an empty name is the first.
    ///
    /// # Errors
    /// [`ShimError::NoProcess`].
    pub fn process(&mut self, exec_id: &str) -> Result<&mut Process, ShimError> {
        if exec_id.is_empty() {
            return Ok(&mut self.init);
        }
        self.execs
            .get_mut(exec_id)
            .ok_or_else(|| ShimError::NoProcess {
                task: self.id.clone(),
                process: exec_id.to_owned(),
            })
    }

    #[must_use]
    pub fn status(&self) -> Status {
        match self.init.status() {
            Status::Running if self.paused => Status::Paused,
            status => status,
        }
    }

    /// The ends that may be told now, in their order: the first process's is the last of all.
    pub fn tell(&mut self) -> Vec<TaskExit> {
        let mut events: Vec<TaskExit> = self
            .execs
            .iter_mut()
            .filter_map(|(exec_id, process)| process.tell(&self.id, exec_id))
            .collect();
        let others = self
            .execs
            .values()
            .any(|process| process.phase == Phase::Starting || process.runs());
        if !others {
            events.extend(self.init.tell(&self.id, &self.id));
        }
        events
    }
}

/// All of it.
#[derive(Debug, Default)]
pub struct State {
    pub containers: HashMap<String, Container>,
    /// Names of containers that are being made.
    pub creating: HashSet<String>,
    /// How many runtimes are making processes whose numbers are not known yet …
    starting: usize,
    /// … and who ended meanwhile: one of these may be theirs.
    unclaimed: HashMap<u32, Exit>,
    last_key: u64,
}

impl State {
    /// A number for a process, as the owner of its pumps.
    pub fn key(&mut self) -> u64 {
        self.last_key += 1;
        self.last_key
    }

    /// The container of a request.
    ///
    /// # Errors
    /// [`ShimError::NoTask`].
    pub fn container(&mut self, id: &str) -> Result<&mut Container, ShimError> {
        self.containers
            .get_mut(id)
            .ok_or_else(|| ShimError::NoTask(id.to_owned()))
    }

    /// From here to [`State::started`], no end is lost.
    pub fn start(&mut self) {
        self.starting += 1;
    }

    /// The runtime is done; gives the end of the process that it made, if it has ended already.
    pub fn started(&mut self, pid: Option<u32>) -> Option<Exit> {
        self.starting -= 1;
        let exit = pid.and_then(|pid| self.unclaimed.remove(&pid));
        if self.starting == 0 {
            self.unclaimed.clear();
        }
        exit
    }

    /// Notes an end; gives the container if it was its first process.
    pub fn ended(&mut self, pid: u32, exit: Exit) -> Option<&mut Container> {
        for container in self.containers.values_mut() {
            let mut all = std::iter::once(&mut container.init).chain(container.execs.values_mut());
            if let Some(process) = all.find(|process| process.pid == pid && process.runs()) {
                process.ended = Some(exit);
                return Some(container);
            }
        }
        if self.starting > 0 {
            self.unclaimed.insert(pid, exit);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Timestamp;
    use crate::message::options::Options;

    fn exit(status: u32) -> Exit {
        let at = Timestamp::now();
        Exit { status, at }
    }

    fn state() -> State {
        let mut state = State::default();
        let mut init = Process::new(state.key(), Names::default());
        init.pid = 10;
        init.phase = Phase::Running;
        let container = Container {
            id: "c".to_owned(),
            bundle: PathBuf::new(),
            runtime: Runtime::new("n", "/b".as_ref(), Options::default()),
            pids: Pids::Own,
            paused: false,
            images: None,
            init,
            execs: BTreeMap::new(),
        };
        state.containers.insert("c".to_owned(), container);
        state
    }

    #[test]
    fn an_end_before_its_number_is_known_is_not_lost() {
        let mut state = state();
        assert!(state.ended(77, exit(1)).is_none());
        state.start();
        assert!(state.ended(78, exit(2)).is_none());
        assert_eq!(state.started(Some(78)).map(|exit| exit.status), Some(2));
        state.start();
        assert_eq!(state.started(Some(77)), None, "before anybody started");
    }

    #[test]
    fn the_first_process_is_told_last() {
        let mut state = state();
        let mut exec = Process::new(2, Names::default());
        exec.pid = 11;
        exec.phase = Phase::Running;
        let container = state.container("c").unwrap();
        container.execs.insert("e".to_owned(), exec);
        assert!(state.ended(10, exit(0)).unwrap().tell().is_empty());
        let events = state.ended(11, exit(137)).unwrap().tell();
        let ids: Vec<&str> = events.iter().map(|event| &*event.id).collect();
        assert_eq!(ids, ["e", "c"]);
        let container = state.container("c").unwrap();
        assert_eq!(container.status(), Status::Stopped);
        assert!(container.tell().is_empty(), "once only");
    }

    #[test]
    fn an_end_during_the_start_is_told_after_it() {
        let mut state = state();
        state.container("c").unwrap().init.phase = Phase::Starting;
        let container = state.ended(10, exit(3)).unwrap();
        assert!(container.tell().is_empty());
        assert_eq!(container.status(), Status::Created);
        container.init.phase = Phase::Running;
        assert_eq!(container.tell().len(), 1);
    }

    #[test]
    fn a_shared_pid_namespace_is_seen() {
        let own = br#"{"linux":{"namespaces":[{"type":"mount"},{"type":"pid"}]}}"#;
        assert_eq!(Pids::of(own), Pids::Own);
        let pods = br#"{"linux":{"namespaces":[{"type":"pid","path":"/proc/1/ns/pid"}]}}"#;
        assert_eq!(Pids::of(pods), Pids::Shared);
        assert_eq!(Pids::of(br#"{"linux":{"namespaces":[]}}"#), Pids::Shared);
    }
}
