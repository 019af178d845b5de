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
use rustix::fs::{CWD, Gid, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use super::idmap::Maps;

/// Makes the overlay, by the newest interface that the kernel has. With `maps` every layer is
/// seen through an id-mapped mount, so that files need not change hands for a user namespace.
pub(crate) fn make(plan: &RootPlan, maps: Option<&Maps>) -> Result<OwnedFd, StartError> {
    let mapping = maps.map(Mapping::of).transpose()?;
    let made = match takes_layers_one_by_one() {
        true => overlay(plan, mapping.as_ref()),
        false => Err(Errno::INVAL),
    };
    match made {
        Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::TOOBIG) => {
            classic(plan, mapping.as_ref())
        }
        other => other.map_err(|errno| refused(plan, mapping.as_ref(), errno)),
    }
}

/// Whether overlayfs knows `lowerdir+` (Linux 6.5). An older one would write a line into the
/// kernel's log for each container that asks.
fn takes_layers_one_by_one() -> bool {
    let name = rustix::system::uname();
    let mut parts = name.release().to_bytes().split(|b| !b.is_ascii_digit());
    let mut number = || {
        let text = std::str::from_utf8(parts.next()?).ok()?;
        text.parse::<u32>().ok()
    };
    (number(), number()) >= (Some(6), Some(5))
}

/// How a user namespace sees the layers.
struct Mapping {
    userns: OwnedFd,
    /// The host's ids of the container's root.
    owner: (Uid, Gid),
}

impl Mapping {
    fn of(maps: &Maps) -> Result<Mapping, StartError> {
        Ok(Mapping {
            userns: maps.namespace()?,
            owner: (Uid::from_raw(maps.uid(0)), Gid::from_raw(maps.gid(0))),
        })
    }

    /// The writable layer is not mapped: overlayfs writes it as who mounted it, and the host's
    /// root has no id in such a view. It belongs to the container's root instead.
    fn give(&self, upper: &Path) -> Result<(), Errno> {
        rustix::fs::chown(upper, Some(self.owner.0), Some(self.owner.1))
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
/// detached mount goes with its last descriptor. Linux 6.15.
fn mapped_layers(
    fs: BorrowedFd<'_>,
    plan: &RootPlan,
    mapping: &Mapping,
) -> Result<Vec<OwnedFd>, Errno> {
    let mut views = Vec::with_capacity(plan.lower.len());
    for path in &plan.lower {
        let view = map(path, mapping.userns.as_fd())?;
        fsconfig_set_fd(fs, c"lowerdir+", view.as_fd())?;
        views.push(view);
    }
    mapping.give(&plan.upper)?;
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

/// fsopen("overlay") with one `lowerdir+` for each layer (Linux 6.5).
fn overlay(plan: &RootPlan, mapping: Option<&Mapping>) -> Result<OwnedFd, Errno> {
    let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), "source", "overlay")?;
    let _views = match mapping {
        Some(mapping) => mapped_layers(fs.as_fd(), plan, mapping)?,
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

/// mount(2), for kernels whose new interface takes no more than 256 bytes of layer paths (before
/// 6.5) or no mapped layers (before 6.15). Names are relative to a common directory, which keeps
/// 127 layers under mount(2)'s one page.
fn classic(plan: &RootPlan, mapping: Option<&Mapping>) -> Result<OwnedFd, StartError> {
    let base = plan.upper.ancestors().find(|up| {
        plan.lower
            .iter()
            .chain([&plan.work])
            .all(|p| p.starts_with(up))
    });
    let base = base.unwrap_or(Path::new("/"));
    let data = options_below(base, plan);
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
    // A thread of its own, so that the mount namespace ends with it and takes along what was
    // mounted there: the keeper stays in its own, from which binds are taken.
    std::thread::scope(|scope| {
        let aside = std::thread::Builder::new()
            .spawn_scoped(scope, || mount_aside(base, plan, mapping, &data));
        match aside.map(std::thread::ScopedJoinHandle::join) {
            Ok(Ok(made)) => made,
            Ok(Err(_)) | Err(_) => Err(Errno::AGAIN),
        }
    })
    .map_err(|errno| refused(plan, mapping, errno))
}

/// The overlay's options for mount(2), with names relative to `base`.
fn options_below(base: &Path, plan: &RootPlan) -> Vec<u8> {
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
    if plan.durability == Durability::Volatile {
        data.extend(b",volatile");
    }
    data
}

/// Mounts in a mount namespace of the calling thread's own, and detaches the mount from it. The
/// thread's working directory is its own too from then on; unshare(2), CLONE_NEWNS.
fn mount_aside(
    base: &Path,
    plan: &RootPlan,
    mapping: Option<&Mapping>,
    data: &[u8],
) -> Result<OwnedFd, Errno> {
    let data = CString::new(data).map_err(|_| Errno::INVAL)?;
    process::unshare(namespace::MOUNT)?;
    rustix::mount::mount_change(
        c"/",
        MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM,
    )?;
    if let Some(mapping) = mapping {
        mapping.give(&plan.upper)?;
        // In here, each layer is covered by its own mapped view.
        for path in &plan.lower {
            let view = map(path, mapping.userns.as_fd())?;
            let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
            rustix::mount::move_mount(view.as_fd(), c"", CWD, path, empty)?;
        }
    }
    rustix::process::chdir(base)?;
    let target = plan.upper.parent().unwrap_or(&plan.upper);
    rustix::mount::mount(
        c"overlay",
        target,
        c"overlay",
        MountFlags::empty(),
        Some(data.as_c_str()),
    )?;
    let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    rustix::mount::open_tree(CWD, target, flags)
}

fn refused(plan: &RootPlan, mapping: Option<&Mapping>, errno: Errno) -> StartError {
    let hint = match errno {
        Errno::PERM | Errno::ACCESS => Some("gamut needs root to mount an overlay here".into()),
        Errno::NOENT => Some("a layer is missing: remove the image and pull it again".into()),
        Errno::NODEV => {
            Some("this kernel has no overlayfs: load it with `modprobe overlay`".into())
        }
        Errno::STALE | Errno::BUSY => Some("its writable layer is in use by another mount".into()),
        Errno::INVAL | Errno::OPNOTSUPP if mapping.is_some() => Some(
            "`--userns` needs id-mapped layers: Linux 5.19 and a file system that supports them"
                .into(),
        ),
        _ => None,
    };
    let how = if mapping.is_some() {
        " with mapped ids"
    } else {
        ""
    };
    StartError::Step {
        step: format!(
            "mount the root file system over {}{how}",
            plan.upper.display()
        ),
        reason: std::io::Error::from(errno).to_string(),
        hint,
    }
}
