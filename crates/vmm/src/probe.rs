//! Whether there is a KVM to use: by what it does, not by what it is called. Some hosts have one that
//! emulates all code in ring 0, instruction by instruction and not every one of them: small programs run,
//! and no kernel does. It takes some milliseconds.

use gamut_virtio::memory::{Memory, Pages};
use kvm_ioctls::VcpuExit;

use crate::boot::Entry;
use crate::boot::tables;
use crate::machine::{MachineError, cpu, kvm::Vm, layout};

/// What a host has of KVM.
#[derive(Debug)]
pub enum Support {
    /// A kernel will run.
    Usable,
    /// There is no `/dev/kvm`.
    Missing,
    /// `/dev/kvm` may not be opened.
    Denied,
    /// It emulates ring 0, and stops at what it does not know.
    EmulatesRing0,
    /// It fails otherwise.
    Broken(MachineError),
}

/// In long mode, at the top of privileges: `popcnt eax, eax`, `out 0x80, al`, `hlt`.
const PROGRAM: [u8; 7] = [0xf3, 0x0f, 0xb8, 0xc0, 0xe6, 0x80, 0xf4];

/// Tries a program that every processor of today knows, and emulators do not.
#[must_use]
pub fn probe() -> Support {
    match run() {
        Ok(true) => Support::Usable,
        Ok(false) => Support::EmulatesRing0,
        Err(MachineError::Open(error)) => match error.errno() {
            libc::EACCES | libc::EPERM => Support::Denied,
            libc::ENOENT | libc::ENODEV | libc::ENXIO => Support::Missing,
            _ => Support::Broken(MachineError::Open(error)),
        },
        Err(error) => Support::Broken(error),
    }
}

/// Whether the program came to its second instruction.
fn run() -> Result<bool, MachineError> {
    let memory = Memory::new(&layout::regions(2 << 20), Pages::Base)?;
    tables::write_segments(&memory)?;
    tables::write_pages(&memory)?;
    memory.write(layout::HIGH_MEMORY, &PROGRAM)?;
    let vm = Vm::new(memory)?;
    let mut vcpu = vm.create_vcpu(0)?;
    cpu::prepare(&vcpu, &cpu::cpuid(&vm, 0, 1)?)?;
    let address = layout::HIGH_MEMORY;
    cpu::enter(&vcpu, Entry::Long { address })?;
    Ok(matches!(vcpu.run(), Ok(VcpuExit::IoOut(..))))
}
