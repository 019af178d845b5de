//! `create`: everything of a container but the word to run its program.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::DirBuilderExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use gamut_plan::cell::{CellFds, Connect, StartError};
use gamut_plan::launch::{LaunchPlan, Terminal, Trace};
use gamut_sys::mount::{Change, Reach};
use gamut_sys::process::namespace;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, OpenTreeFlags};

use super::bundle::{self, Bundle};
use super::creation::CreateHooks;
use super::error::OciError;
use super::grants;
use super::hooks::Stage;
use super::inside;
use super::placement::{CgroupDriver, GroupPlace};
use super::record::{self, Record};
use super::{Runtime, shared_root, start};
use crate::cgroup::Hierarchies;
use crate::group::{Group, Stale};
use crate::launch::alone::{Alone, Told};
use crate::launch::child::PRIVATE;
use crate::launch::prepare::{self, Prepared, c_string, errno_of, step_failed};
use crate::launch::program::Life;
use crate::launch::{self, Started, terminal};
use crate::limits;

/// How a container is to be made.
#[derive(Debug, Clone)]
pub struct Create {
    pub bundle: PathBuf,
    pub console: Console,
    pub pid_file: Option<PathBuf>,
    /// Takes a pidfd of the process.
    pub pidfd_socket: Option<PathBuf>,
    /// How many descriptors from 3 on the program inherits.
    pub preserved_fds: u32,
    /// How many of them are sockets that the program is to serve: sd_listen_fds(3).
    pub listening_fds: u32,
    pub keyring: Keyring,
    pub cgroups: CgroupDriver,
}

/// Whether the container has a session keyring of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Keyring {
    New,
    Callers,
}

/// Where a process's terminal goes, if it has one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Console {
    /// To whoever listens on this socket.
    Socket(PathBuf),
    /// To the caller.
    Caller,
    /// Nowhere: it cannot have one.
    None,
}

/// A container that was made.
#[derive(Debug)]
pub struct Created {
    pub pid: i32,
    /// The terminal's master, for [`Console::Caller`].
    pub terminal: Option<OwnedFd>,
    pub warnings: Vec<String>,
}

impl Runtime {
    /// Makes the container `id`.
    ///
    /// # Errors
    /// [`OciError::Exists`], what is wrong with the bundle, or what the host refuses. Nothing is
    /// left behind.
    pub fn create(&self, id: &str, options: &Create) -> Result<Created, OciError> {
        record::check_id(id)?;
        let mut bundle = Bundle::open(&options.bundle)?;
        check_console(
            &options.console,
            bundle.spec.process().as_ref().and_then(|p| p.terminal()),
        )?;
        let mut place = GroupPlace::of(id, &mut bundle.spec, options.cgroups)?;
        let directory = Claimed::new(self, id)?;
        // Before there is a record by which a group of others could be taken for the container's.
        place.check()?;
        let mut record = new_record(id, &bundle, &place);
        record.resctrl = grants::class_of(&bundle.spec, id)?;
        record::write(&directory.path, &record)?;
        bundle.listen_on(options.listening_fds);
        let mut plan = bundle::plan(id, bundle.spec, &place.cgroup, self.cache());
        if self.tell.is_some() || self.watch.is_some() {
            plan.trace = Trace::On;
        }
        let rootfs = record.rootfs();
        let root = open_root(&rootfs);
        if let Ok(root) = &root
            && let Some(id) = shared_root::id(&record.spec, root.as_fd())?
        {
            record.shared_root = Some(id);
            record::write(&directory.path, &record)?;
        }
        self.mark("bundle read, state written");
        let mut group = Group::new(&plan, &place.hierarchies, Stale::IfEmpty)
            .in_scope(place.scope.take())
            .owned(place.own);
        let making = Making {
            runtime: self,
            record: &record,
            directory: &directory.path,
            options,
            hierarchies: &place.hierarchies,
            group: &mut group,
        };
        let mut made = making.start_here(&plan, root).inspect_err(|_| {
            let _ = shared_root::unmount(&record);
        })?;
        let (_, mut warnings) = group.keep();
        let pid = made.started.pid.as_raw_nonzero().get();
        record.pid = pid;
        record.pid_began_ticks = record::process_stat(pid).map_or(0, |(_, began)| began);
        warnings.extend(bundle.warnings);
        warnings.append(&mut made.warnings);
        if let Err(error) = after(&record, &directory.path, options, &made) {
            // The directory goes with this; the group, too.
            let known = super::Known {
                record,
                directory: directory.path.clone(),
            };
            let _ = known.delete(super::Force::Yes);
            return Err(error);
        }
        directory.keep();
        Ok(Created {
            pid,
            terminal: made.terminal.take(),
            warnings,
        })
    }
}

/// A container that is being made.
pub(super) fn new_record(id: &str, bundle: &Bundle, place: &GroupPlace) -> Record {
    let process = bundle.spec.process().as_ref();
    let streams = match process.and_then(|process| process.terminal()) {
        Some(true) => Vec::new(),
        _ => own_stream_names(),
    };
    Record {
        id: id.to_owned(),
        bundle: bundle.directory.clone(),
        pid: 0,
        pid_began_ticks: 0,
        created_ns: now_ns(),
        cgroup: place.cgroup.clone(),
        scope: place.scope.as_ref().map(|scope| scope.unit.clone()),
        resctrl: None,
        shared_root: None,
        hierarchies: place.kept(),
        streams,
        spec: bundle.spec.clone(),
    }
}

/// What this process's standard streams are called; proc_pid_fd(5).
fn own_stream_names() -> Vec<String> {
    let name = |number| std::fs::read_link(format!("/proc/self/fd/{number}"));
    let names = (0..3).map(|number| name(number).unwrap_or_default());
    names
        .map(|name| name.to_string_lossy().into_owned())
        .collect()
}

/// What is done when the process waits for its start.
fn after(record: &Record, directory: &Path, options: &Create, made: &Made) -> Result<(), OciError> {
    record::write(directory, record)?;
    if let (Console::Socket(path), Some(terminal)) = (&options.console, &made.terminal) {
        send(path, b"/dev/ptmx", terminal.as_fd())?;
    }
    if let Some(path) = &options.pidfd_socket {
        send(path, b"pidfd", made.started.pidfd.as_fd())?;
    }
    write_pid_file(options.pid_file.as_deref(), record.pid)
}

/// Engines wait for it, and read it whole.
pub(super) fn write_pid_file(path: Option<&Path>, pid: i32) -> Result<(), OciError> {
    let Some(path) = path else { return Ok(()) };
    record::replace(path, pid.to_string().as_bytes(), 0o644)
        .map_err(|error| OciError::io("write", path, error))
}

pub(super) fn check_console(console: &Console, terminal: Option<bool>) -> Result<(), OciError> {
    match (terminal == Some(true), console) {
        (true, Console::None) => Err(OciError::Console(
            "cannot allocate tty if runc will detach without setting console socket: \
             use --console-socket"
                .into(),
        )),
        (false, Console::Socket(_)) => Err(OciError::Console(
            "cannot use console socket if runc will not detach or allocate tty".into(),
        )),
        _ => Ok(()),
    }
}

/// Gives a descriptor to whoever listens: what it is as data, the descriptor beside it.
pub(super) fn send(path: &Path, what: &[u8], descriptor: BorrowedFd<'_>) -> Result<(), OciError> {
    let socket = UnixStream::connect(path)
        .map_err(|error| OciError::io("connect to the socket", path, error))?;
    gamut_sys::socket::send(socket.as_fd(), &[what], &[descriptor])
        .map_err(|error| OciError::io("send a descriptor to", path, error.into()))
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_nanos() as u64)
}

/// A container's directory, taken away again unless it is kept.
pub(super) struct Claimed {
    path: PathBuf,
    kept: bool,
}

impl Claimed {
    pub(super) fn new(runtime: &Runtime, id: &str) -> Result<Claimed, OciError> {
        let mut builder = std::fs::DirBuilder::new();
        builder.mode(0o711).recursive(true);
        builder
            .create(&runtime.root)
            .map_err(|error| OciError::io("make", &runtime.root, error))?;
        let path = runtime.root.join(id);
        match builder.recursive(false).mode(0o700).create(&path) {
            Ok(()) => Ok(Claimed { path, kept: false }),
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {
                Err(OciError::Exists(id.to_owned()))
            }
            Err(error) => Err(OciError::io("make", &path, error)),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn keep(mut self) {
        self.kept = true;
    }
}

impl Drop for Claimed {
    fn drop(&mut self) {
        if !self.kept {
            let _ = std::fs::remove_dir_all(&self.path);
        }
    }
}

/// A container that is being made.
pub(super) struct Making<'a, 'g> {
    pub(super) runtime: &'a Runtime,
    pub(super) record: &'a Record,
    directory: &'a Path,
    options: &'a Create,
    hierarchies: &'a Hierarchies,
    pub(super) group: &'a mut Group<'g>,
}

pub(super) struct Made {
    pub(super) started: Started,
    pub(super) terminal: Option<OwnedFd>,
    pub(super) warnings: Vec<String>,
}

impl<'g> Making<'_, 'g> {
    /// Makes it from here, where this process may prepare mounts; else from within its user namespace.
    fn start_here(
        self,
        plan: &LaunchPlan,
        root: Result<OwnedFd, OciError>,
    ) -> Result<Made, OciError> {
        match root {
            Ok(root) => {
                let mut hooks = CreateHooks::new(&self, plan);
                let made = self.start(plan, root, &mut hooks, |_| ())?;
                hooks.grants.keep();
                Ok(made)
            }
            // The mounts here are not this user's to prepare others from.
            Err(OciError::Io { source, .. }) if errno_of(&source) == Errno::PERM => {
                inside::start(self, plan)
            }
            Err(error) => Err(error),
        }
    }

    /// The same for a while.
    pub(super) fn again(&mut self) -> Making<'_, 'g> {
        Making {
            group: &mut *self.group,
            ..*self
        }
    }

    /// Makes it as root of the user namespace that this process's mounts belong to. `adapt`: for what
    /// stands in no plan.
    pub(super) fn start(
        self,
        plan: &LaunchPlan,
        root: OwnedFd,
        connect: &mut dyn Connect,
        adapt: impl FnOnce(&mut Prepared),
    ) -> Result<Made, OciError> {
        let mut prepared = prepare::prepare(plan, own_streams(), root, self.hierarchies, None)?;
        adapt(&mut prepared);
        if plan.streams.terminal != Terminal::None && prepared.terminal.is_none() {
            return Err(OciError::Console(
                "a terminal needs a devpts at /dev/pts among the mounts".into(),
            ));
        }
        if let Some(master) = &prepared.terminal {
            terminal::plain_lines(master)?;
        }
        let listed = plan.spec.hooks().clone();
        let has_hooks = [
            Stage::Prestart,
            Stage::CreateRuntime,
            Stage::CreateContainer,
        ]
        .iter()
        .any(|stage| !stage.of(listed.as_ref()).is_empty());
        prepared.child.alone = Some(Alone {
            start: listen(self.directory)?,
            hooks: match has_hooks {
                true => Some(c_string(self.record.rootfs().as_os_str().as_bytes())?),
                false => None,
            },
            loopback: prepared.namespaces & namespace::NET != 0,
            keyring: match self.options.keyring {
                Keyring::New => Some(c_string(format!("_ses.{}", self.record.id))?),
                Keyring::Callers => None,
            },
            root_propagation: root_propagation(plan)?,
            program: match self.record.spec.process() {
                Some(_) => Told::Yes,
                None => Told::NotYet,
            },
        });
        let program = &mut prepared.child.program;
        program.manner = std::mem::take(&mut program.manner).anywhere();
        prepared.child.program.life = Life::ItsOwn;
        prepared.child.program.preserved = self.options.preserved_fds;
        self.runtime.tell_of(&prepared.child.program);
        let wanted = limits::of(plan);
        let started = launch::start(plan, &prepared, self.group, connect, &wanted)?;
        Ok(Made {
            started,
            terminal: prepared.terminal.take(),
            warnings: wanted.warnings,
        })
    }
}

/// This process's own, for the container to write to.
pub(super) fn own_streams() -> CellFds {
    let copy = |fd: BorrowedFd<'_>| rustix::io::fcntl_dupfd_cloexec(fd, 3).ok();
    CellFds {
        stdin: copy(rustix::stdio::stdin()),
        stdout: copy(rustix::stdio::stdout()),
        stderr: copy(rustix::stdio::stderr()),
    }
}

fn listen(directory: &Path) -> Result<OwnedFd, OciError> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let failed = |errno| OciError::from(step_failed("listen for the start", errno));
    let fd = rustix::fs::open(directory, flags, Mode::empty()).map_err(failed)?;
    gamut_sys::socket::listen(fd.as_fd(), start::SOCKET).map_err(failed)
}

/// A copy of the bundle's root with what is mounted below it, private, not attached anywhere.
pub(super) fn open_root(path: &Path) -> Result<OwnedFd, OciError> {
    let failed = |errno: Errno| OciError::io("open the root file system", path, errno.into());
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(CWD, path, flags).map_err(failed)?;
    let change = Change {
        propagation: PRIVATE,
        ..Change::default()
    };
    gamut_sys::mount::set_attributes(tree.as_fd(), Reach::Tree, &change).map_err(failed)?;
    Ok(tree)
}

fn root_propagation(plan: &LaunchPlan) -> Result<Option<MountPropagationFlags>, StartError> {
    let linux = plan.spec.linux().as_ref();
    let Some(word) = linux.and_then(|l| l.rootfs_propagation().as_deref()) else {
        return Ok(None);
    };
    let (word, all) = match word.strip_prefix('r') {
        Some(word) => (word, MountPropagationFlags::REC),
        None => (word, MountPropagationFlags::empty()),
    };
    let kind = match word {
        "" => return Ok(None),
        "shared" => MountPropagationFlags::SHARED,
        "slave" => MountPropagationFlags::DOWNSTREAM,
        "private" => MountPropagationFlags::PRIVATE,
        "unbindable" => MountPropagationFlags::UNBINDABLE,
        _ => {
            return Err(StartError::Request {
                message: format!(
                    "rootfsPropagation `{word}` is none of shared, slave, private and unbindable"
                ),
                hint: None,
            });
        }
    };
    Ok(Some(kind | all))
}
