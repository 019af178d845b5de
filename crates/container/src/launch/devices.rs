//! The nodes of a container's /dev: those that every container has, and the plan's own.

use std::ffi::{CStr, CString};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use gamut_plan::cell::StartError;
use gamut_sys::mount::Reach;
use oci_spec::runtime::{LinuxDevice, LinuxDeviceType, Mount};
use rustix::fs::{FileType, Gid, Mode, Uid};
use rustix::io::Errno;

use super::child::{attach, mount_target};
use super::mounts::{self, Op, c_string, clone_host_tree};
use super::step::{At, Failure, Step};
use super::target::Kind;

/// A device node, relative to its /dev.
#[derive(Debug)]
pub(crate) struct Node {
    name: CString,
    file_type: FileType,
    mode: Mode,
    device: u64,
    owner: Option<(u32, u32)>,
    /// Where nodes cannot be made (user namespace): the host's, to be bound.
    bound: Option<OwnedFd>,
}

impl Node {
    pub(super) fn make(&self, directory: BorrowedFd<'_>, index: usize) -> Result<(), Failure> {
        if let Some(tree) = &self.bound {
            let target = mount_target(directory, &self.name, Kind::File, index)?;
            return attach(tree.as_fd(), target.as_fd()).at_index(Step::Device, index);
        }
        let name = self.name.as_c_str();
        if name.to_bytes().contains(&b'/') {
            // A device in a directory of its own (/dev/net/tun).
            let split = name
                .to_bytes()
                .iter()
                .rposition(|b| *b == b'/')
                .unwrap_or(0);
            let mut buffer = [0u8; 256];
            if split >= buffer.len() {
                return Err(Errno::NAMETOOLONG).at_index(Step::Device, index);
            }
            buffer[..split].copy_from_slice(&name.to_bytes()[..split]);
            let parent = CStr::from_bytes_until_nul(&buffer)
                .map_err(|_| Errno::INVAL)
                .at_index(Step::Device, index)?;
            mount_target(directory, parent, Kind::Directory, index)?;
        }
        let made = rustix::fs::mknodat(directory, name, self.file_type, self.mode, self.device);
        match made {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno).at_index(Step::Device, index),
        }
        if let Some((uid, gid)) = self.owner {
            let (uid, gid) = (Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            rustix::fs::chownat(
                directory,
                name,
                uid,
                gid,
                rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
            )
            .at_index(Step::Device, index)?;
        }
        Ok(())
    }
}

/// How /dev gets its nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Nodes {
    Make,
    /// Bind the host's: a user namespace may make none.
    Bind,
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
pub(crate) fn devices(listed: &[LinuxDevice], how: Nodes) -> Result<Op, StartError> {
    let mut nodes = Vec::new();
    for (name, major, minor) in DEFAULT {
        nodes.push(Node {
            name: c_string(name)?,
            file_type: FileType::CharacterDevice,
            mode: Mode::from_raw_mode(0o666),
            device: rustix::fs::makedev(major, minor),
            owner: None,
            bound: host_node(how, &Path::new("/dev").join(name))?,
        });
    }
    for device in listed {
        nodes.push(listed_node(device, how)?);
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
    let (Ok(Op::New(new)), Ok(Op::Devices { nodes, links, .. })) = (
        mounts::prepare(mount, rustix::fs::CWD, None),
        devices(&[], Nodes::Make),
    ) else {
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

fn host_node(how: Nodes, path: &Path) -> Result<Option<OwnedFd>, StartError> {
    match how {
        Nodes::Make => Ok(None),
        Nodes::Bind => match clone_host_tree(path, Reach::One, 0, 0, None) {
            Ok((tree, _)) => Ok(Some(tree)),
            Err(errno) => Err(StartError::Step {
                step: format!("bind the host's {}", path.display()),
                reason: std::io::Error::from(errno).to_string(),
                hint: None,
            }),
        },
    }
}

fn listed_node(device: &LinuxDevice, how: Nodes) -> Result<Node, StartError> {
    let path = device.path();
    let Ok(name) = path.strip_prefix("/dev") else {
        return Err(StartError::Request {
            message: format!("the device {} does not lie below /dev", path.display()),
            hint: Some("give it a path below /dev in the container".into()),
        });
    };
    let file_type = match device.typ() {
        LinuxDeviceType::B => FileType::BlockDevice,
        LinuxDeviceType::P => FileType::Fifo,
        _ => FileType::CharacterDevice,
    };
    Ok(Node {
        name: c_string(name.as_os_str().as_bytes())?,
        file_type,
        mode: Mode::from_raw_mode(device.file_mode().unwrap_or(0o666)),
        device: rustix::fs::makedev(device.major() as u32, device.minor() as u32),
        owner: match (device.uid(), device.gid()) {
            (None, None) => None,
            (uid, gid) => Some((uid.unwrap_or(0), gid.unwrap_or(0))),
        },
        bound: host_node(how, path)?,
    })
}
