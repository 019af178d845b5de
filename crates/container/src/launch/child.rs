//! The child between clone and exec: from a bare process in new namespaces to the user's program.
//!
//! Everything it needs was prepared by the parent ([`super::prepare`]). Here nothing is allocated
//! and no lock is taken: each call below goes straight to the kernel with prepared C strings.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_sys::mount::{self as sysmount, Change, Reach, attr, propagation};
use gamut_sys::process::{self, StringArray, namespace};
use gamut_sys::seccomp;
use gamut_sys::signal;
use gamut_sys::socket::{MAX_DESCRIPTORS, receive_each};
use rustix::fs::{CWD, Gid, Mode, OFlags, ResolveFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags};
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets};

use super::mounts::Op;
use super::step::{At, Failure, Phase, PhaseMark, Step};
use super::target::{self, Kind};

/// Everything that the child of a start does, in order.
#[derive(Debug)]
pub(crate) struct Child {
    /// Existing namespaces to join, with their type.
    pub(crate) join: Vec<(OwnedFd, u64)>,
    pub(crate) own_user_namespace: bool,
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
    pub(crate) own_mount_namespace: bool,
    pub(crate) own_cgroup_namespace: bool,
    pub(crate) program: Program,
    /// Whether phases are told to the keeper.
    pub(crate) traced: bool,
}

/// What both a start's and an exec's child do last: become the user's program.
#[derive(Debug)]
pub(crate) struct Program {
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) terminal: bool,
    pub(crate) cwd: CString,
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    pub(crate) groups: Vec<Gid>,
    pub(crate) capabilities: Capabilities,
    pub(crate) no_new_privileges: bool,
    pub(crate) seccomp: Option<(seccomp::Program, seccomp::Flags)>,
    pub(crate) umask: u32,
    /// Where the program may be, in the order of PATH.
    pub(crate) candidates: Vec<CString>,
    pub(crate) args: StringArray,
    pub(crate) env: StringArray,
}

/// The five sets as bit masks; capabilities(7).
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Capabilities {
    pub(crate) bounding: u64,
    pub(crate) effective: u64,
    pub(crate) permitted: u64,
    pub(crate) inheritable: u64,
    pub(crate) ambient: u64,
}

const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);
pub(crate) const IN_ROOT: ResolveFlags = ResolveFlags::IN_ROOT.union(ResolveFlags::NO_MAGICLINKS);

impl Child {
    /// Carries everything out; returns only to say what failed.
    pub(crate) fn run(&self, keeper: BorrowedFd<'_>) -> Failure {
        match self.become_program(keeper) {
            Ok(never) => match never {},
            Err(failure) => failure,
        }
    }

    fn become_program(&self, keeper: BorrowedFd<'_>) -> Result<std::convert::Infallible, Failure> {
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .at(Step::DeathSignal)?;
        if self.own_user_namespace {
            // Until the keeper has written the maps, this process is nobody and may do nothing.
            wait_for(keeper)?;
            become_root()?;
        }
        for (index, (fd, kind)) in self.join.iter().enumerate() {
            process::join(fd.as_fd(), *kind).at_index(Step::JoinNamespace, index)?;
        }
        rustix::process::umask(Mode::empty());
        rustix::process::setsid().at(Step::Terminal)?;
        if self.own_mount_namespace {
            self.build_root(keeper)?;
        }
        if let Some(name) = &self.hostname {
            rustix::system::sethostname(name).at(Step::Hostname)?;
        }
        if let Some(name) = &self.domainname {
            rustix::system::setdomainname(name).at(Step::Domainname)?;
        }
        // When the keeper says so, the network, the limits and the control groups are there.
        let mut given = Given::receive(keeper)?;
        enter_cgroups(given.tasks())?;
        if self.own_cgroup_namespace {
            process::unshare(namespace::CGROUP).at(Step::CgroupNamespace)?;
        }
        if self.own_mount_namespace {
            for (index, op) in (self.ops.len()..).zip(&self.late_ops) {
                op.carry_out(self.root.as_fd(), index, &mut given.trees())?;
            }
        }
        self.mark(keeper, Phase::Released);
        self.program
            .execute(if self.traced { Some(keeper) } else { None })
    }

    fn build_root(&self, keeper: BorrowedFd<'_>) -> Result<(), Failure> {
        rustix::mount::mount_change(
            c"/",
            MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM,
        )
        .at(Step::Propagation)?;
        let root = self.attach_root()?;
        self.mark(keeper, Phase::RootAttached);
        for (index, op) in self.ops.iter().enumerate() {
            op.carry_out(root, index, &mut std::iter::empty())?;
        }
        self.mark(keeper, Phase::Mounted);
        self.write_sysctls(root)?;
        self.mask(root)?;
        for (index, path) in self.readonly_paths.iter().enumerate() {
            make_readonly(root, path).at_index(Step::ReadOnlyPath, index)?;
        }
        self.mark(keeper, Phase::Masked);
        pivot(root).at(Step::Pivot)?;
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
        if self.traced {
            let _ = rustix::io::write(keeper, &PhaseMark::now(phase));
        }
    }

    /// Puts the root over the host's, in this mount namespace only: the one place that every user
    /// namespace may reach. From here on its descriptor is the way to it.
    fn attach_root(&self) -> Result<BorrowedFd<'_>, Failure> {
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&self.root, c"", CWD, c"/", flags).at(Step::AttachRoot)?;
        Ok(self.root.as_fd())
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
        let mut empty: Option<OwnedFd> = None;
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
            let cover = if !is_directory {
                open_tree(CWD, c"/dev/null").at_index(Step::Mask, index)?
            } else if let Some(first) = &empty {
                open_tree(first.as_fd(), c"").at_index(Step::Mask, index)?
            } else {
                super::mounts::empty_directory().at_index(Step::Mask, index)?
            };
            attach(cover.as_fd(), target.as_fd()).at_index(Step::Mask, index)?;
            if is_directory && empty.is_none() {
                empty = Some(cover);
            }
        }
        Ok(())
    }
}

impl Program {
    /// Streams, directory, identity, privileges, filter, exec; in this order, because each takes
    /// away what the ones before it need.
    pub(crate) fn execute(
        &self,
        traced: Option<BorrowedFd<'_>>,
    ) -> Result<std::convert::Infallible, Failure> {
        let Program {
            stdin,
            stdout,
            stderr,
            ..
        } = self;
        if self.terminal {
            rustix::process::ioctl_tiocsctty(stdin).at(Step::Terminal)?;
        }
        process::install_stdio(stdin.as_fd(), stdout.as_fd(), stderr.as_fd()).at(Step::Streams)?;
        process::close_on_exec_from(3).at(Step::Descriptors)?;
        rustix::process::umask(Mode::from_raw_mode(self.umask));
        drop_bounding(self.capabilities.bounding).at(Step::BoundingSet)?;
        if !self.no_new_privileges {
            // Without no_new_privs a filter needs CAP_SYS_ADMIN, which is about to go.
            self.install_filter()?;
        }
        rustix::thread::set_keep_capabilities(true).at(Step::User)?;
        rustix::thread::set_thread_groups(&self.groups).at(Step::Groups)?;
        let (gid, uid) = (Gid::from_raw(self.gid), Uid::from_raw(self.uid));
        rustix::thread::set_thread_res_gid(gid, gid, gid).at(Step::Groups)?;
        rustix::thread::set_thread_res_uid(uid, uid, uid).at(Step::User)?;
        rustix::thread::set_keep_capabilities(false).at(Step::User)?;
        rustix::process::chdir(self.cwd.as_c_str()).at(Step::WorkingDirectory)?;
        self.set_capabilities().at(Step::Capabilities)?;
        // A change of identity clears it (prctl(2)).
        rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
            .at(Step::DeathSignal)?;
        if self.no_new_privileges {
            rustix::thread::set_no_new_privs(true).at(Step::NoNewPrivileges)?;
            self.install_filter()?;
        }
        signal::reset_for_exec();
        if let Some(keeper) = traced {
            let _ = rustix::io::write(keeper, &PhaseMark::now(Phase::Executing));
        }
        let mut failure = Failure::new(Step::Exec, Errno::NOENT);
        for (index, candidate) in self.candidates.iter().enumerate() {
            let errno = process::execve(candidate, &self.args, &self.env);
            let seen = Failure {
                step: Step::Exec,
                index: index as u16,
                errno,
            };
            match errno {
                // What is not there must not hide what was there and could not be run.
                Errno::NOENT | Errno::NOTDIR => {}
                Errno::ACCESS => failure = seen,
                _ => return Err(seen),
            }
        }
        Err(failure)
    }

    fn install_filter(&self) -> Result<(), Failure> {
        match &self.seccomp {
            Some((program, flags)) => seccomp::set_filter(program.instructions(), *flags)
                .map(drop)
                .at(Step::Seccomp),
            None => Ok(()),
        }
    }

    fn set_capabilities(&self) -> Result<(), Errno> {
        let set = CapabilitySet::from_bits_retain;
        let sets = CapabilitySets {
            effective: set(self.capabilities.effective),
            permitted: set(self.capabilities.permitted),
            inheritable: set(self.capabilities.inheritable),
        };
        rustix::thread::set_capabilities(None, sets)?;
        for number in bits(self.capabilities.ambient) {
            rustix::thread::configure_capability_in_ambient_set(set(1 << number), true)?;
        }
        Ok(())
    }
}

fn bits(mask: u64) -> impl Iterator<Item = u32> {
    (0..64).filter(move |n| mask & (1 << n) != 0)
}

/// Drops what is not in `keep`; the kernel says `EINVAL` past the last capability that it knows.
fn drop_bounding(keep: u64) -> Result<(), Errno> {
    for number in bits(!keep) {
        match rustix::thread::remove_capability_from_bounding_set(CapabilitySet::from_bits_retain(
            1 << number,
        )) {
            Ok(()) => {}
            Err(Errno::INVAL) => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(())
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
    rustix::thread::set_thread_groups(&[]).at(Step::Groups)?;
    rustix::thread::set_thread_res_gid(Gid::ROOT, Gid::ROOT, Gid::ROOT).at(Step::Groups)?;
    rustix::thread::set_thread_res_uid(Uid::ROOT, Uid::ROOT, Uid::ROOT).at(Step::User)
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
fn pivot(root: BorrowedFd<'_>) -> Result<(), Errno> {
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

/// Opens or makes what an op mounts onto.
pub(crate) fn mount_target(
    root: BorrowedFd<'_>,
    path: &CStr,
    kind: Kind,
    index: usize,
) -> Result<OwnedFd, Failure> {
    target::open_or_make(root, path, kind).at_index(Step::MountTarget, index)
}

/// Mounts that come from the host send and receive no events.
pub(crate) const PRIVATE: u64 = propagation::PRIVATE;
