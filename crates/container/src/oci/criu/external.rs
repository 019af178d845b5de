//! What a container has from outside, which CRIU neither writes down nor makes: mounts of the host's
//! files, and namespaces that others own. A dump gives each a name, a restore what the name stands for.
//! The names are runc's, so that either reads the other's images.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use gamut_plan::launch::LaunchPlan;
use oci_spec::runtime::{LinuxNamespaceType, Mount, Spec};
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{MountPropagationFlags, MoveMountFlags, UnmountFlags};

use super::message::{ExternalMount, InheritFd, JoinNamespace, Options};
use super::{Criu, text};
use crate::cgroup::Hierarchies;
use crate::launch::bind::clone_host_tree;
use crate::launch::cgroupfs;
use crate::launch::child::{IN_ROOT, attach};
use crate::launch::devices;
use crate::launch::operations::{Later, is_bind};
use crate::launch::prepare::{c_string, step_failed};
use crate::launch::target::{self, Kind};
use crate::oci::create::open_root;
use crate::oci::error::OciError;
use crate::oci::record::Record;

const PATH_FLAGS: OFlags = OFlags::PATH.union(OFlags::CLOEXEC);

/// What covers files that are masked is called by this name, whatever it covers.
const NULL: &str = "/dev/null";

fn listed(spec: &Spec) -> &[Mount] {
    spec.mounts().as_deref().unwrap_or_default()
}

fn is_cgroup(mount: &Mount) -> bool {
    matches!(mount.typ().as_deref(), Some("cgroup" | "cgroup2"))
}

/// The groups that are bound into the container: where, and what of the host.
fn groups(
    plan: &LaunchPlan,
    hierarchies: &Hierarchies,
) -> Result<Vec<(String, PathBuf)>, OciError> {
    let mut shown = Vec::new();
    for mount in listed(&plan.spec).iter().filter(|mount| is_cgroup(mount)) {
        for (target, later) in cgroupfs::view(plan, mount, hierarchies)?.groups {
            if let Later::Group { path, .. } = later {
                shown.push((target.to_string_lossy().into_owned(), path));
            }
        }
    }
    Ok(shown)
}

/// Devices that are bound, because a user namespace can make none, and where.
fn bound_devices(spec: &Spec) -> Vec<String> {
    let linux = spec.linux().as_ref();
    let namespaces = linux.and_then(|linux| linux.namespaces().as_deref());
    let mut namespaces = namespaces.unwrap_or_default().iter();
    if !namespaces.any(|namespace| namespace.typ() == LinuxNamespaceType::User) {
        return Vec::new();
    }
    let given = linux.and_then(|linux| linux.devices().as_deref());
    let given = given.unwrap_or_default().iter();
    let given = given.map(|device| device.path().to_string_lossy().into_owned());
    let standard = devices::DEFAULT.map(|(name, _, _)| format!("/dev/{name}"));
    standard.into_iter().chain(given).collect()
}

/// Whether files are shown with other owners than they have: CRIU knows nothing of that, and would
/// show them as they are.
fn is_mapped(mount: &Mount) -> bool {
    let options = mount.options().as_deref().unwrap_or_default();
    mount.uid_mappings().is_some() || options.iter().any(|o| o == "idmap" || o == "ridmap")
}

/// The mounts of a container whose root this is, each with its name.
pub(crate) fn of_running(
    plan: &LaunchPlan,
    hierarchies: &Hierarchies,
    root: BorrowedFd<'_>,
) -> Result<Vec<ExternalMount>, OciError> {
    let mut mounts = Vec::new();
    let mut add = |key: String, value: String| mounts.push(ExternalMount { key, value });
    for mount in listed(&plan.spec).iter().filter(|mount| is_bind(mount)) {
        if is_mapped(mount) {
            return Err(OciError::Unmappable(mount.destination().clone()));
        }
        if let Some((at, _)) = resolved(root, Path::new("/"), mount.destination())? {
            add(at.clone(), at);
        }
    }
    for (at, _) in groups(plan, hierarchies)? {
        add(at.clone(), at);
    }
    let linux = plan.spec.linux().as_ref();
    let masked = linux.and_then(|linux| linux.masked_paths().as_deref());
    for path in masked.unwrap_or_default() {
        if let Some((at, Kind::File)) = resolved(root, Path::new("/"), Path::new(path))? {
            add(at, NULL.to_owned());
        }
    }
    for at in bound_devices(&plan.spec) {
        add(at.clone(), at);
    }
    Ok(mounts)
}

/// Where a path leads below a root, without links, and what is there; `None` where nothing is.
/// `above` is the path of the root itself.
fn resolved(
    root: BorrowedFd<'_>,
    above: &Path,
    path: &Path,
) -> Result<Option<(String, Kind)>, OciError> {
    let found = match rustix::fs::openat2(root, path, PATH_FLAGS, Mode::empty(), IN_ROOT) {
        Ok(found) => found,
        Err(Errno::NOENT | Errno::NOTDIR) => return Ok(None),
        Err(errno) => return Err(OciError::io("find in the container", path, errno.into())),
    };
    let named = name_of(found.as_fd(), above)?;
    let directory = target::is_directory(found.as_fd())
        .map_err(|errno| OciError::io("find in the container", path, errno.into()))?;
    let kind = if directory {
        Kind::Directory
    } else {
        Kind::File
    };
    Ok(Some((named, kind)))
}

/// The path of what is open, from the root `above` on.
fn name_of(fd: BorrowedFd<'_>, above: &Path) -> Result<String, OciError> {
    let link = PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
    let path =
        std::fs::read_link(&link).map_err(|error| OciError::io("read the link", &link, error))?;
    let below = path.strip_prefix(above).unwrap_or(&path);
    text(Path::new("/").join(below))
}

/// The root of a container that is restored, and the mounts that others gave it.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pub(crate) record: &'a Record,
    pub(crate) plan: &'a LaunchPlan,
    pub(crate) hierarchies: &'a Hierarchies,
    /// An empty directory, where the root is mounted: CRIU asks for a mount point that nothing covers.
    pub(crate) root: &'a Path,
}

impl Place<'_> {
    /// In a mount namespace that is CRIU's: mounts the root, with the mount points that were in it. Gives
    /// what the names stand for.
    pub(crate) fn build(&self) -> Result<Vec<ExternalMount>, OciError> {
        let failed = |errno: Errno| OciError::io("mount the root on", self.root, errno.into());
        // Nothing goes to the host from here; what followed its mounts, and is bound anew, still does.
        let change = MountPropagationFlags::REC | MountPropagationFlags::DOWNSTREAM;
        rustix::mount::mount_change(c"/", change).map_err(failed)?;
        // Once to make mount points, which are at times in what is mounted before them; once more
        // without all that.
        self.mount_root()?;
        let mut mounts = self.make_mount_points()?;
        rustix::mount::unmount(self.root, UnmountFlags::DETACH).map_err(failed)?;
        self.mount_root()?;
        for (at, path) in groups(self.plan, self.hierarchies)? {
            let (key, value) = (at, text(path)?);
            mounts.push(ExternalMount { key, value });
        }
        for at in bound_devices(&self.plan.spec)
            .into_iter()
            .chain([NULL.to_owned()])
        {
            let (key, value) = (at.clone(), at);
            mounts.push(ExternalMount { key, value });
        }
        Ok(mounts)
    }

    fn mount_root(&self) -> Result<(), OciError> {
        let tree = open_root(&self.record.rootfs())?;
        let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
        rustix::mount::move_mount(&tree, c"", CWD, self.root, flags)
            .map_err(|errno| OciError::io("mount the root on", self.root, errno.into()))
    }

    /// As a start would make them, but not where CRIU brings the file system with all that is in it.
    fn make_mount_points(&self) -> Result<Vec<ExternalMount>, OciError> {
        let flags = PATH_FLAGS | OFlags::DIRECTORY;
        let root = rustix::fs::open(self.root, flags, Mode::empty())
            .map_err(|errno| OciError::io("open", self.root, errno.into()))?;
        let mut binds = Vec::new();
        let mut fresh: Vec<&Path> = Vec::new();
        for mount in listed(&self.plan.spec) {
            let destination = mount.destination().as_path();
            let within = fresh.iter().any(|above| destination.starts_with(above));
            if !is_bind(mount) {
                if !within && !is_cgroup(mount) {
                    self.make_mount_point(root.as_fd(), destination, Kind::Directory)?;
                }
                fresh.push(destination);
                continue;
            }
            let source = mount.source().as_deref().unwrap_or(Path::new(""));
            let (tree, kind) = clone_host_tree(source)
                .map_err(|errno| OciError::io("bind", source, errno.into()))?;
            let name = if within {
                text(destination)?
            } else {
                let point = self.make_mount_point(root.as_fd(), destination, kind)?;
                let name = name_of(point.as_fd(), self.root)?;
                attach(tree.as_fd(), point.as_fd())
                    .map_err(|errno| OciError::io("bind", source, errno.into()))?;
                name
            };
            binds.push(ExternalMount {
                key: name,
                value: text(source)?,
            });
        }
        Ok(binds)
    }

    fn make_mount_point(
        &self,
        root: BorrowedFd<'_>,
        path: &Path,
        kind: Kind,
    ) -> Result<OwnedFd, OciError> {
        let name = c_string(path.as_os_str().as_bytes())?;
        target::for_mount(root, &name, kind)
            .map_err(|errno| OciError::io("make the mount point", path, errno.into()))
    }
}

/// The namespaces that others own and that CRIU only needs to know of, with their names.
const OWNED: [(LinuxNamespaceType, &str, &str, u32); 2] = [
    (LinuxNamespaceType::Network, "net", "extRootNetNS", 31_100),
    (LinuxNamespaceType::Pid, "pid", "extRootPidNS", 31_500),
];

fn joined(spec: &Spec) -> impl Iterator<Item = (LinuxNamespaceType, &Path)> {
    let linux = spec.linux().as_ref();
    let listed = linux.and_then(|linux| linux.namespaces().as_deref());
    let listed = listed.unwrap_or_default().iter();
    listed.filter_map(|one| Some((one.typ(), one.path().as_deref()?)))
}

/// For a dump: these namespaces are not to be written down.
pub(crate) fn name_namespaces(
    criu: &Criu,
    spec: &Spec,
    options: &mut Options,
) -> Result<(), OciError> {
    for (kind, path) in joined(spec) {
        let owned = OWNED.iter().find(|(owned, ..)| *owned == kind);
        let Some((_, word, name, since)) = owned else {
            continue;
        };
        criu.at_least(*since, "a namespace of somebody else")?;
        let metadata = std::fs::metadata(path)
            .map_err(|error| OciError::io("find the namespace", path, error))?;
        options
            .external
            .push(format!("{word}[{}]:{name}", metadata.ino()));
    }
    Ok(())
}

/// For a restore: gives the descriptors that CRIU is to inherit, and asks it to join the others.
pub(crate) fn give_namespaces(
    criu: &Criu,
    spec: &Spec,
    options: &mut Options,
) -> Result<Vec<OwnedFd>, OciError> {
    let mut passed = Vec::new();
    for (kind, path) in joined(spec) {
        let owned = OWNED.iter().find(|(owned, ..)| *owned == kind);
        if let Some((_, _, name, since)) = owned {
            criu.at_least(*since, "a namespace of somebody else")?;
            let flags = OFlags::RDONLY | OFlags::CLOEXEC;
            let fd = rustix::fs::open(path, flags, Mode::empty()).map_err(|errno| {
                step_failed(format!("join the namespace {}", path.display()), errno)
            })?;
            options.inherit_fd.push(InheritFd {
                key: (*name).to_owned(),
                fd: fd.as_raw_fd(),
            });
            passed.push(fd);
            continue;
        }
        let word = match kind {
            LinuxNamespaceType::Uts => "uts",
            LinuxNamespaceType::Ipc => "ipc",
            LinuxNamespaceType::Mount => "mnt",
            LinuxNamespaceType::User => "user",
            LinuxNamespaceType::Time => "time",
            _ => return Err(OciError::Unjoinable(kind)),
        };
        options.join_namespaces.push(JoinNamespace {
            kind: word.to_owned(),
            path: text(path)?,
        });
    }
    Ok(passed)
}
