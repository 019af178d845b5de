//! What a kernel is told at its start, by either protocol, and the descriptors and page tables it begins
//! with.

use gamut_virtio::memory::{Memory, MemoryError, PAGE_BYTES};

use super::Discovery;
use super::kernel::{SETUP_HEADER, SETUP_HEADER_END};
use crate::machine::layout::{self, BOOT_PARAMETERS, COMMAND_LINE, GDT, PAGE_TABLES, START_INFO};

/// The descriptors that Linux wants (`__BOOT_CS`, `__BOOT_DS`), as their places in the table.
pub(crate) const CODE_SEGMENT: u16 = 0x10;
pub(crate) const DATA_SEGMENT: u16 = 0x18;
pub(crate) const TASK_SEGMENT: u16 = 0x20;
/// Flags and limits as Intel's manual has them (volume 3, 3.4.5): all of memory, in pages.
const DESCRIPTORS: [u64; 5] = [
    0,
    0,
    0x00af_9b00_0000_ffff,
    0x00cf_9300_0000_ffff,
    0x0080_8b00_0000_0067,
];
/// Its last byte's place.
pub(crate) const GDT_LIMIT: u16 = (DESCRIPTORS.len() * 8 - 1) as u16;

/// `XEN_HVM_START_MAGIC_VALUE`.
const START_MAGIC: u32 = 0x336e_c578;
/// Types of memory, the same for both protocols.
const RAM: u32 = 1;
const RESERVED: u32 = 2;

/// What is told.
#[derive(Debug, Clone, Copy)]
pub(super) struct Start {
    pub(super) size_bytes: u64,
    pub(super) command_line_bytes: u32,
    /// Its address and its size.
    pub(super) initramfs: Option<(u64, u64)>,
    pub(super) discovery: Discovery,
}

impl Start {
    /// Start, length and type, in ascending order.
    fn memory_map(&self) -> Vec<(u64, u64, u32)> {
        let table = layout::PROCESSOR_TABLE;
        let mut map: Vec<_> = layout::usable(self.size_bytes)
            .into_iter()
            .map(|(start, length)| (start, length, RAM))
            .collect();
        map.insert(1, (table, layout::HIGH_MEMORY - table, RESERVED));
        map
    }

    /// Of ACPI's tables, or 0.
    fn root(&self) -> u64 {
        match self.discovery {
            Discovery::CommandLine => 0,
            Discovery::Acpi => layout::ACPI,
        }
    }

    /// `struct hvm_start_info`, version 1; Xen's `public/arch-x86/hvm/start_info.h`.
    pub(super) fn write_start_info(&self, memory: &Memory) -> Result<(), MemoryError> {
        const MODULES: u64 = START_INFO + 0x40;
        const MAP: u64 = START_INFO + 0x80;
        let map = self.memory_map();
        let mut info = Vec::with_capacity(56);
        let modules = u32::from(self.initramfs.is_some());
        for value in [START_MAGIC, 1, 0, modules] {
            info.extend(value.to_le_bytes());
        }
        // Modules, command line, ACPI's root, memory map.
        for value in [MODULES, COMMAND_LINE, self.root(), MAP, map.len() as u64] {
            info.extend(value.to_le_bytes());
        }
        memory.write(START_INFO, &info)?;
        if let Some((address, size)) = self.initramfs {
            let module = [address, size, 0, 0].map(u64::to_le_bytes);
            memory.write(MODULES, module.as_flattened())?;
        }
        for ((start, length, kind), place) in map.into_iter().zip(0..) {
            let entry = [start, length, kind.into()].map(u64::to_le_bytes);
            memory.write(MAP + place * 24, entry.as_flattened())?;
        }
        Ok(())
    }

    /// `struct boot_params`; the kernel's `Documentation/arch/x86/zero-page.rst`.
    pub(super) fn write_boot_parameters(
        &self,
        memory: &Memory,
        header: Option<&[u8]>,
    ) -> Result<(), MemoryError> {
        let mut page = vec![0; PAGE_BYTES as usize];
        let mut put = |at: usize, bytes: &[u8]| page[at..at + bytes.len()].copy_from_slice(bytes);
        match header {
            Some(header) => put(SETUP_HEADER, header),
            None => {
                put(0x1fe, &0xaa55_u16.to_le_bytes());
                put(0x202, b"HdrS");
                put(0x206, &0x020c_u16.to_le_bytes());
            }
        }
        put(0x70, &self.root().to_le_bytes());
        // A loader without a number of its own.
        put(0x210, &[0xff]);
        let (address, size) = self.initramfs.unwrap_or_default();
        // Both are below 4 GiB.
        put(0x218, &(address as u32).to_le_bytes());
        put(0x21c, &(size as u32).to_le_bytes());
        put(0x228, &(COMMAND_LINE as u32).to_le_bytes());
        put(0x238, &self.command_line_bytes.to_le_bytes());
        let map = self.memory_map();
        put(0x1e8, &[map.len() as u8]);
        for ((start, length, kind), place) in map.into_iter().zip(0..) {
            let at = 0x2d0 + place * 20;
            put(at, &start.to_le_bytes());
            put(at + 8, &length.to_le_bytes());
            put(at + 16, &kind.to_le_bytes());
        }
        memory.write(BOOT_PARAMETERS, &page)
    }
}

// A header never reaches the memory map.
const _: () = assert!(SETUP_HEADER_END <= 0x2d0);

pub(crate) fn write_segments(memory: &Memory) -> Result<(), MemoryError> {
    memory.write(GDT, DESCRIPTORS.map(u64::to_le_bytes).as_flattened())
}

/// The first 4 GiB at their own addresses, in pages of 2 MiB.
pub(crate) fn write_pages(memory: &Memory) -> Result<(), MemoryError> {
    const PRESENT_WRITABLE: u64 = 3;
    const LARGE: u64 = 1 << 7;
    let third = PAGE_TABLES + PAGE_BYTES;
    let second = third + PAGE_BYTES;
    memory.write(PAGE_TABLES, &(third | PRESENT_WRITABLE).to_le_bytes())?;
    for table in 0..4 {
        let entry = (second + table * PAGE_BYTES) | PRESENT_WRITABLE;
        memory.write(third + table * 8, &entry.to_le_bytes())?;
    }
    let mut entries = Vec::with_capacity(4 * PAGE_BYTES as usize);
    for page in 0..2048_u64 {
        entries.extend((page << 21 | LARGE | PRESENT_WRITABLE).to_le_bytes());
    }
    memory.write(second, &entries)
}
