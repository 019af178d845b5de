//! A vCPU as it is at its start: what CPUID says, and the registers. AMD64 Architecture Programmer's
//! Manual (APM) and Intel's Software Developer's Manual (SDM).

use kvm_bindings::{
    CpuId, KVM_CPUID_FLAG_SIGNIFCANT_INDEX, Msrs, kvm_cpuid_entry2, kvm_fpu, kvm_msr_entry,
    kvm_regs, kvm_segment, kvm_sregs,
};
use kvm_ioctls::VcpuFd;

use super::kvm::Vm;
use super::{MachineError, layout, refused};
use crate::boot::Entry;
use crate::boot::tables::{CODE_SEGMENT, DATA_SEGMENT, GDT_LIMIT, TASK_SEGMENT};

// MSRs.
const MISC_ENABLE: u32 = 0x1a0;
const FAST_STRINGS: u64 = 1;
const MTRR_DEFAULT: u32 = 0x2ff;
/// Enabled, write-back.
const WRITE_BACK: u64 = 1 << 11 | 6;

// Control registers.
const CR0_PE: u64 = 1;
const CR0_ET: u64 = 1 << 4;
const CR0_PG: u64 = 1 << 31;
const CR4_PAE: u64 = 1 << 5;
const EFER_LME: u64 = 1 << 8;
const EFER_LMA: u64 = 1 << 10;

/// The host's CPUID, for one of so many vCPUs.
pub(crate) fn cpuid(vm: &Vm, id: u8, vcpus: u8) -> Result<CpuId, MachineError> {
    let supported = vm.supported_cpuid()?;
    let mut entries: Vec<_> = supported.as_slice().to_vec();
    // What an index selects here is made anew below; what the host says of its own is of no use.
    let has_topology = entries.iter().any(|entry| entry.function == 0xb);
    entries.retain(|entry| !matches!(entry.function, 0xb | 0x1f));
    for entry in &mut entries {
        adapt(entry, id, vcpus, vm.has_deadline_timer());
    }
    if has_topology {
        entries.extend(topology(id, vcpus));
    }
    CpuId::from_entries(&entries).map_err(|_| MachineError::Cpuid)
}

fn adapt(entry: &mut kvm_cpuid_entry2, id: u8, vcpus: u8, has_deadline_timer: bool) {
    let (id, count) = (u32::from(id), u32::from(vcpus));
    match entry.function {
        // Features (SDM, table 3-8; APM, E.3.2). An APIC's id, how many there are, and a hypervisor.
        0x1 => {
            entry.ebx = entry.ebx & 0xffff | id << 24 | count << 16;
            entry.ecx |= 1 << 31;
            if has_deadline_timer {
                entry.ecx |= 1 << 24;
            }
            entry.edx = entry.edx & !(1 << 28) | u32::from(vcpus > 1) << 28;
        }
        // Caches of Intel's: those of the first two levels are each core's, the third is all cores'.
        0x4 if entry.eax & 0x1f != 0 => {
            let level = entry.eax >> 5 & 7;
            let sharing = if level >= 3 { ids(vcpus) - 1 } else { 0 };
            entry.eax = entry.eax & 0x3fff | sharing << 14 | (ids(vcpus) - 1) << 26;
        }
        // Counters of performance: KVM counts on the host's, which others on it could see.
        0xa => (entry.eax, entry.ebx, entry.ecx, entry.edx) = (0, 0, 0, 0),
        // Size of ids, and number of cores, of AMD's (APM, E.4.7).
        0x8000_0008 => {
            let bits = ids(vcpus).trailing_zeros();
            entry.ecx = entry.ecx & !0xf0ff | bits << 12 | (count - 1);
        }
        // Place among cores and nodes, of AMD's (APM, E.4.15): one thread a core, one node.
        0x8000_001e => (entry.eax, entry.ebx, entry.ecx) = (id, id, 0),
        _ => {}
    }
}

/// How many ids so many processors take: a power of two.
fn ids(vcpus: u8) -> u32 {
    u32::from(vcpus).next_power_of_two()
}

/// SDM, table 3-8, 0BH: one thread in a core, all cores in a package.
fn topology(id: u8, vcpus: u8) -> [kvm_cpuid_entry2; 3] {
    const THREAD: u32 = 1;
    const CORE: u32 = 2;
    let level = |index, shift, count: u32, kind| kvm_cpuid_entry2 {
        function: 0xb,
        index,
        flags: KVM_CPUID_FLAG_SIGNIFCANT_INDEX,
        eax: shift,
        ebx: count,
        ecx: kind << 8 | index,
        edx: id.into(),
        ..Default::default()
    };
    let shift = ids(vcpus).trailing_zeros();
    [
        level(0, 0, 1, THREAD),
        level(1, shift, vcpus.into(), CORE),
        level(2, 0, 0, 0),
    ]
}

/// All but where the first one begins.
pub(crate) fn prepare(vcpu: &VcpuFd, cpuid: &CpuId) -> Result<(), MachineError> {
    vcpu.set_cpuid2(cpuid).map_err(refused("KVM_SET_CPUID2"))?;
    let entry = |index, data| kvm_msr_entry {
        index,
        data,
        ..Default::default()
    };
    let entries = [
        entry(MISC_ENABLE, FAST_STRINGS),
        entry(MTRR_DEFAULT, WRITE_BACK),
    ];
    let msrs = Msrs::from_entries(&entries).map_err(|_| MachineError::Cpuid)?;
    vcpu.set_msrs(&msrs).map_err(refused("KVM_SET_MSRS"))?;
    let fpu = kvm_fpu {
        fcw: 0x37f,
        mxcsr: 0x1f80,
        ..Default::default()
    };
    vcpu.set_fpu(&fpu).map_err(refused("KVM_SET_FPU"))?;
    wire_interrupts(vcpu)
}

/// The local APIC's two lines: the old controller's interrupts, and what cannot be masked (SDM, 11.5.1).
fn wire_interrupts(vcpu: &VcpuFd) -> Result<(), MachineError> {
    const EXTERNAL: u32 = 7 << 8;
    const NON_MASKABLE: u32 = 4 << 8;
    const MODE: u32 = 7 << 8;
    let mut apic = vcpu.get_lapic().map_err(refused("KVM_GET_LAPIC"))?;
    for (at, mode) in [(0x350, EXTERNAL), (0x360, NON_MASKABLE)] {
        let register = &mut apic.regs[at..at + 4];
        let bytes = [register[0], register[1], register[2], register[3]];
        let value = u32::from_le_bytes(bytes.map(|byte| byte as u8)) & !MODE | mode;
        for (byte, new) in register.iter_mut().zip(value.to_le_bytes()) {
            *byte = new as _;
        }
    }
    vcpu.set_lapic(&apic).map_err(refused("KVM_SET_LAPIC"))
}

/// Where the first one begins; the others wait to be started by it.
pub(crate) fn enter(vcpu: &VcpuFd, entry: Entry) -> Result<(), MachineError> {
    let mut special = vcpu.get_sregs().map_err(refused("KVM_GET_SREGS"))?;
    set_segments(&mut special, entry);
    let mut regs = kvm_regs {
        // Always set.
        rflags: 2,
        ..Default::default()
    };
    match entry {
        Entry::Pvh { address } => {
            special.cr0 = CR0_PE | CR0_ET;
            regs.rip = address;
            regs.rbx = layout::START_INFO;
        }
        Entry::Long { address } => {
            special.cr0 = CR0_PE | CR0_ET | CR0_PG;
            special.cr3 = layout::PAGE_TABLES;
            special.cr4 = CR4_PAE;
            special.efer = EFER_LME | EFER_LMA;
            regs.rip = address;
            regs.rsi = layout::BOOT_PARAMETERS;
            regs.rsp = layout::STACK;
            regs.rbp = layout::STACK;
        }
    }
    vcpu.set_sregs(&special).map_err(refused("KVM_SET_SREGS"))?;
    vcpu.set_regs(&regs).map_err(refused("KVM_SET_REGS"))
}

/// As the descriptors in memory have them, which a CPU reads only when it loads a segment again.
fn set_segments(special: &mut kvm_sregs, entry: Entry) {
    let is_long = matches!(entry, Entry::Long { .. });
    let flat = |selector, kind| kvm_segment {
        limit: u32::MAX,
        selector,
        type_: kind,
        present: 1,
        s: 1,
        g: 1,
        db: 1,
        ..Default::default()
    };
    special.cs = kvm_segment {
        l: u8::from(is_long),
        db: u8::from(!is_long),
        ..flat(CODE_SEGMENT, 0xb)
    };
    let data = flat(DATA_SEGMENT, 0x3);
    for segment in [
        &mut special.ds,
        &mut special.es,
        &mut special.fs,
        &mut special.gs,
        &mut special.ss,
    ] {
        *segment = data;
    }
    special.tr = kvm_segment {
        limit: 0x67,
        selector: TASK_SEGMENT,
        type_: 0xb,
        present: 1,
        ..Default::default()
    };
    special.gdt.base = layout::GDT;
    special.gdt.limit = GDT_LIMIT;
    special.idt.limit = 0;
}
