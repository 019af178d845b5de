//! Chunks: the pieces in which data comes. Their table is the file `lazy-chunks`: [`MAGIC`], then one
//! record of [`RECORD_BYTES`] for each chunk, numbers little-endian, in the order of the image.

use std::ops::Range;
use std::path::Path;

use gamut_spec::digest::Digest;

use super::LazyError;
use crate::file_error::FileError;

/// What the table begins with.
const MAGIC: &[u8; 16] = b"gamut chunks 1\n\0";
/// Bytes of a record.
const RECORD_BYTES: usize = 4 * 8 + 4 + 32;
/// Bytes of a chunk, at most: it is in memory until it has been verified. eStargz has 4 MiB.
pub const MAX_CHUNK_BYTES: u32 = 32 << 20;

/// A piece of one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chunk {
    /// The part of the blob that can be decompressed by itself and has it.
    pub blob: Range<u64>,
    /// Uncompressed bytes before it in that part.
    pub inner: u64,
    /// Where it goes in the image.
    pub at: u64,
    /// Its bytes, uncompressed.
    pub length: u32,
    /// Their SHA-256.
    pub digest: [u8; 32],
}

impl Chunk {
    /// Where it lies in the image.
    #[must_use]
    pub fn place(&self) -> Range<u64> {
        self.at..self.at + u64::from(self.length)
    }

    /// Holds bytes against its digest.
    pub(super) fn check(&self, bytes: &[u8]) -> Result<(), LazyError> {
        let expected = Digest::Sha256(self.digest);
        let actual = crate::hash::Hasher::of(expected.algorithm(), bytes);
        match actual == expected && bytes.len() as u64 == u64::from(self.length) {
            true => Ok(()),
            false => Err(LazyError::WrongDigest {
                what: "a chunk of the layer",
                expected,
                actual,
            }),
        }
    }

    fn to_record(&self) -> [u8; RECORD_BYTES] {
        let mut record = [0; RECORD_BYTES];
        let numbers = [self.blob.start, self.blob.end, self.inner, self.at];
        for (place, number) in record.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        record[32..36].copy_from_slice(&self.length.to_le_bytes());
        record[36..].copy_from_slice(&self.digest);
        record
    }

    fn of_record(record: &[u8; RECORD_BYTES]) -> Self {
        let number =
            |index: usize| u64::from_le_bytes(std::array::from_fn(|byte| record[index * 8 + byte]));
        Self {
            blob: number(0)..number(1),
            inner: number(2),
            at: number(3),
            length: u32::from_le_bytes(std::array::from_fn(|byte| record[32 + byte])),
            digest: std::array::from_fn(|byte| record[36 + byte]),
        }
    }
}

/// Writes the table.
pub(super) fn write(path: &Path, chunks: &[Chunk]) -> Result<(), FileError> {
    let mut bytes = Vec::with_capacity(MAGIC.len() + chunks.len() * RECORD_BYTES);
    bytes.extend_from_slice(MAGIC);
    for chunk in chunks {
        bytes.extend_from_slice(&chunk.to_record());
    }
    std::fs::write(path, bytes).map_err(FileError::io("write", path))
}

/// Reads the table.
pub(super) fn read(path: &Path) -> Result<Vec<Chunk>, LazyError> {
    let bytes = std::fs::read(path).map_err(FileError::io("read", path))?;
    let records = bytes.strip_prefix(MAGIC).map(<[u8]>::as_chunks);
    match records {
        Some((records, [])) => Ok(records.iter().map(Chunk::of_record).collect()),
        _ => Err(LazyError::Damaged(format!(
            "{} is torn; remove the image and pull it again",
            path.display()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let chunk = |at| Chunk {
            blob: 7..1 << 40,
            inner: 512,
            at,
            length: 77,
            digest: [3; 32],
        };
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("chunks");
        let chunks = vec![chunk(4096), chunk(8192)];
        write(&path, &chunks).expect("written");
        assert_eq!(read(&path).expect("read"), chunks);
        let bytes = std::fs::read(&path).expect("bytes");
        std::fs::write(&path, &bytes[..bytes.len() - 1]).expect("torn");
        assert!(read(&path).is_err());
    }
}
