//! The two forms of a kernel. A kernel is the user's, but its file may be anything: what it says is
//! checked before it is believed.

use std::fs::File;
use std::os::fd::AsFd;
use std::os::unix::fs::FileExt;

use gamut_virtio::memory::{Memory, PAGE_BYTES, TransferError};
use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::{BootError, Entry, Loading};
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
/// In `p_flags`: it can be written to.
const PF_W: u32 = 2;
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

pub(super) fn load(
    file: &File,
    loading: Loading,
    memory: &Memory,
    size_bytes: u64,
) -> Result<Loaded, BootError> {
    let head: [u8; SETUP_HEADER_END] = read_at(file, 0).map_err(|error| match error {
        // Shorter than any kernel.
        BootError::Broken { .. } => BootError::Unknown,
        error => error,
    })?;
    let loaded = if head.starts_with(b"\x7fELF") {
        load_elf(file, loading, &head, memory)?
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
fn load_elf(
    file: &File,
    loading: Loading,
    head: &[u8],
    memory: &Memory,
) -> Result<Loaded, BootError> {
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
            PT_LOAD => end = end.max(load_segment(file, loading, &segment, memory)?),
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
fn load_segment(
    file: &File,
    loading: Loading,
    segment: &[u8; 56],
    memory: &Memory,
) -> Result<u64, BootError> {
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
    let shown = match loading {
        Loading::Shown if u32_at(segment, 4) & PF_W == 0 => {
            show(file, offset, address, length, memory).map_err(BootError::Read)?
        }
        _ => 0,
    };
    if shown == length {
        return Ok(end);
    }
    match memory.load(
        file.as_fd(),
        offset + shown,
        address + shown,
        length - shown,
    ) {
        // Not in memory: said with how much there is.
        Err(TransferError::Buffers) => Ok(u64::MAX),
        loaded => loaded.map(|()| end).map_err(BootError::Read),
    }
}

/// Shows the guest the file's own pages, as many from the front as are whole; how many bytes that are.
///
/// Only what a kernel never gives away, as it would use it for its devices then: code and constants, but for
/// the pages between them that nothing is in, which it frees once it runs (`mark_rodata_ro`).
fn show(
    file: &File,
    offset: u64,
    address: u64,
    length: u64,
    memory: &Memory,
) -> Result<u64, TransferError> {
    let whole = length & !(PAGE_BYTES - 1);
    // Whatever is against it: it can be read.
    if memory.show(file.as_fd(), offset, address, whole).is_err() {
        return Ok(0);
    }
    let mut pages = (address..address + whole).step_by(PAGE_BYTES as usize);
    if pages.any(|page| is_filler(memory, page)) {
        memory.hide(address, whole)?;
        return Ok(0);
    }
    Ok(whole)
}

/// Whether a page is all zeroes, or `int3`.
fn is_filler(memory: &Memory, page: u64) -> bool {
    let is_all = |bytes: &[u8]| {
        let first = bytes[0];
        [0, 0xcc].contains(&first) && bytes.iter().all(|byte| *byte == first)
    };
    let mut head = [1; 8];
    let mut bytes = [1; PAGE_BYTES as usize];
    // Few pages need to be looked at whole.
    memory.read(page, &mut head).is_ok()
        && is_all(&head)
        && memory.read(page, &mut bytes).is_ok()
        && is_all(&bytes)
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

#[cfg(test)]
mod tests {
    use gamut_virtio::memory::Pages;

    use super::*;

    const BASE: u64 = layout::HIGH_MEMORY;
    const SEGMENT_AT: usize = 0x1000;
    const READ_AND_RUN: u64 = 5;

    /// An ELF file with one segment that is loaded at the first MiB.
    fn elf(flags: u64, content: &[u8]) -> File {
        let mut elf = vec![0; SEGMENT_AT];
        elf[..6].copy_from_slice(b"\x7fELF\x02\x01");
        let mut put = |at: usize, word: u64| elf[at..at + 8].copy_from_slice(&word.to_le_bytes());
        put(16, 2 | 62 << 16);
        put(32, 64);
        put(54, 56 | 1 << 16);
        let bytes = content.len() as u64;
        let header = [1 | flags << 32, SEGMENT_AT as u64, BASE, BASE, bytes, bytes];
        for (index, word) in header.into_iter().enumerate() {
            put(64 + index * 8, word);
        }
        elf.extend(content);
        let file = tempfile::tempfile().expect("a file");
        file.write_all_at(&elf, 0).expect("written");
        file
    }

    /// Which pages the guest sees of the file itself: what is written to it later is seen there.
    fn shown(flags: u64, content: &[u8], loading: Loading) -> Vec<bool> {
        let size_bytes = 16 << 20;
        let memory = Memory::new(&layout::regions(size_bytes), Pages::Base).expect("memory");
        let file = elf(flags, content);
        load(&file, loading, &memory, size_bytes).expect("loaded");
        let mut seen = vec![0; content.len()];
        memory.read(BASE, &mut seen).expect("read");
        assert_eq!(seen, content);
        file.write_all_at(&vec![99; content.len()], SEGMENT_AT as u64)
            .expect("written");
        memory.read(BASE, &mut seen).expect("read");
        seen.chunks(4096).map(|page| page[0] == 99).collect()
    }

    #[test]
    fn a_guest_shares_whole_pages_of_code() {
        let code = vec![7; 3 * 4096 - 1];
        let read = shown(READ_AND_RUN, &code, Loading::Read);
        assert_eq!(read, [false, false, false]);
        let shown = shown(READ_AND_RUN, &code, Loading::Shown);
        assert_eq!(shown, [true, true, false]);
    }

    #[test]
    fn what_a_kernel_writes_to_or_frees_is_its_own() {
        let code = vec![7; 2 * 4096];
        let writable = shown(READ_AND_RUN | u64::from(PF_W), &code, Loading::Shown);
        assert_eq!(writable, [false, false]);
        for filler in [0, 0xcc] {
            let mut code = vec![7; 3 * 4096];
            code[4096..8192].fill(filler);
            let freed = shown(READ_AND_RUN, &code, Loading::Shown);
            assert_eq!(freed, [false, false, false], "{filler:#x}");
        }
    }
}
