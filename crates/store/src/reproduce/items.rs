//! The items of a record, read in order.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::os::fd::BorrowedFd;

use gamut_spec::digest::Digest;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use zstd::stream::read::Decoder;

use super::error::ReproduceError;
use super::{
    BESIDE_INODE, COMPRESSED, END, GONE, IN_BLOCKS, IN_FILE, Kept, MAX_PATH_BYTES, MAX_RAW_BYTES,
    METADATA, RAW, RECORD,
};
use crate::erofs::format::BLOCK_BYTES;
use crate::file_error::FileError;

/// Contents that have been replaced: the number of the item that speaks of each, and the number
/// under which it was put aside.
pub(super) type Replaced = HashMap<u64, u64>;

/// Where an image's metadata is: for each run of blocks, how many of them come before it, and its
/// first block.
#[derive(Debug, Default)]
pub(super) struct Metadata(Vec<(u64, u64)>);

impl Metadata {
    /// Where a byte of the metadata is in the image.
    pub(super) fn find(&self, offset: u64) -> Option<u64> {
        let block_bytes = BLOCK_BYTES as u64;
        let block = offset / block_bytes;
        let run = self.0.partition_point(|&(before, _)| before <= block);
        let &(before, first) = self.0.get(run.checked_sub(1)?)?;
        let at = first.checked_add(block - before)?;
        at.checked_mul(block_bytes)?
            .checked_add(offset % block_bytes)
    }
}

/// One step of a record.
pub(super) enum Item {
    Raw(Vec<u8>),
    Content { kept: Kept<Vec<u8>>, length: u64 },
    Gone(Vec<u8>),
    Metadata { before: u64, at: u64 },
    End,
}

/// The steps of a record, in order.
pub(super) struct Items {
    stream: Decoder<'static, BufReader<File>>,
    layer: Digest,
}

impl Items {
    /// Of the layer in `directory`.
    pub(super) fn open(directory: BorrowedFd<'_>, layer: &Digest) -> Result<Self, ReproduceError> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = match rustix::fs::openat(directory, RECORD, flags, Mode::empty()) {
            Ok(file) => File::from(file),
            Err(Errno::NOENT) => return Err(ReproduceError::NoRecord(layer.clone())),
            Err(errno) => return Err(FileError::at("open", RECORD.as_ref())(errno).into()),
        };
        let damaged = damaged(layer);
        Ok(Self {
            stream: Decoder::new(file).map_err(|error| damaged(&error.to_string()))?,
            layer: layer.clone(),
        })
    }

    pub(super) fn next(&mut self) -> Result<Item, ReproduceError> {
        let kept = match self.byte()? {
            END => return Ok(Item::End),
            RAW => return Ok(Item::Raw(self.bytes(MAX_RAW_BYTES)?)),
            GONE => return Ok(Item::Gone(self.bytes(MAX_PATH_BYTES)?)),
            METADATA => {
                return Ok(Item::Metadata {
                    before: self.number()?,
                    at: self.number()?,
                });
            }
            IN_FILE => Kept::InFile(self.bytes(MAX_PATH_BYTES)?, self.number()?),
            IN_BLOCKS => Kept::InBlocks(self.number()?),
            BESIDE_INODE => Kept::BesideInode(self.number()?),
            COMPRESSED => Kept::Compressed(self.number()?),
            _ => return Err(damaged(&self.layer)("an item of no known kind")),
        };
        Ok(Item::Content {
            kept,
            length: self.number()?,
        })
    }

    /// Which contents have been replaced: of each path, those that were written since its last
    /// file was put aside.
    pub(super) fn replaced(mut self) -> Result<Replaced, ReproduceError> {
        let mut replaced = Replaced::new();
        let mut present: HashMap<Vec<u8>, Vec<u64>> = HashMap::new();
        let (mut number, mut aside) = (0, 0);
        loop {
            match self.next()? {
                Item::Content {
                    kept: Kept::InFile(path, _),
                    ..
                } => {
                    present.entry(path).or_default().push(number);
                    number += 1;
                }
                Item::Gone(path) => {
                    let gone = present.remove(&path).unwrap_or_default();
                    replaced.extend(gone.into_iter().map(|number| (number, aside)));
                    aside += 1;
                }
                Item::End => return Ok(replaced),
                Item::Raw(_) | Item::Content { .. } | Item::Metadata { .. } => {}
            }
        }
    }

    /// Where the image's metadata is.
    pub(super) fn metadata(mut self) -> Result<Metadata, ReproduceError> {
        let mut runs = Vec::new();
        loop {
            match self.next()? {
                Item::Metadata { before, at } => runs.push((before, at)),
                Item::End => return Ok(Metadata(runs)),
                Item::Raw(_) | Item::Content { .. } | Item::Gone(_) => {}
            }
        }
    }

    fn byte(&mut self) -> Result<u8, ReproduceError> {
        let mut byte = [0];
        self.fill(&mut byte)?;
        Ok(byte[0])
    }

    fn number(&mut self) -> Result<u64, ReproduceError> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(damaged(&self.layer)("a number that does not end"))
    }

    fn bytes(&mut self, limit: usize) -> Result<Vec<u8>, ReproduceError> {
        let length = usize::try_from(self.number()?).unwrap_or(usize::MAX);
        if length > limit {
            return Err(damaged(&self.layer)("an item that is too long"));
        }
        let mut bytes = vec![0; length];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, bytes: &mut [u8]) -> Result<(), ReproduceError> {
        let read = self.stream.read_exact(bytes);
        read.map_err(|error| damaged(&self.layer)(&error.to_string()))
    }
}

fn damaged(layer: &Digest) -> impl Fn(&str) -> ReproduceError {
    let layer = layer.clone();
    move |reason| ReproduceError::Record {
        layer: layer.clone(),
        reason: reason.to_owned(),
    }
}
