//! What happens beside a container that is being made: it is given what the host has for it, its hooks run, and
//! its phases are told.

use std::os::fd::BorrowedFd;

use gamut_plan::cell::{Connect, StartError};
use gamut_plan::launch::LaunchPlan;
use gamut_sys::process::namespace;
use oci_spec::runtime::LinuxNamespaceType;
use rustix::io::Errno;

use super::Runtime;
use super::create::Making;
use super::error::OciError;
use super::grants::Grants;
use super::hooks::{self, Place, Stage};
use super::record::{self, Record, Status};
use crate::launch::prepare::step_failed;
use crate::launch::{self, Started, exec};

/// The hooks of the creation, run when the mounts are made.
pub(super) struct CreateHooks<'a> {
    /// On the monotonic clock.
    began_ns: u64,
    runtime: &'a Runtime,
    record: &'a Record,
    namespaces: u64,
    pub(super) grants: Grants,
}

impl Connect for CreateHooks<'_> {
    fn born(&mut self, pid: i32) -> Result<(), StartError> {
        self.grants = Grants::give(self.record, pid)?;
        Ok(())
    }

    fn connect(&mut self, _netns: BorrowedFd<'_>) -> Result<(), StartError> {
        Ok(())
    }

    fn mark(&mut self, phase: &str, at_ns: u64) {
        if let Some(tell) = &self.runtime.tell {
            let after_us = at_ns.saturating_sub(self.began_ns) / 1000;
            tell(&format!("{phase}, after {after_us} us"));
        }
        if let Some(watch) = &self.runtime.watch {
            watch(phase.trim_start_matches("keeper: "), at_ns);
        }
    }

    fn mounted(&mut self, pid: i32) -> Result<(), StartError> {
        self.run(pid).map_err(|error| match error {
            OciError::Start(error) => error,
            other => StartError::Step {
                step: "run the hooks".into(),
                reason: other.to_string(),
                hint: None,
            },
        })
    }
}

impl<'a> CreateHooks<'a> {
    pub(super) fn new(making: &Making<'a, '_>, plan: &LaunchPlan) -> Self {
        // A cgroup namespace of its own is made last, when the process is in its groups.
        let own = making.record.has_own(LinuxNamespaceType::Cgroup);
        let late = if own { namespace::CGROUP } else { 0 };
        CreateHooks {
            began_ns: launch::now_ns(),
            runtime: making.runtime,
            record: making.record,
            namespaces: exec::joined(plan) & !late,
            grants: Grants::default(),
        }
    }

    fn run(&self, pid: i32) -> Result<(), OciError> {
        let record = self.record;
        let mut state = record.state(Status::Creating);
        state.pid = pid;
        let listed = record.spec.hooks().as_ref();
        let host = Place::Host {
            directory: Some(&record.bundle),
        };
        for stage in [Stage::Prestart, Stage::CreateRuntime] {
            hooks::run(stage, stage.of(listed), &host, &state)?;
        }
        let stage = Stage::CreateContainer;
        if stage.of(listed).is_empty() {
            return Ok(());
        }
        state.pid = record::pid_inside(pid);
        let failed = |errno| step_failed("open the container's process", errno);
        let pid = rustix::process::Pid::from_raw(pid).ok_or_else(|| failed(Errno::SRCH))?;
        let flags = rustix::process::PidfdFlags::empty();
        let pidfd = rustix::process::pidfd_open(pid, flags).map_err(failed)?;
        let init = Started { pid, pidfd };
        let rootfs = record.rootfs();
        let inside = Place::Creation {
            init: &init,
            namespaces: self.namespaces,
            directory: &rootfs,
        };
        hooks::run(stage, stage.of(listed), &inside, &state)
    }
}
