//! ELF programs cut to what is loaded: an agent's file without symbols, debug information and section
//! table. Whoever loads it looks at program headers only.
//!
//! Layout: System V ABI, "Object Files" (ELF-64); x86-64 is machine 62.

/// Offsets in the ELF-64 file header.
const PHOFF: usize = 32;
const SHOFF: usize = 40;
const PHENTSIZE: usize = 54;
const PHNUM: usize = 56;
const SHENTSIZE: usize = 58;
const SHNUM: usize = 60;
const SHSTRNDX: usize = 62;
const HEADER_BYTES: usize = 64;
/// Of a program header: its size, and where its segment's offset and length in the file stand.
const PROGRAM_HEADER_BYTES: usize = 56;
const P_OFFSET: usize = 8;
const P_FILESZ: usize = 32;
const PT_LOAD: u32 = 1;

/// Bytes that are no program for this kind of machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ProgramError {
    #[error("not an ELF file")]
    NotElf,
    #[error("not an ELF file of 64 bits in little-endian order for x86-64")]
    OtherMachine,
    #[error("an ELF file whose headers contradict themselves or its length")]
    Malformed,
}

/// The program without what follows its last segment, and without a section table.
///
/// # Errors
/// [`ProgramError`].
pub fn cut(program: &[u8]) -> Result<Vec<u8>, ProgramError> {
    let end = end_of_segments(program)?;
    let mut cut = program.get(..end).ok_or(ProgramError::Malformed)?.to_vec();
    // `end` is past the header. SHT_NULL's values: there are no sections (e_shoff, e_shnum, e_shstrndx).
    cut[SHOFF..SHOFF + 8].fill(0);
    cut[SHENTSIZE..SHENTSIZE + 2].fill(0);
    cut[SHNUM..SHNUM + 2].fill(0);
    cut[SHSTRNDX..SHSTRNDX + 2].fill(0);
    Ok(cut)
}

/// Where in the file the last segment ends.
fn end_of_segments(program: &[u8]) -> Result<usize, ProgramError> {
    if !program.starts_with(b"\x7fELF") {
        return Err(ProgramError::NotElf);
    }
    // EI_CLASS 2: 64 bits. EI_DATA 1: little-endian.
    if program.get(4..6) != Some(&[2, 1]) || u16_at(program, 18) != Some(62) {
        return Err(ProgramError::OtherMachine);
    }
    let malformed = ProgramError::Malformed;
    let count = usize::from(u16_at(program, PHNUM).ok_or(malformed)?);
    let size = usize::from(u16_at(program, PHENTSIZE).ok_or(malformed)?);
    let table = size_at(program, PHOFF).ok_or(malformed)?;
    if program.len() < HEADER_BYTES || size < PROGRAM_HEADER_BYTES || count == 0 {
        return Err(malformed);
    }
    let table_end = count
        .checked_mul(size)
        .and_then(|all| all.checked_add(table));
    let mut end = table_end.ok_or(malformed)?.max(HEADER_BYTES);
    let mut is_loaded = false;
    for index in 0..count {
        // Cannot overflow: the table's end does not.
        let header = program.get(table + index * size..).ok_or(malformed)?;
        let offset = size_at(header, P_OFFSET).ok_or(malformed)?;
        let bytes = size_at(header, P_FILESZ).ok_or(malformed)?;
        is_loaded |= u32_at(header, 0) == Some(PT_LOAD);
        if bytes > 0 {
            end = end.max(offset.checked_add(bytes).ok_or(malformed)?);
        }
    }
    match is_loaded && end <= program.len() {
        true => Ok(end),
        false => Err(malformed),
    }
}

fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    let field = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_le_bytes(field))
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let field = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(u32::from_le_bytes(field))
}

/// An offset or a length.
fn size_at(bytes: &[u8], at: usize) -> Option<usize> {
    let field = bytes.get(at..at + 8)?.try_into().ok()?;
    usize::try_from(u64::from_le_bytes(field)).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_test_without_its_symbols_still_has_its_segments() {
        let program = std::fs::read("/proc/self/exe").expect("read");
        let cut = cut(&program).expect("a program");
        assert!(cut.len() < program.len());
        assert_eq!(&cut[SHNUM..SHNUM + 2], [0, 0]);
        let again = super::cut(&cut).expect("still a program");
        assert_eq!(again, cut);
        // It runs: the loader needs nothing of what is gone.
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("program");
        std::fs::write(&path, &cut).expect("written");
        let mode = std::os::unix::fs::PermissionsExt::from_mode(0o700);
        std::fs::set_permissions(&path, mode).expect("may run");
        let output = std::process::Command::new(&path).arg("--list").output();
        assert!(output.expect("runs").status.success());
    }

    #[test]
    fn what_is_no_program_is_refused() {
        assert_eq!(cut(b""), Err(ProgramError::NotElf));
        assert_eq!(cut(b"#!/bin/sh\n"), Err(ProgramError::NotElf));
        assert_eq!(cut(b"\x7fELF\x01\x01"), Err(ProgramError::OtherMachine));
        let mut program = std::fs::read("/proc/self/exe").expect("read");
        program.truncate(100);
        assert_eq!(cut(&program), Err(ProgramError::Malformed));
    }

    #[test]
    fn no_header_makes_it_panic() {
        let program = std::fs::read("/proc/self/exe").expect("read");
        let mut head = program[..512.min(program.len())].to_vec();
        for at in 0..head.len() {
            for value in [0, 1, 0x7f, 0xff] {
                let was = std::mem::replace(&mut head[at], value);
                let _ = cut(&head);
                head[at] = was;
            }
        }
    }
}
