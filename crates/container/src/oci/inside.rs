//! Making a container without privileges. Mounts can be prepared only by root of the user namespace
//! that the mount namespace belongs to, so a process of ours goes there: a copy of this one, in the
//! container's user namespace and a mount namespace of its own. It makes the container's process as
//! its sibling, a child of this one, and is gone; this one stays outside, where it writes the maps
//! and runs the hooks. mount_namespaces(7), user_namespaces(7).

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_plan::cell::{Connect, StartError};
use gamut_plan::launch::LaunchPlan;
use gamut_spec::Fault;
use gamut_sys::process::{self, Lineage, Side, namespace};
use gamut_sys::socket;
use oci_spec::runtime::{LinuxIdMapping, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use super::create::{Made, Making};
use super::creation::CreateHooks;
use super::error::OciError;
use super::grants;
use crate::launch::child::{UserNamespace, wait_for};
use crate::launch::idmap::Maps;
use crate::launch::prepare::step_failed;
use crate::launch::program::Life;
use crate::launch::subordinate::{self, Groups};
use crate::launch::{Half, Started, go, through};

/// The longest word of the process inside: an error, in which a path may stand.
const MAX_WORD_BYTES: usize = 64 << 10;

/// What the process inside says.
#[derive(Debug, Serialize, Deserialize)]
enum Word {
    /// The mounts are made: it is time for the hooks of the creation.
    Mounted {
        pid: i32,
    },
    /// The container waits for its start. A descriptor of its process comes with it, and the
    /// terminal's, if it has one.
    Made {
        pid: i32,
        warnings: Vec<String>,
    },
    Failed(StartError),
}

/// How the process gets into the user namespace.
enum Entry {
    New(Maps),
    Joined(OwnedFd),
    /// This one's is the container's, too; only its mounts belong to somebody else.
    Callers,
}

impl Entry {
    fn of(spec: &Spec) -> Result<Entry, StartError> {
        let linux = spec.linux().as_ref();
        let listed = linux.and_then(|linux| linux.namespaces().as_deref());
        let mut listed = listed.unwrap_or_default().iter();
        let refuse = |message: &str, hint: &str| StartError::Request {
            message: message.to_owned(),
            hint: Some(hint.to_owned()),
        };
        let Some(user) = listed.find(|one| one.typ() == LinuxNamespaceType::User) else {
            if crate::privilege::has(rustix::thread::CapabilitySet::SYS_ADMIN) {
                return Ok(Entry::Callers);
            }
            return Err(refuse(
                "rootless container requires user namespaces",
                "`gamut oci spec --rootless` writes a configuration for users without privileges",
            ));
        };
        if let Some(path) = user.path() {
            let fd = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty());
            let failed = |e| step_failed(format!("join the namespace {}", path.display()), e);
            return Ok(Entry::Joined(fd.map_err(failed)?));
        }
        let maps = linux.and_then(Maps::of).ok_or_else(|| {
            refuse(
                "rootless container requires at least one UID mapping and one GID mapping",
                "give linux.uidMappings and linux.gidMappings",
            )
        })?;
        if !(is_mapped(maps.uids(), 0) && is_mapped(maps.gids(), 0)) {
            return Err(refuse(
                "the user namespace has no root",
                "map the container's id 0, for users and for groups",
            ));
        }
        let process = spec.process().as_ref();
        if let Some(user) = process.map(|process| process.user())
            && !(is_mapped(maps.uids(), user.uid()) && is_mapped(maps.gids(), user.gid()))
        {
            return Err(refuse(
                &format!("the user {}:{} is not mapped", user.uid(), user.gid()),
                "the user and the group must have ids in the container's user namespace",
            ));
        }
        let groups = process.and_then(|process| process.user().additional_gids().as_ref());
        if groups.is_some_and(|groups| !groups.is_empty())
            && subordinate::groups(&maps) == Groups::Stay
        {
            return Err(refuse(
                "cannot set any additional groups in a rootless container",
                "map ranges of /etc/subgid with newgidmap, or leave additionalGids out",
            ));
        }
        Ok(Entry::New(maps))
    }

    /// What the process is cloned into.
    fn namespaces(&self) -> u64 {
        match self {
            Entry::New(_) => namespace::USER | namespace::MOUNT,
            Entry::Joined(_) => 0,
            Entry::Callers => namespace::MOUNT,
        }
    }

    /// In the process: what is left to be done until it is root there.
    fn enter(&self, outside: BorrowedFd<'_>) -> Result<UserNamespace, StartError> {
        let said = |step: &str| {
            let step = step.to_owned();
            move |errno| step_failed(step, errno)
        };
        match self {
            Entry::Callers => Ok(UserNamespace::Callers),
            Entry::New(_) => {
                let waited = wait_for(outside);
                waited.map_err(|f| step_failed(f.step.words(), f.errno))?;
                Ok(UserNamespace::Prepared)
            }
            Entry::Joined(user) => {
                through::shut().map_err(|f| step_failed(f.step.words(), f.errno))?;
                process::join(user.as_fd(), namespace::USER)
                    .map_err(said("join the user namespace"))?;
                process::unshare(namespace::MOUNT).map_err(said("create the mount namespace"))?;
                Ok(UserNamespace::Joined)
            }
        }
    }
}

fn is_mapped(maps: &[LinuxIdMapping], id: u32) -> bool {
    let mut at = maps
        .iter()
        .map(|map| (id.checked_sub(map.container_id()), map.size()));
    at.any(|(at, size)| at.is_some_and(|at| at < size))
}

/// Makes the container by way of a process inside.
pub(super) fn start(making: Making<'_, '_>, plan: &LaunchPlan) -> Result<Made, OciError> {
    if let Some(message) = grants::of_the_host(&plan.spec) {
        let (message, hint) = (message.to_owned(), None);
        return Err(StartError::Request { message, hint }.into());
    }
    let entry = Entry::of(&plan.spec)?;
    let pair = socket::pair().map_err(|e| step_failed("make a socket pair", e))?;
    let (ours, theirs) = pair;
    // The container's process goes into it from inside.
    making.group.make_ahead()?;
    // SAFETY: an OCI runtime has one thread: the command line starts none.
    let side = unsafe { process::clone3(entry.namespaces(), None, Lineage::Child) };
    match side.map_err(clone_failed)? {
        Side::Child => {
            drop(ours);
            let mut making = making;
            let word = match build(making.again(), plan, &entry, theirs.as_fd()) {
                Ok(made) => say_made(theirs.as_fd(), &made),
                Err(error) => {
                    // What systemd made, the process outside knows nothing of.
                    making.group.undo();
                    say(theirs.as_fd(), &Word::Failed(in_words(error)), &[])
                }
            };
            process::exit_now(i32::from(word.is_err()));
        }
        Side::Parent { child, pidfd } => {
            drop(theirs);
            // Reaped in any case, killed if it still runs: it has nothing to do after its last word.
            let _inside = Half::new(child, pidfd);
            if let Entry::New(maps) = &entry {
                subordinate::write(maps, child)?;
                go(ours.as_fd())?;
            }
            attend(CreateHooks::new(&making, plan), ours.as_fd())
        }
    }
}

/// In the process inside: everything, as root there.
fn build(
    making: Making<'_, '_>,
    plan: &LaunchPlan,
    entry: &Entry,
    outside: BorrowedFd<'_>,
) -> Result<Made, OciError> {
    let failed = |f: crate::launch::step::Failure| step_failed(f.step.words(), f.errno);
    Life::WithParent.apply().map_err(failed)?;
    let user_namespace = entry.enter(outside)?;
    let mut plan = plan.clone();
    if let Some(linux) = plan.spec.linux_mut() {
        let listed = linux.namespaces().clone().unwrap_or_default().into_iter();
        let others = listed.filter(|one| one.typ() != LinuxNamespaceType::User);
        linux.set_namespaces(Some(others.collect()));
        linux.set_uid_mappings(None);
        linux.set_gid_mappings(None);
    }
    let root = super::create::open_root(&making.record.rootfs())?;
    making.start(&plan, root, &mut Relay { outside }, |prepared| {
        prepared.lineage = Lineage::Sibling;
        prepared.child.user_namespace = user_namespace;
    })
}

/// Outside: runs the hooks when it is time, until the last word.
fn attend(mut hooks: CreateHooks<'_>, inside: BorrowedFd<'_>) -> Result<Made, OciError> {
    let mut buffer = vec![0; MAX_WORD_BYTES];
    let lost = |errno| step_failed("hear from the process in the user namespace", errno);
    loop {
        let (length, descriptors) = socket::receive(inside, &mut buffer).map_err(lost)?;
        let word = serde_json::from_slice(&buffer[..length]).map_err(|_| lost(Errno::PIPE))?;
        match word {
            Word::Mounted { pid } => {
                hooks.mounted(pid)?;
                go(inside)?;
            }
            Word::Failed(error) => return Err(error.into()),
            Word::Made { pid, warnings } => {
                let mut descriptors = descriptors.into_iter();
                let pid = rustix::process::Pid::from_raw(pid);
                let (Some(pid), Some(pidfd)) = (pid, descriptors.next()) else {
                    return Err(lost(Errno::BADF).into());
                };
                return Ok(Made {
                    started: Started { pid, pidfd },
                    terminal: descriptors.next(),
                    warnings,
                });
            }
        }
    }
}

/// Inside: has the hooks run by the process outside.
struct Relay<'a> {
    outside: BorrowedFd<'a>,
}

impl Connect for Relay<'_> {
    fn connect(&mut self, _netns: BorrowedFd<'_>) -> Result<(), StartError> {
        Ok(())
    }

    fn mounted(&mut self, pid: i32) -> Result<(), StartError> {
        say(self.outside, &Word::Mounted { pid }, &[])?;
        // A hook that failed ends the process outside, and so this one.
        wait_for(self.outside).map_err(|f| step_failed("run the hooks", f.errno))
    }
}

fn say_made(outside: BorrowedFd<'_>, made: &Made) -> Result<(), StartError> {
    let word = Word::Made {
        pid: made.started.pid.as_raw_nonzero().get(),
        warnings: made.warnings.clone(),
    };
    let pidfd = made.started.pidfd.as_fd();
    let all = [Some(pidfd), made.terminal.as_ref().map(AsFd::as_fd)];
    let all: Vec<_> = all.into_iter().flatten().collect();
    say(outside, &word, &all)
}

fn say(
    outside: BorrowedFd<'_>,
    word: &Word,
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), StartError> {
    let bytes = serde_json::to_vec(word).unwrap_or_default();
    socket::send(outside, &[&bytes], descriptors)
        .map_err(|e| step_failed("tell the process outside", e))
}

/// An error that can be told over a socket.
fn in_words(error: OciError) -> StartError {
    match error {
        OciError::Start(error) => error,
        other => StartError::Request {
            message: other.to_string(),
            hint: other.hint(),
        },
    }
}

fn clone_failed(errno: Errno) -> StartError {
    let hint = match errno {
        Errno::PERM => {
            "this host may keep users from making user namespaces: look at the sysctls \
             kernel.unprivileged_userns_clone and kernel.apparmor_restrict_unprivileged_userns"
        }
        Errno::NOSPC => "the limit in /proc/sys/user/max_user_namespaces is reached",
        _ => "the limit on processes may be reached",
    };
    StartError::Step {
        step: "create the user namespace".into(),
        reason: std::io::Error::from(errno).to_string(),
        hint: Some(hint.to_owned()),
    }
}
