//! A vmlinux as it is kept: what a guest's memory gets, and nothing else. A third of what the linker's
//! file has a monitor copy at every start, and every guest hold, is empty: pages of zeroes, and the filler
//! before what begins at a huge page, which is of no section, or of code that nothing reaches.
//!
//! The file has one program header for each piece of a segment that is not empty, whose memory reaches
//! to the next piece, and those of notes. Symbols, debug information and the section table are for no
//! guest. Layout: System V ABI, "Object Files" (ELF-64).

use std::ops::Range;

use super::image::{u16_at, u32_at, u64_at};

/// Part of what a kernel is made of: one that was packed in another way is made anew. `lab/kernel` reads it, too.
pub(super) const FORM: &str = "pieces";

const PAGE_BYTES: usize = 4096;
/// What is empty for less than this is kept: each piece is a program header, and a copy of its own.
const GAP_PAGES_MIN: usize = 4;
/// Loaders look at no more headers.
const HEADERS_MAX: usize = 64;
const FILE_HEADER_BYTES: usize = 64;
const HEADER_BYTES: usize = 56;
const SECTION_BYTES: usize = 64;
const PT_LOAD: u32 = 1;
const PT_NOTE: u32 = 4;
const PF_X: u32 = 1;
const PF_W: u32 = 2;
/// The instruction `int3`, which the linker puts between functions.
const CODE_FILLER: u8 = 0xcc;
const SHT_NULL: u32 = 0;
const SHT_NOBITS: u32 = 8;
const SHF_ALLOC: u64 = 2;
const CONTRADICTION: &str = "its ELF headers contradict themselves";

/// A program header.
#[derive(Clone)]
struct Segment {
    kind: u32,
    flags: u32,
    /// In the file.
    offset: usize,
    file_bytes: usize,
    virtual_address: u64,
    address: u64,
    memory_bytes: u64,
    /// Of notes it is how each of them is filled up, and QEMU reads them by it.
    alignment: u64,
}

/// The same kernel, packed. A packed one stays as it is.
///
/// # Errors
/// What is wrong with the file.
pub(super) fn pack(kernel: &[u8]) -> Result<Vec<u8>, &'static str> {
    let head = kernel.get(..FILE_HEADER_BYTES).ok_or(CONTRADICTION)?;
    let segments = segments(kernel)?;
    let sections = sections(kernel);
    let split = |gap_pages| pieces(kernel, &segments, sections.as_deref(), gap_pages);
    let mut gap_pages = GAP_PAGES_MIN;
    let mut pieces = split(gap_pages);
    while pieces.len() > HEADERS_MAX && gap_pages < kernel.len() / PAGE_BYTES {
        gap_pages *= 2;
        pieces = split(gap_pages);
    }
    if pieces.len() > HEADERS_MAX {
        return Err("it has more segments than a loader looks at");
    }

    let mut packed = head.to_vec();
    packed.resize(FILE_HEADER_BYTES + pieces.len() * HEADER_BYTES, 0);
    // e_phoff, e_shoff, e_phentsize, e_phnum, e_shentsize, e_shnum, e_shstrndx: no sections.
    packed[32..40].copy_from_slice(&(FILE_HEADER_BYTES as u64).to_le_bytes());
    packed[40..48].fill(0);
    packed[54..56].copy_from_slice(&(HEADER_BYTES as u16).to_le_bytes());
    packed[56..58].copy_from_slice(&(pieces.len() as u16).to_le_bytes());
    packed[58..64].fill(0);
    for (index, piece) in pieces.iter().enumerate() {
        // Whole pages of the file are pages of memory.
        let within = piece.address as usize % PAGE_BYTES;
        let aligned = packed.len().next_multiple_of(PAGE_BYTES) + within;
        packed.resize(aligned, 0);
        packed.extend(&kernel[piece.offset..piece.offset + piece.file_bytes]);
        let header = FILE_HEADER_BYTES + index * HEADER_BYTES;
        piece.write(&mut packed[header..header + HEADER_BYTES], aligned);
    }
    Ok(packed)
}

/// The new program headers, with the places of their bytes in the old file.
fn pieces(
    kernel: &[u8],
    segments: &[Segment],
    sections: Option<&[Range<usize>]>,
    gap_pages: usize,
) -> Vec<Segment> {
    let mut pieces = Vec::new();
    for segment in segments {
        if segment.kind == PT_NOTE {
            pieces.push(segment.clone());
            continue;
        }
        let whole = &kernel[segment.offset..segment.offset + segment.file_bytes];
        let is_code = segment.flags & (PF_X | PF_W) == PF_X;
        let parts = parts(whole, gap_pages, |page| {
            let is_all = |filler: u8| whole[page.clone()].iter().all(|byte| *byte == filler);
            if is_all(0) || is_code && is_all(CODE_FILLER) {
                return false;
            }
            let page = segment.offset + page.start..segment.offset + page.end;
            sections.is_none_or(|sections| {
                let mut sections = sections.iter();
                sections.any(|section| section.start < page.end && page.start < section.end)
            })
        });
        // All of its memory counts, empty or not: what a kernel takes ends there.
        let first = parts.first().map(|part| part.start as u64);
        let empty = first.unwrap_or(segment.memory_bytes);
        if empty > 0 {
            pieces.push(Segment {
                file_bytes: 0,
                memory_bytes: empty,
                ..segment.clone()
            });
        }
        let nexts = parts.iter().skip(1).map(|part| part.start as u64);
        let nexts = nexts.chain([segment.memory_bytes]);
        for (part, next) in parts.iter().zip(nexts) {
            let start = part.start as u64;
            pieces.push(Segment {
                offset: segment.offset + part.start,
                file_bytes: part.len(),
                virtual_address: segment.virtual_address.wrapping_add(start),
                address: segment.address.wrapping_add(start),
                memory_bytes: next - start,
                ..segment.clone()
            });
        }
    }
    pieces
}

impl Segment {
    fn write(&self, header: &mut [u8], offset: usize) {
        header[..4].copy_from_slice(&self.kind.to_le_bytes());
        header[4..8].copy_from_slice(&self.flags.to_le_bytes());
        let words = [
            offset as u64,
            self.virtual_address,
            self.address,
            self.file_bytes as u64,
            self.memory_bytes,
            self.alignment,
        ];
        for (field, word) in header[8..].chunks_exact_mut(8).zip(words) {
            field.copy_from_slice(&word.to_le_bytes());
        }
    }
}

/// What is loaded, and the notes.
fn segments(kernel: &[u8]) -> Result<Vec<Segment>, &'static str> {
    let headers = table(kernel, 32, 54, HEADER_BYTES).ok_or(CONTRADICTION)?;
    let mut segments = Vec::new();
    for header in headers {
        let kind = u32_at(header, 0).ok_or(CONTRADICTION)?;
        if kind != PT_LOAD && kind != PT_NOTE {
            continue;
        }
        let word = |at| u64_at(header, at).ok_or(CONTRADICTION);
        let memory_bytes = word(40)?;
        let file = in_file(kernel, word(8)?, word(32)?).ok_or(CONTRADICTION)?;
        if kind == PT_LOAD && memory_bytes < file.len() as u64 {
            return Err(CONTRADICTION);
        }
        segments.push(Segment {
            kind,
            flags: u32_at(header, 4).ok_or(CONTRADICTION)?,
            offset: file.start,
            file_bytes: file.len(),
            virtual_address: word(16)?,
            address: word(24)?,
            memory_bytes,
            alignment: match kind {
                PT_LOAD => PAGE_BYTES as u64,
                _ => word(48)?,
            },
        });
    }
    // Each is looked at whole and copied: headers that name the same bytes again and again are a bomb. Notes
    // are in what is loaded, too.
    let bytes: usize = segments.iter().map(|segment| segment.file_bytes).sum();
    if segments.len() > HEADERS_MAX || bytes / 2 > kernel.len() {
        return Err(CONTRADICTION);
    }
    match segments.iter().any(|segment| segment.kind == PT_LOAD) {
        true => Ok(segments),
        false => Err("nothing of it is loaded"),
    }
}

/// Where in the file the sections are that are loaded; nothing if there is no table of them.
fn sections(kernel: &[u8]) -> Option<Vec<Range<usize>>> {
    let headers = table(kernel, 40, 58, SECTION_BYTES)?;
    let mut sections = Vec::new();
    for header in headers {
        let kind = u32_at(header, 4)?;
        if kind == SHT_NULL || kind == SHT_NOBITS || u64_at(header, 8)? & SHF_ALLOC == 0 {
            continue;
        }
        sections.push(in_file(kernel, u64_at(header, 24)?, u64_at(header, 32)?)?);
    }
    (!sections.is_empty()).then_some(sections)
}

/// The headers of a table: where it begins is at `offset`, how long each is at `size`, how many after that.
fn table(kernel: &[u8], offset: usize, size: usize, least: usize) -> Option<Vec<&[u8]>> {
    let start = usize::try_from(u64_at(kernel, offset)?).ok()?;
    let (each, count) = (u16_at(kernel, size)?, u16_at(kernel, size + 2)?);
    let (each, count) = (usize::from(each), usize::from(count));
    if each < least {
        return None;
    }
    let end = start.checked_add(each * count)?;
    Some(kernel.get(start..end)?.chunks_exact(each).collect())
}

fn in_file(kernel: &[u8], offset: u64, bytes: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(bytes).ok()?)?;
    (end <= kernel.len() || start == end).then_some(start.min(kernel.len())..end.min(kernel.len()))
}

/// What of a segment is worth its place: not where several pages in a row are not used.
fn parts(
    segment: &[u8],
    gap_pages: usize,
    is_used: impl Fn(&Range<usize>) -> bool,
) -> Vec<Range<usize>> {
    let mut parts: Vec<Range<usize>> = Vec::new();
    for start in (0..segment.len()).step_by(PAGE_BYTES) {
        let page = start..(start + PAGE_BYTES).min(segment.len());
        if !is_used(&page) {
            continue;
        }
        match parts.last_mut() {
            Some(last) if start - last.end < gap_pages * PAGE_BYTES => last.end = page.end,
            _ => parts.push(page),
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    const SEGMENT_AT: usize = 0x1000;

    /// A segment of 40 pages and one more in memory, at a guest's first MiB, by a loader's rules.
    fn kernel(fill: &[(Range<usize>, u8)], sections: &[(usize, usize)]) -> Vec<u8> {
        let mut kernel = vec![0; SEGMENT_AT + 40 * PAGE_BYTES];
        kernel[..6].copy_from_slice(b"\x7fELF\x02\x01");
        kernel[18] = 62;
        let mut put =
            |at: usize, word: u64| kernel[at..at + 8].copy_from_slice(&word.to_le_bytes());
        put(32, 64);
        put(40, 0x800);
        // e_phentsize and e_phnum, e_shentsize and e_shnum.
        put(54, 56 | 2 << 16 | 64 << 32 | (sections.len() as u64) << 48);
        put(64, 1 | 5 << 32);
        let segment = [
            SEGMENT_AT as u64,
            0x8010_0000,
            0x10_0000,
            40 << 12,
            41 << 12,
        ];
        for (index, word) in segment.into_iter().enumerate() {
            put(72 + index * 8, word);
        }
        put(120, 4);
        let note = [(SEGMENT_AT + 8) as u64, 0, 0, 16, 16, 4];
        for (index, word) in note.into_iter().enumerate() {
            put(128 + index * 8, word);
        }
        for (index, (start, end)) in sections.iter().enumerate() {
            let at = 0x800 + index * 64;
            put(at, 1 << 32);
            put(at + 8, 2);
            put(at + 24, (SEGMENT_AT + start) as u64);
            put(at + 32, (end - start) as u64);
        }
        for (range, byte) in fill {
            kernel[SEGMENT_AT + range.start..SEGMENT_AT + range.end].fill(*byte);
        }
        kernel
    }

    /// What a guest's memory has from the first MiB on.
    fn loaded(kernel: &[u8]) -> Vec<u8> {
        let mut memory = vec![0; 41 * PAGE_BYTES];
        for segment in segments(kernel).expect("segments") {
            if segment.kind == PT_LOAD {
                let at = segment.address as usize - 0x10_0000;
                let end = at + segment.memory_bytes as usize;
                memory[at..end].fill(0);
                let file = segment.offset..segment.offset + segment.file_bytes;
                memory[at..at + file.len()].copy_from_slice(&kernel[file]);
                assert_eq!(segment.virtual_address - segment.address, 0x8000_0000);
            }
        }
        memory
    }

    #[test]
    fn pages_of_zeroes_are_left_out_and_memory_is_the_same() {
        let page = PAGE_BYTES;
        let all = kernel(
            &[
                (0..page + 1, 7),
                (3 * page..4 * page, 8),
                (30 * page..30 * page + 5, 9),
            ],
            &[],
        );
        let packed = pack(&all).expect("packed");
        assert_eq!(loaded(&packed), loaded(&all));
        let loads = segments(&packed).expect("segments");
        assert_eq!(loads.len(), 3, "two pieces and a note");
        // The hole of two pages is not worth a piece.
        assert_eq!(loads[0].file_bytes, 4 * page);
        assert_eq!(loads[0].memory_bytes, 30 * page as u64);
        assert_eq!(loads[1].memory_bytes, 11 * page as u64);
        assert!(packed.len() < 8 * page);
        let note = &loads[2];
        assert_eq!(packed[note.offset..note.offset + note.file_bytes], [7; 16]);
        assert_eq!(note.alignment, 4);
        assert_eq!(pack(&packed).expect("packed again"), packed);
    }

    #[test]
    fn what_is_of_no_section_is_left_out_where_sections_are_known() {
        let page = PAGE_BYTES;
        let fill = [(0..20 * page, 0x90), (20 * page..40 * page, 1)];
        let sections = [(0, 2 * page + 8), (20 * page, 40 * page)];
        let packed = pack(&kernel(&fill, &sections)).expect("packed");
        let memory = loaded(&packed);
        assert_eq!(memory[..3 * page], vec![0x90; 3 * page]);
        assert_eq!(memory[3 * page..20 * page], vec![0; 17 * page]);
        assert_eq!(memory[20 * page..40 * page], vec![1; 20 * page]);
        // Without a table of sections a filler may be anything.
        let whole = kernel(&fill, &[]);
        assert_eq!(loaded(&pack(&whole).expect("packed")), loaded(&whole));
    }

    #[test]
    fn filler_of_code_is_left_out_and_that_of_data_is_not() {
        let page = PAGE_BYTES;
        let fill = [(0..20 * page, CODE_FILLER), (9 * page..10 * page, 0x90)];
        let mut all = kernel(&fill, &[]);
        let code = loaded(&pack(&all).expect("packed"));
        assert_eq!(code[9 * page..10 * page], vec![0x90; page]);
        assert_eq!(code[10 * page..20 * page], vec![0; 10 * page]);
        // What may be written is data.
        all[68] = 7;
        assert_eq!(loaded(&pack(&all).expect("packed")), loaded(&all));
    }

    #[test]
    fn nothing_but_zeroes_and_no_header_makes_it_panic() {
        let empty = kernel(&[], &[(0, 10)]);
        assert_eq!(
            loaded(&pack(&empty).expect("packed")),
            vec![0; 41 * PAGE_BYTES]
        );
        let mut broken = kernel(&[(0..9, 1)], &[(0, 9)]);
        for at in (0..0x100).chain(0x800..0x840) {
            for value in [0, 1, 0x7f, 0xff] {
                let was = std::mem::replace(&mut broken[at], value);
                let _ = pack(&broken);
                broken[at] = was;
            }
        }
        assert!(pack(&broken[..40]).is_err());
    }

    #[test]
    fn a_bomb_is_refused() {
        let page = PAGE_BYTES;
        let mut bomb = kernel(&[(0..40 * page, 1)], &[]);
        let header = bomb[64..120].to_vec();
        for index in 0..5 {
            bomb[64 + index * 56..120 + index * 56].copy_from_slice(&header);
        }
        bomb[56] = 5;
        assert!(pack(&bomb).is_err());
    }

    #[test]
    fn many_pieces_are_refused() {
        let page = PAGE_BYTES;
        let mut many = kernel(&[], &[]);
        // 70 headers of the same segment.
        let header = many[64..120].to_vec();
        for index in 0..HEADERS_MAX + 6 {
            many[64 + index * 56..120 + index * 56].copy_from_slice(&header);
        }
        many[56] = HEADERS_MAX as u8 + 6;
        many[SEGMENT_AT..SEGMENT_AT + page].fill(1);
        assert!(pack(&many).is_err());
    }
}
