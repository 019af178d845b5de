//! A disk, as a monitor is told.

use std::fs::File;

use gamut_spec::fault::{Fault, Kind};
use gamut_virtio::block::{self, Block, Cache, Image, ImageError};
use gamut_virtio::rate::Limiter;
use rustix::io::Errno;

use crate::wire::{Access, Content, Disk};

/// Why there is no such disk.
#[derive(Debug, thiserror::Error)]
pub(super) enum DiskError {
    #[error("disk {serial}: {source}")]
    Image { serial: String, source: ImageError },
    #[error("disk {serial} is whole, but of {files} files")]
    Whole { serial: String, files: usize },
    #[error("the host is short of descriptors")]
    Host(#[from] Errno),
}

impl Fault for DiskError {
    fn kind(&self) -> Kind {
        match self {
            Self::Image { .. } | Self::Whole { .. } => Kind::Invalid,
            Self::Host(_) => Kind::Unavailable,
        }
    }
}

pub(super) fn block(disk: Disk, mut files: Vec<File>) -> Result<Block, DiskError> {
    let serial = disk.serial;
    let image = match disk.content {
        Content::Partitions => match Image::partitions(files) {
            Ok(image) => image,
            Err(source) => return Err(DiskError::Image { serial, source }),
        },
        Content::Whole => match (files.len(), files.pop()) {
            (1, Some(file)) => file.into(),
            (files, _) => return Err(DiskError::Whole { serial, files }),
        },
    };
    Ok(Block::new(block::Disk {
        image,
        access: match disk.access {
            Access::ReadOnly => block::Access::ReadOnly,
            Access::ReadWrite => block::Access::ReadWrite,
        },
        cache: Cache::Writeback,
        id: serial,
        queues: 1,
        limiter: Limiter::unlimited()?,
    })?)
}
