//! The root file system: an overlay over the image's layers, made as a detached mount, so that
//! it is never visible on the host and vanishes with the last process that holds it.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_plan::launch::{Durability, RootPlan};
use gamut_sys::mount::{self as sysmount, Change, Reach, attr};
use gamut_sys::process::{self, namespace};
use rustix::fs::{CWD, Gid, Mode, OFlags, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, OpenTreeFlags,
    UnmountFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use super::idmap::Maps;

/// Makes the overlay, by the newest interface that the kernel has. With `maps` every layer is
/// seen through an id-mapped mount, so that files need not change hands for a user namespace.
pub(crate) fn make(plan: &RootPlan, maps: Option<&Maps>) -> Result<OwnedFd, StartError> {
    let made = match maps {
        Some(maps) => return mapped(plan, maps),
        None => overlay(plan, None),
    };
    match made {
        Err(Errno::INVAL | Errno::NOSYS | Errno::TOOBIG) => classic(plan),
        other => other.map_err(|errno| refused(plan, errno)),
    }
}

/// Names the layers to the overlay by their paths.
fn plain_layers(fs: BorrowedFd<'_>, plan: &RootPlan) -> Result<(), Errno> {
    for path in &plan.lower {
        fsconfig_set_string(fs, c"lowerdir+", path)?;
    }
    fsconfig_set_string(fs, c"upperdir", &plan.upper)?;
    fsconfig_set_string(fs, c"workdir", &plan.work)
}

/// Names id-mapped views of the layers to the overlay. They must stay open until it is made: a
/// detached mount goes with its last descriptor.
fn mapped_layers(
    fs: BorrowedFd<'_>,
    plan: &RootPlan,
    userns: BorrowedFd<'_>,
    owner: (Uid, Gid),
) -> Result<Vec<OwnedFd>, Errno> {
    let mut views = Vec::with_capacity(plan.lower.len() + 1);
    for path in &plan.lower {
        let view = map(path, userns)?;
        fsconfig_set_fd(fs, c"lowerdir+", view.as_fd())?;
        views.push(view);
    }
    // The writable layer is not mapped: overlayfs writes it as who mounted it, and the host's root
    // has no id in such a view. It belongs to the container's root instead.
    rustix::fs::chown(&plan.upper, Some(owner.0), Some(owner.1))?;
    fsconfig_set_string(fs, c"upperdir", &plan.upper)?;
    fsconfig_set_string(fs, c"workdir", &plan.work)?;
    Ok(views)
}

/// A view of a directory with mapped ids.
fn map(path: &Path, userns: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, path, flags)?;
    let change = Change {
        set: attr::IDMAP,
        userns: Some(userns),
        ..Change::default()
    };
    sysmount::set_attributes(tree.as_fd(), Reach::One, &change)?;
    Ok(tree)
}

fn mapped(plan: &RootPlan, maps: &Maps) -> Result<OwnedFd, StartError> {
    let userns = maps.namespace()?;
    let owner = (Uid::from_raw(maps.uid(0)), Gid::from_raw(maps.gid(0)));
    overlay(plan, Some((userns.as_fd(), owner))).map_err(|errno| StartError::Step {
        step: format!(
            "mount the root file system over {} with mapped ids",
            plan.upper.display()
        ),
        reason: std::io::Error::from(errno).to_string(),
        hint: Some(
            "`--userns` needs id-mapped layers: Linux 6.15 and a file system that supports them"
                .into(),
        ),
    })
}

/// fsopen("overlay") with one `lowerdir+` for each layer (Linux 6.5).
fn overlay(
    plan: &RootPlan,
    mapped: Option<(BorrowedFd<'_>, (Uid, Gid))>,
) -> Result<OwnedFd, Errno> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "source", "overlay")?;
    let _views = match mapped {
        Some((userns, owner)) => mapped_layers(fs.as_fd(), plan, userns, owner)?,
        None => {
            plain_layers(fs.as_fd(), plan)?;
            Vec::new()
        }
    };
    // A layer's own redirects are not followed: a crafted one could point anywhere in the lower
    // layers. A rename of a lower directory is EXDEV then, which programs know from Docker.
    fsconfig_set_string(fs.as_fd(), "redirect_dir", "nofollow")?;
    fsconfig_set_string(fs.as_fd(), "metacopy", "off")?;
    fsconfig_set_string(fs.as_fd(), "index", "off")?;
    if plan.durability == Durability::Volatile {
        // No sync of the whole upper file system when the mount goes away.
        match fsconfig_set_flag(fs.as_fd(), "volatile") {
            Ok(()) | Err(Errno::INVAL) => {}
            Err(errno) => return Err(errno),
        }
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::empty(),
    )
}

/// mount(2), for kernels before 6.5, whose new interface takes no more than 256 bytes of layer
/// paths: in a mount namespace of the keeper's own, from which the mount is then detached. Names
/// are relative to a common directory, which keeps 127 layers under mount(2)'s one page.
fn classic(plan: &RootPlan) -> Result<OwnedFd, StartError> {
    let base = plan.upper.ancestors().find(|up| {
        plan.lower
            .iter()
            .chain([&plan.work])
            .all(|p| p.starts_with(up))
    });
    let base = base.unwrap_or(Path::new("/"));
    let relative = |path: &Path| {
        path.strip_prefix(base)
            .unwrap_or(path)
            .as_os_str()
            .as_bytes()
            .to_vec()
    };
    let mut data = b"lowerdir=".to_vec();
    for (index, layer) in plan.lower.iter().enumerate() {
        if index > 0 {
            data.push(b':');
        }
        data.extend(relative(layer));
    }
    data.extend(b",upperdir=");
    data.extend(relative(&plan.upper));
    data.extend(b",workdir=");
    data.extend(relative(&plan.work));
    data.extend(b",redirect_dir=nofollow,metacopy=off,index=off");
    if data.len() >= 4096 {
        return Err(StartError::Step {
            step: "mount the root file system".into(),
            reason: format!(
                "{} layers pass the 4096 bytes that this kernel takes",
                plan.lower.len()
            ),
            hint: Some("use Linux 6.5 or newer, or an image with fewer layers".into()),
        });
    }
    mount_and_detach(base, &plan.upper, &data).map_err(|errno| refused(plan, errno))
}

fn mount_and_detach(base: &Path, over: &Path, data: &[u8]) -> Result<OwnedFd, Errno> {
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    process::unshare(namespace::MOUNT)?;
    rustix::mount::mount_change(
        c"/",
        MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM,
    )?;
    let before = rustix::fs::open(c".", OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
    rustix::process::chdir(base)?;
    let target = over.parent().unwrap_or(over);
    let mounted = rustix::mount::mount(
        c"overlay",
        target,
        c"overlay",
        MountFlags::empty(),
        Some(data.as_c_str()),
    );
    rustix::process::fchdir(before)?;
    mounted?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let tree = rustix::mount::open_tree(CWD, target, flags);
    rustix::mount::unmount(target, UnmountFlags::DETACH)?;
    tree
}

fn refused(plan: &RootPlan, errno: Errno) -> StartError {
    let hint = match errno {
        Errno::PERM | Errno::ACCESS => Some("gamut needs root to mount an overlay here".into()),
        Errno::NOENT => Some("a layer is missing: remove the image and pull it again".into()),
        Errno::NODEV => {
            Some("this kernel has no overlayfs: load it with `modprobe overlay`".into())
        }
        Errno::STALE | Errno::BUSY => Some("its writable layer is in use by another mount".into()),
        _ => None,
    };
    StartError::Step {
        step: format!("mount the root file system over {}", plan.upper.display()),
        reason: std::io::Error::from(errno).to_string(),
        hint,
    }
}
