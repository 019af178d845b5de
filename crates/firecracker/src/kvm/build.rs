//! A blueprint becomes a machine.

use std::os::fd::OwnedFd;
use std::sync::{Arc, Mutex};

use gamut_virtio::balloon::{Balloon, Rubber, Statistics};
use gamut_virtio::block::{self, Block};
use gamut_virtio::entropy::Entropy;
use gamut_virtio::memory;
use gamut_virtio::mmio::Mmio;
use gamut_virtio::net::detour::{Detour, Neighbour};
use gamut_virtio::net::{Card, Link, Net};
use gamut_virtio::pmem::Stores;
use gamut_virtio::rate::{Limit, Limiter};
use gamut_virtio::vsock::{UnixSockets, Vsock};
use gamut_vmm::boot::{Boot, Discovery, Loading};
use gamut_vmm::machine::{Machine, Size};
use gamut_vmm::seccomp::Filter;
use rustix::fs::{FileType, Mode, OFlags};
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};

use super::{Confinement, PAGES_PER_MIB, of_fault};
use crate::machine::{
    Access, BalloonPart, Blueprint, Cache, DrivePart, MachineError, NetworkPart, Pages, VsockPart,
};
use crate::mmds::guest;

/// The devices that can be told something later, by their names.
#[derive(Debug)]
pub(super) struct Devices {
    pub(super) drives: Vec<(String, Arc<Mutex<Mmio<Block>>>)>,
    pub(super) networks: Vec<(String, Arc<Mutex<Mmio<Net>>>)>,
    pub(super) balloon: Option<Arc<Mutex<Mmio<Balloon>>>>,
}

/// What the threads are confined by.
#[derive(Debug)]
pub(super) struct Filters {
    pub(super) vcpu: Filter,
    pub(super) devices: Filter,
}

impl Filters {
    pub(super) fn new(confinement: Confinement) -> Result<Self, MachineError> {
        Ok(match confinement {
            Confinement::Filtered => Self {
                vcpu: Filter::vcpu().map_err(MachineError::new)?,
                devices: Filter::event_loop().map_err(MachineError::new)?,
            },
            Confinement::Free => Self {
                vcpu: Filter::none(),
                devices: Filter::none(),
            },
        })
    }
}

/// The machine, with its kernel in place. Devices are in Firecracker's order.
pub(super) fn build(blueprint: Blueprint) -> Result<(Machine, Devices), MachineError> {
    let size = Size {
        vcpus: blueprint.vcpus,
        memory_mib: blueprint.memory_mib,
        pages: match blueprint.pages {
            Pages::Base => memory::Pages::Base,
            Pages::Huge => memory::Pages::Huge,
        },
    };
    let serial = match blueprint.serial {
        Some(file) => OwnedFd::from(file),
        None => standard_output().map_err(MachineError::new)?,
    };
    let mut machine = Machine::new(size, Some(serial)).map_err(|error| of_fault(&error))?;
    let mut devices = Devices {
        drives: Vec::new(),
        networks: Vec::new(),
        balloon: None,
    };
    let attached = |error| of_fault(&error);
    if let Some(part) = blueprint.balloon {
        let device = balloon(part);
        devices.balloon = Some(machine.attach("balloon", device).map_err(attached)?);
    }
    for part in blueprint.drives {
        let (id, name) = (part.id.clone(), format!("block_{}", part.id));
        let device = drive(part).map_err(MachineError::new)?;
        let device = machine.attach(&name, device).map_err(attached)?;
        devices.drives.push((id, device));
    }
    for part in blueprint.networks {
        let (id, name) = (part.id.clone(), format!("net_{}", part.id));
        let device = network(part).map_err(MachineError::new)?;
        let device = machine.attach(&name, device).map_err(attached)?;
        devices.networks.push((id, device));
    }
    for part in blueprint.pmem {
        let stores = match part.access {
            Access::ReadOnly => Stores::NotKept,
            Access::ReadWrite => Stores::Kept,
        };
        let name = format!("pmem_{}", part.id);
        machine
            .attach_pmem(&name, part.file, stores)
            .map_err(attached)?;
    }
    if let Some(part) = blueprint.vsock {
        let device = vsock(part).map_err(MachineError::new)?;
        machine.attach("vsock", device).map_err(attached)?;
    }
    if let Some(limits) = blueprint.entropy {
        let device = Entropy::new(limiter(limits).map_err(MachineError::new)?);
        machine.attach("entropy", device).map_err(attached)?;
    }
    machine.plug_keyboard().map_err(attached)?;
    let boot = Boot {
        kernel: blueprint.kernel,
        initramfs: blueprint.initrd,
        command_line: blueprint.command_line,
        discovery: Discovery::CommandLine,
        kernel_loading: Loading::Read,
        initramfs_loading: Loading::Read,
    };
    machine.load(boot).map_err(|error| of_fault(&error))?;
    Ok((machine, devices))
}

/// Standard output for the serial port, which sets it to not block. A terminal or a FIFO is opened anew for
/// that: others have the same open file, and would find it so.
fn standard_output() -> Result<OwnedFd, Errno> {
    let output = rustix::stdio::stdout();
    let kind = FileType::from_raw_mode(rustix::fs::fstat(output)?.st_mode);
    if matches!(kind, FileType::CharacterDevice | FileType::Fifo) {
        let flags = OFlags::WRONLY | OFlags::NONBLOCK | OFlags::NOCTTY | OFlags::CLOEXEC;
        let opened = rustix::fs::open(c"/proc/self/fd/1", flags, Mode::empty());
        if let Ok(opened) = opened {
            return Ok(opened);
        }
    }
    rustix::io::fcntl_dupfd_cloexec(output, 3)
}

fn limiter(limits: [Limit; 2]) -> Result<Limiter, Errno> {
    let [bytes, operations] = limits;
    Limiter::new(bytes, operations)
}

fn drive(part: DrivePart) -> Result<Block, Errno> {
    Block::new(block::Disk {
        image: part.file.into(),
        access: match part.access {
            Access::ReadOnly => block::Access::ReadOnly,
            Access::ReadWrite => block::Access::ReadWrite,
        },
        cache: match part.cache {
            Cache::Unsafe => block::Cache::Unsafe,
            Cache::Writeback => block::Cache::Writeback,
        },
        id: part.id,
        queues: 1,
        limiter: limiter(part.limits)?,
    })
}

fn network(part: NetworkPart) -> Result<Net, Errno> {
    let metadata = part.metadata.map(|(address, mmds)| {
        let mut seed = [0; 8];
        // Up to 256 bytes come at once; getrandom(2).
        getrandom(&mut seed[..], GetRandomFlags::empty())?;
        Detour::new(Neighbour {
            mac: guest::MAC,
            address,
            port: guest::PORT,
            mtu: part.mtu,
            seed: u64::from_ne_bytes(seed),
            service: Box::new(guest::Guest(mmds)),
        })
    });
    Ok(Net::new(Card {
        link: Link::Tap(part.tap),
        mac: part.mac,
        mtu: part.mtu,
        receive_limiter: limiter(part.receive_limits)?,
        transmit_limiter: limiter(part.transmit_limits)?,
        detour: metadata.transpose()?,
    }))
}

fn vsock(part: VsockPart) -> Result<Vsock, Errno> {
    let peer = UnixSockets::new(part.path, part.listener);
    Vsock::new(part.guest_cid.into(), Box::new(peer))
}

fn balloon(part: BalloonPart) -> Balloon {
    Balloon::new(Rubber {
        target_pages: part.target_mib.saturating_mul(PAGES_PER_MIB),
        out_of_memory: part.out_of_memory,
        reporting: part.reporting,
        statistics: if part.interval_s > 0 {
            Statistics::Wanted
        } else {
            Statistics::Unwanted
        },
    })
}
