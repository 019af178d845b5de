//! The container room as an OCI runtime: containers that live without a keeper, each in a
//! directory of its own below the runtime's root.
//!
//! [`Runtime`] is what the command line calls; one file for each of its operations. What a
//! container is stands in its [`record`], written before and after each act, so that a later
//! process finds it: `create` makes the container and goes away, `start` gives its first process
//! the word over a socket that this process listens on. Runtime specification 1.3, "Lifecycle".

mod bundle;
mod check;
mod checkpoint;
mod create;
mod creation;
mod criu;
mod delete;
mod error;
mod exec;
mod grants;
mod hooks;
mod inside;
mod net_devices;
mod placement;
mod proc_mount;
mod record;
mod restore;
mod shared_root;
mod start;
mod supervisor;
mod update;

use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};

use rustix::process::PidfdFlags;

use crate::cgroup::{Cgroup, Hierarchies};
use crate::launch::prepare::step_failed;
use crate::launch::program::Program;
use crate::launch::{self, Started};
use crate::systemd::Bus;

pub use crate::cgroup::Below;
pub use crate::privilege::in_another_user_namespace;
pub use checkpoint::{After, Checkpoint, Groups, Images};
pub use create::{Console, Create, Created, Keyring};
pub use criu::{CriuError, is_installed as has_criu};
pub use delete::Force;
pub use error::OciError;
pub use exec::{Exec, Executed, Paused, read_process};
pub use placement::CgroupDriver;
pub use record::{Record, Status};
pub use restore::{Restore, Restored};

/// The version of the runtime specification that is kept.
pub const SPEC_VERSION: &str = "1.3.0";

/// Containers below one root directory.
pub struct Runtime {
    root: PathBuf,
    tell: Option<Tell>,
    watch: Option<Watch>,
}

/// Takes what is done, step by step: `--debug`.
pub type Tell = Box<dyn Fn(&str)>;

/// Takes each phase that is over, and when it was, in nanoseconds on the monotonic clock: `--trace`.
pub type Watch = Box<dyn Fn(&str, u64)>;

impl std::fmt::Debug for Runtime {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Runtime")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// A container that there is.
#[derive(Debug)]
pub struct Known {
    pub record: Record,
    directory: PathBuf,
}

impl Runtime {
    #[must_use]
    pub fn new(root: &Path) -> Self {
        Runtime {
            root: root.to_owned(),
            tell: None,
            watch: None,
        }
    }

    /// Has what is done told step by step.
    #[must_use]
    pub fn telling(mut self, tell: Tell) -> Self {
        self.tell = Some(tell);
        self
    }

    /// Has the phases of a start timed.
    #[must_use]
    pub fn watched(mut self, watch: Watch) -> Self {
        self.watch = Some(watch);
        self
    }

    fn mark(&self, phase: &str) {
        if let Some(watch) = &self.watch {
            watch(phase, launch::now_ns());
        }
    }

    /// What is told of a program that is about to be executed, whoever asks for it.
    fn tell_of(&self, program: &Program) {
        let Some(tell) = &self.tell else { return };
        if let Some((filter, flags)) = &program.seccomp {
            let count = filter.instructions().len();
            tell(&format!("seccomp filter: {count} instructions"));
            tell(&format!("seccomp filter flags: {}", flags.bits()));
        }
        let sets = &program.capabilities;
        tell(&format!(
            "user {}:{}, capabilities {:#x} of {:#x}",
            program.uid, program.gid, sets.effective, sets.bounding
        ));
    }

    /// The container `id`.
    ///
    /// # Errors
    /// [`OciError::NotFound`], or a damaged record.
    pub fn container(&self, id: &str) -> Result<Known, OciError> {
        record::check_id(id)?;
        let directory = self.root.join(id);
        let record = record::read(&directory)?.ok_or_else(|| OciError::NotFound(id.to_owned()))?;
        Ok(Known { record, directory })
    }

    /// All containers, by id.
    ///
    /// # Errors
    /// A root that cannot be read. What is no container is passed over.
    pub fn containers(&self) -> Result<Vec<Known>, OciError> {
        let entries = match std::fs::read_dir(&self.root) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(OciError::io("read", &self.root, error)),
        };
        let names = entries.flatten().map(|entry| entry.file_name());
        let mut names: Vec<_> = names.filter_map(|name| name.into_string().ok()).collect();
        names.sort();
        Ok(names
            .into_iter()
            .filter_map(|id| self.container(&id).ok())
            .collect())
    }

    /// Where compiled filters are kept.
    fn cache(&self) -> PathBuf {
        self.root.join(".filters")
    }
}

impl Known {
    /// What it is doing now.
    #[must_use]
    pub fn status(&self) -> Status {
        let record = &self.record;
        if record.pid == 0 {
            return Status::Creating;
        }
        if !record.is_alive() {
            return Status::Stopped;
        }
        match self.cgroup().map(|cgroup| cgroup.is_frozen()) {
            Ok(Ok(true)) => Status::Paused,
            _ if self.directory.join(start::SOCKET).exists() => Status::Created,
            _ => Status::Running,
        }
    }

    /// Its control group.
    ///
    /// # Errors
    /// One that is gone, or that never was: [`OciError::NoGroup`].
    pub fn cgroup(&self) -> Result<Cgroup, OciError> {
        if self.record.cgroup.is_empty() {
            return Err(OciError::NoGroup(self.record.id.clone()));
        }
        let mut hierarchies = match &self.record.hierarchies {
            Some(kept) => kept.clone(),
            None => Hierarchies::discover().map_err(OciError::Cgroup)?,
        };
        if let Some(unit) = &self.record.scope {
            hierarchies = hierarchies.from_the_top();
            if unit.bus == Bus::User {
                hierarchies = hierarchies.as_given_to(&self.record.cgroup);
            }
        }
        Cgroup::open(&hierarchies, &self.record.cgroup).map_err(OciError::Cgroup)
    }

    /// Its first process, which must be there.
    fn init(&self) -> Result<Started, OciError> {
        let gone = || OciError::NotRunning(self.record.id.clone());
        let pid = rustix::process::Pid::from_raw(self.record.pid).ok_or_else(gone)?;
        let pidfd = rustix::process::pidfd_open(pid, PidfdFlags::empty()).map_err(|_| gone())?;
        // Asked after the descriptor is there: it means this process, and no later one of its pid.
        if !self.record.is_alive() {
            return Err(gone());
        }
        Ok(Started { pid, pidfd })
    }

    /// Means its first process for as long as it is open, and is readable when that has ended.
    ///
    /// # Errors
    /// [`OciError::NotRunning`].
    pub fn pidfd(&self) -> Result<OwnedFd, OciError> {
        self.init().map(|started| started.pidfd)
    }

    /// Sends a signal to the first process, or to all that there are.
    ///
    /// # Errors
    /// [`OciError::NotRunning`].
    pub fn kill(&self, signal: i32, reach: Reach) -> Result<(), OciError> {
        if signal == 0 {
            return match reach {
                Reach::First => self.init().map(drop),
                Reach::All => Ok(()),
            };
        }
        let named = gamut_sys::signal::from_number(signal).ok_or(OciError::Signal(signal))?;
        let own_pids = self
            .record
            .has_own(oci_spec::runtime::LinuxNamespaceType::Pid);
        if named == rustix::process::Signal::KILL
            && !own_pids
            && let Ok(cgroup) = self.cgroup()
        {
            // Without a pid namespace of its own the others outlive the first process.
            return cgroup.kill_all().map_err(OciError::Cgroup);
        }
        if reach == Reach::All {
            let cgroup = self.cgroup()?;
            for pid in cgroup.processes().map_err(OciError::Cgroup)? {
                if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                    let _ = rustix::process::kill_process(pid, named);
                }
            }
            return Ok(());
        }
        let init = self.init()?;
        rustix::process::pidfd_send_signal(&init.pidfd, named)
            .map_err(|_| OciError::NotRunning(self.record.id.clone()))?;
        if named == rustix::process::Signal::KILL {
            // Frozen processes die when they are thawed.
            if let Ok(cgroup) = self.cgroup() {
                let _ = cgroup.thaw();
            }
        }
        Ok(())
    }
}

/// Whom a signal reaches.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    First,
    All,
}
