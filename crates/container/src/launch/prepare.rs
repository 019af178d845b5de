//! From the plan to what the child needs, prepared where memory may still be allocated.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gamut_plan::cell::{CellFds, StartError};
use gamut_plan::launch::{LaunchPlan, NetworkPlan, Terminal, Trace};
use gamut_sys::process::{Lineage, StringArray, namespace};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType, Process};
use rustix::fs::{Gid, Mode, OFlags};
use rustix::io::Errno;

use super::child::{Child, IN_ROOT, MountNamespace, UserNamespace};
use super::idmap;
use super::manner::Manner;
use super::mounts::Op;
use super::operations::{self, Later};
use super::program::{Capabilities, Life, Program, RunsAs, Traced};
use super::target::Kind;
use super::users::{self, Identity};
use crate::cgroup::Hierarchies;

/// What a start needs besides the child: flags of the clone, and what the parent keeps.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) namespaces: u64,
    pub(crate) child: Child,
    /// The container's devpts, from which its terminals come.
    pub(crate) devpts: Option<OwnedFd>,
    pub(crate) terminal: Option<OwnedFd>,
    /// The pid namespace to clone in, if an existing one is joined.
    pub(crate) pid_namespace: Option<OwnedFd>,
    /// The user namespace to clone in, if an existing one is joined.
    pub(crate) user_namespace: Option<OwnedFd>,
    pub(crate) lineage: Lineage,
    /// The network namespace that was made ahead.
    pub(crate) netns: Option<OwnedFd>,
    /// What the child is given to mount after the clone.
    pub(crate) later: Vec<Later>,
}

impl Prepared {
    /// Whether the clone needs a process that joins namespaces before it, and cannot come back.
    pub(super) fn goes_through(&self) -> bool {
        let joins = !self.child.join.is_empty();
        let user = self.namespaces & namespace::USER != 0;
        let entered = self.user_namespace.is_some() || self.pid_namespace.is_some();
        // A process that will be gone need not come back.
        self.lineage == Lineage::Child && (entered || (user && joins))
    }
}

pub(crate) fn c_string(text: impl AsRef<[u8]>) -> Result<CString, StartError> {
    let bytes = text.as_ref();
    CString::new(bytes).map_err(|_| StartError::Request {
        message: format!(
            "`{}` holds a NUL byte",
            String::from_utf8_lossy(bytes).escape_debug()
        ),
        hint: None,
    })
}

pub(crate) fn step_failed(step: impl Into<String>, errno: Errno) -> StartError {
    StartError::Step {
        step: step.into(),
        reason: std::io::Error::from(errno).to_string(),
        hint: None,
    }
}

pub(crate) fn process(plan: &LaunchPlan) -> Result<&Process, StartError> {
    plan.spec
        .process()
        .as_ref()
        .ok_or_else(|| StartError::Request {
            message: "the plan has no process".into(),
            hint: Some("the image names no command; give one after the image".into()),
        })
}

fn flag_of(kind: LinuxNamespaceType) -> u64 {
    match kind {
        LinuxNamespaceType::Mount => namespace::MOUNT,
        LinuxNamespaceType::Cgroup => namespace::CGROUP,
        LinuxNamespaceType::Uts => namespace::UTS,
        LinuxNamespaceType::Ipc => namespace::IPC,
        LinuxNamespaceType::User => namespace::USER,
        LinuxNamespaceType::Pid => namespace::PID,
        LinuxNamespaceType::Network => namespace::NET,
        LinuxNamespaceType::Time => namespace::TIME,
    }
}

/// The runtime specification's word for a kind of namespace.
pub(super) fn kind_name(flag: u64) -> &'static str {
    match flag {
        namespace::MOUNT => "mount",
        namespace::CGROUP => "cgroup",
        namespace::UTS => "uts",
        namespace::IPC => "ipc",
        namespace::USER => "user",
        namespace::NET => "network",
        namespace::TIME => "time",
        _ => "pid",
    }
}

struct Namespaces {
    create: u64,
    join: Vec<(OwnedFd, u64)>,
    pid: Option<OwnedFd>,
    user: Option<OwnedFd>,
}

fn namespaces(listed: &[LinuxNamespace]) -> Result<Namespaces, StartError> {
    let mut result = Namespaces {
        create: 0,
        join: Vec::new(),
        pid: None,
        user: None,
    };
    for entry in listed {
        let flag = flag_of(entry.typ());
        let Some(path) = entry.path() else {
            result.create |= flag;
            continue;
        };
        let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(
            |errno| step_failed(format!("join the namespace {}", path.display()), errno),
        )?;
        match flag {
            namespace::PID => result.pid = Some(fd),
            namespace::USER => result.user = Some(fd),
            _ => result.join.push((fd, flag)),
        }
    }
    Ok(result)
}

/// Draws everything the child will do.
pub(crate) fn prepare(
    plan: &LaunchPlan,
    fds: CellFds,
    root: OwnedFd,
    hierarchies: &Hierarchies,
    netns: Option<OwnedFd>,
) -> Result<Prepared, StartError> {
    let linux = plan
        .spec
        .linux()
        .as_ref()
        .ok_or_else(|| StartError::Request {
            message: "the plan has no Linux section".into(),
            hint: None,
        })?;
    let mut namespaces = namespaces(linux.namespaces().as_deref().unwrap_or_default())?;
    let maps = match &namespaces.user {
        Some(joined) => Some(idmap::Maps::of_namespace(joined.as_fd())?),
        None => idmap::Maps::of(linux),
    };
    let user_namespace = match (namespaces.create & namespace::USER, &namespaces.user) {
        (_, Some(_)) => UserNamespace::Joined,
        (0, None) => UserNamespace::Callers,
        _ => UserNamespace::New,
    };
    let userns = user_namespace != UserNamespace::Callers;
    // One that was made ahead belongs to the host's user namespace.
    let ahead = netns.filter(|_| !userns && namespaces.create & namespace::NET != 0);
    if let Some(netns) = &ahead {
        namespaces.create &= !namespace::NET;
        let copy = netns
            .try_clone()
            .map_err(|e| step_failed("copy a descriptor", errno_of(&e)))?;
        namespaces.join.push((copy, namespace::NET));
    }
    let identity = users::resolve(root.as_fd(), &plan.user)?;
    let spec_process = process(plan)?;
    ensure_directory(root.as_fd(), spec_process.cwd(), &identity)?;
    let tty = matches!(plan.streams.terminal, Terminal::Pty { .. });
    let mounts = MountNamespace::of(plan, namespaces.create)?;
    let mut operations = operations::of(plan, userns, maps.as_ref(), hierarchies, root.as_fd())?;
    let terminal = match (&operations.devpts, plan.streams.terminal) {
        (Some(devpts), Terminal::Pty { rows, columns }) => {
            Some(super::terminal::open(devpts.as_fd(), rows, columns)?)
        }
        _ => None,
    };
    let (master, slave) =
        terminal.map_or((None, None), |pair| (Some(pair.master), Some(pair.slave)));
    if slave.is_some() {
        // Before /dev is read-only.
        let last = matches!(operations.now.last(), Some(Op::ReadOnly { .. }));
        let at = operations.now.len() - usize::from(last);
        operations.now.insert(at, Op::Console);
    }
    let mut program = program(plan, streams(fds, slave.as_ref())?, &identity, tty)?;
    program.manner = program.manner.of_first();
    let child = Child {
        join: namespaces.join,
        user_namespace,
        root,
        ops: operations.now,
        late_ops: operations.late,
        masked_paths: c_strings(linux.masked_paths().as_deref())?,
        readonly_paths: c_strings(linux.readonly_paths().as_deref())?,
        sysctls: sysctls(linux.sysctl().as_ref())?,
        hostname: own(&namespaces.create, plan.spec.hostname()),
        domainname: own(&namespaces.create, plan.spec.domainname()),
        readonly_root: plan
            .spec
            .root()
            .as_ref()
            .and_then(|r| r.readonly())
            .unwrap_or(false),
        mounts,
        own_cgroup_namespace: namespaces.create & namespace::CGROUP != 0,
        program,
        traced: match plan.trace {
            Trace::On => Traced::Yes,
            Trace::Off => Traced::No,
        },
        alone: None,
    };
    let not_by_clone = namespace::CGROUP | namespace::TIME;
    Ok(Prepared {
        namespaces: namespaces.create & !not_by_clone,
        child,
        devpts: operations.devpts,
        terminal: master,
        pid_namespace: namespaces.pid,
        user_namespace: namespaces.user,
        lineage: Lineage::Child,
        netns: ahead,
        later: operations.later,
    })
}

/// A name is set only in a uts namespace of the container's own.
fn own(created: &u64, name: &Option<String>) -> Option<Vec<u8>> {
    name.as_ref()
        .filter(|_| created & namespace::UTS != 0)
        .map(|n| n.as_bytes().to_vec())
}

pub(crate) fn c_strings(paths: Option<&[String]>) -> Result<Vec<CString>, StartError> {
    paths.unwrap_or_default().iter().map(c_string).collect()
}

fn sysctls(
    wanted: Option<&std::collections::HashMap<String, String>>,
) -> Result<Vec<(CString, Vec<u8>)>, StartError> {
    let mut list = Vec::new();
    for (name, value) in wanted.into_iter().flatten() {
        // `net.ipv4.ip_forward`, and with a slash as separator where a name holds dots.
        let path = if name.contains('/') {
            name.clone()
        } else {
            name.replace('.', "/")
        };
        list.push((
            c_string(format!("proc/sys/{path}"))?,
            value.as_bytes().to_vec(),
        ));
    }
    list.sort();
    Ok(list)
}

/// Makes the working directory, as Docker does, owned by the user.
fn ensure_directory(
    root: std::os::fd::BorrowedFd<'_>,
    path: &Path,
    identity: &Identity,
) -> Result<(), StartError> {
    let cwd = c_string(path.as_os_str().as_bytes())?;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let say = |errno| StartError::Request {
        message: format!(
            "cannot use {} as the working directory: {}",
            path.display(),
            std::io::Error::from(errno)
        ),
        hint: Some("give another directory with `--workdir`".into()),
    };
    match rustix::fs::openat2(root, cwd.as_c_str(), flags, Mode::empty(), IN_ROOT) {
        Ok(fd) if super::target::is_directory(fd.as_fd()).map_err(say)? => Ok(()),
        Ok(_) => Err(say(Errno::NOTDIR)),
        Err(Errno::NOENT) => {
            let made = super::target::open_or_make(root, &cwd, Kind::Directory).map_err(say)?;
            if identity.uid != 0 || identity.gid != 0 {
                let owner = Some(rustix::fs::Uid::from_raw(identity.uid));
                let group = Some(Gid::from_raw(identity.gid));
                rustix::fs::chownat(&made, c"", owner, group, rustix::fs::AtFlags::EMPTY_PATH)
                    .map_err(say)?;
            }
            Ok(())
        }
        Err(errno) => Err(say(errno)),
    }
}

pub(crate) fn errno_of(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}

fn null() -> Result<OwnedFd, StartError> {
    rustix::fs::open(c"/dev/null", OFlags::RDWR | OFlags::CLOEXEC, Mode::empty())
        .map_err(|e| step_failed("open /dev/null", e))
}

fn copy(fd: &OwnedFd) -> Result<OwnedFd, StartError> {
    fd.try_clone()
        .map_err(|e| step_failed("copy a descriptor", errno_of(&e)))
}

/// Three streams: the terminal's other end thrice, or what the caller gave, or /dev/null.
pub(crate) fn streams(
    fds: CellFds,
    slave: Option<&OwnedFd>,
) -> Result<(OwnedFd, OwnedFd, OwnedFd), StartError> {
    if let Some(slave) = slave {
        return Ok((copy(slave)?, copy(slave)?, copy(slave)?));
    }
    let or_null = |fd: Option<OwnedFd>| fd.map_or_else(null, Ok);
    Ok((
        or_null(fds.stdin)?,
        or_null(fds.stdout)?,
        or_null(fds.stderr)?,
    ))
}

pub(crate) fn program(
    plan: &LaunchPlan,
    (stdin, stdout, stderr): (OwnedFd, OwnedFd, OwnedFd),
    identity: &Identity,
    tty: bool,
) -> Result<Program, StartError> {
    let spec_process = process(plan)?;
    let given = spec_process.env().as_deref().unwrap_or_default();
    let env = match plan.user.exact {
        Some(_) => exact_environment(given, identity),
        None => environment(given, &[], identity, tty),
    };
    let args = spec_process.args().as_deref().unwrap_or_default();
    let privileges = super::privileges::of(plan, spec_process, identity)?;
    Ok(Program {
        stdin,
        stdout,
        stderr,
        terminal: tty,
        cwd: c_string(spec_process.cwd().as_os_str().as_bytes())?,
        runs_as: RunsAs::User,
        uid: identity.uid,
        gid: identity.gid,
        groups: identity
            .groups
            .iter()
            .map(|gid| Gid::from_raw(*gid))
            .collect(),
        capabilities: privileges.capabilities,
        no_new_privileges: spec_process.no_new_privileges().unwrap_or(false),
        seccomp: privileges.seccomp,
        umask: spec_process.user().umask().unwrap_or(0o022),
        manner: Manner::of(spec_process, plan.spec.linux().as_ref())?,
        life: Life::WithParent,
        preserved: 0,
        candidates: candidates(args, &env)?,
        args: StringArray::new(c_strings(Some(args))?),
        env: StringArray::new(c_strings(Some(&env))?),
    })
}

/// The plan's variables, then `added`, later ones winning; HOME and TERM where nobody set them.
pub(crate) fn environment(
    base: &[String],
    added: &[String],
    identity: &Identity,
    tty: bool,
) -> Vec<String> {
    let name = |variable: &str| variable.split('=').next().unwrap_or("").to_owned();
    let mut list: Vec<String> = Vec::with_capacity(base.len() + added.len() + 2);
    for variable in base.iter().chain(added) {
        match list.iter_mut().find(|seen| name(seen) == name(variable)) {
            Some(seen) => seen.clone_from(variable),
            None => list.push(variable.clone()),
        }
    }
    if !list.iter().any(|v| v.starts_with("HOME=")) {
        list.push(format!("HOME={}", identity.home));
    }
    if tty && !list.iter().any(|v| v.starts_with("TERM=")) {
        list.push("TERM=xterm".into());
    }
    list
}

/// The variables as they are, later ones winning; HOME where nobody set it to anything.
fn exact_environment(given: &[String], identity: &Identity) -> Vec<String> {
    let mut list = environment(given, &[], identity, false);
    for variable in &mut list {
        if variable == "HOME=" {
            *variable = format!("HOME={}", identity.home);
        }
    }
    list
}

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Where to look for the program: execvp(3), with the container's PATH.
pub(crate) fn candidates(args: &[String], env: &[String]) -> Result<Vec<CString>, StartError> {
    let Some(program) = args.first().filter(|p| !p.is_empty()) else {
        return Err(StartError::Request {
            message: "no command is given, and the image names none".into(),
            hint: Some("give a command after the image".into()),
        });
    };
    if program.contains('/') {
        return Ok(vec![c_string(program)?]);
    }
    let path = env
        .iter()
        .find_map(|v| v.strip_prefix("PATH="))
        .unwrap_or(DEFAULT_PATH);
    path.split(':')
        .map(|directory| {
            c_string(format!(
                "{}/{program}",
                if directory.is_empty() { "." } else { directory }
            ))
        })
        .collect()
}

/// The failed op's mount point, for messages.
pub(crate) fn op_target(child: &Child, index: u16) -> String {
    let mut ops = child.ops.iter().chain(&child.late_ops);
    let text = ops.nth(usize::from(index)).map_or(c"?", |op| op.target());
    CStr::to_string_lossy(text).into_owned()
}

impl Capabilities {
    pub(crate) fn all_of(mask: u64) -> Self {
        Capabilities {
            bounding: mask,
            effective: mask,
            permitted: mask,
            inheritable: 0,
            ambient: 0,
        }
    }
}

/// A network that others own is not this container's to configure.
pub(crate) fn own_network(plan: &LaunchPlan) -> bool {
    !matches!(plan.network, NetworkPlan::Host | NetworkPlan::Container(_))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_is_looked_for_along_path() {
        let found = |args: &[&str], env: &[&str]| {
            let args: Vec<String> = args.iter().map(|s| (*s).into()).collect();
            let env: Vec<String> = env.iter().map(|s| (*s).into()).collect();
            candidates(&args, &env)
        };
        assert_eq!(
            found(&["sh"], &["PATH=/a::/b"]).unwrap(),
            [c"/a/sh".to_owned(), c"./sh".into(), c"/b/sh".into()]
        );
        assert_eq!(
            found(&["./sh"], &["PATH=/a"]).unwrap(),
            [c"./sh".to_owned()]
        );
        assert!(found(&[], &[]).is_err());
        assert!(found(&["a\0b"], &[]).is_err());
    }

    #[test]
    fn later_variables_win_and_home_is_filled_in() {
        let identity = Identity {
            uid: 0,
            gid: 0,
            groups: Vec::new(),
            home: "/root".into(),
        };
        let base = ["A=1".to_owned(), "B=2".to_owned()];
        let list = environment(&base, &["A=3".to_owned()], &identity, true);
        assert_eq!(list, ["A=3", "B=2", "HOME=/root", "TERM=xterm"]);
    }
}
