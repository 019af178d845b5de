//! A further process in a running container: joins what its first process has, then becomes the
//! program like any other.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_plan::cell::{CellFds, StartError};
use gamut_plan::launch::{ExecPlan, Groups, LaunchPlan, Privileged, UserPlan};
use gamut_sys::process::{self, Lineage, Side, StringArray, namespace};
use oci_spec::runtime::LinuxNamespaceType;
use rustix::fs::{Gid, Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};
use rustix::thread::CapabilitySet;

use super::child::{enter_cgroups, wait_for};
use super::manner::Manner;
use super::prepare::{self, c_string, c_strings, step_failed};
use super::program::{Life, Program, RunsAs, Traced};
use super::step::{At, Failure, Step};
use super::through::{self, Through};
use super::{After, Half, Heard, Started, go, program_failed, read_failure, terminal, users};
use crate::cgroup::Cgroup;
use crate::limits;

/// Where an exec goes: the container as its keeper knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Target<'a> {
    pub(crate) plan: &'a LaunchPlan,
    pub(crate) init: &'a Started,
    pub(crate) cgroup: Option<&'a Cgroup>,
    pub(crate) devpts: Option<&'a OwnedFd>,
}

/// Starts the process; returns it and its terminal's master.
pub(crate) fn exec(
    target: Target<'_>,
    plan: &ExecPlan,
    fds: CellFds,
) -> Result<(Started, Option<OwnedFd>), StartError> {
    let (program, master) = program(target, plan, fds)?;
    let joining = Joining {
        place: Place::Container,
        init: target.init.pidfd.as_fd(),
        namespaces: joined(target.plan),
        root: None,
        cgroup: target.cgroup,
        beside: Some(target.init.pid),
        follows: target.plan.groups == Groups::Unified,
        limits: &limits::of(target.plan),
        listener: &|_, _| (),
    };
    let started = join(&joining, &program).map_err(|error| match error {
        JoinError::Child(failure) => explain(&plan.args, failure),
        JoinError::Start(error) => error,
    })?;
    Ok((started, master))
}

/// Where a further process runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Beside this process: none of the namespaces is joined.
    Host,
    Container,
}

/// What a further process joins.
pub(crate) struct Joining<'a> {
    pub(crate) place: Place,
    /// The container's first process.
    pub(crate) init: BorrowedFd<'a>,
    /// Which of its namespaces.
    pub(crate) namespaces: u64,
    /// A directory to have as root, if not the root of the mount namespace.
    pub(crate) root: Option<OwnedFd>,
    pub(crate) cgroup: Option<&'a Cgroup>,
    /// Whose group below that one to be in where it takes no process, because controllers are shared
    /// out below it: a workload that manages its own groups has left it.
    pub(crate) beside: Option<Pid>,
    /// Whether to be there from the first, if there is such a group: systemd shares controllers out once,
    /// while it boots, and a process in its own group would keep it from that for good.
    pub(crate) follows: bool,
    pub(crate) limits: &'a limits::ProcessLimits,
    /// Takes the listener of the program's filter, if that has one.
    pub(crate) listener: &'a dyn Fn(Pid, OwnedFd),
}

impl Joining<'_> {
    /// The group below the container's that its first process is in, if that is followed.
    fn followed(&self) -> Result<Option<Cgroup>, StartError> {
        match (self.cgroup, self.beside) {
            (Some(cgroup), Some(first)) if self.follows => {
                let lower = cgroup.below_of(first);
                lower.map_err(|e| crate::group::cgroup_failed(&e))
            }
            _ => Ok(None),
        }
    }
}

/// Why a process could not join.
pub(crate) enum JoinError {
    Child(Failure),
    Start(StartError),
}

impl From<StartError> for JoinError {
    fn from(error: StartError) -> Self {
        JoinError::Start(error)
    }
}

/// Starts a program beside the first process of a container.
pub(crate) fn join(joining: &Joining<'_>, program: &Program) -> Result<Started, JoinError> {
    let cgroups = match joining.cgroup {
        Some(cgroup) => cgroup
            .attach_files()
            .map_err(|e| crate::group::cgroup_failed(&e))?,
        None => Vec::new(),
    };
    let (ours, theirs) =
        gamut_sys::socket::pair().map_err(|e| step_failed("make a socket pair", e))?;
    let (pid, pidfd) = match clone(joining)? {
        Through::Parent(pid, pidfd) => (pid, pidfd),
        Through::Child(joined) => {
            drop(ours);
            let failure = match run(joining, joined, &cgroups, program, theirs.as_fd()) {
                Ok(never) => match never {},
                Err(failure) => failure,
            };
            let _ = rustix::io::write(&theirs, &failure.to_bytes());
            process::exit_now(125);
        }
    };
    let half = Half::new(pid, pidfd);
    drop(theirs);
    // It may have gone there just now; whoever was in the group before went along.
    if let Some(lower) = joining.followed()? {
        lower
            .attach(pid)
            .map_err(|e| crate::group::cgroup_failed(&e))?;
    }
    limits::apply(joining.limits, pid)?;
    go(ours.as_fd())?;
    let heard = read_failure(ours.as_fd(), &mut |heard| {
        if let Heard::Listener(listener) = heard {
            (joining.listener)(pid, listener);
        }
        After::GoOn
    });
    match heard? {
        Some(failure) => Err(JoinError::Child(failure)),
        None => half
            .finish()
            .ok_or_else(|| step_failed("clone", Errno::CHILD).into()),
    }
}

/// Clones a process into the container, and into the group of a process of its if its own takes none.
fn clone(joining: &Joining<'_>) -> Result<Through, JoinError> {
    let followed = joining.followed()?;
    let mut cloned = clone_in(joining, followed.as_ref().or(joining.cgroup));
    if let (Some(cgroup), Some(first)) = (joining.cgroup, joining.beside)
        && matches!(&cloned, Err(JoinError::Child(f)) if (f.step, f.errno) == (Step::Clone, Errno::BUSY))
    {
        let lower = cgroup.below_of(first);
        let lower = lower.map_err(|e| crate::group::cgroup_failed(&e))?;
        if lower.is_some() {
            cloned = clone_in(joining, lower.as_ref());
        }
    }
    cloned.map_err(|error| match error {
        JoinError::Child(failure) if failure.step == Step::Clone => {
            step_failed("start a process in the container", failure.errno).into()
        }
        other => other,
    })
}

/// Clones a process into the container's pid namespace; where this one could not come back from that,
/// into all of them.
fn clone_in(joining: &Joining<'_>, cgroup: Option<&Cgroup>) -> Result<Through, JoinError> {
    let into = cgroup.and_then(Cgroup::clone_into);
    let own_pids = joining.namespaces & namespace::PID != 0;
    let back = match joining.place {
        Place::Container if !own_pids => {
            let users = joining.namespaces & namespace::USER != 0;
            if users && !crate::privilege::has(CapabilitySet::SYS_ADMIN) {
                return clone_inside(joining, into);
            }
            None
        }
        Place::Host => None,
        Place::Container => {
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let back = rustix::fs::open("/proc/self/ns/pid", flags, Mode::empty())
                .map_err(|e| step_failed("open the pid namespace", e))?;
            // First the way back: root of a user namespace may have no right to the pid namespace
            // that it is in, and nobody without privileges has.
            let there = process::join(back.as_fd(), namespace::PID)
                .and_then(|()| process::join(joining.init, namespace::PID));
            match there {
                Ok(()) => {}
                Err(Errno::PERM) => return clone_inside(joining, into),
                Err(e) => {
                    return Err(step_failed("join the container's pid namespace", e).into());
                }
            }
            Some(back)
        }
    };
    // SAFETY: the keeper has one thread, and so has an OCI runtime; see `super::start`.
    let side = unsafe { process::clone3(0, into, Lineage::Child) };
    if let Ok(Side::Child) = side {
        return Ok(Through::Child(namespace::PID));
    }
    if let Some(back) = back {
        process::join(back.as_fd(), namespace::PID)
            .map_err(|e| step_failed("return to the pid namespace", e))?;
    }
    match side {
        Ok(Side::Parent { child, pidfd }) => Ok(Through::Parent(child, pidfd)),
        Ok(Side::Child) => Err(step_failed("clone", Errno::INVAL).into()),
        Err(errno) => Err(JoinError::Child(Failure::new(Step::Clone, errno))),
    }
}

/// For who could not come back from the container's namespaces, because that needs privileges outside.
fn clone_inside(joining: &Joining<'_>, into: Option<BorrowedFd<'_>>) -> Result<Through, JoinError> {
    // Who is in a cgroup namespace puts no process into a group from outside of it (cgroups(7),
    // "nsdelegate"): that one is joined by the new process.
    let all = joining.namespaces & !namespace::CGROUP;
    let score = joining.limits.oom_score_text();
    let enter = || {
        if let Some(score) = &score {
            // What hides this process hides the file, too.
            let flags = OFlags::WRONLY | OFlags::CLOEXEC;
            rustix::fs::open(c"/proc/self/oom_score_adj", flags, Mode::empty())
                .and_then(|file| rustix::io::write(file, score.as_bytes()))
                .at(Step::OomScore)?;
        }
        through::shut()?;
        process::join(joining.init, all).at(Step::JoinNamespace)?;
        Ok(all)
    };
    through::clone_through(&enter, 0, into)
}

/// Runs in the child: no allocation. `joined`: the kinds of namespaces that it was born in.
fn run(
    joining: &Joining<'_>,
    joined: u64,
    cgroups: &[OwnedFd],
    program: &Program,
    keeper: BorrowedFd<'_>,
) -> Result<std::convert::Infallible, Failure> {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::DeathSignal)?;
    // Until the namespaces are joined this process shows the host in /proc/PID of the container:
    // nobody there may look into it (CVE-2016-9962).
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .at(Step::DeathSignal)?;
    program.manner.begin()?;
    enter_cgroups(cgroups)?;
    wait_for(keeper)?;
    let left = joining.namespaces & !joined;
    if left != 0 {
        process::join(joining.init, left).at(Step::JoinNamespace)?;
    }
    if let Some(root) = &joining.root {
        rustix::process::fchdir(root).at(Step::Pivot)?;
        rustix::process::chroot(c".").at(Step::Pivot)?;
    }
    rustix::process::setsid().at(Step::Terminal)?;
    program.begin(keeper, Traced::No)
}

/// The namespaces that the container does not share with its host.
pub(crate) fn joined(plan: &LaunchPlan) -> u64 {
    let listed = plan
        .spec
        .linux()
        .as_ref()
        .and_then(|l| l.namespaces().as_deref())
        .unwrap_or_default();
    listed.iter().fold(0, |flags, entry| {
        flags
            | match entry.typ() {
                LinuxNamespaceType::Mount => namespace::MOUNT,
                LinuxNamespaceType::Cgroup => namespace::CGROUP,
                LinuxNamespaceType::Uts => namespace::UTS,
                LinuxNamespaceType::Ipc => namespace::IPC,
                LinuxNamespaceType::User => namespace::USER,
                LinuxNamespaceType::Network => namespace::NET,
                LinuxNamespaceType::Time => namespace::TIME,
                LinuxNamespaceType::Pid => namespace::PID,
            }
    })
}

fn program(
    target: Target<'_>,
    plan: &ExecPlan,
    fds: CellFds,
) -> Result<(Program, Option<OwnedFd>), StartError> {
    let launch = target.plan;
    let base = prepare::process(launch)?;
    // The first process's root is the container's, whatever lies around it on the host.
    let root = format!("/proc/{}/root", target.init.pid.as_raw_nonzero());
    let root = rustix::fs::open(
        root,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .map_err(|e| step_failed("open the container's root", e))?;
    let user = UserPlan {
        user: plan
            .user
            .clone()
            .unwrap_or_else(|| launch.user.user.clone()),
        groups: launch.user.groups.clone(),
        exact: None,
    };
    let identity = users::resolve(root.as_fd(), &user)?;
    let pair = match (plan.terminal, target.devpts) {
        (Some((rows, columns)), Some(devpts)) => {
            Some(terminal::open(devpts.as_fd(), rows, columns)?)
        }
        (Some(_), None) => {
            return Err(step_failed(
                "open a terminal: the container has no /dev/pts",
                Errno::NODEV,
            ));
        }
        (None, _) => None,
    };
    let (master, slave) = pair.map_or((None, None), |pair| (Some(pair.master), Some(pair.slave)));
    let (stdin, stdout, stderr) = prepare::streams(fds, slave.as_ref())?;
    let tty = slave.is_some();
    let env = prepare::environment(
        base.env().as_deref().unwrap_or_default(),
        &plan.env,
        &identity,
        tty,
    );
    let mut privileges = super::privileges::of(launch, base, &identity)?;
    if plan.privileged == Privileged::Yes {
        privileges.capabilities = super::privileges::everything()?;
    }
    let cwd = match &plan.cwd {
        Some(cwd) => c_string(cwd)?,
        None => path_string(base.cwd())?,
    };
    let program = Program {
        stdin,
        stdout,
        stderr,
        terminal: tty,
        cwd,
        runs_as: RunsAs::User,
        uid: identity.uid,
        gid: identity.gid,
        groups: identity
            .groups
            .iter()
            .map(|gid| Gid::from_raw(*gid))
            .collect(),
        capabilities: privileges.capabilities,
        no_new_privileges: base.no_new_privileges().unwrap_or(false)
            && plan.privileged == Privileged::No,
        seccomp: privileges.seccomp,
        umask: base.user().umask().unwrap_or(0o022),
        manner: Manner::of(base, launch.spec.linux().as_ref())?,
        life: Life::WithParent,
        preserved: 0,
        candidates: prepare::candidates(&plan.args, &env)?,
        args: StringArray::new(c_strings(Some(&plan.args))?),
        env: StringArray::new(c_strings(Some(&env))?),
    };
    Ok((program, master))
}

fn path_string(path: &std::path::Path) -> Result<CString, StartError> {
    c_string(std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()))
}

pub(crate) fn explain(args: &[String], failure: Failure) -> StartError {
    match failure.step {
        Step::Exec | Step::Interpreter | Step::WorkingDirectory => program_failed(args, failure),
        step => StartError::Step {
            step: step.words().into(),
            reason: std::io::Error::from(failure.errno).to_string(),
            hint: super::identity_hint(failure).map(Into::into),
        },
    }
}
