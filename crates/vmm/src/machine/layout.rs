//! Where everything is in a guest's physical address space.
//!
//! Below the first MiB is what the kernel is told at its start, and dead afterwards, but for the table of
//! processors. Memory ends below 3 GiB and goes on at 4 GiB; in the gap are the devices, and the
//! interrupt controllers where every PC has them.

use gamut_virtio::memory::Region;

/// The segments' descriptors.
pub(crate) const GDT: u64 = 0x500;
/// `struct hvm_start_info`, then what it points at.
pub(crate) const START_INFO: u64 = 0x6000;
/// `struct boot_params`, one page.
pub(crate) const BOOT_PARAMETERS: u64 = 0x7000;
/// The top of the stack that a kernel finds.
pub(crate) const STACK: u64 = 0x8ff0;
/// Page tables: one page of the fourth level, one of the third, four of the second.
pub(crate) const PAGE_TABLES: u64 = 0x9000;
/// The kernel's command line.
pub(crate) const COMMAND_LINE: u64 = 0x2_0000;
/// With its zero at the end: `COMMAND_LINE_SIZE` of Linux on x86.
pub(crate) const COMMAND_LINE_BYTES_MAX: usize = 2048;
/// The end of base memory, where a kernel looks for the table of processors (639 KiB).
pub(crate) const PROCESSOR_TABLE: u64 = 0x9_fc00;
/// How much room there is for it.
pub(crate) const PROCESSOR_TABLE_BYTES_MAX: usize = 1024;
/// Where ACPI's tables begin: where a kernel looks for their root, too, in what was a PC's firmware.
pub(crate) const ACPI: u64 = 0xe_0000;
pub(crate) const ACPI_BYTES_MAX: usize = 8192;
/// The first MiB ends here.
pub(crate) const HIGH_MEMORY: u64 = 0x10_0000;

/// Where the gap in memory begins and ends.
const GAP: u64 = 0xc000_0000;
const GAP_END: u64 = 1 << 32;
/// The first device's registers; each has a page.
pub(crate) const DEVICES: u64 = 0xd000_0000;
pub(crate) const IO_APIC: u32 = 0xfec0_0000;
pub(crate) const LOCAL_APIC: u32 = 0xfee0_0000;
/// Three pages that KVM needs on Intel's processors without a guest in real mode.
pub(crate) const TASK_STATE: usize = 0xfffb_d000;

/// The serial port's interrupt, and its first I/O port.
pub(crate) const SERIAL_LINE: u32 = 4;
pub(crate) const SERIAL_PORT: u16 = 0x3f8;
/// The keyboard's.
pub(crate) const KEYBOARD_LINE: u32 = 1;
/// Interrupts that no PC gives to something else: devices get one each, in this order.
pub(crate) const DEVICE_LINES: [u32; 18] = [
    5, 6, 7, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23,
];
/// Lines of the I/O APIC.
pub(crate) const LINES: u8 = 24;

/// The regions of so many bytes of memory.
pub(crate) fn regions(size_bytes: u64) -> Vec<Region> {
    let low = size_bytes.min(GAP);
    let mut regions = vec![Region {
        guest_base: 0,
        size_bytes: low,
    }];
    if size_bytes > low {
        regions.push(Region {
            guest_base: GAP_END,
            size_bytes: size_bytes - low,
        });
    }
    regions
}

/// Where files that are memory may begin: behind it, and behind the gap.
pub(crate) fn beyond(size_bytes: u64) -> u64 {
    let end = regions(size_bytes)
        .last()
        .map_or(0, |region| region.guest_base + region.size_bytes);
    end.max(GAP_END).next_multiple_of(1 << 30)
}

/// What the kernel may use, as start and length; the rest of the first MiB is not for it.
pub(crate) fn usable(size_bytes: u64) -> Vec<(u64, u64)> {
    let mut usable = vec![(0, PROCESSOR_TABLE)];
    for (region, start) in regions(size_bytes).iter().zip([HIGH_MEMORY, GAP_END]) {
        let end = region.guest_base + region.size_bytes;
        usable.push((start, end - start));
    }
    usable
}
