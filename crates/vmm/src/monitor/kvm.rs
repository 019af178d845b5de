//! A machine on KVM, as a monitor is told.

use std::os::fd::BorrowedFd;
use std::sync::{Arc, Mutex, PoisonError};

use gamut_spec::fault::{Fault, Kind};
use gamut_virtio::balloon::{Balloon, OutOfMemory, Reporting, Rubber, Statistics};
use gamut_virtio::entropy::Entropy;
use gamut_virtio::mmio::Mmio;
use gamut_virtio::net::{Card, Link, Net};
use gamut_virtio::rate::Limiter;
use gamut_virtio::vhost_user::front::{Remote, RemoteError};
use gamut_virtio::vsock::{FIRST_GUEST_CID, Vsock};
use rustix::io::Errno;

use super::control::{Control, Parts};
use super::disk::{self, DiskError};
use super::{Guest, metrics, runs_already, size};
use crate::boot::Boot;
use crate::machine::{End, Machine, MachineError, Running};
use crate::seccomp::Filter;
use crate::wire::{Answer, Command, MachineConfig, Network, Pages};

/// Pages of the balloon in a MiB.
const PAGES_PER_MIB: u32 = 256;

/// Why there is no such machine.
#[derive(Debug, thiserror::Error)]
pub(super) enum BuildError {
    #[error(transparent)]
    Machine(#[from] MachineError),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the host is short of descriptors")]
    Host(#[from] Errno),
    #[error("the share cannot be served")]
    Share(#[from] RemoteError),
    #[error("the kernel refuses the vCPUs' filter: {0}")]
    Filter(#[from] seccompiler::Error),
}

impl Fault for BuildError {
    fn kind(&self) -> Kind {
        match self {
            Self::Machine(error) => error.kind(),
            Self::Disk(error) => error.kind(),
            Self::Share(RemoteError::Tag(_)) => Kind::Invalid,
            Self::Share(_) | Self::Host(_) => Kind::Unavailable,
            Self::Filter(_) => Kind::HostLacks,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Machine(error) => error.hint(),
            _ => None,
        }
    }
}

/// A machine that has not begun.
#[derive(Debug)]
pub(super) struct Built {
    machine: Machine,
    balloon: Arc<Mutex<Mmio<Balloon>>>,
}

/// One that has.
#[derive(Debug)]
pub(super) struct Started {
    running: Running,
    balloon: Arc<Mutex<Mmio<Balloon>>>,
}

pub(super) fn build(
    config: &MachineConfig,
    parts: Parts,
    control: &Control,
) -> Result<Built, BuildError> {
    let mut machine = Machine::new(size(config), Some(parts.serial))?;
    for (disk, files) in parts.disks {
        let name = format!("disk:{}", disk.serial);
        machine.attach(&name, disk::block(disk, files)?)?;
    }
    if let (Some(network), Some(tap)) = (config.network, parts.tap) {
        machine.attach("network", net(network, Link::Tap(tap))?)?;
    }
    let peer = Box::new(control.clone());
    machine.attach("vsock", Vsock::new(FIRST_GUEST_CID, peer)?)?;
    machine.attach("entropy", Entropy::new(Limiter::unlimited()?))?;
    if let (Some(tag), Some(socket)) = (&config.share, parts.share) {
        machine.attach("share", Remote::fs(tag, socket)?)?;
    }
    let balloon = Balloon::new(Rubber {
        target_pages: 0,
        out_of_memory: OutOfMemory::Deflate,
        reporting: match config.pages {
            Pages::Base => Reporting::Free,
            // They are never given back.
            Pages::Huge => Reporting::Nothing,
        },
        statistics: Statistics::Unwanted,
    });
    let balloon = machine.attach("balloon", balloon)?;
    machine.load(Boot {
        kernel: parts.kernel,
        initramfs: Some(parts.initramfs),
        command_line: config.command_line.clone(),
        discovery: config.discovery,
        kernel_loading: config.kernel_loading,
        initramfs_loading: config.initramfs_loading,
    })?;
    Ok(Built { machine, balloon })
}

fn net(network: Network, link: Link) -> Result<Net, Errno> {
    Ok(Net::new(Card {
        link,
        mac: Some(network.mac),
        mtu: Some(network.mtu),
        receive_limiter: Limiter::unlimited()?,
        transmit_limiter: Limiter::unlimited()?,
        detour: None,
    }))
}

impl Built {
    /// With the vCPUs' threads, which wait.
    pub(super) fn start(self) -> Result<Started, BuildError> {
        Ok(Started {
            running: self.machine.start(&Filter::vcpu()?)?,
            balloon: self.balloon,
        })
    }
}

impl Guest for Started {
    fn events(&self) -> BorrowedFd<'_> {
        self.running.events()
    }

    fn dispatch(&mut self) -> Result<Option<End>, Errno> {
        self.running.dispatch()
    }

    fn command(&mut self, command: &Command) -> Answer {
        match command {
            Command::Pause => self.running.pause(),
            Command::Resume => self.running.resume(),
            Command::Balloon { mib } => {
                let balloon = self.balloon.lock();
                let mut balloon = balloon.unwrap_or_else(PoisonError::into_inner);
                let pages = mib.saturating_mul(PAGES_PER_MIB);
                balloon.device_mut().set_target(pages);
            }
            Command::Metrics => return metrics(self.running.metrics()),
            Command::Boot(_) | Command::Stream { .. } => return runs_already(),
        }
        Answer::Done
    }
}
