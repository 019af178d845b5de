//! The virtual machine as KVM has it: memory slots, interrupt controllers, and eventfds tied to both
//! directions. The one file of the room with `unsafe`: KVM is given memory by its address, files are mapped
//! for it, and eventfds are given by their number. Source: the kernel's `Documentation/virt/kvm/api.rst`.
#![allow(unsafe_code)]

use std::os::fd::{BorrowedFd, FromRawFd, IntoRawFd};

use gamut_virtio::memory::{Memory, Region};
use gamut_virtio::mmio::QUEUE_NOTIFY;
use gamut_virtio::pmem::Stores;
use kvm_bindings::{
    CpuId, KVM_MAX_CPUID_ENTRIES, KVM_MEM_READONLY, KVM_PIT_SPEAKER_DUMMY, kvm_pit_config,
    kvm_userspace_memory_region,
};
use kvm_ioctls::{Cap, IoEventAddress, Kvm, VcpuFd, VmFd};
use rustix::io::Errno;
use rustix::mm::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap};
use vmm_sys_util::eventfd::EventFd;

use super::{MachineError, layout, refused};

/// A virtual machine without vCPUs, and what may be asked of its host.
#[derive(Debug)]
pub(crate) struct Vm {
    kvm: Kvm,
    // Before the memory, which its slots point at.
    vm: VmFd,
    memory: Memory,
    files: Vec<Mapped>,
}

/// A file that a guest has as memory, with zeroes after its end. This process never looks at it.
#[derive(Debug)]
struct Mapped {
    address: usize,
    bytes: usize,
}

impl Mapped {
    fn new(
        file: BorrowedFd<'_>,
        file_bytes: usize,
        stores: Stores,
        bytes: usize,
    ) -> Result<Self, Errno> {
        let (access, sharing) = match stores {
            Stores::Kept => (ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED),
            Stores::NotKept => (ProtFlags::READ, MapFlags::PRIVATE),
        };
        // SAFETY: a mapping at an address that the kernel chooses touches no other.
        let address =
            unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, access, MapFlags::PRIVATE) }?;
        let mapped = Mapped {
            address: address as usize,
            bytes,
        };
        // SAFETY: it replaces the beginning of the mapping above, which is at least as long and nobody's yet.
        unsafe {
            mmap(
                address,
                file_bytes.min(bytes),
                access,
                sharing | MapFlags::FIXED,
                file,
                0,
            )
        }?;
        Ok(mapped)
    }
}

impl Drop for Mapped {
    fn drop(&mut self) {
        // SAFETY: the mapping is this value's own, no reference points into it, and the VM whose slot does
        // is dropped before.
        let _ = unsafe { munmap(self.address as *mut _, self.bytes) };
    }
}

impl Vm {
    /// With interrupt controllers and a timer, as every PC has them.
    pub(crate) fn new(memory: Memory) -> Result<Self, MachineError> {
        let kvm = Kvm::new().map_err(MachineError::Open)?;
        let vm = kvm.create_vm().map_err(refused("KVM_CREATE_VM"))?;
        for (mapping, slot) in memory.mappings().zip(0..) {
            let region = kvm_userspace_memory_region {
                slot,
                flags: 0,
                guest_phys_addr: mapping.region.guest_base,
                memory_size: mapping.region.size_bytes,
                userspace_addr: mapping.host_address,
            };
            // The memory is in `self`, and dropped after the VM.
            set_slot(&vm, region)?;
        }
        vm.set_tss_address(layout::TASK_STATE)
            .map_err(refused("KVM_SET_TSS_ADDR"))?;
        vm.create_irq_chip()
            .map_err(refused("KVM_CREATE_IRQCHIP"))?;
        // Somebody reads the port of the speaker to see the timer tick.
        let timer = kvm_pit_config {
            flags: KVM_PIT_SPEAKER_DUMMY,
            ..Default::default()
        };
        vm.create_pit2(timer).map_err(refused("KVM_CREATE_PIT2"))?;
        Ok(Self {
            kvm,
            vm,
            memory,
            files: Vec::new(),
        })
    }

    /// Gives the guest a file of `file_bytes` as memory; `region` is at least as long.
    pub(crate) fn add_file(
        &mut self,
        file: BorrowedFd<'_>,
        file_bytes: u64,
        stores: Stores,
        region: Region,
    ) -> Result<(), MachineError> {
        let bytes = |bytes: u64| usize::try_from(bytes).map_err(|_| Errno::FBIG);
        let mapped = Mapped::new(file, bytes(file_bytes)?, stores, bytes(region.size_bytes)?)?;
        let flags = match stores {
            Stores::Kept => 0,
            Stores::NotKept => KVM_MEM_READONLY,
        };
        let slots = self.memory.mappings().count() + self.files.len();
        let slot = kvm_userspace_memory_region {
            slot: u32::try_from(slots).unwrap_or(u32::MAX),
            flags,
            guest_phys_addr: region.guest_base,
            memory_size: region.size_bytes,
            userspace_addr: mapped.address as u64,
        };
        // Kept from here on, and dropped after the VM.
        self.files.push(mapped);
        set_slot(&self.vm, slot)
    }

    pub(crate) fn memory(&self) -> &Memory {
        &self.memory
    }

    pub(crate) fn create_vcpu(&self, id: u8) -> Result<VcpuFd, MachineError> {
        self.vm
            .create_vcpu(id.into())
            .map_err(refused("KVM_CREATE_VCPU"))
    }

    pub(crate) fn supported_cpuid(&self) -> Result<CpuId, MachineError> {
        self.kvm
            .get_supported_cpuid(KVM_MAX_CPUID_ENTRIES)
            .map_err(refused("KVM_GET_SUPPORTED_CPUID"))
    }

    /// Whether a local APIC's timer can be set to a moment of the time-stamp counter.
    pub(crate) fn has_deadline_timer(&self) -> bool {
        self.kvm.check_extension(Cap::TscDeadlineTimer)
    }

    /// Whoever adds to `event` interrupts the guest on this line.
    pub(crate) fn tie_interrupt(
        &self,
        event: BorrowedFd<'_>,
        line: u32,
    ) -> Result<(), MachineError> {
        self.vm
            .register_irqfd(&same(event)?, line)
            .map_err(refused("KVM_IRQFD"))
    }

    /// A guest that notifies this queue of the device at `base` adds to `event`.
    pub(crate) fn tie_notifier(
        &self,
        event: BorrowedFd<'_>,
        base: u64,
        queue: u32,
    ) -> Result<(), MachineError> {
        let address = IoEventAddress::Mmio(base + QUEUE_NOTIFY);
        let event = same(event)?;
        self.vm
            .register_ioevent(&event, &address, queue)
            .map_err(refused("KVM_IOEVENTFD"))
    }
}

/// What `slot` names stays mapped for as long as `vm` is, and is no Rust reference's: the caller sees to it.
fn set_slot(vm: &VmFd, slot: kvm_userspace_memory_region) -> Result<(), MachineError> {
    // SAFETY: the guest reads and writes these bytes for as long as the machine is. Both callers keep the
    // mapping in the `Vm`, which drops it after the VM, and no Rust reference points to it.
    let set = unsafe { vm.set_user_memory_region(slot) };
    set.map_err(refused("KVM_SET_USER_MEMORY_REGION"))
}

/// As the type that the crate wants.
fn same(event: BorrowedFd<'_>) -> Result<EventFd, MachineError> {
    let copy = event.try_clone_to_owned().map_err(MachineError::Host)?;
    // SAFETY: from_raw_fd needs an open descriptor that nobody else owns; `copy` has just given it up.
    Ok(unsafe { EventFd::from_raw_fd(copy.into_raw_fd()) })
}
