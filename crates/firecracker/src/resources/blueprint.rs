//! Parts become a blueprint.

use std::fs::OpenOptions;
use std::io;

use gamut_virtio::balloon::{OutOfMemory, Reporting};

use super::command_line::{self, Root};
use super::devices::limits;
use super::error::StartError;
use super::{DriveEntry, NetworkEntry, Resources, VsockEntry};
use crate::log::open_sink;
use crate::machine::{
    Access, BalloonPart, Blueprint, Cache, DrivePart, NetworkPart, Pages, PmemPart, VsockPart,
};
use crate::model::{Balloon, CacheType, DEFAULT_COMMAND_LINE, HugePages, Pmem};

impl Resources {
    /// A blueprint with descriptors of its own.
    pub(crate) fn blueprint(&self) -> Result<Blueprint, StartError> {
        let boot = self.boot.as_ref().ok_or(StartError::NoKernel)?;
        let arguments = boot
            .source
            .boot_args
            .as_deref()
            .unwrap_or(DEFAULT_COMMAND_LINE);
        let serial = self.serial.serial_out_path.as_ref().map(|path| {
            open_sink(path).map_err(|source| StartError::Open {
                path: path.display().to_string(),
                source,
            })
        });
        Ok(Blueprint {
            vcpus: self.machine.vcpu_count,
            memory_mib: self.machine.mem_size_mib,
            pages: match self.machine.huge_pages {
                HugePages::Huge => Pages::Huge,
                HugePages::None | HugePages::Transparent => Pages::Base,
            },
            kernel: boot.kernel.try_clone()?,
            initrd: boot
                .initrd
                .as_ref()
                .map(|file| file.try_clone())
                .transpose()?,
            command_line: command_line::complete(arguments, self.root().as_ref())?,
            drives: self.drives.iter().map(drive).collect::<Result<_, _>>()?,
            networks: self
                .networks
                .iter()
                .map(|card| self.network(card))
                .collect::<Result<_, _>>()?,
            pmem: self
                .pmem
                .iter()
                .map(pmem)
                .collect::<Result<_, _>>()
                .map_err(StartError::Pmem)?,
            vsock: self.vsock.as_ref().map(vsock).transpose()?,
            balloon: self.balloon.as_ref().map(balloon),
            entropy: self
                .entropy
                .as_ref()
                .map(|entropy| limits(entropy.rate_limiter)),
            serial: serial.transpose()?,
        })
    }

    fn root(&self) -> Option<Root> {
        if let Some(first) = self
            .drives
            .first()
            .filter(|first| first.config.is_root_device)
        {
            return Some(Root {
                device: match &first.config.partuuid {
                    Some(uuid) => format!("PARTUUID={uuid}"),
                    None => "/dev/vda".to_owned(),
                },
                access: access(first.config.is_read_only == Some(true)),
            });
        }
        let index = self.pmem.iter().position(|pmem| pmem.root_device)?;
        Some(Root {
            device: format!("/dev/pmem{index}"),
            access: access(self.pmem[index].read_only),
        })
    }

    fn network(&self, card: &NetworkEntry) -> io::Result<NetworkPart> {
        let config = &card.config;
        let metadata = self.mmds_config.as_ref().and_then(|mmds| {
            let is_on = mmds.network_interfaces.contains(&config.iface_id);
            let store = self.mmds.as_ref().filter(|_| is_on)?;
            Some((mmds.ipv4_address?, store.clone()))
        });
        Ok(NetworkPart {
            id: config.iface_id.clone(),
            tap: card.tap.try_clone()?,
            mac: config.guest_mac.map(|mac| mac.0),
            mtu: config.mtu,
            receive_limits: limits(config.rx_rate_limiter),
            transmit_limits: limits(config.tx_rate_limiter),
            metadata,
        })
    }
}

fn access(is_read_only: bool) -> Access {
    if is_read_only {
        Access::ReadOnly
    } else {
        Access::ReadWrite
    }
}

fn drive(entry: &DriveEntry) -> io::Result<DrivePart> {
    Ok(DrivePart {
        id: entry.config.drive_id.clone(),
        file: entry.file.try_clone()?,
        access: access(entry.config.is_read_only == Some(true)),
        cache: match entry.config.cache_type {
            CacheType::Unsafe => Cache::Unsafe,
            CacheType::Writeback => Cache::Writeback,
        },
        limits: limits(entry.config.rate_limiter),
    })
}

fn pmem(config: &Pmem) -> io::Result<PmemPart> {
    let mut options = OpenOptions::new();
    let file = options
        .read(true)
        .write(!config.read_only)
        .open(&config.path_on_host)?;
    Ok(PmemPart {
        id: config.id.clone(),
        file,
        access: access(config.read_only),
    })
}

fn vsock(entry: &VsockEntry) -> io::Result<VsockPart> {
    Ok(VsockPart {
        guest_cid: entry.config.guest_cid,
        listener: entry.listener.try_clone()?,
        path: entry.config.uds_path.clone().into(),
    })
}

fn balloon(balloon: &Balloon) -> BalloonPart {
    BalloonPart {
        target_mib: balloon.amount_mib,
        out_of_memory: if balloon.deflate_on_oom {
            OutOfMemory::Deflate
        } else {
            OutOfMemory::Keep
        },
        reporting: if balloon.free_page_reporting {
            Reporting::Free
        } else {
            Reporting::Nothing
        },
        interval_s: balloon.stats_polling_interval_s,
    }
}
