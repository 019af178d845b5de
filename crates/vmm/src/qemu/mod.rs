//! The second back end: a machine in QEMU, for hosts without a KVM that can be used. Slow, but the same
//! kernel, agent and images, the same device models for disks and sockets, and the same calls as
//! [`crate::machine`].
//!
//! QEMU's `microvm` machine is our own machine's shape: virtio-mmio, no PCI, and without ACPI its
//! firmware writes the table of processors that our kernel reads, so that there are as many as are asked for.
//! (With `acpi=on` they take longer to come up, and there is nothing else that ACPI would be needed for.)
//! Disks and vsock are served by this process over vhost-user, one socket pair for each device; the network
//! card, randomness and the balloon are QEMU's own, as they need nothing of ours.
//!
//! [`arguments`] is the command line, [`qmp`] the way to talk to it, [`running`] the machine that runs.

mod arguments;
mod process;
mod qmp;
mod running;

use std::ffi::OsStr;
use std::fmt;
use std::fs::File;
use std::os::fd::{BorrowedFd, OwnedFd};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use gamut_spec::fault::{Fault, Kind};
use gamut_virtio::device::{Counter, Device};
use gamut_virtio::vhost_user::server::{ServeError, Server};
use rustix::io::Errno;

use crate::boot::Boot;
use crate::machine::Size;
use crate::wire::Network;

pub use running::Running;

/// The program.
pub const PROGRAM: &str = "qemu-system-x86_64";
/// The oldest that will do has everything that is asked of it.
pub const VERSION_MIN: Version = Version { major: 7, minor: 0 };
/// The most devices: `microvm` has so many virtio-mmio transports for certain.
pub const DEVICES_MAX: usize = 8;
/// QEMU's own: randomness and the balloon.
const OWN_DEVICES: usize = 2;

/// Why there is no such machine.
#[derive(Debug, thiserror::Error)]
pub enum QemuError {
    #[error("there is no `{PROGRAM}` in the search path")]
    Missing,
    #[error("QEMU {0} is older than {VERSION_MIN}")]
    Old(Version),
    #[error("`{}` cannot be started", program.display())]
    Spawn {
        program: PathBuf,
        source: std::io::Error,
    },
    #[error("QEMU has ended: {message}")]
    Ended { message: String },
    #[error("QEMU refuses `{command}`: {message}")]
    Refused {
        command: &'static str,
        message: String,
    },
    #[error("QEMU does not answer `{command}`")]
    Silent { command: &'static str },
    #[error("QEMU says what is not understood")]
    Language,
    #[error("{vcpus} vCPUs and {memory_mib} MiB of memory are not what a machine can have")]
    Size { vcpus: u8, memory_mib: u32 },
    #[error("more than {} devices", DEVICES_MAX - OWN_DEVICES)]
    Devices,
    #[error("QEMU puts the devices behind the first process's arguments (` -- `)")]
    CommandLine,
    #[error("`{0}` cannot be part of an argument of QEMU's")]
    Name(String),
    #[error("the device `{name}`: {source}")]
    Device { name: String, source: ServeError },
    #[error("the host is short of descriptors")]
    Host(#[from] Errno),
}

impl Fault for QemuError {
    fn kind(&self) -> Kind {
        match self {
            Self::Missing | Self::Old(_) | Self::Spawn { .. } => Kind::HostLacks,
            Self::Size { .. } | Self::Devices | Self::CommandLine | Self::Name(_) => Kind::Invalid,
            Self::Ended { .. } | Self::Silent { .. } | Self::Host(_) => Kind::Unavailable,
            Self::Refused { .. } | Self::Language | Self::Device { .. } => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Missing | Self::Old(_) => Some(
                "install QEMU 7.0 or later (Debian's package is `qemu-system-x86`), or use a host with KVM"
                    .to_owned(),
            ),
            Self::Ended { message } if message.contains("allocate memory") => {
                Some("give the machine less memory".to_owned())
            }
            _ => None,
        }
    }
}

/// Of QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Version {
    pub major: u64,
    pub minor: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

/// The program, where it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program(PathBuf);

impl Program {
    /// Looks for it in the directories of `PATH`.
    ///
    /// # Errors
    /// [`QemuError::Missing`].
    pub fn find(path: &OsStr) -> Result<Self, QemuError> {
        let candidates = std::env::split_paths(path).map(|directory| directory.join(PROGRAM));
        let mut programs = candidates.filter(|candidate| is_program(candidate));
        programs.next().map(Self).ok_or(QemuError::Missing)
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }
}

fn is_program(path: &Path) -> bool {
    path.is_absolute()
        && path
            .metadata()
            .is_ok_and(|metadata| metadata.is_file() && metadata.permissions().mode() & 0o111 != 0)
}

/// A device of ours in a machine of QEMU's.
trait Serve: Send + fmt::Debug {
    fn events(&self) -> BorrowedFd<'_>;
    fn handle(&mut self) -> Result<(), ServeError>;
    fn counters(&self) -> Vec<Counter>;
}

impl<D: Device> Serve for Server<D> {
    fn events(&self) -> BorrowedFd<'_> {
        Server::events(self)
    }

    fn handle(&mut self) -> Result<(), ServeError> {
        Server::handle(self)
    }

    fn counters(&self) -> Vec<Counter> {
        Server::counters(self)
    }
}

type Shared = Arc<Mutex<dyn Serve>>;

fn lock(device: &Shared) -> std::sync::MutexGuard<'_, dyn Serve + 'static> {
    device.lock().unwrap_or_else(PoisonError::into_inner)
}

/// What a device of ours is to QEMU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Model {
    Disk,
    Vsock,
}

/// A machine that has not begun.
#[derive(Debug)]
pub struct Machine {
    program: Program,
    size: Size,
    serial: Option<OwnedFd>,
    served: Vec<Served>,
    network: Option<(Network, OwnedFd)>,
    share: Option<(String, OwnedFd)>,
}

/// One of our devices, and QEMU's end of its socket.
#[derive(Debug)]
struct Served {
    name: String,
    model: Model,
    device: Shared,
    socket: OwnedFd,
}

impl Machine {
    /// With a serial port that writes to `serial`; it is set to not block, and what it does not take is
    /// lost.
    ///
    /// # Errors
    /// What is wrong with the size.
    pub fn new(program: Program, size: Size, serial: Option<OwnedFd>) -> Result<Self, QemuError> {
        let Size {
            vcpus, memory_mib, ..
        } = size;
        if vcpus == 0 || memory_mib < crate::machine::MEMORY_MIB_MIN {
            return Err(QemuError::Size { vcpus, memory_mib });
        }
        if let Some(serial) = &serial {
            gamut_sys::socket::set_nonblocking(serial)?;
        }
        Ok(Self {
            program,
            size,
            serial,
            served: Vec::new(),
            network: None,
            share: None,
        })
    }

    /// Plugs in a device of ours: a disk or vsock. `name` is what its counters go by.
    ///
    /// # Errors
    /// There is no room for another, or QEMU has no such device, or the host has no more descriptors.
    pub fn attach<D: Device + 'static>(
        &mut self,
        name: &str,
        device: D,
    ) -> Result<Arc<Mutex<Server<D>>>, QemuError> {
        let model = match device.kind() {
            gamut_virtio::device::Kind::Block => Model::Disk,
            gamut_virtio::device::Kind::Vsock => Model::Vsock,
            _ => return Err(QemuError::Name(name.to_owned())),
        };
        self.has_room()?;
        let (ours, socket) = UnixStream::pair().map_err(|error| errno(&error))?;
        let server = Arc::new(Mutex::new(Server::new(device, ours.into())?));
        self.served.push(Served {
            name: name.to_owned(),
            model,
            device: Arc::clone(&server) as Shared,
            socket: socket.into(),
        });
        Ok(server)
    }

    /// Plugs in a network card on a TAP device.
    ///
    /// # Errors
    /// There is no room for it.
    pub fn attach_network(&mut self, network: Network, tap: OwnedFd) -> Result<(), QemuError> {
        self.has_room()?;
        self.network = Some((network, tap));
        Ok(())
    }

    /// Plugs in a file system that the guest mounts by `tag`, served behind a connected vhost-user socket.
    ///
    /// # Errors
    /// There is no room for it, or the name cannot be.
    pub fn attach_share(&mut self, tag: &str, socket: OwnedFd) -> Result<(), QemuError> {
        self.has_room()?;
        let is_plain =
            |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
        if tag.is_empty() || !tag.bytes().all(is_plain) {
            return Err(QemuError::Name(tag.to_owned()));
        }
        self.share = Some((tag.to_owned(), socket));
        Ok(())
    }

    fn has_room(&self) -> Result<(), QemuError> {
        let others = usize::from(self.network.is_some()) + usize::from(self.share.is_some());
        let count = self.served.len() + others + OWN_DEVICES;
        (count < DEVICES_MAX)
            .then_some(())
            .ok_or(QemuError::Devices)
    }

    /// Starts QEMU with the kernel, which waits for [`Running::resume`]. All that QEMU finds wrong, it has
    /// said by then.
    ///
    /// # Errors
    /// Why QEMU does not start, in its own words.
    pub fn start(self, boot: Boot) -> Result<Running, QemuError> {
        // There the kernel would not look for them.
        if boot.command_line.contains(" -- ") {
            return Err(QemuError::CommandLine);
        }
        running::start(self, boot)
    }
}

/// Descriptors for QEMU, by the numbers that it has them under.
#[derive(Debug, Default)]
struct Handed(Vec<OwnedFd>);

impl Handed {
    /// The number.
    fn add(&mut self, descriptor: OwnedFd) -> usize {
        self.0.push(descriptor);
        // Behind the three streams.
        self.0.len() + 2
    }

    /// A name that it can be opened by.
    fn add_file(&mut self, file: File) -> String {
        format!("/proc/self/fd/{}", self.add(file.into()))
    }
}

fn errno(error: &std::io::Error) -> Errno {
    Errno::from_io_error(error).unwrap_or(Errno::IO)
}
