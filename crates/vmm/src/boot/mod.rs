//! How a Linux kernel begins: it is loaded, with its initial file system and its command line, and the
//! tables that it wants are written; [`Entry`] says how the first vCPU is to start.
//!
//! An ELF file (`vmlinux`) that has the note for it is entered by PVH, else by the 64-bit protocol; a
//! `bzImage` by the 64-bit protocol, and unpacks itself. [`kernel`] reads the two forms, [`tables`] has what
//! a kernel is told, [`processors`] the table of processors and interrupts, [`acpi`] what tells more.

mod acpi;
mod kernel;
pub(crate) mod processors;
pub(crate) mod tables;

use std::fs::File;
use std::os::fd::AsFd;

pub use gamut_plan::launch::Discovery;
use gamut_spec::fault::{Fault, Kind};
use gamut_virtio::memory::{Memory, MemoryError, PAGE_BYTES, TransferError};
use rustix::io::Errno;
use serde::{Deserialize, Serialize};

use crate::machine::layout;

/// What a machine begins with.
#[derive(Debug)]
pub struct Boot {
    /// An ELF file, or a bzImage.
    pub kernel: File,
    pub initramfs: Option<File>,
    pub command_line: String,
    pub discovery: Discovery,
    pub kernel_loading: Loading,
    pub initramfs_loading: Loading,
}

/// How a file gets into a guest's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Loading {
    /// Copied.
    #[default]
    Read,
    /// The guest sees the file's own pages, which all guests share until they write to them. For files that
    /// nobody writes to any more. Of a kernel only what it never uses for anything else; an initial file system
    /// is kept by its kernel, and not freed.
    Shown,
}

/// Where the first vCPU begins, and in which mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Entry {
    /// 32-bit protected mode, with `struct hvm_start_info` in EBX; Xen's `docs/misc/pvh.pandoc`.
    Pvh { address: u64 },
    /// Long mode, with `struct boot_params` in RSI; the kernel's `Documentation/arch/x86/boot.rst`.
    Long { address: u64 },
}

/// Why a kernel cannot be started.
#[derive(Debug, thiserror::Error)]
pub enum BootError {
    #[error("the kernel is neither an ELF file nor a bzImage")]
    Unknown,
    #[error("the kernel is broken: {what}")]
    Broken { what: &'static str },
    #[error("the kernel cannot be read")]
    Read(#[source] TransferError),
    #[error("the kernel's size or the initramfs's cannot be had")]
    Size(#[source] Errno),
    #[error("the initramfs cannot be read")]
    Initramfs(#[source] TransferError),
    #[error("{memory_mib} MiB of memory are too little for the kernel and its initramfs")]
    Memory { memory_mib: u64 },
    #[error("the kernel's command line has {bytes} bytes, {} are allowed", layout::COMMAND_LINE_BYTES_MAX - 1)]
    CommandLine { bytes: usize },
    #[error("a guest's memory begins with less than a MiB")]
    Low(#[from] MemoryError),
}

impl Fault for BootError {
    fn kind(&self) -> Kind {
        match self {
            Self::Unknown
            | Self::Broken { .. }
            | Self::Memory { .. }
            | Self::CommandLine { .. } => Kind::Invalid,
            Self::Read(_) | Self::Size(_) | Self::Initramfs(_) => Kind::Unavailable,
            Self::Low(_) => Kind::Bug,
        }
    }

    fn hint(&self) -> Option<String> {
        let hint = match self {
            Self::Unknown | Self::Broken { .. } => {
                "a 64-bit vmlinux or bzImage for x86-64 can be started"
            }
            Self::Memory { .. } => "give the machine more memory",
            _ => return None,
        };
        Some(hint.to_owned())
    }
}

/// What a machine has that its kernel is told of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Inventory {
    pub(crate) size_bytes: u64,
    pub(crate) vcpus: u8,
    pub(crate) devices: usize,
}

/// Loads all of it. `memory` is the machine's, laid out as `layout` says.
pub(crate) fn load(boot: &Boot, memory: &Memory, machine: Inventory) -> Result<Entry, BootError> {
    let size_bytes = machine.size_bytes;
    let line = boot.command_line.as_bytes();
    if line.len() >= layout::COMMAND_LINE_BYTES_MAX {
        return Err(BootError::CommandLine { bytes: line.len() });
    }
    memory.write(layout::COMMAND_LINE, line)?;
    memory.write(layout::COMMAND_LINE + line.len() as u64, &[0])?;
    let kernel = kernel::load(&boot.kernel, boot.kernel_loading, memory, size_bytes)?;
    let initramfs = match &boot.initramfs {
        Some(file) => Some(load_initramfs(
            file,
            boot.initramfs_loading,
            memory,
            size_bytes,
            &kernel,
        )?),
        None => None,
    };
    let start = tables::Start {
        size_bytes,
        command_line_bytes: line.len() as u32,
        initramfs,
        discovery: boot.discovery,
    };
    tables::write_segments(memory)?;
    match boot.discovery {
        Discovery::CommandLine => processors::write(memory, machine.vcpus)?,
        Discovery::Acpi => acpi::write(memory, machine.vcpus, machine.devices)?,
    }
    match kernel.entry {
        Entry::Pvh { .. } => start.write_start_info(memory)?,
        Entry::Long { .. } => {
            tables::write_pages(memory)?;
            start.write_boot_parameters(memory, kernel.header.as_deref())?;
        }
    }
    Ok(kernel.entry)
}

/// What makes the sum of all bytes zero.
fn complement(bytes: &[u8]) -> u8 {
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    sum.wrapping_neg()
}

/// At the end of low memory, out of the way of a kernel that unpacks itself; its address and size.
fn load_initramfs(
    file: &File,
    loading: Loading,
    memory: &Memory,
    size_bytes: u64,
    kernel: &kernel::Loaded,
) -> Result<(u64, u64), BootError> {
    let length = kernel::size(file)?;
    let end = layout::regions(size_bytes)[0].size_bytes;
    let end = end.min(kernel.initramfs_end_max);
    let at = end.checked_sub(length).map(|at| at & !(PAGE_BYTES - 1));
    let memory_mib = size_bytes >> 20;
    let at = at
        .filter(|at| *at >= kernel.end)
        .ok_or(BootError::Memory { memory_mib })?;
    // What is behind the file's end in its last page is zeroes, and nobody's.
    let pages = length.next_multiple_of(PAGE_BYTES);
    let is_shown = loading == Loading::Shown && memory.show(file.as_fd(), 0, at, pages).is_ok();
    if !is_shown {
        memory
            .load(file.as_fd(), 0, at, length)
            .map_err(BootError::Initramfs)?;
    }
    Ok((at, length))
}
