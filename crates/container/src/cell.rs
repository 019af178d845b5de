//! [`Container`]: the container level as a [`Cell`].

use std::collections::BTreeMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_plan::cell::{Cell, CellError, CellFds, Connect, Exit, Freezer, Limits, StartError};
use gamut_plan::host::{HostFacts, Missing};
use gamut_plan::launch::{ExecPlan, LaunchPlan};
use gamut_plan::{MAIN, ProcessId, Stats};
use gamut_spec::Fault;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Mount};
use rustix::fs::{Mode, OFlags};
use rustix::process::{Pid, Signal, WaitId, WaitIdOptions};

use crate::cgroup::{Cgroup, CgroupError};
use crate::group::{Group, Own, Stale, cgroup_failed};
use crate::home;
use crate::launch::exec::{self, Target};
use crate::launch::{self, Started, prepare};
use crate::limits;

/// A running container: its processes, its cgroup, the way to its terminals.
#[derive(Debug)]
pub struct Container {
    plan: LaunchPlan,
    /// `None`: it is in its keeper's.
    cgroup: Option<Cgroup>,
    devpts: Option<OwnedFd>,
    /// Its mount namespace, where nobody can be waiting for one of its mounts to go: unmounting
    /// all of them takes time that the end of its first process need not wait for.
    mounts: Option<OwnedFd>,
    processes: BTreeMap<ProcessId, Process>,
    next: ProcessId,
    warnings: Vec<String>,
}

#[derive(Debug)]
struct Process {
    started: Started,
    terminal: Option<OwnedFd>,
}

impl Process {
    /// Whether it has ended, and nobody was told yet.
    fn ended(&self) -> bool {
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        let status = rustix::process::waitid(WaitId::PidFd(self.started.pidfd.as_fd()), options);
        matches!(status, Ok(Some(_)))
    }
}

fn already_ended() -> StartError {
    StartError::Conflict {
        message: "the container's first process has ended".into(),
        hint: None,
    }
}

fn refused(act: &str, error: &CgroupError) -> CellError {
    CellError::Refused {
        act: act.into(),
        reason: error.to_string(),
        hint: error.hint(),
    }
}

/// The mount namespace of a workload that has nothing of the host's in it.
fn own_mounts(plan: &LaunchPlan, pid: Pid) -> Option<OwnedFd> {
    let linux = plan.spec.linux().as_ref()?;
    let listed = linux.namespaces().as_deref().unwrap_or_default();
    let own = |n: &LinuxNamespace| n.typ() == LinuxNamespaceType::Mount && n.path().is_none();
    let mounts = plan.spec.mounts().as_deref().unwrap_or_default();
    let bound = |m: &Mount| m.typ().as_deref() == Some("bind");
    if !listed.iter().any(own) || mounts.iter().any(bound) {
        return None;
    }
    let path = format!("/proc/{}/ns/mnt", pid.as_raw_nonzero());
    rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).ok()
}

impl Container {
    /// Its control group, for an act that takes one.
    fn grouped(&self, act: &str) -> Result<&Cgroup, CellError> {
        self.cgroup.as_ref().ok_or_else(|| CellError::Refused {
            act: format!("{act} the container"),
            reason: "it has no control group of its own".into(),
            hint: Some(
                "systemd gives control groups to users, with cgroup version 2 and a session of the user's"
                    .into(),
            ),
        })
    }
}

impl Cell for Container {
    fn probe(host: &HostFacts) -> Vec<Missing> {
        crate::probe::probe(host)
    }

    fn start(
        plan: &LaunchPlan,
        fds: CellFds,
        connect: &mut dyn Connect,
    ) -> Result<Self, StartError> {
        let placed = home::groups::place(plan)?;
        let (hierarchies, own, scope) = match placed {
            Some(placed) => (placed.hierarchies, placed.own, placed.scope),
            None => {
                let found = crate::ahead::hierarchies().map_err(|e| cgroup_failed(&e))?;
                (found, Own::Yes, None)
            }
        };
        let group = Group::new(plan, &hierarchies, Stale::Kill);
        let mut group = group.owned(own).in_scope(scope);
        let root = match connect.root() {
            Some(root) if !launch::root::has_own_ids(plan) => root,
            _ => launch::root::make(plan)?,
        };
        let ahead = connect
            .namespace()
            .and_then(|fd| fd.try_clone_to_owned().ok());
        let mut prepared = prepare::prepare(plan, fds, root, &hierarchies, ahead)?;
        connect.mark("keeper: start prepared", launch::now_ns());
        let wanted = limits::of(plan);
        let started = launch::start(plan, &prepared, &mut group, connect, &wanted)?;
        let main = Process {
            started,
            terminal: prepared.terminal.take(),
        };
        let (cgroup, mut warnings) = group.keep();
        warnings.extend(wanted.warnings);
        Ok(Container {
            plan: plan.clone(),
            cgroup,
            devpts: prepared.devpts,
            mounts: own_mounts(plan, main.started.pid),
            processes: BTreeMap::from([(MAIN, main)]),
            next: MAIN + 1,
            warnings,
        })
    }

    fn exec(&mut self, plan: &ExecPlan, fds: CellFds) -> Result<ProcessId, StartError> {
        let main = self.processes.get(&MAIN).ok_or_else(already_ended)?;
        let target = Target {
            plan: &self.plan,
            init: &main.started,
            cgroup: self.cgroup.as_ref(),
            devpts: self.devpts.as_ref(),
        };
        let (started, terminal) =
            exec::exec(target, plan, fds).map_err(|error| match main.ended() {
                // Whatever it stumbled over: there is nothing left to join.
                true => already_ended(),
                false => error,
            })?;
        let id = self.next;
        self.next += 1;
        self.processes.insert(id, Process { started, terminal });
        Ok(id)
    }

    fn pid(&self, of: ProcessId) -> i32 {
        self.processes
            .get(&of)
            .map_or(0, |p| p.started.pid.as_raw_nonzero().get())
    }

    fn take_terminal(&mut self, of: ProcessId) -> Option<OwnedFd> {
        self.processes.get_mut(&of).and_then(|p| p.terminal.take())
    }

    fn exit_fd(&self, of: ProcessId) -> Option<BorrowedFd<'_>> {
        self.processes.get(&of).map(|p| p.started.pidfd.as_fd())
    }

    fn try_wait(&mut self, of: ProcessId) -> Result<Option<Exit>, CellError> {
        let process = self.processes.get(&of).ok_or(CellError::NoProcess)?;
        let options = WaitIdOptions::EXITED | WaitIdOptions::NOHANG;
        let status = rustix::process::waitid(WaitId::PidFd(process.started.pidfd.as_fd()), options);
        match status {
            Ok(None) => Ok(None),
            Ok(Some(status)) => {
                self.processes.remove(&of);
                let signal = status.terminating_signal();
                let code = match (status.exit_status(), signal) {
                    (Some(code), _) => code,
                    (None, Some(signal)) => 128 + signal,
                    (None, None) => 255,
                };
                Ok(Some(Exit { code, signal }))
            }
            Err(errno) => Err(CellError::Refused {
                act: "wait for the process".into(),
                reason: std::io::Error::from(errno).to_string(),
                hint: None,
            }),
        }
    }

    fn signal(&self, to: ProcessId, signal: i32) -> Result<(), CellError> {
        let process = self.processes.get(&to).ok_or(CellError::NoProcess)?;
        let named = gamut_sys::signal::from_number(signal).ok_or_else(|| CellError::Refused {
            act: "send the signal".into(),
            reason: format!("{signal} is no signal"),
            hint: None,
        })?;
        match rustix::process::pidfd_send_signal(&process.started.pidfd, named) {
            Ok(()) => Ok(()),
            Err(rustix::io::Errno::SRCH) => Err(CellError::NoProcess),
            Err(errno) => Err(CellError::Refused {
                act: format!("send signal {signal}"),
                reason: std::io::Error::from(errno).to_string(),
                hint: None,
            }),
        }
    }

    fn stats(&self) -> Result<Stats, CellError> {
        let mut stats = self
            .grouped("measure")?
            .stats()
            .map_err(|e| refused("read the cgroup", &e))?;
        stats.networks = crate::probe::interfaces(self.pid(MAIN));
        Ok(stats)
    }

    fn update(&self, limits: &Limits) -> Result<(), CellError> {
        self.grouped("limit")?
            .apply(limits)
            .map(drop)
            .map_err(|e| refused("change the limits", &e))
    }

    fn oom_killed(&self) -> bool {
        let kills = self.cgroup.as_ref().map(Cgroup::oom_kills);
        matches!(kills, Some(Ok(Some(kills))) if kills > 0)
    }

    fn destroy(&mut self) -> Result<(), CellError> {
        // Frozen processes die when they are thawed.
        drop(self.mounts.take());
        if let Some(cgroup) = &self.cgroup {
            let _ = cgroup.kill_all();
            let _ = cgroup.thaw();
        }
        // The main process last: as the first of its pid namespace it does not end before every
        // other one has been waited for (pid_namespaces(7)).
        for (_, process) in std::mem::take(&mut self.processes).into_iter().rev() {
            let _ = rustix::process::pidfd_send_signal(&process.started.pidfd, Signal::KILL);
            let _ = rustix::process::waitid(
                WaitId::PidFd(process.started.pidfd.as_fd()),
                WaitIdOptions::EXITED,
            );
        }
        match &self.cgroup {
            Some(cgroup) => cgroup
                .remove()
                .map_err(|e| refused("remove the cgroup", &e)),
            None => Ok(()),
        }
    }

    fn warnings(&self) -> Vec<String> {
        self.warnings.clone()
    }

    fn freezer(&self) -> Option<&dyn Freezer> {
        Some(self)
    }
}

impl Freezer for Container {
    fn freeze(&self) -> Result<(), CellError> {
        self.grouped("pause")?
            .freeze()
            .map_err(|e| refused("pause the container", &e))
    }

    fn thaw(&self) -> Result<(), CellError> {
        self.grouped("resume")?
            .thaw()
            .map_err(|e| refused("resume the container", &e))
    }
}
