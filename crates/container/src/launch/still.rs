//! The root of a container that does not run, with its volumes and binds in their places: what `cp`
//! sees of it. A detached mount, which goes with its descriptor.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;
use gamut_sys::mount::{self as sysmount, Change, Reach, attr};
use gamut_sys::process::{self, namespace};
use oci_spec::runtime::Mount;
use rustix::fs::{CWD, Mode, OFlags, ResolveFlags};
use rustix::io::Errno;
use rustix::mount::{
    MountPropagationFlags, MoveMountFlags, OpenTreeFlags, mount_change, move_mount, open_tree,
};

use super::prepare::step_failed;
use super::users;

/// Makes the root of a plan, and binds in it what the plan binds. Whoever holds the container's lock
/// may do so: it must not run.
///
/// # Errors
/// [`StartError::Step`].
pub fn still_root(plan: &LaunchPlan) -> Result<OwnedFd, StartError> {
    // A thread of its own: mounts are put together in a mount namespace that ends with it.
    std::thread::scope(|scope| {
        let aside = std::thread::Builder::new().spawn_scoped(scope, || assemble(plan));
        match aside.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(made)) => made,
            Ok(Err(panic)) => std::panic::resume_unwind(panic),
            Err(_) => Err(step_failed("start a thread", Errno::AGAIN)),
        }
    })
}

/// The user and the group that a container's processes run as, as its own files have them.
///
/// # Errors
/// A name that they have not.
pub fn user_of(root: BorrowedFd<'_>, plan: &LaunchPlan) -> Result<(u32, u32), StartError> {
    users::resolve(root, &plan.user).map(|identity| (identity.uid, identity.gid))
}

fn assemble(plan: &LaunchPlan) -> Result<OwnedFd, StartError> {
    let failed = |step: &'static str| move |errno| step_failed(step, errno);
    let root = super::root::make(plan)?;
    process::unshare(namespace::MOUNT).map_err(failed("make a mount namespace"))?;
    let slave = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
    mount_change(c"/", slave).map_err(failed("make a mount namespace"))?;
    // Any directory will do: nobody else sees what is mounted on it.
    let place = plan.root.upper.as_path();
    let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(root.as_fd(), c"", CWD, place, empty).map_err(failed("mount the root"))?;
    for mount in plan.spec.mounts().iter().flatten() {
        if mount.typ().as_deref() == Some("bind") {
            let step = || format!("bind {}", mount.destination().display());
            bind(root.as_fd(), mount).map_err(|errno| step_failed(step(), errno))?;
        }
    }
    if plan.spec.root().as_ref().and_then(|root| root.readonly()) == Some(true) {
        read_only(root.as_fd(), Reach::One).map_err(failed("make the root read-only"))?;
    }
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    open_tree(CWD, place, flags).map_err(failed("take the root out"))
}

fn bind(root: BorrowedFd<'_>, mount: &Mount) -> Result<(), Errno> {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let target = CString::new(mount.destination().as_os_str().as_bytes());
    let target = target.map_err(|_| Errno::INVAL)?;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let flags = OFlags::PATH | OFlags::CLOEXEC;
    let target = match rustix::fs::openat2(root, &target, flags, Mode::empty(), resolve) {
        Ok(target) => target,
        // It never ran: the place is made at the first start. Without it there is nothing to see.
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let flags = OpenTreeFlags::OPEN_TREE_CLONE
        | OpenTreeFlags::OPEN_TREE_CLOEXEC
        | OpenTreeFlags::AT_RECURSIVE;
    let tree = match open_tree(CWD, source, flags) {
        Ok(tree) => tree,
        // The host's directory is gone: the container would not start, but can be copied from.
        Err(Errno::NOENT) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let options = mount.options().iter().flatten();
    if options
        .into_iter()
        .any(|option| option == "ro" || option == "rro")
    {
        read_only(tree.as_fd(), Reach::Tree)?;
    }
    let both_empty =
        MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    match move_mount(tree.as_fd(), c"", target.as_fd(), c"", both_empty) {
        // A directory over a file, or the other way round.
        Err(Errno::NOTDIR) => Ok(()),
        other => other,
    }
}

fn read_only(mount: BorrowedFd<'_>, reach: Reach) -> Result<(), Errno> {
    let change = Change {
        set: attr::RDONLY,
        ..Change::default()
    };
    sysmount::set_attributes(mount, reach, &change)
}
