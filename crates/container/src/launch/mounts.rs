//! The mounts of a container: from the specification's list to prepared operations (in the
//! keeper), and their carrying out (in the child, without allocation).

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_sys::mount::{self as sysmount, Change, Reach, attr};
use oci_spec::runtime::Mount;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen,
};

use super::bind::{Bind, Locks};
use super::child::{IN_ROOT, attach, mount_target, open_tree};
use super::copy_up::copy_up;
use super::devices::{self, Node};
use super::elsewhere;
use super::idmap::Maps;
use super::mapper::Mapper;
use super::mount_options::{Options, sort_options};
use super::remount::Remount;
use super::step::{At, Failure, Step};
use super::target::Kind;

/// One prepared operation.
#[derive(Debug)]
pub(crate) enum Op {
    /// A new instance of a file system, made inside the child's namespaces.
    New(NewMount),
    /// A tree of the host, cloned by the keeper.
    Attach {
        tree: OwnedFd,
        target: CString,
        kind: Kind,
    },
    /// A copy of what the container has mounted before.
    Inside {
        source: CString,
        bind: Bind,
        target: CString,
    },
    /// What is mounted there, changed.
    Remount(Remount),
    /// A tree that the keeper gives when it has made it.
    Given { target: CString, kind: Kind },
    /// A mount that was writable until all below it was made.
    ReadOnly { target: CString },
    /// The container's first terminal, shown as /dev/console too.
    Console,
    /// The device nodes and links of /dev, on the tmpfs mounted there before.
    Devices {
        target: CString,
        nodes: Vec<Node>,
        links: Vec<(CString, CString)>,
    },
}

/// A file system to be made: fsopen(2), fsconfig(2), fsmount(2).
#[derive(Debug)]
pub(crate) struct NewMount {
    filesystem: CString,
    source: CString,
    options: Vec<(CString, Option<CString>)>,
    attributes: u64,
    /// 0: none passes.
    propagation: u64,
    pub(crate) target: CString,
    directories: Vec<CString>,
}

impl Op {
    /// The path that a failure is about, for the message.
    pub(crate) fn target(&self) -> &CStr {
        match self {
            Op::New(new) => &new.target,
            Op::Remount(remount) => remount.target(),
            Op::Attach { target, .. }
            | Op::Inside { target, .. }
            | Op::Devices { target, .. }
            | Op::Given { target, .. }
            | Op::ReadOnly { target } => target,
            Op::Console => c"/dev/console",
        }
    }

    /// `given`: the trees for [`Op::Given`], one after the other.
    pub(crate) fn carry_out(
        &self,
        root: BorrowedFd<'_>,
        index: usize,
        given: &mut dyn Iterator<Item = OwnedFd>,
        mapper: Mapper<'_>,
    ) -> Result<(), Failure> {
        match self {
            Op::Given { target, kind } => {
                let tree = given
                    .next()
                    .ok_or(Errno::BADF)
                    .at_index(Step::Mount, index)?;
                let target = mount_target(root, target, *kind, index)?;
                attach(tree.as_fd(), target.as_fd()).at_index(Step::Mount, index)
            }
            Op::New(new) => {
                let tree = new.make().at_index(Step::Mount, index)?;
                let target = mount_target(root, &new.target, Kind::Directory, index)?;
                attach(tree.as_fd(), target.as_fd()).at_index(Step::Mount, index)
            }
            Op::Remount(remount) => {
                let target = remount.target();
                rustix::fs::openat2(root, target, OFlags::PATH, Mode::empty(), IN_ROOT)
                    .and_then(|mount| remount.change(mount.as_fd()))
                    .at_index(Step::Mount, index)
            }
            Op::Attach { tree, target, kind } => {
                let target = mount_target(root, target, *kind, index)?;
                attach(tree.as_fd(), target.as_fd()).at_index(Step::Mount, index)
            }
            Op::Inside {
                source,
                bind,
                target,
            } => {
                let (tree, kind) = bind.of_inside(root, source).at_index(Step::Mount, index)?;
                if bind.is_mapped() {
                    mapper.map(bind, tree.as_fd(), index)?;
                }
                let target = mount_target(root, target, kind, index)?;
                attach(tree.as_fd(), target.as_fd()).at_index(Step::Mount, index)
            }
            Op::ReadOnly { target } => {
                let mount = mount_target(root, target, Kind::Directory, index)?;
                let change = Change {
                    set: attr::RDONLY,
                    ..Change::default()
                };
                sysmount::set_attributes(mount.as_fd(), Reach::One, &change)
                    .at_index(Step::Mount, index)
            }
            Op::Console => {
                // Ours: the devpts was mounted a moment ago, and its first terminal is number 0.
                let source = mount_target(root, c"/dev/pts/0", Kind::File, index)?;
                let tree = open_tree(source.as_fd(), c"").at_index(Step::Mount, index)?;
                let target = mount_target(root, c"/dev/console", Kind::File, index)?;
                attach(tree.as_fd(), target.as_fd()).at_index(Step::Mount, index)
            }
            Op::Devices {
                target,
                nodes,
                links,
            } => {
                let directory = mount_target(root, target, Kind::Directory, index)?;
                devices::fill(directory.as_fd(), nodes, links, index)
            }
        }
    }
}

pub(super) fn configure(
    fs: BorrowedFd<'_>,
    options: &[(CString, Option<CString>)],
) -> Result<(), Errno> {
    for (key, value) in options {
        match value {
            Some(value) => fsconfig_set_string(fs, key.as_c_str(), value.as_c_str())?,
            None => fsconfig_set_flag(fs, key.as_c_str())?,
        }
    }
    Ok(())
}

impl NewMount {
    /// Leaves it writable; whether it was to be read-only.
    pub(super) fn writable(&mut self) -> bool {
        let readonly = self.attributes & attr::RDONLY != 0;
        self.attributes &= !attr::RDONLY;
        readonly
    }

    pub(super) fn make(&self) -> Result<OwnedFd, Errno> {
        let fs = fsopen(self.filesystem.as_c_str(), FsOpenFlags::FSOPEN_CLOEXEC)?;
        fsconfig_set_string(fs.as_fd(), c"source", self.source.as_c_str())?;
        configure(fs.as_fd(), &self.options)?;
        fsconfig_create(fs.as_fd())?;
        // A directory must be there before the mount turns read-only.
        let late_readonly = !self.directories.is_empty() && self.attributes & attr::RDONLY != 0;
        let attributes = if late_readonly {
            self.attributes & !attr::RDONLY
        } else {
            self.attributes
        };
        let mount_attributes = MountAttrFlags::from_bits_retain(attributes as u32);
        let tree = fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, mount_attributes)?;
        if self.propagation != 0 {
            let change = Change {
                propagation: self.propagation,
                ..Change::default()
            };
            sysmount::set_attributes(tree.as_fd(), Reach::One, &change)?;
        }
        for directory in &self.directories {
            rustix::fs::mkdirat(&tree, directory.as_c_str(), Mode::from_raw_mode(0o755))?;
        }
        if late_readonly {
            let change = Change {
                set: attr::RDONLY,
                ..Change::default()
            };
            sysmount::set_attributes(tree.as_fd(), Reach::One, &change)?;
        }
        Ok(tree)
    }
}

/// What an empty directory is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mounted {
    /// To cover others with.
    ReadOnly,
    /// To make one node in.
    Writable,
}

/// An empty directory on a file system of its own.
pub(crate) fn empty_directory(mounted: Mounted) -> Result<OwnedFd, Errno> {
    let fs = fsopen(c"tmpfs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), c"source", c"tmpfs")?;
    fsconfig_set_string(fs.as_fd(), c"nr_inodes", c"2")?;
    fsconfig_create(fs.as_fd())?;
    let always = MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC;
    let attributes = match mounted {
        Mounted::ReadOnly => {
            always | MountAttrFlags::MOUNT_ATTR_RDONLY | MountAttrFlags::MOUNT_ATTR_NODEV
        }
        Mounted::Writable => always,
    };
    fsmount(fs.as_fd(), FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

pub(super) fn c_string(text: impl AsRef<[u8]>) -> Result<CString, StartError> {
    let bytes = text.as_ref();
    CString::new(bytes).map_err(|_| StartError::Request {
        message: format!(
            "`{}` holds a NUL byte",
            String::from_utf8_lossy(bytes).escape_debug()
        ),
        hint: None,
    })
}

/// Prepares one mount of the specification; binds are opened here, with the host's eyes.
pub(crate) fn prepare(mount: &Mount, place: Place<'_>) -> Result<Op, StartError> {
    let destination = mount.destination();
    let options = sort_options(mount.options().as_deref().unwrap_or_default());
    let kind = mount.typ().as_deref().unwrap_or("");
    let binds = options.bind.is_some() || kind == "bind";
    if options.remount {
        return Remount::of(mount, &options, place.locks).map(Op::Remount);
    }
    if binds {
        return bind(mount, &options, place);
    }
    if options.mapped.is_some() || mount.uid_mappings().is_some() {
        return Err(StartError::Request {
            message: format!(
                "the mount {} is no bind, and only binds can show files with other owners",
                destination.display()
            ),
            hint: None,
        });
    }
    let mut parameters = parameters(&options)?;
    if let Some(label) = place.label.filter(|_| takes_label(kind)) {
        parameters.push((c"context".to_owned(), Some(c_string(label)?)));
    }
    let target = c_string(destination.as_os_str().as_bytes())?;
    let has_mode = parameters.iter().any(|(key, _)| key.as_c_str() == c"mode");
    if kind == "tmpfs"
        && !has_mode
        && let Ok(covered) =
            rustix::fs::openat2(place.root, &target, OFlags::PATH, Mode::empty(), IN_ROOT)
        && let Ok(stat) = rustix::fs::fstat(&covered)
    {
        // As runc has it: what covers a directory looks like it.
        let mode = format!("{:o}", stat.st_mode & 0o7777);
        parameters.push((c"mode".to_owned(), Some(c_string(mode)?)));
    }
    let source = mount
        .source()
        .as_ref()
        .map_or(kind.as_bytes(), |s| s.as_os_str().as_bytes());
    let new = NewMount {
        filesystem: c_string(kind)?,
        source: c_string(source)?,
        options: parameters,
        attributes: options.flags.set | options.recursive.set,
        propagation: options.propagation.map_or(0, |(kind, _)| kind),
        target,
        directories: Vec::new(),
    };
    if !options.copy_up {
        return Ok(Op::New(new));
    }
    let made = new.make().and_then(|tree| {
        copy_up(place.root, &new.target, tree.as_fd())?;
        Ok(tree)
    });
    let tree = made.map_err(|errno| {
        super::prepare::step_failed(format!("fill {}", destination.display()), errno)
    })?;
    Ok(Op::Attach {
        tree,
        target: new.target,
        kind: Kind::Directory,
    })
}

pub(super) fn parameters(options: &Options) -> Result<Vec<(CString, Option<CString>)>, StartError> {
    let given = options.parameters.iter();
    given
        .map(|(key, value)| Ok((c_string(key)?, value.as_ref().map(c_string).transpose()?)))
        .collect()
}

/// Whether files of this kind of file system have the label that the mount has; those of others have what
/// the policy says. As runc has it.
fn takes_label(kind: &str) -> bool {
    !matches!(kind, "proc" | "sysfs" | "mqueue" | "cgroup" | "cgroup2")
}

/// What is asked for of a bind, and is no bind's to have: options of a file system.
pub(crate) fn passed_over(mount: &Mount) -> Vec<String> {
    if !super::operations::is_bind(mount) {
        return Vec::new();
    }
    let options = sort_options(mount.options().as_deref().unwrap_or_default());
    let names = options.parameters.into_iter();
    names.map(|(name, _)| format!("`{name}`")).collect()
}

/// A read-only tmpfs with the given directories, for the cgroup tree on v1.
pub(crate) fn directory_tree(target: &CStr, directories: Vec<CString>) -> Op {
    Op::New(NewMount {
        filesystem: c"tmpfs".to_owned(),
        source: c"cgroup".to_owned(),
        options: vec![(c"mode".to_owned(), Some(c"755".to_owned()))],
        attributes: attr::RDONLY | attr::NOSUID | attr::NODEV | attr::NOEXEC,
        propagation: 0,
        target: target.to_owned(),
        directories,
    })
}

/// What a listed mount is drawn for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Place<'a> {
    /// The container's root, by its descriptor.
    pub(crate) root: BorrowedFd<'a>,
    /// The ids of its user namespace, if it has one.
    pub(crate) maps: Option<&'a Maps>,
    pub(crate) locks: Locks,
    /// What SELinux is to take the files of new file systems for.
    pub(crate) label: Option<&'a str>,
    /// Where the source of a bind is, seen from the root, if it is on a mount of the container's own:
    /// that is there when it is mounted, and not yet now.
    pub(crate) inside: Option<&'a Path>,
}

fn bind(mount: &Mount, options: &Options, place: Place<'_>) -> Result<Op, StartError> {
    let source = mount.source().as_deref().unwrap_or(Path::new(""));
    let given = Maps::new(
        mount.uid_mappings().as_deref(),
        mount.gid_mappings().as_deref(),
    );
    let maps = given
        .as_ref()
        .or(place.maps.filter(|_| options.mapped.is_some()));
    let mapped = match maps {
        None if options.mapped.is_some() => {
            return Err(StartError::Request {
                message: format!(
                    "the mount {} is to show files with other owners, and says not which",
                    mount.destination().display()
                ),
                hint: Some(
                    "give it uidMappings and gidMappings; without privileges none is possible"
                        .into(),
                ),
            });
        }
        None => None,
        Some(maps) => Some((maps.namespace()?, options.mapped.unwrap_or(Reach::One))),
    };
    let bind = Bind {
        reach: options.bind.unwrap_or(Reach::Tree),
        flags: options.flags,
        recursive: options.recursive,
        propagation: options.propagation,
        mapped,
        locks: place.locks,
    };
    let target = c_string(mount.destination().as_os_str().as_bytes())?;
    if let Some(inside) = place.inside {
        if options.subdirectory.is_some() {
            return Err(StartError::Request {
                message: format!(
                    "the mount {} is to show a part of another mount of the container",
                    mount.destination().display()
                ),
                hint: Some("name that part as the source, without X-mount.subdir".into()),
            });
        }
        let source = c_string(inside.as_os_str().as_bytes())?;
        return Ok(Op::Inside {
            source,
            bind,
            target,
        });
    }
    let path = c_string(source.as_os_str().as_bytes())?;
    let (found, shown) = match &options.subdirectory {
        None => match elsewhere::of(source) {
            Some((process, inside)) => (
                elsewhere::copy(&bind, process, &c_string(inside.as_os_str().as_bytes())?),
                source.to_owned(),
            ),
            None => (bind.of(CWD, &path), source.to_owned()),
        },
        Some(below) => (bind.of_below(&path, &c_string(below)?), source.join(below)),
    };
    let (tree, kind) = found.map_err(|errno| StartError::Request {
        message: format!(
            "cannot bind {}: {}",
            shown.display(),
            std::io::Error::from(errno)
        ),
        hint: hint(errno, bind.mapped.is_some()),
    })?;
    Ok(Op::Attach { tree, target, kind })
}

fn hint(errno: Errno, mapped: bool) -> Option<String> {
    let text = match errno {
        Errno::NOENT => "the source of a bind must exist",
        Errno::XDEV => "a path below the source must stay there, its links included",
        Errno::PERM if mapped => {
            "only root of the user namespace that a file system was mounted in can show its files with other owners"
        }
        Errno::PERM => "flags of the source are locked, and the bind is to do without them",
        Errno::INVAL if mapped => {
            "to show files with other owners their file system must support id-mapped mounts, and not be mapped already"
        }
        _ => return None,
    };
    Some(text.to_owned())
}

/// A devpts instance of the container's own, made by the keeper, which so holds the way to its
/// terminals: devpts(5). Ids are the host's.
pub(crate) fn devpts(
    root_uid: u32,
    tty_gid: Option<u32>,
    label: Option<&str>,
) -> Result<OwnedFd, Errno> {
    let fs = fsopen(c"devpts", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(fs.as_fd(), c"source", c"devpts")?;
    fsconfig_set_flag(fs.as_fd(), c"newinstance")?;
    fsconfig_set_string(fs.as_fd(), c"ptmxmode", c"0666")?;
    fsconfig_set_string(fs.as_fd(), c"mode", c"0620")?;
    if let Some(gid) = tty_gid {
        fsconfig_set_string(fs.as_fd(), c"gid", format!("{gid}"))?;
    }
    if root_uid != 0 {
        fsconfig_set_string(fs.as_fd(), c"uid", format!("{root_uid}"))?;
    }
    if let Some(label) = label {
        fsconfig_set_string(fs.as_fd(), c"context", label)?;
    }
    fsconfig_create(fs.as_fd())?;
    fsmount(
        fs.as_fd(),
        FsMountFlags::FSMOUNT_CLOEXEC,
        MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NOEXEC,
    )
}
