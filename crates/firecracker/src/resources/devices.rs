//! Devices with files, sockets and interfaces of the host's: drives, network cards, persistent memory, vsock.

use std::fs::{File, OpenOptions};
use std::os::unix::net::UnixListener;

use rustix::io::Errno;

use super::error::{ControlError, DeviceError, DriveError, NetworkError, PmemError, VsockError};
use super::{DriveEntry, NetworkEntry, Resources, VsockEntry};
use crate::machine::{Backend, Limits, Machine};
use crate::model::{
    Drive, DriveUpdate, IoEngine, Network, NetworkUpdate, Pmem, RateLimiter, Vsock,
};

/// The least MTU of IPv4; RFC 791, 3.2.
const MTU_MIN: u16 = 68;
/// `VMADDR_CID_ANY`.
const CID_ANY: u32 = u32::MAX;

impl Resources {
    /// Adds a drive, or replaces the one of its name.
    pub(crate) fn set_drive(&mut self, drive: Drive) -> Result<(), ControlError> {
        let known = self.position(&drive.drive_id);
        if drive.is_root_device {
            if self.pmem.iter().any(|pmem| pmem.root_device) {
                return Err(DriveError::SecondRoot.into());
            }
            let has_root = self
                .drives
                .first()
                .is_some_and(|first| first.config.is_root_device);
            if has_root && known != Some(0) {
                return Err(DriveError::RootExists.into());
            }
        }
        let is_root = drive.is_root_device;
        let entry = open_drive(drive)?;
        match known {
            None if is_root => self.drives.insert(0, entry),
            None => self.drives.push(entry),
            Some(index) => {
                self.drives[index] = entry;
                if is_root {
                    self.drives.swap(0, index);
                }
            }
        }
        Ok(())
    }

    fn position(&self, id: &str) -> Option<usize> {
        self.drives
            .iter()
            .position(|drive| drive.config.drive_id == id)
    }

    /// Changes a drive of a running machine.
    pub(crate) fn update_drive(
        &mut self,
        machine: &mut dyn Machine,
        update: DriveUpdate,
    ) -> Result<(), DriveError> {
        let index = self
            .position(&update.drive_id)
            .ok_or(DeviceError::NotFound)?;
        let entry = &mut self.drives[index];
        // Firecracker takes the path first, and takes the limits even if it says no.
        if let Some(path) = update.path_on_host {
            let is_read_only = entry.config.is_read_only == Some(true);
            let opened =
                open_image(&path, is_read_only).and_then(|file| Ok((file.try_clone()?, file)));
            let (file, copy) = opened.map_err(|source| DeviceError::File {
                path: path.clone(),
                source,
            })?;
            let replaced = machine.replace_drive(&update.drive_id, file);
            replaced.map_err(DeviceError::Machine)?;
            entry.file = copy;
            entry.config.path_on_host = Some(path);
        }
        if let Some(limiter) = update.rate_limiter {
            let new = changed(entry.config.rate_limiter, Some(limiter));
            let limited = machine.limit_drive(&update.drive_id, limits(new));
            limited.map_err(DeviceError::Machine)?;
            entry.config.rate_limiter = new;
        }
        Ok(())
    }

    /// Adds a card, or replaces the one of its name.
    pub(crate) fn set_network(
        &mut self,
        backend: &dyn Backend,
        network: Network,
    ) -> Result<(), NetworkError> {
        if let Some(mac) = network.guest_mac {
            let is_taken = self.networks.iter().any(|other| {
                other.config.guest_mac == Some(mac) && other.config.iface_id != network.iface_id
            });
            if is_taken {
                return Err(NetworkError::MacInUse(mac.to_string()));
            }
        }
        if let Some(mtu) = network.mtu.filter(|mtu| *mtu < MTU_MIN) {
            return Err(NetworkError::Mtu(mtu));
        }
        let id = &network.iface_id;
        let known = self
            .networks
            .iter()
            .position(|card| card.config.iface_id == *id);
        // The old one goes first: it may have the same TAP device, which is open only once.
        if let Some(index) = known {
            self.networks.remove(index);
        }
        let name = &network.host_dev_name;
        let tap = backend.open_tap(name).map_err(|source| match source {
            Errno::INVAL if name.is_empty() || name.len() > 15 => NetworkError::Name,
            source => NetworkError::Tap {
                name: name.clone(),
                source,
            },
        })?;
        let config = Network {
            rx_rate_limiter: network.rx_rate_limiter.and_then(RateLimiter::effective),
            tx_rate_limiter: network.tx_rate_limiter.and_then(RateLimiter::effective),
            ..network
        };
        let place = known.unwrap_or(self.networks.len());
        self.networks.insert(place, NetworkEntry { config, tap });
        Ok(())
    }

    /// Changes the limits of a running machine's card.
    pub(crate) fn update_network(
        &mut self,
        machine: &mut dyn Machine,
        update: &NetworkUpdate,
    ) -> Result<(), NetworkError> {
        let mut cards = self.networks.iter_mut();
        let card = cards.find(|card| card.config.iface_id == update.iface_id);
        let config = &mut card.ok_or(DeviceError::NotFound)?.config;
        let receive = changed(config.rx_rate_limiter, update.rx_rate_limiter);
        let transmit = changed(config.tx_rate_limiter, update.tx_rate_limiter);
        let limited = machine.limit_network(&update.iface_id, limits(receive), limits(transmit));
        limited.map_err(DeviceError::Machine)?;
        config.rx_rate_limiter = receive;
        config.tx_rate_limiter = transmit;
        Ok(())
    }

    /// Adds persistent memory, or replaces the one of its name.
    pub(crate) fn set_pmem(&mut self, pmem: Pmem) -> Result<(), ControlError> {
        if pmem.rate_limiter.and_then(RateLimiter::effective).is_some() {
            return Err(ControlError::NotSupported(
                "a rate limiter of a pmem device",
            ));
        }
        if pmem.root_device
            && self
                .drives
                .first()
                .is_some_and(|first| first.config.is_root_device)
        {
            return Err(PmemError::SecondRoot.into());
        }
        let is_other_root = |other: &Pmem| other.root_device && other.id != pmem.id;
        if pmem.root_device && self.pmem.iter().any(is_other_root) {
            return Err(PmemError::RootExists.into());
        }
        match self.pmem.iter_mut().find(|known| known.id == pmem.id) {
            Some(known) => *known = pmem,
            None => self.pmem.push(pmem),
        }
        Ok(())
    }

    /// Binds the socket; one that was bound here before goes first.
    pub(crate) fn set_vsock(&mut self, vsock: Vsock) -> Result<(), VsockError> {
        if u64::from(vsock.guest_cid) < gamut_virtio::vsock::FIRST_GUEST_CID
            || vsock.guest_cid == CID_ANY
        {
            return Err(VsockError::Cid(vsock.guest_cid));
        }
        self.vsock = None;
        let listener = UnixListener::bind(&vsock.uds_path).map_err(VsockError::Bind)?;
        // From here on the name goes with the entry.
        let entry = VsockEntry {
            config: Vsock {
                vsock_id: None,
                ..vsock
            },
            listener,
        };
        entry
            .listener
            .set_nonblocking(true)
            .map_err(VsockError::Bind)?;
        self.vsock = Some(entry);
        Ok(())
    }
}

/// What a limiter becomes by an update: what that does not name stays.
fn changed(old: Option<RateLimiter>, update: Option<RateLimiter>) -> Option<RateLimiter> {
    let new = match update {
        Some(update) => old.unwrap_or_default().updated(update),
        None => old?,
    };
    new.effective()
}

pub(super) fn limits(limiter: Option<RateLimiter>) -> Limits {
    limiter.unwrap_or_default().limits()
}

fn open_drive(drive: Drive) -> Result<DriveEntry, ControlError> {
    let has_virtio_fields = drive.is_read_only.is_some()
        || drive.path_on_host.is_some()
        || drive.rate_limiter.is_some()
        || drive.io_engine.is_some();
    let path = match (&drive.path_on_host, &drive.socket) {
        (Some(path), None) => path.clone(),
        (None, Some(_)) if !has_virtio_fields => {
            return Err(ControlError::NotSupported(
                "drives that another process serves (vhost-user)",
            ));
        }
        _ => return Err(DriveError::Invalid.into()),
    };
    let is_read_only = drive.is_read_only.unwrap_or(false);
    let file =
        open_image(&path, is_read_only).map_err(|source| DriveError::File { path, source })?;
    let config = Drive {
        is_read_only: Some(is_read_only),
        rate_limiter: drive.rate_limiter.and_then(RateLimiter::effective),
        io_engine: Some(drive.io_engine.unwrap_or(IoEngine::Sync)),
        ..drive
    };
    Ok(DriveEntry { config, file })
}

fn open_image(path: &str, is_read_only: bool) -> std::io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(!is_read_only)
        .open(path)
}
