//! The parts of a machine that is not yet there: what was asked for, checked, with its files open. In the
//! end they are a [`Blueprint`](crate::machine::Blueprint) (`blueprint`).

mod blueprint;
mod command_line;
mod devices;
pub mod error;

use std::fs::File;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixListener;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::mmds::{Form, Mmds};
use crate::model::{
    Balloon, BootSource, CpuConfig, CpuTemplate, Drive, Entropy, FullConfig, HugePages, Machine,
    MachineUpdate, MemoryHotplug, MmdsConfig, Network, Pmem, Serial, VCPUS_MAX, Vsock,
};
pub use command_line::COMMAND_LINE_BYTES_MAX;
use error::{
    BalloonError, BootError, ControlError, MachineConfigError, MemoryHotplugError, MmdsConfigError,
};

/// All parts.
#[derive(Debug)]
pub struct Resources {
    instance: String,
    machine: Machine,
    boot: Option<Boot>,
    /// The root device is the first one.
    drives: Vec<DriveEntry>,
    networks: Vec<NetworkEntry>,
    pmem: Vec<Pmem>,
    vsock: Option<VsockEntry>,
    balloon: Option<Balloon>,
    entropy: Option<Entropy>,
    serial: Serial,
    mmds: Option<Arc<Mutex<Mmds>>>,
    mmds_config: Option<MmdsConfig>,
    mmds_bytes_max: usize,
}

#[derive(Debug)]
struct Boot {
    source: BootSource,
    kernel: File,
    initrd: Option<File>,
}

#[derive(Debug)]
struct DriveEntry {
    config: Drive,
    file: File,
}

#[derive(Debug)]
struct NetworkEntry {
    config: Network,
    tap: OwnedFd,
}

#[derive(Debug)]
struct VsockEntry {
    config: Vsock,
    listener: UnixListener,
}

impl Drop for VsockEntry {
    fn drop(&mut self) {
        // It was bound here.
        let _ = std::fs::remove_file(&self.config.uds_path);
    }
}

impl Resources {
    /// None, but for the machine's default size.
    #[must_use]
    pub fn new(instance: &str, mmds_bytes_max: usize) -> Self {
        Self {
            instance: instance.to_owned(),
            machine: Machine::default(),
            boot: None,
            drives: Vec::new(),
            networks: Vec::new(),
            pmem: Vec::new(),
            vsock: None,
            balloon: None,
            entropy: None,
            serial: Serial::default(),
            mmds: None,
            mmds_config: None,
            mmds_bytes_max,
        }
    }

    pub(crate) fn machine(&self) -> &Machine {
        &self.machine
    }

    pub(crate) fn balloon(&self) -> Option<&Balloon> {
        self.balloon.as_ref()
    }

    pub(crate) fn balloon_mut(&mut self) -> Option<&mut Balloon> {
        self.balloon.as_mut()
    }

    pub(crate) fn update_machine(&mut self, update: &MachineUpdate) -> Result<(), ControlError> {
        let updated = updated(&self.machine, update)?;
        let inflated = self
            .balloon
            .as_ref()
            .map_or(0, |balloon| balloon.amount_mib);
        if updated.mem_size_mib < inflated {
            return Err(MachineConfigError::Balloon.into());
        }
        self.machine = updated;
        Ok(())
    }

    pub(crate) fn set_boot(&mut self, source: BootSource) -> Result<(), BootError> {
        let kernel = File::open(&source.kernel_image_path).map_err(BootError::Kernel)?;
        let initrd = source.initrd_path.as_ref().map(File::open).transpose();
        let initrd = initrd.map_err(BootError::Initrd)?;
        if let Some(arguments) = &source.boot_args {
            command_line::check(arguments)?;
        }
        self.boot = Some(Boot {
            source,
            kernel,
            initrd,
        });
        Ok(())
    }

    pub(crate) fn set_balloon(&mut self, balloon: Balloon) -> Result<(), ControlError> {
        if balloon.free_page_hinting {
            return Err(ControlError::NotSupported(
                "free page hinting; free page reporting does the same without being asked",
            ));
        }
        if balloon.amount_mib > self.machine.mem_size_mib {
            return Err(BalloonError::TooLarge.into());
        }
        self.balloon = Some(balloon);
        Ok(())
    }

    pub(crate) fn set_entropy(&mut self, entropy: Entropy) {
        let rate_limiter = entropy.rate_limiter.and_then(|limiter| limiter.effective());
        self.entropy = Some(Entropy { rate_limiter });
    }

    pub(crate) fn set_serial(&mut self, serial: Serial) -> Result<(), ControlError> {
        if serial.rate_limiter.is_some() {
            return Err(ControlError::NotSupported(
                "a rate limiter of the serial device",
            ));
        }
        self.serial = serial;
        Ok(())
    }

    pub(crate) fn set_cpu_config(&mut self, config: &CpuConfig) -> Result<(), ControlError> {
        if *config == CpuConfig::default() {
            Ok(())
        } else {
            Err(ControlError::NotSupported("custom CPU templates"))
        }
    }

    /// Checks it, so that what is wrong is said first.
    pub(crate) fn set_memory_hotplug(
        &mut self,
        memory: &MemoryHotplug,
    ) -> Result<(), ControlError> {
        check_memory_hotplug(memory)?;
        Err(ControlError::NotSupported(
            "memory that is plugged in (virtio-mem)",
        ))
    }

    /// The document of the metadata service, which is made when it is first asked for.
    pub(crate) fn mmds(&mut self) -> Result<MutexGuard<'_, Mmds>, MmdsConfigError> {
        if self.mmds.is_none() {
            let mmds = Mmds::new(self.mmds_bytes_max)?;
            self.mmds = Some(Arc::new(Mutex::new(mmds)));
        }
        // A thread that panicked has left a whole document: it is replaced in one step.
        let mmds = self.mmds.as_ref().map(|mmds| mmds.lock());
        mmds.map(|mmds| mmds.unwrap_or_else(PoisonError::into_inner))
            .ok_or(MmdsConfigError::Store(rustix::io::Errno::NOENT))
    }

    /// The same, if a guest can reach it.
    pub(crate) fn reachable_mmds(&mut self) -> Result<MutexGuard<'_, Mmds>, ControlError> {
        if self.mmds_config.is_none() {
            return Err(ControlError::Mmds(crate::mmds::MmdsError::NotInitialized));
        }
        Ok(self.mmds()?)
    }

    pub(crate) fn set_mmds_config(&mut self, config: MmdsConfig) -> Result<(), MmdsConfigError> {
        let address = config.ipv4_address.unwrap_or(MmdsConfig::ADDRESS);
        // RFC 3927, 2.1: the first and the last 256 addresses are reserved.
        if !matches!(address.octets(), [169, 254, 1..=254, _]) {
            return Err(MmdsConfigError::Address);
        }
        if config.network_interfaces.is_empty() {
            return Err(MmdsConfigError::NoInterfaces);
        }
        let is_known = |id: &String| {
            self.networks
                .iter()
                .any(|known| known.config.iface_id == *id)
        };
        if !config.network_interfaces.iter().all(is_known) {
            return Err(MmdsConfigError::Interface);
        }
        let form = if config.imds_compat {
            Form::Ec2
        } else {
            Form::Accepted
        };
        let instance = self.instance.clone();
        self.mmds()?.configure(config.version, form, &instance);
        self.mmds_config = Some(MmdsConfig {
            ipv4_address: Some(address),
            ..config
        });
        Ok(())
    }

    /// All of it as one document.
    #[must_use]
    pub fn config(&self) -> FullConfig {
        let boot = self.boot.as_ref().map(|boot| boot.source.clone());
        FullConfig {
            balloon: self.balloon.clone(),
            drives: self
                .drives
                .iter()
                .map(|drive| drive.config.clone())
                .collect(),
            boot_source: boot.unwrap_or_default(),
            cpu_config: None,
            logger: None,
            machine_config: Some(self.machine.clone()),
            metrics: None,
            mmds_config: self.mmds_config.clone(),
            network_interfaces: self
                .networks
                .iter()
                .map(|card| card.config.clone())
                .collect(),
            vsock: self.vsock.as_ref().map(|vsock| vsock.config.clone()),
            entropy: self.entropy.clone(),
            pmem: self.pmem.clone(),
            memory_hotplug: None,
        }
    }
}

fn updated(machine: &Machine, update: &MachineUpdate) -> Result<Machine, ControlError> {
    let new = Machine {
        vcpu_count: update.vcpu_count.unwrap_or(machine.vcpu_count),
        mem_size_mib: update.mem_size_mib.unwrap_or(machine.mem_size_mib),
        smt: update.smt.unwrap_or(machine.smt),
        cpu_template: None,
        track_dirty_pages: update
            .track_dirty_pages
            .unwrap_or(machine.track_dirty_pages),
        huge_pages: update.huge_pages.unwrap_or(machine.huge_pages),
    };
    let count = new.vcpu_count;
    if count == 0 || count > VCPUS_MAX || (new.smt && count > 1 && count % 2 == 1) {
        return Err(MachineConfigError::Vcpus.into());
    }
    let unit_mib = match new.huge_pages {
        HugePages::None => 1,
        HugePages::Transparent | HugePages::Huge => 2,
    };
    if new.mem_size_mib == 0 || !new.mem_size_mib.is_multiple_of(unit_mib) {
        return Err(MachineConfigError::Memory.into());
    }
    match update.cpu_template {
        None | Some(CpuTemplate::None) => Ok(new),
        Some(_) => Err(ControlError::NotSupported("CPU templates")),
    }
}

fn check_memory_hotplug(memory: &MemoryHotplug) -> Result<(), MemoryHotplugError> {
    const BLOCK_MIN_MIB: u32 = 2;
    const SLOT_MIN_MIB: u32 = 128;
    let (block, slot, total) = (
        memory.block_size_mib,
        memory.slot_size_mib,
        memory.total_size_mib,
    );
    if block < BLOCK_MIN_MIB {
        return Err(MemoryHotplugError::SmallBlock(BLOCK_MIN_MIB));
    }
    if !block.is_power_of_two() {
        return Err(MemoryHotplugError::BlockPower);
    }
    if slot < SLOT_MIN_MIB {
        return Err(MemoryHotplugError::SmallSlot(SLOT_MIN_MIB));
    }
    if !slot.is_multiple_of(block) {
        return Err(MemoryHotplugError::SlotMultiple(block));
    }
    if total < slot {
        return Err(MemoryHotplugError::SmallTotal(slot));
    }
    if !total.is_multiple_of(slot) {
        return Err(MemoryHotplugError::TotalMultiple(slot));
    }
    Ok(())
}
