//! The two forms of a kernel. A kernel is the user's, but its file may be anything: what it says is
//! checked before it is believed.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use gamut_virtio::memory::Memory;
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{BootError, Entry};
use crate::machine::layout;

/// A kernel in memory.
#[derive(Debug)]
pub(super) struct Loaded {
    pub(super) entry: Entry,
    /// What it takes at its start, unpacked, ends here.
    pub(super) end: u64,
    /// An initial file system ends here at the latest.
    pub(super) initramfs_end_max: u64,
    /// A bzImage's own header, from offset 0x1f1 on.
    pub(super) header: Option<Vec<u8>>,
}

/// `Elf64_Phdr`s that are looked at; a kernel has five or so.
const SEGMENTS_MAX: u16 = 64;
/// The most that notes may have.
const NOTES_BYTES_MAX: u64 = 64 << 10;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
/// Of the name "Xen": a 32-bit entry point; Xen's `public/elfnote.h`.
const NOTE_PHYS32_ENTRY: u32 = 18;

/// Where a bzImage's header is, and where it may end.
pub(super) const SETUP_HEADER: usize = 0x1f1;
pub(super) const SETUP_HEADER_END: usize = 0x290;
/// `XLF_KERNEL_64` of `xloadflags`: there is an entry for long mode, 0x200 behind the beginning.
const KERNEL_64: u16 = 1;
const ENTRY_64: u64 = 0x200;
/// The least version of the protocol whose header has all that is read here: 2.12, of Linux 3.8.
const VERSION_MIN: u16 = 0x020c;

pub(super) fn size(file: &File) -> Result<u64, BootError> {
    rustix::fs::seek(file, SeekFrom::End(0)).map_err(BootError::Size)
}

pub(super) fn load(file: &File, memory: &Memory, size_bytes: u64) -> Result<Loaded, BootError> {
    let head: [u8; SETUP_HEADER_END] = read_at(file, 0).map_err(|error| match error {
        // Shorter than any kernel.
        BootError::Broken { .. } => BootError::Unknown,
        error => error,
    })?;
    let loaded = if head.starts_with(b"\x7fELF") {
        load_elf(file, &head, memory)?
    } else if &head[0x202..0x206] == b"HdrS" {
        load_bzimage(file, &head, memory)?
    } else {
        return Err(BootError::Unknown);
    };
    let memory_mib = size_bytes >> 20;
    let end = layout::regions(size_bytes)[0].size_bytes;
    (loaded.end <= end)
        .then_some(loaded)
        .ok_or(BootError::Memory { memory_mib })
}

/// System V ABI, chapter 4 and 5; only what a loader needs.
fn load_elf(file: &File, head: &[u8], memory: &Memory) -> Result<Loaded, BootError> {
    // 64-bit, little end first, for x86-64, with program headers of the usual size.
    let is_known = head[4..6] == [2, 1] && u16_at(head, 18) == 62 && u16_at(head, 54) == 56;
    if !is_known {
        return Err(broken("an ELF file, but not for x86-64"));
    }
    let segments = u16_at(head, 56);
    if segments > SEGMENTS_MAX {
        return Err(broken("too many segments"));
    }
    let mut end = 0;
    let mut pvh = None;
    for number in 0..u64::from(segments) {
        let at = u64_at(head, 32).checked_add(number * 56);
        let segment: [u8; 56] = read_at(file, at.ok_or(broken("no segments"))?)?;
        let (offset, length) = (u64_at(&segment, 8), u64_at(&segment, 32));
        match u32_at(&segment, 0) {
            PT_LOAD => end = end.max(load_segment(file, &segment, memory)?),
            PT_NOTE => pvh = pvh.or(find_entry(file, offset, length)?),
            _ => {}
        }
    }
    if end == 0 {
        return Err(broken("nothing to load"));
    }
    let address = u64_at(head, 24);
    Ok(Loaded {
        entry: match pvh {
            Some(address) => Entry::Pvh { address },
            None => Entry::Long { address },
        },
        end,
        initramfs_end_max: u64::MAX,
        header: None,
    })
}

/// Where it ends, with what is zeroes at first.
fn load_segment(file: &File, segment: &[u8; 56], memory: &Memory) -> Result<u64, BootError> {
    let (offset, address) = (u64_at(segment, 8), u64_at(segment, 24));
    let (length, size) = (u64_at(segment, 32), u64_at(segment, 40));
    let end = address.checked_add(size);
    let end = end.ok_or(broken("a segment out of this world"))?;
    if length == 0 {
        return Ok(end);
    }
    if length > size || address < layout::HIGH_MEMORY {
        return Err(broken("a segment where none may be"));
    }
    match memory.load(file.as_fd(), offset, address, length) {
        // Not in memory: said with how much there is.
        Err(gamut_virtio::memory::TransferError::Buffers) => Ok(u64::MAX),
        loaded => loaded.map(|()| end).map_err(BootError::Read),
    }
}

fn find_entry(file: &File, offset: u64, length: u64) -> Result<Option<u64>, BootError> {
    if length > NOTES_BYTES_MAX {
        return Ok(None);
    }
    let mut notes = vec![0; length as usize];
    read_into(file, &mut notes, offset)?;
    let mut rest = &notes[..];
    // Name and descriptor are each filled up to four bytes.
    while let Some((head, after)) = rest.split_at_checked(12) {
        let name_bytes = u32_at(head, 0) as usize;
        let value_bytes = u32_at(head, 4) as usize;
        let value_at = name_bytes.next_multiple_of(4);
        let (Some(name), Some(value)) = (
            after.get(..name_bytes),
            after.get(value_at..value_at.saturating_add(value_bytes)),
        ) else {
            return Err(broken("a note that is cut"));
        };
        if name == b"Xen\0" && u32_at(head, 8) == NOTE_PHYS32_ENTRY && value.len() >= 4 {
            return Ok(Some(u32_at(value, 0).into()));
        }
        let next = value_at + value_bytes.next_multiple_of(4);
        rest = after.get(next..).unwrap_or_default();
    }
    Ok(None)
}

/// `Documentation/arch/x86/boot.rst`: the part in protected mode goes to the first MiB's end, and is
/// entered in long mode.
fn load_bzimage(file: &File, head: &[u8], memory: &Memory) -> Result<Loaded, BootError> {
    let is_high = head[0x211] & 1 != 0;
    if u16_at(head, 0x206) < VERSION_MIN || !is_high || u16_at(head, 0x236) & KERNEL_64 == 0 {
        return Err(broken("a bzImage that is not for x86-64, or too old"));
    }
    let sectors = match head[SETUP_HEADER] {
        0 => 4,
        sectors => u64::from(sectors),
    };
    let offset = (sectors + 1) * 512;
    let length = size(file)?.checked_sub(offset);
    let length = length.ok_or(broken("a bzImage that is cut"))?;
    let address = layout::HIGH_MEMORY;
    memory
        .load(file.as_fd(), offset, address, length)
        .map_err(BootError::Read)?;
    let (preferred, unpacked) = (u64_at(head, 0x258), u64::from(u32_at(head, 0x260)));
    let end = preferred.max(address).checked_add(unpacked.max(length));
    let header_end = (0x202 + usize::from(head[0x201])).min(SETUP_HEADER_END);
    Ok(Loaded {
        entry: Entry::Long {
            address: address + ENTRY_64,
        },
        end: end.ok_or(broken("a bzImage that is too large"))?,
        initramfs_end_max: u64::from(u32_at(head, 0x22c)) + 1,
        header: Some(head[SETUP_HEADER..header_end.max(SETUP_HEADER)].to_vec()),
    })
}

fn broken(what: &'static str) -> BootError {
    BootError::Broken { what }
}

fn read_at<const N: usize>(file: &File, offset: u64) -> Result<[u8; N], BootError> {
    let mut bytes = [0; N];
    read_into(file, &mut bytes, offset)?;
    Ok(bytes)
}

fn read_into(file: &File, bytes: &mut [u8], offset: u64) -> Result<(), BootError> {
    file.read_exact_at(bytes, offset).map_err(|error| {
        if error.kind() == std::io::ErrorKind::UnexpectedEof {
            return broken("it is cut");
        }
        let error = Errno::from_io_error(&error).unwrap_or(Errno::IO);
        BootError::Read(error.into())
    })
}

/// The offsets below are all within what was read.
fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from(u16_at(bytes, at)) | u32::from(u16_at(bytes, at + 2)) << 16
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
