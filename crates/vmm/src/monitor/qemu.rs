//! A machine in QEMU, as a monitor is told.

use std::os::fd::BorrowedFd;

use gamut_spec::fault::{Fault, Kind};
use gamut_virtio::vsock::{FIRST_GUEST_CID, Vsock};
use rustix::io::Errno;

use super::control::{Control, Parts};
use super::disk::{self, DiskError};
use super::{Guest, metrics, refusal, runs_already, size};
use crate::boot::Boot;
use crate::machine::End;
use crate::qemu::{Machine, Program, QemuError, Running};
use crate::wire::{Answer, Command, MachineConfig};

/// Why there is no such machine.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error(transparent)]
    Qemu(#[from] QemuError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the host is short of descriptors")]
    Host(#[from] Errno),
}

impl Fault for BuildError {
    fn kind(&self) -> Kind {
        match self {
            Self::Qemu(error) => error.kind(),
            Self::Disk(error) => error.kind(),
            Self::Host(_) => Kind::Unavailable,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Qemu(error) => error.hint(),
            Self::Disk(error) => error.hint(),
            Self::Host(_) => None,
        }
    }
}

/// Starts QEMU. Its guest waits.
pub(super) fn start(
    program: &Program,
    config: &MachineConfig,
    parts: Parts,
    control: &Control,
) -> Result<Running, BuildError> {
    let mut machine = Machine::new(program.clone(), size(config), Some(parts.serial))?;
    for (disk, files) in parts.disks {
        let name = format!("disk:{}", disk.serial);
        machine.attach(&name, disk::block(disk, files)?)?;
    }
    if let (Some(network), Some(tap)) = (config.network, parts.tap) {
        machine.attach_network(network, tap)?;
    }
    let peer = Box::new(control.clone());
    machine.attach("vsock", Vsock::new(FIRST_GUEST_CID, peer)?)?;
    if let (Some(tag), Some(socket)) = (&config.share, parts.share) {
        machine.attach_share(tag, socket)?;
    }
    Ok(machine.start(Boot {
        kernel: parts.kernel,
        initramfs: Some(parts.initramfs),
        command_line: config.command_line.clone(),
        discovery: config.discovery,
        kernel_loading: config.kernel_loading,
        initramfs_loading: config.initramfs_loading,
    })?)
}

impl Guest for Running {
    fn events(&self) -> BorrowedFd<'_> {
        Running::events(self)
    }

    fn dispatch(&mut self) -> Result<Option<End>, Errno> {
        match Running::dispatch(self) {
            Ok(end) => Ok(end),
            Err(error) => {
                // Nobody asked, so there is nobody to answer.
                eprintln!("gamut-monitor: {error}");
                Ok(Some(End::Broken {
                    what: "QEMU cannot be served",
                }))
            }
        }
    }

    fn command(&mut self, command: &Command) -> Answer {
        let done = match command {
            Command::Pause => self.pause(),
            Command::Resume => self.resume(),
            Command::Balloon { mib } => self.balloon(*mib),
            Command::Metrics => return metrics(Running::metrics(self)),
            Command::Boot(_) | Command::Stream { .. } => return runs_already(),
        };
        match done {
            Ok(()) => Answer::Done,
            Err(error) => refusal(&error),
        }
    }
}
