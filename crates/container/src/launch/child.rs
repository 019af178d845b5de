//! The child between clone and exec: from a bare process in new namespaces to the user's program.
//!
//! Everything it needs was prepared by the parent ([`super::prepare`]). Here nothing is allocated
//! and no lock is taken: each call below goes straight to the kernel with prepared C strings.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;
use gamut_sys::mount::{self as sysmount, Change, Reach, attr, propagation};
use gamut_sys::process::{self, namespace};
use gamut_sys::socket::{MAX_DESCRIPTORS, receive_each};
use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::process::DumpableBehavior;

use super::alone::Alone;
use super::mapper::Mapper;
use super::mounts::{Op, c_string};
use super::program::{Life, Program, Traced, set_groups};
use super::step::{At, Failure, Phase, PhaseMark, Step};
use super::target::{self, Kind};

/// Whose the user namespace is that a process begins in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum UserNamespace {
    Callers,
    /// Made with it; its maps are still to be written.
    New,
    /// Made before it, for this container alone.
    Prepared,
    /// It was there, and others are in it.
    Joined,
}

/// In whose mount namespace the container's mounts are made.
#[derive(Debug)]
pub(crate) enum MountNamespace {
    Own,
    /// One that is inherited or joined, where the root lies at this path.
    Others(CString),
}

impl MountNamespace {
    /// `created`: the kinds of namespaces that are made for the container.
    pub(super) fn of(plan: &LaunchPlan, created: u64) -> Result<MountNamespace, StartError> {
        if created & namespace::MOUNT != 0 {
            return Ok(MountNamespace::Own);
        }
        let root = plan.spec.root().as_ref().map(|root| root.path());
        match root.filter(|root| root.is_absolute() && root.parent().is_some()) {
            Some(root) => Ok(MountNamespace::Others(c_string(
                root.as_os_str().as_bytes(),
            )?)),
            None => Err(StartError::Request {
                message:
                    "a container in the mount namespace of others needs a root of its own there"
                        .into(),
                hint: None,
            }),
        }
    }
}

/// Everything that the child of a start does, in order.
#[derive(Debug)]
pub(crate) struct Child {
    /// Existing namespaces to join, with their type.
    pub(crate) join: Vec<(OwnedFd, u64)>,
    pub(crate) user_namespace: UserNamespace,
    /// A detached mount.
    pub(crate) root: OwnedFd,
    pub(crate) ops: Vec<Op>,
    /// What waits for the keeper: mounts of what it makes, and those on top of them.
    pub(crate) late_ops: Vec<Op>,
    pub(crate) masked_paths: Vec<CString>,
    pub(crate) readonly_paths: Vec<CString>,
    pub(crate) sysctls: Vec<(CString, Vec<u8>)>,
    pub(crate) hostname: Option<Vec<u8>>,
    pub(crate) domainname: Option<Vec<u8>>,
    pub(crate) readonly_root: bool,
    pub(crate) mounts: MountNamespace,
    pub(crate) own_cgroup_namespace: bool,
    pub(crate) program: Program,
    /// Whether phases are told to the keeper.
    pub(crate) traced: Traced,
    /// What is asked for of a container that has no keeper.
    pub(crate) alone: Option<Alone>,
}

const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
pub(crate) const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

impl Child {
    /// Carries everything out; returns only to say what failed. `joined`: the kinds of namespaces that
    /// it was born in.
    pub(crate) fn run(&self, keeper: BorrowedFd<'_>, joined: u64) -> Failure {
        match self.become_program(keeper, joined) {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    fn become_program(
        &self,
        keeper: BorrowedFd<'_>,
        joined: u64,
    ) -> Result<std::convert::Infallible, Failure> {
        Life::WithParent.apply()?;
        match self.user_namespace {
            UserNamespace::Callers => {}
            UserNamespace::New => {
                // Until the keeper has written the maps, this process is nobody and may do nothing.
                wait_for(keeper)?;
                become_root()?;
            }
            UserNamespace::Joined => become_root()?,
            UserNamespace::Prepared => {
                become_root()?;
                // A change of identity hides a process from all but the host's root; who made this
                // container is to find it (hooks, exec), and nobody else is in here.
                rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)
                    .at(Step::User)?;
            }
        }
        let join = self.join.iter().enumerate();
        for (index, (fd, kind)) in join.filter(|(_, (_, kind))| joined & kind == 0) {
            process::join(fd.as_fd(), *kind).at_index(Step::JoinNamespace, index)?;
        }
        if let Some(alone) = &self.alone {
            alone.begin()?;
        }
        rustix::process::umask(Mode::empty());
        rustix::process::setsid().at(Step::Terminal)?;
        let mut given = None;
        self.build_root(keeper, &mut given)?;
        if let Some(name) = &self.hostname {
            rustix::system::sethostname(name).at(Step::Hostname)?;
        }
        if let Some(name) = &self.domainname {
            rustix::system::setdomainname(name).at(Step::Domainname)?;
        }
        // When the keeper says so, the network, the limits and the control groups are there.
        let mut given = match given {
            Some(given) => given,
            None => Given::receive(keeper)?,
        };
        enter_cgroups(given.tasks())?;
        if self.own_cgroup_namespace {
            process::unshare(namespace::CGROUP).at(Step::CgroupNamespace)?;
        }
        let mapper = self.mapper(keeper);
        for (index, op) in (self.ops.len()..).zip(&self.late_ops) {
            op.carry_out(self.root.as_fd(), index, &mut given.trees(), mapper)?;
        }
        // It is closed by its numbers, or by the execve: nobody closes it once more.
        std::mem::forget(given);
        self.mark(keeper, Phase::Released);
        let Some(alone) = &self.alone else {
            return self.program.begin(keeper, self.traced);
        };
        if let Some(propagation) = alone.root_propagation {
            rustix::mount::mount_change(c"/", propagation).at(Step::RootPropagation)?;
        }
        let starter = alone.wait(&self.program, keeper)?;
        let failure = match self.program.execute(starter.as_fd(), Traced::No) {
            Ok(never) => match never {},
            Err(failure) => failure,
        };
        let _ = rustix::io::write(&starter, &failure.to_bytes());
        Err(failure)
    }

    /// Waits for what the keeper gives where it is to be mounted, or where somebody is to look at
    /// all of it.
    fn build_root(&self, keeper: BorrowedFd<'_>, given: &mut Option<Given>) -> Result<(), Failure> {
        if matches!(self.mounts, MountNamespace::Own) {
            rustix::mount::mount_change(
                c"/",
                MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM,
            )
            .at(Step::Propagation)?;
        }
        let root = self.attach_root()?;
        self.mark(keeper, Phase::RootAttached);
        let mapper = self.mapper(keeper);
        for (index, op) in self.ops.iter().enumerate() {
            // What the keeper says next must not be taken for its answer to something else.
            if matches!(op, Op::Given { .. } | Op::Inside { .. }) && given.is_none() {
                *given = Some(Given::receive(keeper)?);
            }
            match given {
                Some(given) => op.carry_out(root, index, &mut given.trees(), mapper)?,
                None => op.carry_out(root, index, &mut std::iter::empty(), mapper)?,
            }
        }
        self.mark(keeper, Phase::Mounted);
        self.write_sysctls(root)?;
        self.mask(root)?;
        for (index, path) in self.readonly_paths.iter().enumerate() {
            make_readonly(root, path).at_index(Step::ReadOnlyPath, index)?;
        }
        self.mark(keeper, Phase::Masked);
        if self.has_hooks() {
            if given.is_none() {
                *given = Some(Given::receive(keeper)?);
            }
            let _ = rustix::io::write(keeper, &PhaseMark::now(Phase::AwaitsHooks));
            wait_for(keeper)?;
        }
        match self.mounts {
            MountNamespace::Own => pivot(root),
            MountNamespace::Others(_) => change_root(root),
        }
        .at(Step::Pivot)?;
        self.mark(keeper, Phase::Pivoted);
        if self.readonly_root {
            let change = Change {
                set: attr::RDONLY,
                ..Change::default()
            };
            sysmount::set_attributes(root, Reach::One, &change).at(Step::ReadOnlyRoot)?;
        }
        Ok(())
    }

    fn mark(&self, keeper: BorrowedFd<'_>, phase: Phase) {
        if self.traced == Traced::Yes {
            let _ = rustix::io::write(keeper, &PhaseMark::now(phase));
        }
    }

    /// Whether hooks run when the mounts are made.
    pub(super) fn has_hooks(&self) -> bool {
        self.alone
            .as_ref()
            .is_some_and(|alone| alone.hooks.is_some())
    }

    /// Puts the root over the host's, in this mount namespace only: the one place that every user
    /// namespace may reach. From here on its descriptor is the way to it. Hooks look for it at its
    /// place on the host, and are given it there if that can be reached.
    fn attach_root(&self) -> Result<BorrowedFd<'_>, Failure> {
        let attach = |path: &CStr| {
            let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(&self.root, c"", CWD, path, flags)
        };
        if let MountNamespace::Others(place) = &self.mounts {
            attach(place).at(Step::AttachRoot)?;
            // Where it lies now, mounts may pass to others.
            let change = Change {
                propagation: PRIVATE,
                ..Change::default()
            };
            sysmount::set_attributes(self.root.as_fd(), Reach::Tree, &change)
                .at(Step::Propagation)?;
            return Ok(self.root.as_fd());
        }
        let place = self.alone.as_ref().and_then(|alone| alone.hooks.as_deref());
        match place.map(attach) {
            Some(Ok(())) => {}
            _ => attach(c"/").at(Step::AttachRoot)?,
        }
        Ok(self.root.as_fd())
    }

    /// Root of a user namespace that was made for the container has no right to the ids outside.
    fn mapper<'k>(&self, keeper: BorrowedFd<'k>) -> Mapper<'k> {
        match self.user_namespace {
            UserNamespace::New | UserNamespace::Joined => Mapper::Keeper(keeper),
            UserNamespace::Callers | UserNamespace::Prepared => Mapper::Child,
        }
    }

    /// Values go through the container's own /proc, in its own namespaces.
    fn write_sysctls(&self, root: BorrowedFd<'_>) -> Result<(), Failure> {
        for (index, (path, value)) in self.sysctls.iter().enumerate() {
            let file = rustix::fs::openat2(
                root,
                path.as_c_str(),
                OFlags::WRONLY | OFlags::CLOEXEC,
                Mode::empty(),
                IN_ROOT,
            );
            file.and_then(|file| rustix::io::write(file, value))
                .at_index(Step::Sysctl, index)?;
        }
        Ok(())
    }

    /// Covers files by the null device and directories by an empty, read-only file system.
    ///
    /// The null device is the host's, opened before the root changes: a container's own could be
    /// anything (CVE-2025-31133).
    fn mask(&self, root: BorrowedFd<'_>) -> Result<(), Failure> {
        let (mut empty, mut null): (Option<OwnedFd>, Option<OwnedFd>) = (None, None);
        for (index, path) in self.masked_paths.iter().enumerate() {
            let target = match rustix::fs::openat2(
                root,
                path.as_c_str(),
                PATH_FLAGS,
                Mode::empty(),
                IN_ROOT,
            ) {
                Ok(target) => target,
                Err(Errno::NOENT | Errno::NOTDIR) => continue,
                Err(errno) => return Err(errno).at_index(Step::Mask, index),
            };
            let is_directory = target::is_directory(target.as_fd()).at_index(Step::Mask, index)?;
            let first = if is_directory { &mut empty } else { &mut null };
            let cover = match (&first, is_directory) {
                (Some(first), _) => open_tree(first.as_fd(), c""),
                (None, true) => super::mounts::empty_directory(super::mounts::Mounted::ReadOnly),
                (None, false) => private_null(),
            };
            let cover = cover.at_index(Step::Mask, index)?;
            attach(cover.as_fd(), target.as_fd()).at_index(Step::Mask, index)?;
            first.get_or_insert(cover);
        }
        Ok(())
    }
}

/// The host's null device, without what happens to the host's /dev.
fn private_null() -> Result<OwnedFd, Errno> {
    let tree = open_tree(CWD, c"/dev/null")?;
    let change = Change {
        propagation: PRIVATE,
        ..Change::default()
    };
    sysmount::set_attributes(tree.as_fd(), Reach::One, &change)?;
    Ok(tree)
}

/// Enters the v1 groups. By `tasks`, for a single thread: that spares the kernel a lock whose
/// grace period takes milliseconds now and then.
pub(crate) fn enter_cgroups<'a>(
    files: impl IntoIterator<Item = &'a OwnedFd>,
) -> Result<(), Failure> {
    for (index, file) in files.into_iter().enumerate() {
        rustix::io::write(file, b"0").at_index(Step::Cgroup, index)?;
    }
    Ok(())
}

/// Inside a new user namespace: become its root, without the groups of the host.
fn become_root() -> Result<(), Failure> {
    set_groups(&[]).at(Step::Groups)?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(Step::Groups)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(Step::User)?;
    // A change of identity clears it (prctl(2)).
    Life::WithParent.apply()
}

/// What the keeper gives with its word to go on: files by which the v1 groups are entered (v2 was
/// entered by the clone), then a tree for each [`Op::Given`].
pub(super) struct Given {
    descriptors: [Option<OwnedFd>; MAX_DESCRIPTORS],
    tasks: usize,
}

impl Given {
    /// The word itself: a byte that nobody reads, and how many of the descriptors are files.
    pub(super) fn send(
        child: BorrowedFd<'_>,
        tasks: &[OwnedFd],
        trees: &[OwnedFd],
    ) -> Result<(), Errno> {
        let descriptors: Vec<_> = tasks.iter().chain(trees).map(AsFd::as_fd).collect();
        let count = u8::try_from(tasks.len()).map_err(|_| Errno::INVAL)?;
        gamut_sys::socket::send(child, &[&[b'g', count]], &descriptors)
    }

    fn receive(keeper: BorrowedFd<'_>) -> Result<Self, Failure> {
        let mut given = Given {
            descriptors: [const { None }; MAX_DESCRIPTORS],
            tasks: 0,
        };
        let mut word = [0u8; 2];
        let mut places = given.descriptors.iter_mut();
        let received = receive_each(keeper, &mut word, |descriptor| {
            if let Some(place) = places.next() {
                *place = Some(descriptor);
            }
        });
        match received {
            Ok(2) => {
                given.tasks = usize::from(word[1]);
                Ok(given)
            }
            Ok(_) => Err(Failure::new(Step::Wait, Errno::PIPE)),
            Err(errno) => Err(Failure::new(Step::Wait, errno)),
        }
    }

    fn tasks(&self) -> impl Iterator<Item = &OwnedFd> {
        self.descriptors.iter().take(self.tasks).flatten()
    }

    /// The trees that were not taken yet.
    fn trees(&mut self) -> impl Iterator<Item = OwnedFd> {
        let trees = self.descriptors.iter_mut().skip(self.tasks);
        trees.filter_map(Option::take)
    }
}

/// Waits for one byte; the end of the stream means that the keeper is gone.
pub(crate) fn wait_for(keeper: BorrowedFd<'_>) -> Result<(), Failure> {
    let mut byte = [0u8; 1];
    match rustix::io::retry_on_intr(|| rustix::io::read(keeper, &mut byte)) {
        Ok(1) => Ok(()),
        Ok(_) => Err(Failure::new(Step::Wait, Errno::PIPE)),
        Err(errno) => Err(Failure::new(Step::Wait, errno)),
    }
}

pub(crate) fn open_tree(directory: BorrowedFd<'_>, path: &CStr) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH;
    rustix::mount::open_tree(directory, path, flags)
}

/// Puts a detached mount onto an opened target.
pub(crate) fn attach(tree: BorrowedFd<'_>, target: BorrowedFd<'_>) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    rustix::mount::move_mount(tree, c"", target, c"", flags)
}

fn make_readonly(root: BorrowedFd<'_>, path: &CStr) -> Result<(), Errno> {
    let target = match rustix::fs::openat2(root, path, PATH_FLAGS, Mode::empty(), IN_ROOT) {
        Ok(target) => target,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_EMPTY_PATH
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = rustix::mount::open_tree(target.as_fd(), c"", flags)?;
    let change = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    sysmount::set_attributes(tree.as_fd(), Reach::Tree, &change)?;
    attach(tree.as_fd(), target.as_fd())
}

/// pivot_root(2) onto itself, then the old root, which lies on top, is let go: no directory for
/// it is needed in the image.
pub(crate) fn pivot(root: BorrowedFd<'_>) -> Result<(), Errno> {
    let old = rustix::fs::open(c"/", PATH_FLAGS | OFlags::DIRECTORY, Mode::empty())?;
    rustix::process::fchdir(root)?;
    rustix::process::pivot_root(c".", c".")?;
    rustix::process::fchdir(old)?;
    rustix::mount::mount_change(
        c".",
        MountPropagationFlags::REC | MountPropagationFlags::PRIVATE,
    )?;
    rustix::mount::unmount(c".", UnmountFlags::DETACH)?;
    rustix::process::chdir(c"/")
}

/// chroot(2): in the mount namespace of others there is no root to be changed but the process's own.
fn change_root(root: BorrowedFd<'_>) -> Result<(), Errno> {
    rustix::process::fchdir(root)?;
    rustix::process::chroot(c".")?;
    rustix::process::chdir(c"/")
}

/// Opens or makes what an op mounts onto.
pub(crate) fn mount_target(
    root: BorrowedFd<'_>,
    path: &CStr,
    kind: Kind,
    index: usize,
) -> Result<OwnedFd, Failure> {
    target::for_mount(root, path, kind).at_index(Step::MountTarget, index)
}

/// Mounts that come from the host send and receive no events.
pub(crate) const PRIVATE: u64 = propagation::PRIVATE;
