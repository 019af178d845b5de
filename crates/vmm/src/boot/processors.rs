//! The table of processors and interrupts: Intel's MultiProcessor Specification, version 1.4, chapter 4.
//!
//! It is all that a kernel needs to know of this machine: without ACPI there is nothing to interpret at
//! each boot, and a kernel may be built without it.

use gamut_virtio::memory::{Memory, MemoryError};

use super::complement;
use crate::machine::layout::{
    IO_APIC, LINES, LOCAL_APIC, PROCESSOR_TABLE, PROCESSOR_TABLE_BYTES_MAX,
};

/// The most processors that the table has room for, and a machine therefore.
pub const VCPUS_MAX: u8 = 32;

const POINTER_BYTES: usize = 16;
const HEADER_BYTES: usize = 44;
const PROCESSOR_BYTES: usize = 20;
const ENTRY_BYTES: usize = 8;
const VERSION: u8 = 4;
/// One bus, the I/O APIC, its lines, and two local ones.
const OTHER_ENTRIES: usize = 1 + 1 + LINES as usize + 2;

const _: () = assert!(
    POINTER_BYTES
        + HEADER_BYTES
        + VCPUS_MAX as usize * PROCESSOR_BYTES
        + OTHER_ENTRIES * ENTRY_BYTES
        <= PROCESSOR_TABLE_BYTES_MAX
);

pub(super) fn write(memory: &Memory, vcpus: u8) -> Result<(), MemoryError> {
    // At most 1 KiB.
    let table_at = PROCESSOR_TABLE as u32 + POINTER_BYTES as u32;
    let mut pointer = Vec::with_capacity(POINTER_BYTES);
    pointer.extend(b"_MP_");
    pointer.extend(table_at.to_le_bytes());
    // Its length in 16 bytes, the version, the sum, and no default configuration.
    pointer.extend([1, VERSION, 0, 0, 0, 0, 0, 0]);
    pointer[10] = complement(&pointer);
    memory.write(PROCESSOR_TABLE, &pointer)?;
    memory.write(table_at.into(), &table(vcpus))
}

fn table(vcpus: u8) -> Vec<u8> {
    let entries = entries(vcpus);
    let mut table = Vec::with_capacity(HEADER_BYTES + entries.len());
    table.extend(b"PCMP");
    table.extend(((HEADER_BYTES + entries.len()) as u16).to_le_bytes());
    table.extend([VERSION, 0]);
    table.extend(b"GAMUT   MICROVM     ");
    // No table of the maker's.
    table.extend([0; 6]);
    let count = u16::from(vcpus) + OTHER_ENTRIES as u16;
    table.extend(count.to_le_bytes());
    table.extend(LOCAL_APIC.to_le_bytes());
    table.extend([0; 4]);
    table.extend(entries);
    table[7] = complement(&table);
    table
}

fn entries(vcpus: u8) -> Vec<u8> {
    const ENABLED: u8 = 1;
    const FIRST: u8 = 2;
    const INTERRUPT: u8 = 0;
    const NON_MASKABLE: u8 = 1;
    const EXTERNAL: u8 = 3;
    const EVERY: u8 = 0xff;
    let mut entries = Vec::new();
    for id in 0..vcpus {
        let flags = if id == 0 { ENABLED | FIRST } else { ENABLED };
        // A local APIC of version 0x14; family 6; with FPU and APIC.
        entries.extend([0, id, 0x14, flags, 0, 6, 0, 0, 0x01, 0x02, 0, 0]);
        entries.extend([0; 8]);
    }
    entries.extend(b"\x01\0ISA   ");
    let io_apic = vcpus;
    entries.extend([2, io_apic, 0x11, ENABLED]);
    entries.extend(IO_APIC.to_le_bytes());
    for line in 0..LINES {
        // Edge-triggered, as the bus is; on the line of its number.
        entries.extend([3, INTERRUPT, 0, 0, 0, line, io_apic, line]);
    }
    entries.extend([4, EXTERNAL, 0, 0, 0, 0, 0, 0]);
    entries.extend([4, NON_MASKABLE, 0, 0, 0, 0, EVERY, 1]);
    entries
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_zero_and_lengths_are_told() {
        for vcpus in [1, 2, VCPUS_MAX] {
            let table = table(vcpus);
            let sum = table.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
            assert_eq!(sum, 0);
            let length = u16::from_le_bytes([table[4], table[5]]);
            assert_eq!(usize::from(length), table.len());
            let expected = HEADER_BYTES + usize::from(vcpus) * 20 + OTHER_ENTRIES * 8;
            assert_eq!(table.len(), expected);
        }
    }
}
