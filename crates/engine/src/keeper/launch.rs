//! Carrying out a plan: hold, start, record, say so. Who asks for it holds the container's lock, has
//! recorded the start, and hands the lock over. State is written before the act it describes, and
//! what a failed start made is taken back in the opposite order.

use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use gamut_plan::cell::{Cell, CellFds, Connect, StartError};
use gamut_plan::draw;
use gamut_plan::health::{Health, Verdict};
use gamut_plan::launch::{LaunchPlan, Removal, Trace};
use gamut_plan::wire::{Reply, SOCKET_NAME};
use gamut_plan::{MAIN, Phase, Status, signal};
use gamut_spec::Fault;
use oci_spec::runtime::{LinuxNamespaceBuilder, LinuxNamespaceType, Mount};
use rustix::event::epoll::EventFlags;
use rustix::fs::{Mode, OFlags};

use super::egress::Egress;
use super::events::{Keeper, Source, Workload};
use super::failing::record_refusal;
use super::health::Checks;
use super::herald::Herald;
use super::log::Log;
use super::naming::Naming;
use super::network::{Connector, Ports};
use super::streams::Streams;
use crate::dirs::Container;
use crate::record;

/// What starts a plan at its level.
pub type Cells = fn(&LaunchPlan, CellFds, &mut dyn Connect) -> Result<Box<dyn Cell>, StartError>;

fn failed(step: &str, error: &dyn Fault) -> StartError {
    StartError::Step {
        step: step.into(),
        reason: error.to_string(),
        hint: error.hint(),
    }
}

fn call_failed(step: &str, error: impl Into<std::io::Error>) -> StartError {
    StartError::Step {
        step: step.into(),
        reason: error.into().to_string(),
        hint: None,
    }
}

impl Keeper {
    /// Answers [`Reply::Started`] or [`Reply::StartFailed`].
    pub(super) fn launch(
        &mut self,
        client: u32,
        id: &str,
        dirs: &Container,
        before: Status,
        lock: Option<OwnedFd>,
    ) {
        let Some(lock) = lock.filter(|_| self.workload.is_none() && self.resting.is_none()) else {
            let reason = "this keeper has a workload, or was not given the container's lock";
            return self.reply(
                client,
                &Reply::Refused {
                    reason: reason.into(),
                },
            );
        };
        match self.try_launch(id, dirs, before, lock) {
            Ok(workload) => {
                let status = &workload.status;
                let trace = if workload.plan.trace == Trace::On {
                    self.trace.clone()
                } else {
                    Vec::new()
                };
                let reply = Reply::Started {
                    pid: status.pid,
                    trace,
                    warnings: status.warnings.clone(),
                };
                workload.say("start", []);
                self.workload = Some(workload);
                self.reply(client, &reply);
                // A program may have ended, or written, before anybody watched: epoll says so now.
                self.watch_workload();
            }
            Err(error) => self.reply(client, &Reply::StartFailed(error)),
        }
    }

    pub(super) fn try_launch(
        &mut self,
        id: &str,
        dirs: &Container,
        before: Status,
        lock: OwnedFd,
    ) -> Result<Workload, StartError> {
        let shown = self.plan.take().filter(|plan| plan.id == id);
        let mut plan = match shown {
            Some(plan) => *plan,
            None => record::read_plan(dirs).map_err(|e| {
                let _ = record::write_status(dirs, &before);
                failed("read the plan", &e)
            })?,
        };
        let mut status = Status {
            phase: Phase::Starting,
            keeper_pid: rustix::process::getpid().as_raw_nonzero().get(),
            boot_id: record::boot_id().to_owned(),
            restarts: before.restarts,
            ..Status::default()
        };
        self.mark("keeper: plan read");
        match self.start_cell(&mut plan, dirs, lock, &mut status) {
            Ok(workload) => {
                let pod = workload.plan.pod_to_end.clone();
                self.pod = pod.map(|pod| (pod, dirs.clone()));
                Ok(workload)
            }
            Err(error) => {
                let exit_code = exit_code_of(&error);
                let failure = Status {
                    phase: Phase::Failed,
                    error: error.to_string(),
                    exit_code,
                    finished_at_ns: record::now_ns(),
                    ..before
                };
                let _ = record::write_status(dirs, &failure);
                record_refusal(dirs, &error, &failure);
                if plan.removal == Removal::Keep {
                    remove_run_directory(dirs);
                }
                Err(error)
            }
        }
    }

    fn start_cell(
        &mut self,
        plan: &mut LaunchPlan,
        dirs: &Container,
        lock: OwnedFd,
        status: &mut Status,
    ) -> Result<Workload, StartError> {
        let mut ports = Ports::hold(&plan.network)?;
        let run_root = dirs.run().parent().unwrap_or(dirs.run());
        let mut naming = Naming::new(&plan.id, run_root, &plan.network);
        let mut egress = Egress::default();
        let herald = plan.herald.as_ref().map(Herald::connect).transpose()?;
        let log = Log::new(&plan.log, herald);
        let (mut streams, fds) =
            Streams::make(&plan.streams).map_err(|e| call_failed("make the pipes", e))?;
        let run = rustix::fs::open(
            dirs.run(),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .map_err(|e| call_failed("open the run directory", e))?;
        let listener = gamut_sys::socket::listen(run.as_fd(), SOCKET_NAME)
            .map_err(|e| call_failed("make the control socket", e))?;
        resolve_joins(plan, dirs)?;
        crate::secrets::reveal(plan).map_err(|e| failed("read a secret", &e))?;
        self.mark("keeper: ports, pipes and socket are there");
        let ahead = self.root.take();
        let root = ahead.and_then(|(of, mounted)| (of == plan.root).then_some(mounted));
        let id = plan.id.clone();
        let network = plan.network.clone();
        let mut connector = Connector {
            id: &id,
            run: dirs.run(),
            plan: &network,
            ports: &mut ports,
            naming: &mut naming,
            egress: &mut egress,
            trace: &mut self.trace,
            ahead: self.ahead.take(),
            root,
        };
        let mut cell = (self.cells)(plan, fds, &mut connector)?;
        self.mark("keeper: the program runs");
        streams
            .adopt(cell.take_terminal(MAIN))
            .map_err(|e| call_failed("take the terminal", e))?;
        status.phase = Phase::Running;
        status.pid = cell.pid(MAIN);
        status.started_at_ns = record::now_ns();
        status.ports = ports.bindings();
        status.warnings = cell.warnings();
        status.health = plan.health.as_ref().map(|_| Verdict::Starting);
        let recorded =
            record::write_status(dirs, status).map_err(|e| failed("record the start", &e));
        let forwarded = recorded.and_then(|()| ports.forward(&plan.network));
        if let Err(error) = forwarded {
            let _ = cell.destroy();
            ports.release(&status.ports);
            return Err(error);
        }
        if plan.health.is_some() {
            // What was said of the run before is of no interest.
            let _ = record::write_health(dirs, &Health::default());
        }
        let checks = plan.health.clone().map(Checks::new);
        Ok(Workload {
            plan: plan.clone(),
            cell,
            streams,
            log,
            ports,
            naming,
            egress,
            checks,
            status: status.clone(),
            dirs: dirs.clone(),
            lock,
            listener,
        })
    }

    pub(super) fn watch_workload(&mut self) {
        let Some(workload) = &self.workload else {
            return;
        };
        let _ = self
            .poll
            .watch(&workload.listener, Source::Listener, EventFlags::IN);
        for (which, output) in workload.streams.outputs.iter().enumerate() {
            if let Some(output) = output {
                let _ = self
                    .poll
                    .watch(output, Source::Output(which as u8), EventFlags::IN);
            }
        }
        self.watch_network();
        if let Some(fd) = workload.cell.exit_fd(MAIN) {
            let _ = self.poll.watch(fd, Source::Process(MAIN), EventFlags::IN);
        }
        self.signals = gamut_sys::signal::descriptor(&[signal::TERM]).ok();
        if let Some(signals) = &self.signals {
            let _ = self.poll.watch(signals, Source::Signals, EventFlags::IN);
        }
    }
}

impl Keeper {
    /// Waits for who comes to the ports, and for questions.
    pub(super) fn watch_network(&self) {
        let Some(workload) = &self.workload else {
            return;
        };
        for (index, fd) in (0..).zip(workload.ports.fds()) {
            let _ = self
                .poll
                .watch(fd, Source::Forwarder(index), EventFlags::IN);
        }
        if let Some(fd) = workload.egress.fd() {
            let _ = self.poll.watch(fd, Source::Denials, EventFlags::IN);
        }
        if let Some(fd) = workload.naming.fd() {
            let _ = self.poll.watch(fd, Source::Resolver, EventFlags::IN);
        }
    }
}

/// Docker's: 127 for a program that is not there, 126 for one that cannot run, else 128.
fn exit_code_of(error: &StartError) -> i32 {
    match error {
        StartError::ProgramNotFound { .. } | StartError::InterpreterNotFound { .. } => 127,
        StartError::ProgramNotRunnable { .. } => 126,
        _ => 128,
    }
}

pub(super) fn remove_run_directory(dirs: &Container) {
    // The lock last: who waits for it finds the rest gone.
    for name in [
        SOCKET_NAME,
        "hosts",
        "hostname",
        "resolv.conf",
        "netns",
        "netns.ready",
        "lock",
    ] {
        let _ = std::fs::remove_file(dirs.run().join(name));
    }
    let _ = std::fs::remove_dir(dirs.run());
}

/// Whose System V memory is another's has its POSIX memory as well.
fn share_memory(mounts: &mut Option<Vec<Mount>>, container: &str, shared: PathBuf) {
    let meant = PathBuf::from(draw::shared_memory_of(container));
    let mut mounts = mounts.iter_mut().flatten();
    if let Some(mount) = mounts.find(|mount| mount.source().as_ref() == Some(&meant)) {
        mount.set_source(Some(shared));
    }
}

/// Finds the namespaces of other containers: paths that are good now, for this start.
fn resolve_joins(plan: &mut LaunchPlan, dirs: &Container) -> Result<(), StartError> {
    if plan.joins.is_empty() {
        return Ok(());
    }
    let mut namespaces = plan
        .spec
        .linux()
        .as_ref()
        .and_then(|l| l.namespaces().clone())
        .unwrap_or_default();
    for join in &plan.joins {
        let other = dirs.sibling(&join.container);
        let status =
            record::read_status(&other).map_err(|e| failed("find the other container", &e))?;
        if !status.is_live() || !record::is_kept(&other) {
            return Err(StartError::Conflict {
                message: format!(
                    "the container {} whose namespace is to be joined does not run",
                    join.container
                ),
                hint: Some("start it first".into()),
            });
        }
        if record::read_plan(&other).is_ok_and(|plan| plan.machine.is_some()) {
            return Err(StartError::Conflict {
                message: format!(
                    "the container {} has a kernel of its own, whose namespaces cannot be joined",
                    join.container
                ),
                hint: Some("run it with `--isolation container`".into()),
            });
        }
        let file = match join.namespace {
            LinuxNamespaceType::Pid => "pid",
            LinuxNamespaceType::Uts => "uts",
            LinuxNamespaceType::Ipc => "ipc",
            LinuxNamespaceType::Network => "net",
            LinuxNamespaceType::Cgroup => "cgroup",
            LinuxNamespaceType::User => "user",
            LinuxNamespaceType::Mount => "mnt",
            LinuxNamespaceType::Time => "time",
        };
        let built = LinuxNamespaceBuilder::default()
            .typ(join.namespace)
            .path(format!("/proc/{}/ns/{file}", status.pid))
            .build()
            .map_err(|e| StartError::Step {
                step: "draw a namespace".into(),
                reason: e.to_string(),
                hint: None,
            })?;
        namespaces.push(built);
        if join.namespace == LinuxNamespaceType::Ipc {
            let shared = format!("/proc/{}/root/dev/shm", status.pid);
            share_memory(plan.spec.mounts_mut(), &join.container, shared.into());
        }
    }
    if let Some(linux) = plan.spec.linux_mut() {
        linux.set_namespaces(Some(namespaces));
    }
    Ok(())
}
