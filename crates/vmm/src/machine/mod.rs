//! A machine on KVM: memory, vCPUs, a serial port, and devices of the room `virtio`, each with a page of
//! registers and an interrupt line of its own.
//!
//! [`Machine::new`] makes it, [`Machine::attach`] plugs in devices, [`Machine::load`] puts the kernel where
//! it belongs, [`Machine::start`] lets the vCPUs run, each on a thread. Their devices are served by whoever
//! owns the machine: it waits for [`Running::events`] and calls [`Running::dispatch`]. That is one epoll set
//! inside whatever the owner waits with. (The crate `event-manager` has a loop that owns the program, with
//! a trait object for each subscriber; a device here says what it waits for, and that is an epoll set.)

mod bus;
pub(crate) mod cpu;
mod events;
mod keyboard;
pub(crate) mod kvm;
pub(crate) mod layout;
mod serial;
mod vcpu;

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use gamut_spec::fault::{Fault, Kind};
use gamut_virtio::device::{Counter, Device};
use gamut_virtio::memory::{HUGE_PAGE_BYTES, Memory, MemoryError, Pages, Region};
use gamut_virtio::mmio::{Mmio, REGISTERS_BYTES};
use gamut_virtio::pmem::{Pmem, Stores};
use kvm_ioctls::VcpuFd;
use rustix::io::Errno;

use crate::boot::{self, Boot, BootError, Discovery, Inventory, Loading};
use crate::seccomp::Filter;
use bus::{Bus, Shared};
use keyboard::Keyboard;
use kvm::Vm;
use serial::Serial;
use vcpu::{Gate, Threads};

pub use crate::boot::processors::VCPUS_MAX;
pub use events::Running;

/// The most devices that a machine may have.
pub const DEVICES_MAX: usize = layout::DEVICE_LINES.len();
/// The least memory, in MiB: a kernel begins at the first one's end.
pub const MEMORY_MIB_MIN: u32 = 2;
/// The most memory, in MiB: 1 TiB.
pub const MEMORY_MIB_MAX: u32 = 1 << 20;

/// How large a machine is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Size {
    /// 1 to [`VCPUS_MAX`].
    pub vcpus: u8,
    /// With [`Pages::Huge`], an even number.
    pub memory_mib: u32,
    pub pages: Pages,
}

/// How a guest ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It has reset the machine, by the keyboard controller or the chip set: how Linux goes down, with
    /// `reboot=k`.
    Reset,
    /// An exception in the handling of an exception in the handling of one: a broken guest, or Linux that
    /// goes down with `reboot=t`.
    TripleFault,
    /// KVM cannot go on.
    Broken { what: &'static str },
}

/// Why there is no such machine.
#[derive(Debug, thiserror::Error)]
pub enum MachineError {
    #[error("cannot open `/dev/kvm`: {0}")]
    Open(#[source] kvm_ioctls::Error),
    #[error("{vcpus} vCPUs are not between 1 and {VCPUS_MAX}")]
    Vcpus { vcpus: u8 },
    #[error("{memory_mib} MiB of memory are not what a machine can have")]
    Size { memory_mib: u32 },
    #[error(transparent)]
    Memory(#[from] MemoryError),
    #[error("more than {DEVICES_MAX} devices")]
    Devices,
    #[error("a file that is to be memory is empty")]
    EmptyFile,
    #[error(transparent)]
    Boot(#[from] BootError),
    #[error("KVM refuses {call}: {source}")]
    Kvm {
        call: &'static str,
        source: kvm_ioctls::Error,
    },
    #[error("KVM has more CPUID entries than it can be told")]
    Cpuid,
    #[error("the host is short of descriptors or threads")]
    Host(#[source] std::io::Error),
}

/// Of this call, as `map_err` wants it.
fn refused(call: &'static str) -> impl Fn(kvm_ioctls::Error) -> MachineError {
    move |source| MachineError::Kvm { call, source }
}

impl From<Errno> for MachineError {
    fn from(error: Errno) -> Self {
        Self::Host(error.into())
    }
}

impl Fault for MachineError {
    fn kind(&self) -> Kind {
        match self {
            Self::Open(_) | Self::Kvm { .. } => Kind::HostLacks,
            Self::Vcpus { .. } | Self::Size { .. } | Self::Devices | Self::EmptyFile => {
                Kind::Invalid
            }
            Self::Memory(_) | Self::Host(_) => Kind::Unavailable,
            Self::Boot(error) => error.kind(),
            Self::Cpuid => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::Open(error) if error.errno() == libc::EACCES => {
                Some("add your user to the group `kvm`".to_owned())
            }
            Self::Open(_) => Some("load the module `kvm-intel` or `kvm-amd`".to_owned()),
            Self::Boot(error) => error.hint(),
            _ => None,
        }
    }
}

/// A machine that has not begun.
#[derive(Debug)]
pub struct Machine {
    size: Size,
    vcpus: Vec<VcpuFd>,
    names: Vec<String>,
    devices: Vec<Shared>,
    serial: Serial,
    keyboard: Option<Keyboard>,
    /// Where the next file begins that the guest has as memory.
    beyond: u64,
    // After the vCPUs.
    vm: Vm,
}

impl Machine {
    /// Memory and vCPUs, with a serial port that writes to `serial`; it is set to not block, and what it
    /// does not take is lost.
    ///
    /// # Errors
    /// What is wrong with the size, or what the host lacks.
    pub fn new(size: Size, serial: Option<OwnedFd>) -> Result<Self, MachineError> {
        let Size {
            vcpus,
            memory_mib,
            pages,
        } = size;
        if !(1..=VCPUS_MAX).contains(&vcpus) {
            return Err(MachineError::Vcpus { vcpus });
        }
        let size_bytes = u64::from(memory_mib) << 20;
        let is_whole = pages == Pages::Base || size_bytes.is_multiple_of(HUGE_PAGE_BYTES);
        if !(MEMORY_MIB_MIN..=MEMORY_MIB_MAX).contains(&memory_mib) || !is_whole {
            return Err(MachineError::Size { memory_mib });
        }
        let memory = Memory::new(&layout::regions(size_bytes), pages)?;
        let vm = Vm::new(memory)?;
        let serial = Serial::new(serial)?;
        vm.tie_interrupt(serial.event(), layout::SERIAL_LINE)?;
        let vcpus: Result<Vec<_>, MachineError> = (0..vcpus)
            .map(|id| {
                let vcpu = vm.create_vcpu(id)?;
                cpu::prepare(&vcpu, &cpu::cpuid(&vm, id, vcpus)?)?;
                Ok(vcpu)
            })
            .collect();
        Ok(Self {
            size,
            vcpus: vcpus?,
            names: Vec::new(),
            devices: Vec::new(),
            serial,
            keyboard: None,
            beyond: layout::beyond(size_bytes),
            vm,
        })
    }

    /// The guest's memory.
    #[must_use]
    pub fn memory(&self) -> &Memory {
        self.vm.memory()
    }

    /// Plugs in a device, behind those that are there; the guest finds them in this order. `name` is what
    /// its counters go by.
    ///
    /// # Errors
    /// There is no room for another, or the host has no more descriptors.
    pub fn attach<D: Device + 'static>(
        &mut self,
        name: &str,
        device: D,
    ) -> Result<Arc<Mutex<Mmio<D>>>, MachineError> {
        let index = self.devices.len();
        let line = layout::DEVICE_LINES.get(index);
        let line = *line.ok_or(MachineError::Devices)?;
        let base = layout::DEVICES + index as u64 * REGISTERS_BYTES;
        let mmio = Mmio::new(device, self.vm.memory().clone())?;
        self.vm.tie_interrupt(mmio.interrupt_line(), line)?;
        for (notifier, queue) in mmio.notifiers().zip(0..) {
            self.vm.tie_notifier(notifier, base, queue)?;
        }
        let mmio = Arc::new(Mutex::new(mmio));
        self.names.push(name.to_owned());
        self.devices.push(Arc::clone(&mmio) as Shared);
        Ok(mmio)
    }

    /// Plugs in a file as persistent memory: the guest's loads and stores are the host's page cache's. It is as
    /// long as the file, and zeroes to a whole 2 MiB, which Linux wants.
    ///
    /// # Errors
    /// The file is empty or cannot be mapped, or as [`Self::attach`].
    pub fn attach_pmem(
        &mut self,
        name: &str,
        file: File,
        stores: Stores,
    ) -> Result<(), MachineError> {
        let file_bytes = file.metadata().map_err(MachineError::Host)?.len();
        if file_bytes == 0 {
            return Err(MachineError::EmptyFile);
        }
        let region = Region {
            guest_base: self.beyond,
            size_bytes: file_bytes.next_multiple_of(HUGE_PAGE_BYTES),
        };
        self.vm.add_file(file.as_fd(), file_bytes, stores, region)?;
        self.beyond += region.size_bytes;
        let pmem = Pmem::new(file, stores, region.guest_base, region.size_bytes);
        self.attach(name, pmem).map(drop)
    }

    /// Plugs in a keyboard, for [`Running::press_ctrl_alt_del`]. A kernel takes a while to look for its like.
    ///
    /// # Errors
    /// The host has no more descriptors.
    pub fn plug_keyboard(&mut self) -> Result<(), MachineError> {
        let keyboard = Keyboard::new()?;
        self.vm
            .tie_interrupt(keyboard.event(), layout::KEYBOARD_LINE)?;
        self.keyboard = Some(keyboard);
        Ok(())
    }

    /// Puts a kernel where it belongs, and the first vCPU before it. The command line gets what the kernel
    /// needs to find the devices that are attached by now.
    ///
    /// # Errors
    /// What is wrong with the kernel, or that there is too little memory.
    pub fn load(&mut self, mut boot: Boot) -> Result<(), MachineError> {
        boot.command_line = self.command_line(&boot);
        let machine = Inventory {
            size_bytes: u64::from(self.size.memory_mib) << 20,
            vcpus: self.size.vcpus,
            devices: self.devices.len(),
        };
        let entry = boot::load(&boot, self.vm.memory(), machine)?;
        match self.vcpus.first() {
            Some(vcpu) => cpu::enter(vcpu, entry),
            None => Ok(()),
        }
    }

    /// That there is no PCI, so that a kernel does not look for it; without ACPI the same of that, and each
    /// device as `virtio_mmio.device=SIZE@BASE:LINE`; before what is the first process's.
    ///
    /// An initial file system that is not the guest's own memory is not freed (kernel-parameters.txt): its
    /// pages would be used for devices then.
    fn command_line(&self, boot: &Boot) -> String {
        let line = &boot.command_line;
        let (kernel, rest) = match line.find(" -- ") {
            Some(at) => line.split_at(at),
            None => (&**line, ""),
        };
        let keep = match boot.initramfs_loading {
            Loading::Read => "",
            Loading::Shown => " retain_initrd",
        };
        if boot.discovery == Discovery::Acpi {
            return format!("{kernel} pci=off{keep}{rest}");
        }
        let mut whole = format!("{kernel} acpi=off pci=off{keep}");
        let lines = layout::DEVICE_LINES.iter().take(self.devices.len());
        for (line, index) in lines.zip(0..) {
            let base = layout::DEVICES + index * REGISTERS_BYTES;
            whole.push_str(&format!(" virtio_mmio.device=4K@{base:#x}:{line}"));
        }
        whole + rest
    }

    /// Makes the threads of the vCPUs, under `filter` from their first instruction on. They wait for
    /// [`Running::resume`].
    ///
    /// # Errors
    /// The host has no more threads or descriptors.
    pub fn start(self, filter: &Filter) -> Result<Running, MachineError> {
        let gate = Gate::new()?;
        let bus = Arc::new(Bus {
            devices: self.devices,
            serial: Mutex::new(self.serial),
            keyboard: self.keyboard.map(Mutex::new),
        });
        let threads = Threads::spawn(&gate, self.vcpus, &bus, filter)?;
        Running::new(threads, gate, bus, self.names, self.vm)
    }
}

/// Of the vCPUs, as of a device.
fn counters(gate: &Gate) -> Vec<Counter> {
    let exits = &gate.exits;
    vec![
        ("port_exits", exits.ports.load(Ordering::Relaxed)),
        ("register_exits", exits.registers.load(Ordering::Relaxed)),
        ("other_exits", exits.others.load(Ordering::Relaxed)),
    ]
}
