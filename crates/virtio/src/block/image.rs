//! What a disk holds: one file, or several of them behind a table of partitions that is made up here, so
//! that one device carries all files of a container image.

use std::fs::File;
use std::os::fd::AsFd;

use rustix::fs::SeekFrom;
use rustix::io::Errno;

use super::SECTOR_BYTES;
use super::partitions::Table;
use crate::chain::Buffers;
use crate::memory::{Memory, TransferError};

/// What is read where nothing is, and written where zeroes cannot be had otherwise.
pub(super) static ZEROES: [u8; 1 << 16] = [0; 1 << 16];

/// The content of a disk.
#[derive(Debug)]
pub struct Image(Content);

#[derive(Debug)]
enum Content {
    /// A file, or the host's block device.
    Whole(File),
    Partitions {
        extents: Vec<Extent>,
        size_bytes: u64,
    },
}

/// A part of a disk that is not empty; they are in ascending order, with room between them.
#[derive(Debug)]
struct Extent {
    start: u64,
    length: u64,
    source: Source,
}

#[derive(Debug)]
enum Source {
    Bytes(Vec<u8>),
    File(File),
}

/// Why there is no such disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ImageError {
    #[error(
        "{count} files are not between 1 and {} partitions",
        super::PARTITIONS_MAX
    )]
    Count { count: usize },
    #[error("partition {number} would be empty")]
    Empty { number: usize },
    #[error("the size of partition {number} cannot be had: {source}")]
    Size { number: usize, source: Errno },
}

impl From<File> for Image {
    fn from(file: File) -> Self {
        Self(Content::Whole(file))
    }
}

impl Image {
    /// A disk with a table (GPT) in which each file is a partition, in this order, from a multiple of
    /// 1 MiB on. It can only be read. What a file grows by later is not seen.
    ///
    /// # Errors
    /// Too many files or none, or one that is empty or has no size.
    pub fn partitions(files: Vec<File>) -> Result<Self, ImageError> {
        let count = files.len();
        if !(1..=super::PARTITIONS_MAX).contains(&count) {
            return Err(ImageError::Count { count });
        }
        let sizes = files.iter().zip(1..).map(|(file, number)| {
            match size_bytes(file).map_err(|source| ImageError::Size { number, source })? {
                0 => Err(ImageError::Empty { number }),
                bytes => Ok(bytes),
            }
        });
        let table = Table::new(&sizes.collect::<Result<Vec<_>, _>>()?);
        let mut extents = vec![Extent::of_bytes(0, table.head())];
        extents.extend(
            table
                .partitions()
                .iter()
                .zip(files)
                .map(|(place, file)| Extent {
                    start: place.start,
                    length: place.size_bytes,
                    source: Source::File(file),
                }),
        );
        extents.push(Extent::of_bytes(table.tail_start(), table.tail()));
        Ok(Self(Content::Partitions {
            extents,
            size_bytes: table.disk_bytes(),
        }))
    }

    /// # Errors
    /// Those of lseek(2).
    pub(super) fn sectors(&self) -> Result<u64, Errno> {
        let bytes = match &self.0 {
            Content::Whole(file) => size_bytes(file)?,
            Content::Partitions { size_bytes, .. } => *size_bytes,
        };
        Ok(bytes / SECTOR_BYTES)
    }

    /// The file that may be written to; what is put together may not.
    pub(super) fn file(&self) -> Option<&File> {
        match &self.0 {
            Content::Whole(file) => Some(file),
            Content::Partitions { .. } => None,
        }
    }

    /// Fills the buffers with what is at `offset`.
    pub(super) fn read(
        &self,
        memory: &Memory,
        offset: u64,
        into: Buffers,
    ) -> Result<(), TransferError> {
        match &self.0 {
            Content::Whole(file) => memory.read_file(file.as_fd(), offset, into),
            Content::Partitions { extents, .. } => read_extents(extents, memory, offset, into),
        }
    }
}

impl Extent {
    fn of_bytes(start: u64, bytes: Vec<u8>) -> Self {
        Self {
            start,
            length: bytes.len() as u64,
            source: Source::Bytes(bytes),
        }
    }

    fn end(&self) -> u64 {
        self.start + self.length
    }
}

/// Works for block devices, too.
fn size_bytes(file: &File) -> Result<u64, Errno> {
    rustix::fs::seek(file, SeekFrom::End(0))
}

fn read_extents(
    extents: &[Extent],
    memory: &Memory,
    mut offset: u64,
    mut into: Buffers,
) -> Result<(), TransferError> {
    let first = extents.partition_point(|extent| extent.end() <= offset);
    for extent in &extents[first..] {
        let gap = into.split_front(extent.start.saturating_sub(offset));
        offset += gap.len();
        zero(memory, gap)?;
        if into.len() == 0 {
            return Ok(());
        }
        let mut part = into.split_front(extent.end() - offset);
        let (at, length) = (offset - extent.start, part.len());
        offset += length;
        match &extent.source {
            Source::File(file) => memory.read_file(file.as_fd(), at, part)?,
            // Within the bytes: `part` ends where they do.
            Source::Bytes(bytes) => part
                .write(memory, &bytes[at as usize..(at + length) as usize])
                .map_err(|_| TransferError::Buffers)?,
        }
    }
    zero(memory, into)
}

fn zero(memory: &Memory, mut into: Buffers) -> Result<(), TransferError> {
    while into.len() > 0 {
        let length = into.len().min(ZEROES.len() as u64) as usize;
        into.write(memory, &ZEROES[..length])
            .map_err(|_| TransferError::Buffers)?;
    }
    Ok(())
}
