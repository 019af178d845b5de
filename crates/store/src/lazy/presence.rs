//! Which chunks are there: the file `lazy-present`, the boot in which it was written and a bit for each
//! chunk. A bit is set after its chunk has been written. A process that is killed in between loses the
//! chunk; a power cut may have lost chunks whose bits it kept, so what an earlier boot has written is to
//! be looked at.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU8, Ordering};

use crate::file_error::FileError;

/// Bytes of a boot's identifier: random(4).
const BOOT_BYTES: usize = 36;

/// See the module.
#[derive(Debug)]
pub(super) struct Presence {
    file: File,
    path: PathBuf,
    bits: Vec<AtomicU8>,
}

/// When a file of bits was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Written {
    ThisBoot,
    Earlier,
}

impl Presence {
    /// Nothing is there: a new file.
    pub(super) fn create(path: &Path, chunks: usize, boot: &str) -> Result<(), FileError> {
        let mut bytes = boot.as_bytes().to_vec();
        bytes.resize(BOOT_BYTES + chunks.div_ceil(8), 0);
        std::fs::write(path, bytes).map_err(FileError::io("write", path))
    }

    /// What is there. Too short a file has zeros at its end.
    pub(super) fn open(
        path: &Path,
        chunks: usize,
        boot: &str,
    ) -> Result<(Self, Written), FileError> {
        let file = File::options().read(true).write(true).open(path);
        let file = file.map_err(FileError::io("open", path))?;
        let mut bytes = std::fs::read(path).map_err(FileError::io("read", path))?;
        bytes.resize(BOOT_BYTES + chunks.div_ceil(8), 0);
        let (written, bits) = bytes.split_at(BOOT_BYTES);
        let written = match written == boot.as_bytes() {
            true => Written::ThisBoot,
            false => Written::Earlier,
        };
        let presence = Self {
            file,
            path: path.to_owned(),
            bits: bits.iter().map(|&byte| AtomicU8::new(byte)).collect(),
        };
        Ok((presence, written))
    }

    pub(super) fn has(&self, chunk: usize) -> bool {
        let byte = self.bits.get(chunk / 8);
        byte.is_some_and(|byte| byte.load(Ordering::Acquire) & 1 << (chunk % 8) != 0)
    }

    /// A chunk has been written.
    pub(super) fn set(&self, chunk: usize) -> Result<(), FileError> {
        let Some(byte) = self.bits.get(chunk / 8) else {
            return Ok(());
        };
        let bit = 1 << (chunk % 8);
        let now = byte.fetch_or(bit, Ordering::AcqRel) | bit;
        // Two that set bits of one byte may write in either order, and a lost bit is a chunk that is
        // fetched twice.
        self.write(&[now], BOOT_BYTES + chunk / 8)
    }

    /// Takes back what is not so, and makes the rest this boot's.
    pub(super) fn renew(&self, gone: &[usize], boot: &str) -> Result<(), FileError> {
        for &chunk in gone {
            if let Some(byte) = self.bits.get(chunk / 8) {
                byte.fetch_and(!(1 << (chunk % 8)), Ordering::AcqRel);
            }
        }
        let load = |byte: &AtomicU8| byte.load(Ordering::Acquire);
        let bits: Vec<u8> = self.bits.iter().map(load).collect();
        self.write(&bits, BOOT_BYTES)?;
        self.write(boot.as_bytes(), 0)
    }

    fn write(&self, bytes: &[u8], at: usize) -> Result<(), FileError> {
        let written = self.file.write_all_at(bytes, at as u64);
        written.map_err(FileError::io("write", &self.path))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_there_outlives_its_process() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("present");
        let (this, other) = ("a".repeat(BOOT_BYTES), "b".repeat(BOOT_BYTES));
        Presence::create(&path, 20, &this).expect("made");
        let (presence, _) = Presence::open(&path, 20, &this).expect("opened");
        presence.set(3).expect("set");
        presence.set(19).expect("set");
        let (presence, written) = Presence::open(&path, 20, &this).expect("opened");
        assert_eq!(written, Written::ThisBoot);
        let there: Vec<_> = (0..20).filter(|&chunk| presence.has(chunk)).collect();
        assert_eq!(there, [3, 19]);
        let (presence, written) = Presence::open(&path, 20, &other).expect("opened");
        assert_eq!(written, Written::Earlier);
        presence.renew(&[3], &other).expect("renewed");
        let (presence, written) = Presence::open(&path, 20, &other).expect("opened");
        assert_eq!(written, Written::ThisBoot);
        assert!(!presence.has(3) && presence.has(19) && !presence.has(20));
    }
}
