//! Tables by which a kernel finds the machine's devices where it cannot be told of them on its command line,
//! as distributions' cannot: ACPI 6.4, hardware-reduced (4.1.1), so that there is nothing of a PC's power
//! management to emulate. Each device is one of `LNRO0005`, Linux's name for virtio-mmio
//! (drivers/virtio/virtio_mmio.c), with a page of registers and an interrupt.

use gamut_virtio::memory::{Memory, MemoryError};
use gamut_virtio::mmio::REGISTERS_BYTES;

use super::complement;
use crate::machine::layout::{
    ACPI, ACPI_BYTES_MAX, DEVICE_LINES, DEVICES, IO_APIC, LOCAL_APIC, SERIAL_LINE, SERIAL_PORT,
};

/// 5.2.6: signature, length, revision, checksum, and who made it.
const HEADER_BYTES: usize = 36;
const ROOT_BYTES: u64 = 36;

/// The tables for so many processors and devices, from [`ACPI`] on.
pub(super) fn write(memory: &Memory, vcpus: u8, devices: usize) -> Result<(), MemoryError> {
    let mut tables = Vec::new();
    let mut place = |table: Vec<u8>| {
        let at = ACPI + ROOT_BYTES + tables.len() as u64;
        tables.extend(table);
        at
    };
    let devices = place(differentiated(devices));
    let fixed = place(fixed(devices));
    let interrupts = place(interrupts(vcpus));
    let list = place(table(
        b"XSDT",
        1,
        &[fixed, interrupts].map(u64::to_le_bytes).concat(),
    ));
    let root = root(list);
    debug_assert!(root.len() + tables.len() <= ACPI_BYTES_MAX);
    memory.write(ACPI, &[root, tables].concat())
}

/// 5.2.5.3, the root pointer: it has two sums, the first over what version 1 had of it.
fn root(list: u64) -> Vec<u8> {
    let mut root = Vec::with_capacity(ROOT_BYTES as usize);
    root.extend(b"RSD PTR \0GAMUT \x02");
    root.extend(0_u32.to_le_bytes());
    root.extend((ROOT_BYTES as u32).to_le_bytes());
    root.extend(list.to_le_bytes());
    root.extend([0; 4]);
    root[8] = complement(&root[..20]);
    root[32] = complement(&root);
    root
}

fn table(signature: &[u8; 4], revision: u8, content: &[u8]) -> Vec<u8> {
    let length = HEADER_BYTES + content.len();
    let mut table = Vec::with_capacity(length);
    table.extend(signature);
    table.extend((length as u32).to_le_bytes());
    table.extend([revision, 0]);
    table.extend(b"GAMUT MICROVM ");
    table.extend(1_u32.to_le_bytes());
    table.extend(b"GAMT");
    table.extend(1_u32.to_le_bytes());
    table.extend(content);
    table[9] = complement(&table);
    table
}

/// 5.2.9.
fn fixed(differentiated: u64) -> Vec<u8> {
    const LENGTH: usize = 276;
    /// A serial port that is not only in here; no keyboard, no VGA, no clock of a PC.
    const BOOT_FLAGS: u16 = 1 | 1 << 2 | 1 << 5;
    const HARDWARE_REDUCED: u32 = 1 << 20;
    let mut content = vec![0; LENGTH - HEADER_BYTES];
    let mut put = |at: usize, bytes: &[u8]| {
        content[at - HEADER_BYTES..at - HEADER_BYTES + bytes.len()].copy_from_slice(bytes);
    };
    put(109, &BOOT_FLAGS.to_le_bytes());
    put(112, &HARDWARE_REDUCED.to_le_bytes());
    // Of version 6.4.
    put(131, &[4]);
    put(140, &differentiated.to_le_bytes());
    put(268, b"GAMUT\0\0\0");
    table(b"FACP", 6, &content)
}

/// 5.2.12.
fn interrupts(vcpus: u8) -> Vec<u8> {
    let mut content = Vec::new();
    content.extend(LOCAL_APIC.to_le_bytes());
    content.extend(0_u32.to_le_bytes());
    for id in 0..vcpus {
        // A processor's local APIC, enabled.
        content.extend([0, 8, id, id, 1, 0, 0, 0]);
    }
    content.extend([1, 12, vcpus, 0]);
    content.extend(IO_APIC.to_le_bytes());
    content.extend(0_u32.to_le_bytes());
    table(b"APIC", 5, &content)
}

/// 5.2.11.1: the devices, in AML (chapter 20).
fn differentiated(devices: usize) -> Vec<u8> {
    let mut content = Vec::new();
    // `PNP0501`, a 16550 (6.1.5 says how seven letters become four bytes).
    content.extend(device(
        *b"COM1",
        &[0x0c, 0x41, 0xd0, 0x05, 0x01],
        0,
        &[port(SERIAL_PORT), interrupt(SERIAL_LINE)].concat(),
    ));
    for (line, index) in DEVICE_LINES.iter().take(devices).zip(0_u8..) {
        let base = DEVICES + u64::from(index) * REGISTERS_BYTES;
        let digits = [b'0' + index / 10, b'0' + index % 10];
        content.extend(device(
            [b'V', b'M', digits[0], digits[1]],
            b"\x0dLNRO0005\0",
            index,
            // Both are below 4 GiB.
            &[
                registers(base as u32, REGISTERS_BYTES as u32),
                interrupt(*line),
            ]
            .concat(),
        ));
    }
    let scope = [b"\\_SB_", content.as_slice()].concat();
    table(b"DSDT", 2, &package(&[0x10], &scope))
}

/// `Device (name) { Name (_HID, id) Name (_UID, number) Name (_CRS, resources) }`
fn device(name: [u8; 4], id: &[u8], number: u8, resources: &[u8]) -> Vec<u8> {
    // The end's tag, with a sum that nobody checks.
    let resources = [resources, &[0x79, 0]].concat();
    let length = resources.len() as u8;
    let buffer = package(&[0x11], &[&[0x0a, length], resources.as_slice()].concat());
    let content = [
        name.as_slice(),
        b"\x08_HID",
        id,
        b"\x08_UID\x0a",
        &[number],
        b"\x08_CRS",
        &buffer,
    ];
    package(&[0x5b, 0x82], &content.concat())
}

/// An operator with the length of what belongs to it (20.2.4), which counts its own bytes.
fn package(operator: &[u8], content: &[u8]) -> Vec<u8> {
    let length = content.len();
    let length = match length {
        0..63 => vec![length as u8 + 1],
        // Its low four bits, then eight each; not more than the whole table can have.
        _ => {
            let length = length + 3;
            vec![
                0x80 | (length & 0xf) as u8,
                (length >> 4) as u8,
                (length >> 12) as u8,
            ]
        }
    };
    [operator, &length, content].concat()
}

/// 6.4.3.4: 32 bits, fixed, writable.
fn registers(base: u32, bytes: u32) -> Vec<u8> {
    let mut descriptor = vec![0x86, 9, 0, 1];
    descriptor.extend(base.to_le_bytes());
    descriptor.extend(bytes.to_le_bytes());
    descriptor
}

/// 6.4.3.6: consumed, by its edge, active high, not shared.
fn interrupt(line: u32) -> Vec<u8> {
    let mut descriptor = vec![0x89, 6, 0, 0b11, 1];
    descriptor.extend(line.to_le_bytes());
    descriptor
}

/// 6.4.2.5: eight ports, all sixteen bits decoded.
fn port(first: u16) -> Vec<u8> {
    let [low, high] = first.to_le_bytes();
    vec![0x47, 1, low, high, low, high, 1, 8]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::boot::processors::VCPUS_MAX;
    use gamut_virtio::memory::{Pages, Region};

    /// The tables by signature, each with its sum checked, from the root on.
    fn tables(vcpus: u8, devices: usize) -> Vec<(Vec<u8>, Vec<u8>)> {
        let region = Region {
            guest_base: 0,
            size_bytes: 2 << 20,
        };
        let memory = Memory::new(&[region], Pages::Base).unwrap();
        write(&memory, vcpus, devices).unwrap();
        let read = |at: u64, length: usize| {
            let mut bytes = vec![0; length];
            memory.read(at, &mut bytes).unwrap();
            bytes
        };
        let word = |at: u64| u64::from_le_bytes(read(at, 8).try_into().unwrap());
        let root = read(ACPI, 36);
        assert_eq!(complement(&root[..20]), 0);
        assert_eq!(complement(&root), 0);
        let whole = |at: u64| {
            let length = u32::from_le_bytes(read(at + 4, 4).try_into().unwrap());
            let table = read(at, length as usize);
            assert_eq!(complement(&table), 0);
            assert!(at + u64::from(length) <= ACPI + ACPI_BYTES_MAX as u64);
            (table[..4].to_vec(), table)
        };
        let list = word(ACPI + 24);
        let (fixed, interrupts) = (word(list + 36), word(list + 44));
        [list, fixed, interrupts, word(fixed + 140)]
            .map(whole)
            .to_vec()
    }

    #[test]
    fn every_table_is_found_and_adds_up() {
        for (vcpus, devices) in [(1, 0), (VCPUS_MAX, DEVICE_LINES.len())] {
            let tables = tables(vcpus, devices);
            let names: Vec<&[u8]> = tables.iter().map(|(name, _)| name.as_slice()).collect();
            assert_eq!(names, [b"XSDT", b"FACP", b"APIC", b"DSDT"]);
            let devices_text = tables[3].1.windows(8).filter(|text| text == b"LNRO0005");
            assert_eq!(devices_text.count(), devices);
            assert_eq!(tables[2].1.len(), 36 + 8 + usize::from(vcpus) * 8 + 12);
        }
    }

    #[test]
    fn lengths_count_themselves() {
        assert_eq!(package(&[0x10], &[7; 62])[..2], [0x10, 63]);
        assert_eq!(package(&[0x10], &[7; 63])[..4], [0x10, 0x82, 4, 0]);
        assert_eq!(
            package(&[0x10], &vec![7; 0x1233])[..4],
            [0x10, 0x86, 0x23, 1]
        );
    }
}
