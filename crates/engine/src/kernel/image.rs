//! A kernel's file as data: an uncompressed `vmlinux` (ELF, with or without the note for PVH) or a
//! `bzImage` (Documentation/arch/x86/boot.rst, "The Real-Mode Kernel Header").

use std::fs::File;
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::Path;

use flate2::read::GzDecoder;
use serde::{Deserialize, Serialize};

use super::config::Config;
use super::error::KernelError;

/// No kernel's file is longer than this, with all its debug information.
pub(super) const MAX_KERNEL_BYTES: u64 = 1 << 30;
/// What is read to tell what a file is: a bzImage's set-up code, an ELF file's headers.
const BEGINNING_BYTES: usize = 64 << 10;
/// No kernel has more notes than go in here.
const NOTES_BYTES: usize = 16 << 10;

/// How a kernel is packed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Form {
    /// An ELF file with an entry for PVH: QEMU and KVM boot it.
    Vmlinux,
    /// An ELF file without: only KVM boots it.
    VmlinuxWithoutPvh,
    /// Compressed, with code that unpacks it.
    BzImage,
}

impl Form {
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Form::Vmlinux => "vmlinux",
            Form::VmlinuxWithoutPvh => "vmlinux without PVH",
            Form::BzImage => "bzImage",
        }
    }
}

/// What a file's beginning says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Found {
    pub(super) form: Form,
    /// A bzImage has it in its header, a vmlinux somewhere in its data.
    pub(super) release: Option<String>,
}

/// Looks at the beginning of a kernel's file, and its notes.
pub(super) fn open(path: &Path) -> Result<Found, KernelError> {
    let file = File::open(path).map_err(KernelError::at("open", path))?;
    let part = |offset: u64, bytes: usize| {
        let mut part = vec![0; bytes];
        let mut filled = 0;
        while filled < bytes {
            match file.read_at(&mut part[filled..], offset.saturating_add(filled as u64)) {
                Ok(0) | Err(_) => break,
                Ok(count) => filled += count,
            }
        }
        part.truncate(filled);
        part
    };
    identify(&part).map_err(|reason| KernelError::NotAKernel {
        path: path.to_owned(),
        reason: reason.to_owned(),
    })
}

/// All of a kernel's file.
pub(super) fn read(path: &Path) -> Result<Vec<u8>, KernelError> {
    let file = File::open(path).map_err(KernelError::at("open", path))?;
    let mut kernel = Vec::new();
    file.take(MAX_KERNEL_BYTES + 1)
        .read_to_end(&mut kernel)
        .map_err(KernelError::at("read", path))?;
    match kernel.len() as u64 > MAX_KERNEL_BYTES {
        false => Ok(kernel),
        true => Err(KernelError::NotAKernel {
            path: path.to_owned(),
            reason: format!("it is longer than {MAX_KERNEL_BYTES} bytes"),
        }),
    }
}

/// What a kernel is, of which `part` gives so many bytes from an offset on, or as many as there are.
fn identify(part: &dyn Fn(u64, usize) -> Vec<u8>) -> Result<Found, &'static str> {
    let beginning = part(0, BEGINNING_BYTES);
    match beginning.starts_with(b"\x7fELF") {
        true => elf(&beginning, part),
        false => bzimage(&beginning),
    }
}

/// What a kernel is that is all there.
pub(super) fn identify_bytes(kernel: &[u8]) -> Result<Found, &'static str> {
    identify(&|offset, bytes| {
        let from = usize::try_from(offset)
            .unwrap_or(usize::MAX)
            .min(kernel.len());
        let end = from.saturating_add(bytes).min(kernel.len());
        kernel[from..end].to_vec()
    })
}

fn elf(kernel: &[u8], part: &dyn Fn(u64, usize) -> Vec<u8>) -> Result<Found, &'static str> {
    const EM_X86_64: u16 = 62;
    const PT_LOAD: u32 = 1;
    const PT_NOTE: u32 = 4;
    if kernel.get(4..6) != Some(&[2, 1]) || u16_at(kernel, 18) != Some(EM_X86_64) {
        return Err("it is an ELF file for another machine than x86-64");
    }
    let contradiction = "its ELF headers contradict themselves";
    let table = u64_at(kernel, 32).and_then(|at| usize::try_from(at).ok());
    let table = table.ok_or(contradiction)?;
    let size = usize::from(u16_at(kernel, 54).ok_or(contradiction)?);
    let count = usize::from(u16_at(kernel, 56).ok_or(contradiction)?);
    let mut is_high = false;
    let mut has_pvh = false;
    for index in 0..count {
        let header = table
            .checked_add(index * size)
            .and_then(|at| kernel.get(at..));
        let header = header
            .filter(|header| header.len() >= 56)
            .ok_or(contradiction)?;
        match u32_at(header, 0) {
            // Linux lives in the upper half of the addresses (Documentation/arch/x86/x86_64/mm.rst), no program does.
            Some(PT_LOAD) => is_high |= u64_at(header, 16).is_some_and(|at| at >> 63 == 1),
            Some(PT_NOTE) => {
                has_pvh |= u64_at(header, 8).is_some_and(|at| names_pvh(&part(at, NOTES_BYTES)))
            }
            _ => {}
        }
    }
    match (has_pvh, is_high) {
        (true, _) => Ok(Form::Vmlinux),
        (false, true) => Ok(Form::VmlinuxWithoutPvh),
        (false, false) => Err("it is a program, not a kernel"),
    }
    .map(|form| Found {
        form,
        release: None,
    })
}

fn names_pvh(notes: &[u8]) -> bool {
    /// Of xen/interface/elfnote.h.
    const XEN_ELFNOTE_PHYS32_ENTRY: u32 = 18;
    let mut notes = notes;
    // Each is at least 12 bytes, so this ends.
    loop {
        let sizes = (u32_at(notes, 0), u32_at(notes, 4), u32_at(notes, 8));
        let (Some(name), Some(content), Some(kind)) = sizes else {
            return false;
        };
        if kind == XEN_ELFNOTE_PHYS32_ENTRY && notes.get(12..16) == Some(b"Xen\0") {
            return true;
        }
        let padded = |size: u32| u64::from(size).next_multiple_of(4);
        let next = usize::try_from(12 + padded(name) + padded(content));
        let Some(rest) = next.ok().and_then(|next| notes.get(next..)) else {
            return false;
        };
        notes = rest;
    }
}

fn bzimage(kernel: &[u8]) -> Result<Found, &'static str> {
    /// With which `xloadflags` came.
    const PROTOCOL_2_12: u16 = 0x020c;
    const XLF_KERNEL_64: u16 = 1;
    if kernel.get(0x1fe..0x200) != Some(&[0x55, 0xaa]) || kernel.get(0x202..0x206) != Some(b"HdrS")
    {
        return Err("it is neither an ELF file nor a bzImage");
    }
    let protocol = u16_at(kernel, 0x206).unwrap_or(0);
    let flags = u16_at(kernel, 0x236).unwrap_or(0);
    if protocol < PROTOCOL_2_12 || flags & XLF_KERNEL_64 == 0 {
        return Err("it is a bzImage without an entry for 64 bits");
    }
    // Where the version's text is: 0x200 less than its offset.
    let text = u16_at(kernel, 0x20e).filter(|at| *at > 0);
    let text = text.and_then(|at| kernel.get(usize::from(at) + 0x200..));
    Ok(Found {
        form: Form::BzImage,
        release: text.and_then(first_word),
    })
}

/// The release that a kernel's own data name.
pub(super) fn release(kernel: &[u8]) -> Option<String> {
    const BANNER: &[u8] = b"Linux version ";
    let mut from = 0;
    loop {
        let at = from + position(kernel.get(from..)?, BANNER)?;
        from = at + BANNER.len();
        // The format string for /proc/version is not it.
        if let Some(word) = first_word(kernel.get(from..)?).filter(|word| !word.contains('%')) {
            return Some(word);
        }
    }
}

/// What a bzImage unpacks to, if it is compressed as most are: with gzip, xz or zstd.
pub(super) fn unpacked(kernel: &[u8]) -> Option<Vec<u8>> {
    let sectors = match *kernel.get(0x1f1)? {
        0 => 4,
        sectors => usize::from(sectors),
    };
    let offset = usize::try_from(u32_at(kernel, 0x248)?).ok()?;
    let length = usize::try_from(u32_at(kernel, 0x24c)?).ok()?;
    let start = offset.checked_add((sectors + 1) * 512)?;
    let payload = kernel.get(start..start.checked_add(length)?)?;
    let mut content = Vec::new();
    // Its length follows what is compressed: only the first stream is read.
    let read = match payload {
        [0x1f, 0x8b, ..] => limited(GzDecoder::new(payload), &mut content),
        [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => {
            limited(lzma_rust2::XzReader::new(payload, false), &mut content)
        }
        [0x28, 0xb5, 0x2f, 0xfd, ..] => {
            let decoder = zstd::stream::read::Decoder::with_buffer(payload).ok()?;
            limited(decoder.single_frame(), &mut content)
        }
        _ => return None,
    };
    read.ok().map(|_| content)
}

fn limited(stream: impl Read, into: &mut Vec<u8>) -> io::Result<usize> {
    stream.take(MAX_KERNEL_BYTES).read_to_end(into)
}

/// A kernel's own configuration, packed or not.
pub(super) fn own_config(kernel: &[u8], form: Form) -> Option<String> {
    match form {
        Form::BzImage => Config::of_kernel(&unpacked(kernel)?),
        Form::Vmlinux | Form::VmlinuxWithoutPvh => Config::of_kernel(kernel),
    }
}

/// Text up to the first blank.
fn first_word(text: &[u8]) -> Option<String> {
    /// `uname -r` has room for 64 bytes.
    const MAX_RELEASE_BYTES: usize = 64;
    let is_end = |byte: &u8| byte.is_ascii_whitespace() || *byte == 0;
    let end = text.iter().take(MAX_RELEASE_BYTES).position(is_end)?;
    let word = std::str::from_utf8(&text[..end]).ok()?;
    (!word.is_empty() && word.bytes().all(|byte| byte.is_ascii_graphic())).then(|| word.to_owned())
}

/// Where `wanted` is first.
pub(super) fn position(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    let (first, rest) = wanted.split_first()?;
    let mut from = 0;
    loop {
        let at = from + bytes.get(from..)?.iter().position(|byte| byte == first)?;
        if bytes.get(at + 1..)?.starts_with(rest) {
            return Some(at);
        }
        from = at + 1;
    }
}

pub(super) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at.checked_add(2)?)?.try_into().ok()?;
    Some(u16::from_le_bytes(field))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at.checked_add(4)?)?.try_into().ok()?;
    Some(u32::from_le_bytes(field))
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let field = bytes.get(at..at.checked_add(8)?)?.try_into().ok()?;
    Some(u64::from_le_bytes(field))
}

/// A file that looks like a bzImage of `release`.
#[cfg(test)]
pub(super) fn example(release: &str) -> Vec<u8> {
    let mut kernel = vec![0; 0x1000];
    kernel[0x1f1] = 4;
    kernel[0x1fe..0x200].copy_from_slice(&[0x55, 0xaa]);
    kernel[0x202..0x206].copy_from_slice(b"HdrS");
    kernel[0x206..0x208].copy_from_slice(&0x020f_u16.to_le_bytes());
    kernel[0x20e..0x210].copy_from_slice(&0x600_u16.to_le_bytes());
    kernel[0x236] = 1;
    let text = format!("{release} (somebody@somewhere) #1 SMP");
    kernel[0x800..0x800 + text.len()].copy_from_slice(text.as_bytes());
    kernel
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bzimage_says_what_it_is() {
        let found = identify_bytes(&example("6.1.0-test")).expect("a kernel");
        assert_eq!(found.form, Form::BzImage);
        assert_eq!(found.release.as_deref(), Some("6.1.0-test"));
        let mut old = example("2.6");
        old[0x236] = 0;
        assert!(identify_bytes(&old).is_err());
        assert!(identify_bytes(b"#!/bin/sh").is_err());
        assert!(identify_bytes(b"").is_err());
    }

    #[test]
    fn a_program_is_no_kernel() {
        let program = std::fs::read("/proc/self/exe").expect("read");
        assert!(identify_bytes(&program[..4096]).is_err());
    }

    #[test]
    fn an_elf_kernel_says_whether_it_has_an_entry_for_pvh() {
        let kernel = elf_example(18);
        assert_eq!(
            identify_bytes(&kernel).expect("a kernel").form,
            Form::Vmlinux
        );
        let kernel = elf_example(17);
        let form = identify_bytes(&kernel).expect("a kernel").form;
        assert_eq!(form, Form::VmlinuxWithoutPvh);
    }

    /// One loaded segment, one with a note of Xen's.
    fn elf_example(note: u32) -> Vec<u8> {
        let mut kernel = vec![0; 512];
        kernel[..6].copy_from_slice(b"\x7fELF\x02\x01");
        kernel[16] = 2;
        kernel[18] = 62;
        kernel[32] = 64;
        kernel[54] = 56;
        kernel[56] = 2;
        kernel[64] = 1;
        kernel[87] = 0xff;
        kernel[120] = 4;
        kernel[128..136].copy_from_slice(&256_u64.to_le_bytes());
        kernel[256] = 4;
        kernel[260] = 4;
        kernel[264..268].copy_from_slice(&note.to_le_bytes());
        kernel[268..272].copy_from_slice(b"Xen\0");
        kernel
    }

    #[test]
    fn no_header_makes_it_panic() {
        for kernel in [example("1.0"), elf_example(18)] {
            let mut kernel = kernel;
            for at in 0..0x260.min(kernel.len()) {
                for value in [0, 1, 0x7f, 0xff] {
                    let was = std::mem::replace(&mut kernel[at], value);
                    let _ = (identify_bytes(&kernel), unpacked(&kernel), release(&kernel));
                    let _ = identify_bytes(&kernel[..at]);
                    kernel[at] = was;
                }
            }
        }
    }

    #[test]
    fn the_release_is_in_the_banner() {
        let kernel = b"\0Linux version %s (%s)\n\0\0Linux version 6.1.5-gamut (a@b) (gcc)\n\0";
        assert_eq!(release(kernel).as_deref(), Some("6.1.5-gamut"));
        assert_eq!(release(b"Linux version "), None);
    }
}
