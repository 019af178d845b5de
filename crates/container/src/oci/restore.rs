//! `restore`: a container made of the files that a checkpoint has written.

use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gamut_plan::launch::LaunchPlan;
use gamut_sys::process::namespace;
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use rustix::io::Errno;
use rustix::process::PidfdFlags;

use super::bundle::{self, Bundle};
use super::checkpoint::{DESCRIPTORS, Images, Opened};
use super::create::{Claimed, Console, check_console, new_record, send, write_pid_file};
use super::criu::external::{self, Place};
use super::criu::message::{CgroupRoot, InheritFd, Kind, Options, Request};
use super::criu::{Act, Criu, Notice, Session, Streams, text};
use super::error::OciError;
use super::grants::{self, Grants};
use super::hooks::{self, Stage};
use super::placement::{CgroupDriver, GroupPlace};
use super::record::{self, Record, Status};
use super::{Known, Runtime, check, step_failed};
use crate::cgroup::Hierarchies;
use crate::group::{Group, Stale};

/// How a container is to be made of images.
#[derive(Debug, Clone)]
pub struct Restore {
    pub images: Images,
    pub bundle: PathBuf,
    pub console: Console,
    pub pid_file: Option<PathBuf>,
    pub cgroups: CgroupDriver,
    /// Such as `apparmor:NAME`, in place of the profile that it had.
    pub lsm_profile: Option<String>,
    pub lsm_mount_context: Option<String>,
}

/// A container that was made of images, and runs.
#[derive(Debug)]
pub struct Restored {
    pub pid: i32,
    /// Its first process, a child of the caller, however soon it ends.
    pub pidfd: OwnedFd,
    /// The terminal's master, for [`Console::Caller`].
    pub terminal: Option<OwnedFd>,
    pub warnings: Vec<String>,
}

/// Where the root is mounted, below the container's directory, in CRIU's mount namespace alone.
const ROOT: &str = "criu-root";

/// CRIU's log.
const LOG: &str = "restore.log";

impl Runtime {
    /// Makes the container `id` of images. It runs when this returns, as a child of the caller.
    ///
    /// # Errors
    /// [`OciError::Exists`], what is wrong with the bundle or the images, [`OciError::Criu`]. Nothing
    /// is left behind.
    pub fn restore(&self, id: &str, wanted: &Restore) -> Result<Restored, OciError> {
        record::check_id(id)?;
        if !rustix::process::geteuid().is_root() {
            return Err(OciError::NeedsRoot);
        }
        let mut bundle = Bundle::open(&wanted.bundle)?;
        let process = bundle.spec.process().as_ref();
        check_console(&wanted.console, process.and_then(|p| p.terminal()))?;
        if !check::own_mounts(&bundle.spec) {
            return Err(OciError::SharedMounts { act: "restore" });
        }
        let streams = read_streams(&wanted.images.path)?;
        let criu = Criu::find()?;
        if wanted.lsm_profile.is_some() || wanted.lsm_mount_context.is_some() {
            criu.at_least(31_600, "a security label of another name")?;
        }
        let mut place = GroupPlace::of(id, &mut bundle.spec, wanted.cgroups)?;
        let directory = Claimed::new(self, id)?;
        place.check()?;
        let mut record = new_record(id, &bundle, &place);
        record.resctrl = grants::class_of(&bundle.spec, id)?;
        record::write(directory.path(), &record)?;
        let plan = bundle::plan(id, bundle.spec, &place.cgroup, self.cache());
        let mut group = Group::new(&plan, &place.hierarchies, Stale::IfEmpty)
            .in_scope(place.scope.take())
            .owned(place.own);
        let mut restoring = Restoring {
            wanted,
            criu: &criu,
            plan: &plan,
            hierarchies: &place.hierarchies,
            directory: directory.path(),
            record: &mut record,
            pidfd: None,
            terminal: None,
            grants: Grants::default(),
        };
        restoring.run(&mut group, &streams)?;
        let (pidfd, terminal) = (restoring.pidfd.take(), restoring.terminal.take());
        std::mem::take(&mut restoring.grants).keep();
        let pidfd = pidfd.ok_or_else(|| OciError::NotRunning(id.to_owned()))?;
        let (_, mut warnings) = group.keep();
        warnings.extend(bundle.warnings);
        if let Err(error) = write_pid_file(wanted.pid_file.as_deref(), record.pid) {
            let directory = directory.path().to_owned();
            let _ = Known { record, directory }.delete(super::Force::Yes);
            return Err(error);
        }
        directory.keep();
        Ok(Restored {
            pid: record.pid,
            pidfd,
            terminal,
            warnings,
        })
    }
}

/// The names of the streams that are to be this process's own.
fn read_streams(images: &Path) -> Result<Vec<String>, OciError> {
    let path = images.join(DESCRIPTORS);
    let bytes = std::fs::read(&path).map_err(|error| OciError::io("read", &path, error))?;
    serde_json::from_slice(&bytes).map_err(|error| OciError::Config {
        path,
        reason: error.to_string(),
    })
}

struct Restoring<'a> {
    wanted: &'a Restore,
    criu: &'a Criu,
    plan: &'a LaunchPlan,
    hierarchies: &'a Hierarchies,
    directory: &'a Path,
    record: &'a mut Record,
    pidfd: Option<OwnedFd>,
    terminal: Option<OwnedFd>,
    grants: Grants,
}

impl Restoring<'_> {
    fn run(&mut self, group: &mut Group<'_>, streams: &[String]) -> Result<(), OciError> {
        let spec = &self.record.spec;
        let mut options = self.wanted.images.options(LOG, spec);
        options.evasive_devices = Some(true);
        options.restore_sibling = Some(true);
        options.lsm_profile.clone_from(&self.wanted.lsm_profile);
        let context = &self.wanted.lsm_mount_context;
        options.lsm_mount_context.clone_from(context);
        options.inherit_fd = inherited(streams);
        let passed = external::give_namespaces(self.criu, spec, &mut options)?;
        let (session, opened) = self.start(&passed, &mut options)?;
        drop(passed);
        if let Some(pid) = session.pid() {
            // What it makes is in the container's groups from the beginning.
            let cgroup = group.make(pid)?;
            if let Some(cgroup) = cgroup {
                cgroup.attach(pid).map_err(OciError::Cgroup)?;
            }
            options.cgroup_roots = groups_of(pid.as_raw_nonzero().get())?;
        }
        let request = Request {
            kind: Kind::Restore.into(),
            options: Some(Box::new(options)),
            ..Request::default()
        };
        let act = Act {
            name: "restore",
            log: &opened.log,
        };
        let done = session.carry_out(act, &request, |notice| self.notice(notice));
        let _ = std::fs::remove_dir(self.directory.join(ROOT));
        done
    }

    /// CRIU, in a mount namespace with the container's root.
    fn start(
        &self,
        passed: &[OwnedFd],
        options: &mut Options,
    ) -> Result<(Session, Opened), OciError> {
        let directory = std::fs::canonicalize(self.directory)
            .map_err(|error| OciError::io("open", self.directory, error))?;
        let root = directory.join(ROOT);
        std::fs::create_dir(&root).map_err(|error| OciError::io("make", &root, error))?;
        options.root = Some(text(&root)?);
        let place = Place {
            record: self.record,
            plan: self.plan,
            hierarchies: self.hierarchies,
            root: &root,
        };
        self.criu.start(Streams::Ours, passed, || {
            options.external_mounts = place.build()?;
            // There: CRIU mounts below its work directory.
            let opened = self.wanted.images.open(LOG)?;
            opened.tell(options);
            Ok(opened)
        })
    }

    fn notice(&mut self, notice: Notice) -> Result<(), OciError> {
        match notice.name.as_str() {
            "setup-namespaces" => self.namespaces_are_there(notice.pid),
            "orphan-pts-master" => {
                let master = notice.descriptors.into_iter().next();
                match (&self.wanted.console, master) {
                    (Console::Socket(path), Some(master)) => {
                        send(path, b"/dev/ptmx", master.as_fd())
                    }
                    (_, master) => {
                        self.terminal = master;
                        Ok(())
                    }
                }
            }
            "post-restore" => self.is_there(notice.pid),
            _ => Ok(()),
        }
    }

    /// The first process has its namespaces, and nothing of its own yet.
    fn namespaces_are_there(&mut self, pid: i32) -> Result<(), OciError> {
        if self.record.has_own(LinuxNamespaceType::Network) {
            raise_loopback(pid)?;
        }
        self.grants = Grants::give(self.record, pid)?;
        self.record.pid = pid;
        let state = self.record.state(Status::Creating);
        let listed = self.record.spec.hooks().as_ref();
        let place = hooks::Place::Host { directory: None };
        for stage in [Stage::Prestart, Stage::CreateRuntime] {
            hooks::run(stage, stage.of(listed), &place, &state)?;
        }
        self.record.pid = 0;
        Ok(())
    }

    /// All processes are there, and wait for the word to go on.
    fn is_there(&mut self, pid: i32) -> Result<(), OciError> {
        self.pidfd = Some(open_pidfd(pid)?);
        self.record.pid = pid;
        self.record.pid_began_ticks = record::process_stat(pid).map_or(0, |(_, began)| began);
        self.note_time_namespace();
        record::write(self.directory, self.record)
    }

    /// CRIU restores clocks by a time namespace: who joins the container must join that, too, or could
    /// not be in the next checkpoint.
    fn note_time_namespace(&mut self) {
        let of = |who: &str| std::fs::read_link(format!("/proc/{who}/ns/time")).ok();
        let kind = LinuxNamespaceType::Time;
        let theirs = of(&self.record.pid.to_string());
        let Some(linux) = self.record.spec.linux_mut() else {
            return;
        };
        let mut listed = linux.namespaces().clone().unwrap_or_default();
        if theirs == of("self") || listed.iter().any(|one| one.typ() == kind) {
            return;
        }
        let mut time = LinuxNamespace::default();
        time.set_typ(kind);
        listed.push(time);
        linux.set_namespaces(Some(listed));
    }
}

/// Streams that were pipes are this process's own now.
fn inherited(streams: &[String]) -> Vec<InheritFd> {
    let pipes = (0..3).zip(streams);
    let pipes = pipes.filter(|(_, name)| name.contains("pipe:"));
    let pipes = pipes.map(|(fd, name)| InheritFd {
        key: name.clone(),
        fd,
    });
    pipes.collect()
}

fn open_pidfd(pid: i32) -> Result<OwnedFd, OciError> {
    let pid = rustix::process::Pid::from_raw(pid).ok_or(Errno::SRCH);
    let opened = pid.and_then(|pid| rustix::process::pidfd_open(pid, PidfdFlags::empty()));
    Ok(opened.map_err(|errno| step_failed("open the container's process", errno))?)
}

/// The loopback of a new network, which CRIU was told to leave alone.
fn raise_loopback(pid: i32) -> Result<(), OciError> {
    let process = open_pidfd(pid)?;
    // In a thread: the namespace goes with it.
    let raise = || {
        gamut_sys::process::join(process.as_fd(), namespace::NET)?;
        gamut_sys::interface::loopback_up()
    };
    let raised = std::thread::scope(|scope| scope.spawn(raise).join());
    match raised {
        Ok(raised) => {
            Ok(raised.map_err(|errno| step_failed("raise the container's loopback", errno))?)
        }
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

/// The groups of a process, cgroups(7): what CRIU puts in the place of those that were written down.
fn groups_of(pid: i32) -> Result<Vec<CgroupRoot>, OciError> {
    let path = PathBuf::from(format!("/proc/{pid}/cgroup"));
    let read = std::fs::read_to_string(&path);
    let lines = read.map_err(|error| OciError::io("read", &path, error))?;
    let roots = lines.lines().filter_map(|line| {
        let (_, rest) = line.split_once(':')?;
        let (controllers, path) = rest.split_once(':')?;
        Some(CgroupRoot {
            controllers: Some(controllers.to_owned()),
            path: path.to_owned(),
        })
    });
    Ok(roots.collect())
}
