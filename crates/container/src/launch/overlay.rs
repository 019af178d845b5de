//! Overlays as detached mounts, by the newest interface that the kernel has: never visible on the
//! host, gone with the last process that holds them.
//!
//! Linux 6.5 takes the layers one by one (`lowerdir+`), 6.15 id-mapped views of them too. Before
//! that it is mount(2), in a mount namespace that lives as long as the call.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gamut_plan::launch::{Durability, LaunchPlan};
use gamut_sys::mount::{self as sysmount, Change, Reach, attr};
use gamut_sys::process::{self, namespace};
use rustix::fs::{CWD, Gid, Uid};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MountFlags, MountPropagationFlags, MoveMountFlags,
    OpenTreeFlags, fsconfig_create, fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string,
    fsmount, fsopen,
};

use crate::privilege::in_another_user_namespace;

/// What mount(2) takes: one page, with the NUL at its end.
const MAX_OPTIONS_BYTES: usize = 4096;

/// An overlay to be made.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    /// The layers, the top one first.
    pub(crate) lower: &'a [PathBuf],
    pub(crate) writable: Option<Writable<'a>>,
    /// How a user namespace sees the layers.
    pub(crate) mapping: Option<&'a Mapping>,
    pub(crate) marks: Marks,
}

#[derive(Debug)]
pub(crate) struct Writable<'a> {
    pub(crate) upper: &'a Path,
    pub(crate) work: &'a Path,
    pub(crate) durability: Durability,
}

/// By which attributes overlayfs keeps what it knows of a writable layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Marks {
    /// `trusted.overlay.`
    Trusted,
    /// `user.overlay.`: what a machine's overlay wrote, which the file server keeps so; and what root of a
    /// user namespace can write.
    User,
}

impl Marks {
    /// Those of a workload's writable layer.
    #[must_use]
    pub fn of(plan: &LaunchPlan) -> Self {
        match plan.level.has_own_kernel() {
            true => Marks::User,
            false => Marks::ours(),
        }
    }

    /// Those that this process may write: the others take CAP_SYS_ADMIN on the host (overlayfs, "userxattr").
    #[must_use]
    pub fn ours() -> Self {
        match in_another_user_namespace() {
            true => Marks::User,
            false => Marks::Trusted,
        }
    }
}

/// A user namespace, whose maps the layers' files are shown through.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) userns: OwnedFd,
    /// The host's ids of the container's root.
    pub(crate) owner: (Uid, Gid),
}

/// A read-only view of layers, the top one first, as a detached mount. Two or more; `marks` are those of
/// layers that were written to.
///
/// # Errors
/// As mount(2) for overlayfs; `E2BIG`: more layers than this kernel takes.
pub fn layers_view(lower: &[PathBuf], marks: Marks) -> Result<OwnedFd, Errno> {
    let overlay = Overlay {
        lower,
        writable: None,
        mapping: None,
        marks,
    };
    overlay.mount()
}

/// An empty, read-only directory as a detached mount: an image without layers.
///
/// # Errors
/// As mount(2) for tmpfs.
pub fn empty_view() -> Result<OwnedFd, Errno> {
    let fs = fsopen("tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_create(fs.as_fd())?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY;
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

impl Overlay<'_> {
    /// # Errors
    /// As mount(2) for overlayfs; `E2BIG`: more layers than this kernel takes.
    pub(crate) fn mount(&self) -> Result<OwnedFd, Errno> {
        if let (Some(mapping), Some(writable)) = (self.mapping, &self.writable) {
            // The writable layer is not mapped: overlayfs writes it as who mounted it, and the
            // host's root has no id in such a view. It belongs to the container's root instead.
            let (uid, gid) = mapping.owner;
            rustix::fs::chown(writable.upper, Some(uid), Some(gid))?;
        }
        let made = match takes_layers_one_by_one() {
            true => self.modern(),
            false => Err(Errno::INVAL),
        };
        match made {
            Err(Errno::INVAL | Errno::NOSYS | Errno::OPNOTSUPP | Errno::TOOBIG) => self.classic(),
            other => other,
        }
    }

    /// fsopen(2) with one `lowerdir+` for each layer.
    fn modern(&self) -> Result<OwnedFd, Errno> {
        let fs = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
        let fs = fs.as_fd();
        fsconfig_set_string(fs, "source", "overlay")?;
        // A detached mount goes with its last descriptor: the views stay open until the end.
        let mut views = Vec::new();
        for path in self.lower {
            match self.mapping {
                None => fsconfig_set_string(fs, c"lowerdir+", path)?,
                Some(mapping) => {
                    let view = mapped(path, mapping.userns.as_fd())?;
                    fsconfig_set_fd(fs, c"lowerdir+", view.as_fd())?;
                    views.push(view);
                }
            }
        }
        // A layer's own redirects are not followed: a crafted one could point anywhere in the
        // lower layers. A rename of a lower directory is EXDEV then, as programs know from Docker.
        match self.marks {
            Marks::Trusted => fsconfig_set_string(fs, "redirect_dir", "nofollow")?,
            // It follows none then, and says so to who asks for it.
            Marks::User => fsconfig_set_flag(fs, "userxattr")?,
        }
        fsconfig_set_string(fs, "metacopy", "off")?;
        fsconfig_set_string(fs, "index", "off")?;
        if let Some(writable) = &self.writable {
            fsconfig_set_string(fs, c"upperdir", writable.upper)?;
            fsconfig_set_string(fs, c"workdir", writable.work)?;
            if writable.durability == Durability::Volatile {
                // No sync of the whole upper file system when the mount goes away.
                match fsconfig_set_flag(fs, "volatile") {
                    Ok(()) | Err(Errno::INVAL) => {}
                    Err(errno) => return Err(errno),
                }
            }
        }
        fsconfig_create(fs)?;
        let attributes = match self.writable {
            Some(_) => MountAttrFlags::empty(),
            None => MountAttrFlags::MOUNT_ATTR_RDONLY,
        };
        fsmount(fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
    }

    /// mount(2), in a thread of its own: the mount namespace ends with it and takes along what
    /// was mounted there, and the caller stays in its own, from which binds are taken.
    fn classic(&self) -> Result<OwnedFd, Errno> {
        let base = self.base();
        let options = self.options_below(base);
        if options.len() >= MAX_OPTIONS_BYTES {
            return Err(Errno::TOOBIG);
        }
        let options = CString::new(options).map_err(|_| Errno::INVAL)?;
        std::thread::scope(|scope| {
            let aside = std::thread::Builder::new()
                .spawn_scoped(scope, || self.mount_aside(base, &options));
            match aside.map(std::thread::ScopedJoinHandle::join) {
                Ok(Ok(made)) => made,
                Ok(Err(_)) | Err(_) => Err(Errno::AGAIN),
            }
        })
    }

    fn paths(&self) -> impl Iterator<Item = &Path> {
        let writable = self.writable.iter().flat_map(|w| [w.upper, w.work]);
        self.lower.iter().map(PathBuf::as_path).chain(writable)
    }

    /// The directory that all layers are below: names relative to it let 127 of them pass.
    fn base(&self) -> &Path {
        let first = self.paths().next().unwrap_or(Path::new("/"));
        first
            .ancestors()
            .skip(1)
            .find(|up| self.paths().all(|p| p.starts_with(up)))
            .unwrap_or(Path::new("/"))
    }

    /// The options for mount(2), with names relative to `base`.
    fn options_below(&self, base: &Path) -> Vec<u8> {
        let relative = |path: &Path| -> Vec<u8> {
            let path = path.strip_prefix(base).unwrap_or(path);
            path.as_os_str().as_bytes().to_vec()
        };
        let layers: Vec<_> = self.lower.iter().map(|path| relative(path)).collect();
        let mut options = b"lowerdir=".to_vec();
        options.extend(layers.join(&b':'));
        options.extend(match self.marks {
            Marks::Trusted => &b",redirect_dir=nofollow"[..],
            Marks::User => b",userxattr",
        });
        options.extend(b",metacopy=off,index=off");
        if let Some(writable) = &self.writable {
            options.extend(b",upperdir=");
            options.extend(relative(writable.upper));
            options.extend(b",workdir=");
            options.extend(relative(writable.work));
            if writable.durability == Durability::Volatile {
                options.extend(b",volatile");
            }
        }
        options
    }

    /// Mounts in a mount namespace of the calling thread's own, and takes the mount out of it.
    /// The thread's working directory is its own too from then on; unshare(2), CLONE_NEWNS.
    fn mount_aside(&self, base: &Path, options: &CString) -> Result<OwnedFd, Errno> {
        process::unshare(namespace::MOUNT)?;
        let slave = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
        rustix::mount::mount_change(c"/", slave)?;
        if let Some(mapping) = self.mapping {
            // In here, each layer is covered by its own mapped view.
            for path in self.lower {
                let view = mapped(path, mapping.userns.as_fd())?;
                let empty = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
                rustix::mount::move_mount(view.as_fd(), c"", CWD, path, empty)?;
            }
        }
        rustix::process::chdir(base)?;
        // Any directory will do: nobody else sees what is mounted on it.
        let (target, flags) = match (&self.writable, self.lower.first()) {
            (Some(writable), _) => (writable.upper, MountFlags::empty()),
            (None, Some(top)) => (top.as_path(), MountFlags::RDONLY),
            (None, None) => return Err(Errno::INVAL),
        };
        rustix::mount::mount(c"overlay", target, c"overlay", flags, options.as_c_str())?;
        let flags = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
        rustix::mount::open_tree(CWD, target, flags)
    }
}

/// Whether overlayfs knows `lowerdir+`. An older one would write a line into the kernel's log for
/// each container that asks.
fn takes_layers_one_by_one() -> bool {
    let name = rustix::system::uname();
    let mut parts = name.release().to_bytes().split(|b| !b.is_ascii_digit());
    let mut number = || -> Option<u32> { std::str::from_utf8(parts.next()?).ok()?.parse().ok() };
    (number(), number()) >= (Some(6), Some(5))
}

/// A view of a directory with mapped ids; mount_setattr(2).
pub(super) fn mapped(path: &Path, userns: BorrowedFd<'_>) -> Result<OwnedFd, Errno> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, OFlags};

    fn layers(dir: &Path) -> Vec<PathBuf> {
        ["top", "middle", "bottom"]
            .map(|name| {
                let layer = dir.join(name);
                std::fs::create_dir_all(&layer).unwrap();
                std::fs::write(layer.join("name"), name).unwrap();
                std::fs::write(layer.join(name), name).unwrap();
                layer
            })
            .to_vec()
    }

    fn read(tree: &OwnedFd, name: &str) -> String {
        let file = rustix::fs::openat(tree, name, OFlags::RDONLY, Mode::empty()).unwrap();
        std::io::read_to_string(std::fs::File::from(file)).unwrap()
    }

    /// Both ways show the same tree, whatever kernel this is.
    #[test]
    fn old_and_new_interface_show_the_same() {
        if !rustix::process::geteuid().is_root() {
            eprintln!("skipped: needs root");
            return;
        }
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let lower = layers(dir.path());
        for writable in [false, true] {
            for classic in [false, true] {
                if !classic && !takes_layers_one_by_one() {
                    continue;
                }
                let (upper, work) = (
                    dir.path().join(format!("upper{classic}")),
                    dir.path().join(format!("work{classic}")),
                );
                std::fs::create_dir_all(&upper).unwrap();
                std::fs::create_dir_all(&work).unwrap();
                let overlay = Overlay {
                    lower: &lower,
                    writable: writable.then_some(Writable {
                        upper: &upper,
                        work: &work,
                        durability: Durability::Durable,
                    }),
                    mapping: None,
                    marks: Marks::Trusted,
                };
                let made = if classic {
                    overlay.classic()
                } else {
                    overlay.modern()
                };
                let tree = made.unwrap();
                assert_eq!(read(&tree, "name"), "top", "{writable} {classic}");
                assert_eq!(read(&tree, "bottom"), "bottom");
                let flags = OFlags::CREATE | OFlags::WRONLY;
                let new = rustix::fs::openat(&tree, "new", flags, Mode::RUSR);
                assert_eq!(new.is_ok(), writable, "{new:?}");
            }
        }
    }

    #[test]
    fn a_machines_marks_are_understood() {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let lower = [dir.path().join("lower")];
        let (upper, work) = (dir.path().join("upper"), dir.path().join("work"));
        for path in [&lower[0].join("again"), &upper.join("again"), &work] {
            std::fs::create_dir_all(path).unwrap();
        }
        std::fs::write(lower[0].join("again/old"), "").unwrap();
        let flags = rustix::fs::XattrFlags::empty();
        let marked = rustix::fs::setxattr(upper.join("again"), "user.overlay.opaque", b"y", flags);
        if marked.is_err() || !rustix::process::geteuid().is_root() {
            eprintln!("skipped: no user attributes here, or no mounts");
            return;
        }
        for (marks, is_seen) in [(Marks::User, false), (Marks::Trusted, true)] {
            let overlay = Overlay {
                lower: &lower,
                writable: Some(Writable {
                    upper: &upper,
                    work: &work,
                    durability: Durability::Durable,
                }),
                mapping: None,
                marks,
            };
            for made in [overlay.modern(), overlay.classic()] {
                let tree = match made {
                    Err(Errno::INVAL) => continue,
                    other => other.unwrap(),
                };
                let old = rustix::fs::statat(&tree, "again/old", rustix::fs::AtFlags::empty());
                assert_eq!(old.is_ok(), is_seen, "{marks:?}");
            }
        }
    }

    #[test]
    fn names_are_relative_to_what_they_share() {
        let lower = [
            PathBuf::from("/r/layers/a/fs"),
            PathBuf::from("/r/layers/b/fs"),
        ];
        let overlay = Overlay {
            lower: &lower,
            writable: Some(Writable {
                upper: Path::new("/r/c/upper"),
                work: Path::new("/r/c/work"),
                durability: Durability::Volatile,
            }),
            mapping: None,
            marks: Marks::Trusted,
        };
        assert_eq!(overlay.base(), Path::new("/r"));
        let options = String::from_utf8(overlay.options_below(overlay.base())).unwrap();
        assert!(
            options.starts_with("lowerdir=layers/a/fs:layers/b/fs,"),
            "{options}"
        );
        assert!(
            options.ends_with(",upperdir=c/upper,workdir=c/work,volatile"),
            "{options}"
        );
    }
}
