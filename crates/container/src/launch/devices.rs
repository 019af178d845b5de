//! The nodes of a container's /dev: those that every container has, and the plan's own.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use gamut_plan::cell::StartError;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount};
use rustix::fs::{AtFlags, CWD, FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::bind::{Locks, clone_host};
use super::child::{attach, mount_target, open_tree};
use super::idmap::Maps;
use super::mounts::{self, Mounted, Op, Place, c_string, empty_directory};
use super::prepare::step_failed;
use super::step::{At, Failure, Step};
use super::target::Kind;

/// A device node, relative to its /dev.
#[derive(Debug)]
pub(crate) struct Node {
    name: CString,
    file_type: FileType,
    mode: Mode,
    device: u64,
    /// Whether another file of that name is an error.
    listed: bool,
    owner: Option<(u32, u32)>,
    /// Where nodes cannot be made, in a user namespace of the container's: what is bound.
    bound: Option<OwnedFd>,
    /// The host's of that path, which is bound where it turns out that this process may make none: it is
    /// in a user namespace itself.
    host: CString,
}

impl Node {
    pub(super) fn make(&self, directory: BorrowedFd<'_>, index: usize) -> Result<(), Failure> {
        let name = self.name.as_c_str();
        if let Some(tree) = &self.bound {
            let target = mount_target(directory, name, Kind::File, index)?;
            return attach(tree.as_fd(), target.as_fd()).at_index(Step::Device, index);
        }
        let Some(split) = name.to_bytes().iter().rposition(|b| *b == b'/') else {
            return self.make_in(directory, name, index);
        };
        // A device in a directory of its own (/dev/net/tun). That may be the image's, and a link.
        let (above, last) = (&name.to_bytes()[..split], split + 1);
        let mut buffer = [0u8; 256];
        if above.len() >= buffer.len() {
            return Err(Errno::NAMETOOLONG).at_index(Step::Device, index);
        }
        buffer[..above.len()].copy_from_slice(above);
        let parent = CStr::from_bytes_until_nul(&buffer)
            .map_err(|_| Errno::INVAL)
            .at_index(Step::Device, index)?;
        let parent = mount_target(directory, parent, Kind::Directory, index)?;
        let name = CStr::from_bytes_with_nul(&name.to_bytes_with_nul()[last..])
            .map_err(|_| Errno::INVAL)
            .at_index(Step::Device, index)?;
        self.make_in(parent.as_fd(), name, index)
    }

    /// Makes it by a plain name.
    fn make_in(&self, directory: BorrowedFd<'_>, name: &CStr, index: usize) -> Result<(), Failure> {
        let made = rustix::fs::mknodat(directory, name, self.file_type, self.mode, self.device);
        match made {
            Ok(()) => {}
            Err(Errno::EXIST) => self
                .is_there(directory, name)
                .at_index(Step::Device, index)?,
            Err(Errno::PERM) => {
                // By the host's root, which is still this process's.
                let tree = open_tree(CWD, &self.host).at_index(Step::Device, index)?;
                let target = mount_target(directory, name, Kind::File, index)?;
                return attach(tree.as_fd(), target.as_fd()).at_index(Step::Device, index);
            }
            Err(errno) => return Err(errno).at_index(Step::Device, index),
        }
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            let flags = AtFlags::SYMLINK_NOFOLLOW;
            rustix::fs::chownat(directory, name, uid, gid, flags).at_index(Step::Device, index)?;
        }
        Ok(())
    }
}

impl Node {
    /// "If a file already exists at `path` that does not match the requested device, the runtime MUST generate
    /// an error" (Devices).
    fn is_there(&self, directory: BorrowedFd<'_>, name: &CStr) -> Result<(), Errno> {
        let stat = rustix::fs::statat(directory, name, AtFlags::SYMLINK_NOFOLLOW)?;
        let same = FileType::from_raw_mode(stat.st_mode) == self.file_type
            && (self.file_type == FileType::Fifo || stat.st_rdev == self.device);
        if same || !self.listed {
            Ok(())
        } else {
            Err(Errno::EXIST)
        }
    }
}

/// How /dev gets its nodes.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Nodes<'a> {
    Make,
    /// Bind the host's, or one that the keeper makes: a user namespace with these ids may make none.
    Bind(Option<&'a Maps>),
}

/// The plan's own nodes that lie elsewhere than in /dev, if there are any.
pub(crate) fn elsewhere(listed: &[LinuxDevice], how: Nodes<'_>) -> Result<Option<Op>, StartError> {
    let outside = listed
        .iter()
        .filter(|device| !device.path().starts_with("/dev"));
    let nodes: Result<Vec<_>, _> = outside
        .map(|device| listed_node(device, Path::new("/"), how))
        .collect();
    let nodes = nodes?;
    Ok((!nodes.is_empty()).then(|| Op::Devices {
        target: c"/".to_owned(),
        nodes,
        links: Vec::new(),
    }))
}

/// The nodes that the runtime specification requires ("Default Devices"): name, major, minor.
pub(crate) const DEFAULT: [(&str, u32, u32); 6] = [
    ("null", 1, 3),
    ("zero", 1, 5),
    ("full", 1, 7),
    ("random", 1, 8),
    ("urandom", 1, 9),
    ("tty", 5, 0),
];

/// The nodes that every container has, then the plan's own.
pub(crate) fn devices(listed: &[LinuxDevice], how: Nodes<'_>) -> Result<Op, StartError> {
    let mut nodes = Vec::new();
    for (name, major, minor) in DEFAULT {
        nodes.push(Node {
            name: c_string(name)?,
            file_type: FileType::CharacterDevice,
            mode: Mode::from_raw_mode(0o666),
            device: rustix::fs::makedev(major, minor),
            listed: false,
            owner: None,
            bound: match how {
                Nodes::Make => None,
                Nodes::Bind(_) => Some(host_node(&Path::new("/dev").join(name))?),
            },
            host: c_string(format!("/dev/{name}"))?,
        });
    }
    // The multiplexer is that of the container's own devpts, by the link below.
    let (below, own) = (Path::new("/dev"), Path::new("/dev/ptmx"));
    let in_dev = |path: &Path| path.starts_with(below) && path != own;
    for device in listed.iter().filter(|one| in_dev(one.path())) {
        nodes.push(listed_node(device, below, how)?);
    }
    let links = [
        (c"fd", c"/proc/self/fd"),
        (c"stdin", c"/proc/self/fd/0"),
        (c"stdout", c"/proc/self/fd/1"),
        (c"stderr", c"/proc/self/fd/2"),
        (c"core", c"/proc/kcore"),
        (c"ptmx", c"pts/ptmx"),
    ];
    let links = links
        .into_iter()
        .map(|(name, to)| (name.to_owned(), to.to_owned()))
        .collect();
    Ok(Op::Devices {
        target: c"/dev".to_owned(),
        nodes,
        links,
    })
}

/// Makes nodes and links (name, target) in a /dev. Allocates nothing.
pub(super) fn fill(
    directory: BorrowedFd<'_>,
    nodes: &[Node],
    links: &[(CString, CString)],
    index: usize,
) -> Result<(), Failure> {
    for node in nodes {
        node.make(directory, index)?;
    }
    for (name, to) in links {
        match rustix::fs::symlinkat(to.as_c_str(), directory, name.as_c_str()) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at_index(Step::Device, index),
        }
    }
    Ok(())
}

/// A /dev with the default nodes and the directories that most containers mount on, not attached
/// anywhere yet. `None`: whoever starts the container makes it, and says what is wrong.
pub(crate) fn tree(mount: &Mount) -> Option<OwnedFd> {
    // There is no root yet, and none is asked for.
    const NOWHERE: Place<'_> = Place {
        root: rustix::fs::CWD,
        maps: None,
        locks: Locks::Kernels,
        label: None,
        inside: None,
    };
    let (Ok(Op::New(new)), Ok(Op::Devices { nodes, links, .. })) =
        (mounts::prepare(mount, NOWHERE), devices(&[], Nodes::Make))
    else {
        return None;
    };
    let tree = new.make().ok()?;
    let before = rustix::process::umask(Mode::empty());
    let filled = fill(tree.as_fd(), &nodes, &links, 0).is_ok()
        && [c"pts", c"mqueue"].into_iter().all(|directory| {
            rustix::fs::mkdirat(&tree, directory, Mode::from_raw_mode(0o755)).is_ok()
        });
    rustix::process::umask(before);
    filled.then_some(tree)
}

/// The host's own node, to be bound.
fn host_node(path: &Path) -> Result<OwnedFd, StartError> {
    let bound = clone_host(path, 0).map(|(tree, _)| tree);
    bound.map_err(|errno| step_failed(format!("bind the host's {}", path.display()), errno))
}

/// A node of the keeper's making, on a file system that is nowhere else, to be bound. Its owner is one
/// of the container's.
fn bound_node(node: &Node, path: &Path, maps: &Maps) -> Result<OwnedFd, StartError> {
    let made = empty_directory(Mounted::Writable).and_then(|directory| {
        let (directory, name) = (directory.as_fd(), c"node");
        rustix::fs::mknodat(directory, name, node.file_type, node.mode, node.device)?;
        rustix::fs::chmodat(directory, name, node.mode, AtFlags::empty())?;
        let (uid, gid) = node.owner.unwrap_or((0, 0));
        let owner = Some(Uid::from_raw(maps.uid(uid)));
        let group = Some(Gid::from_raw(maps.gid(gid)));
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        rustix::fs::chownat(directory, name, owner, group, flags)?;
        super::child::open_tree(directory, name)
    });
    made.map_err(|errno| match errno {
        // What is not attached can be bound from since then (open_tree(2)).
        Errno::INVAL => StartError::Request {
            message: format!(
                "cannot make the device {} for a user namespace: this kernel is too old",
                path.display()
            ),
            hint: Some(
                "Linux 6.15 can; older ones bind devices that the host has at the same place"
                    .into(),
            ),
        },
        errno => step_failed(format!("make the device {}", path.display()), errno),
    })
}

/// Whether the host has the same device at the same place.
fn is_hosts(path: &Path, node: &Node) -> bool {
    rustix::fs::stat(path).is_ok_and(|stat| {
        FileType::from_raw_mode(stat.st_mode) == node.file_type && stat.st_rdev == node.device
    })
}

fn listed_node(device: &LinuxDevice, above: &Path, how: Nodes<'_>) -> Result<Node, StartError> {
    let path = device.path();
    // Without a slash at its end.
    let name: PathBuf = path
        .strip_prefix(above)
        .unwrap_or(path)
        .components()
        .collect();
    let file_type = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    let mut node = Node {
        name: c_string(name.as_os_str().as_bytes())?,
        file_type,
        mode: Mode::from_raw_mode(device.file_mode().unwrap_or(0o666)),
        device: rustix::fs::makedev(device.major() as u32, device.minor() as u32),
        listed: true,
        owner: match (device.uid(), device.gid()) {
            (None, None) => None,
            (uid, gid) => Some((uid.unwrap_or(0), gid.unwrap_or(0))),
        },
        bound: None,
        host: c_string(path.as_os_str().as_bytes())?,
    };
    if let Nodes::Bind(maps) = how {
        node.bound = Some(match maps {
            Some(maps) if !is_hosts(path, &node) => bound_node(&node, path, maps)?,
            _ => host_node(path)?,
        });
    }
    Ok(node)
}
