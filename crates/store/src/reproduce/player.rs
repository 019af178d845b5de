//! The reader: a record and a layer's contents become the archive again.

use std::io::{self, Read};
use std::os::fd::BorrowedFd;

use gamut_spec::digest::Digest;

use super::Kept;
use super::contents::{Contents, Opened};
use super::error::ReproduceError;
use super::items::{Item, Items};
use crate::hash::Hasher;
use crate::layer::{Form, IMAGE};

/// An archive as it once was: [`crate::layer::Layers::reproduce`].
pub struct Reproduction {
    items: Items,
    contents: Contents,
    source: Source,
    /// `None` at the end, once the digest was right.
    hasher: Option<Hasher>,
    diff_id: Digest,
}

/// Where the next bytes come from.
enum Source {
    /// The next item says.
    None,
    Raw {
        bytes: Vec<u8>,
        read: usize,
    },
    Content {
        opened: Opened,
        left: u64,
        kept: Kept<Vec<u8>>,
    },
    End,
}

impl std::fmt::Debug for Reproduction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reproduction")
            .field("diff_id", &self.diff_id)
            .finish_non_exhaustive()
    }
}

impl Reproduction {
    /// Of the layer in `directory`.
    pub(crate) fn open(
        directory: BorrowedFd<'_>,
        form: Form,
        diff_id: &Digest,
    ) -> Result<Self, ReproduceError> {
        Ok(Self {
            items: Items::open(directory, diff_id)?,
            contents: Contents::of(directory, form, diff_id)?,
            source: Source::None,
            hasher: Some(Hasher::new(diff_id.algorithm())),
            diff_id: diff_id.clone(),
        })
    }

    /// How many bytes the archive in `directory` has, by its record.
    pub(super) fn size_bytes(
        directory: BorrowedFd<'_>,
        diff_id: &Digest,
    ) -> Result<u64, ReproduceError> {
        let mut items = Items::open(directory, diff_id)?;
        let mut size_bytes = 0_u64;
        loop {
            size_bytes = size_bytes.saturating_add(match items.next()? {
                Item::Raw(bytes) => bytes.len() as u64,
                Item::Content { length, .. } => length,
                Item::Gone(_) | Item::Metadata { .. } => 0,
                Item::End => return Ok(size_bytes),
            });
        }
    }

    fn advance(&mut self) -> Result<(), ReproduceError> {
        self.source = match self.items.next()? {
            Item::Raw(bytes) => Source::Raw { bytes, read: 0 },
            Item::Content { kept, length } => {
                let opened = self.contents.open(&kept);
                let opened = opened.map_err(|error| lost(&self.diff_id, &kept, &error))?;
                Source::Content {
                    opened,
                    left: length,
                    kept,
                }
            }
            Item::Gone(_) | Item::Metadata { .. } => Source::None,
            Item::End => Source::End,
        };
        Ok(())
    }

    /// All has been read: were these the bytes?
    fn judge(&mut self) -> Result<(), ReproduceError> {
        let Some(hasher) = self.hasher.take() else {
            return Ok(());
        };
        let actual = hasher.finish();
        if actual == self.diff_id {
            return Ok(());
        }
        Err(ReproduceError::WrongDigest {
            expected: self.diff_id.clone(),
            actual,
        })
    }

    fn read_source(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match &mut self.source {
            Source::None | Source::End => Ok(0),
            Source::Raw { bytes, read } => {
                let count = (&bytes[*read..]).read(buffer)?;
                *read += count;
                Ok(count)
            }
            Source::Content { left: 0, .. } => Ok(0),
            Source::Content { opened, left, kept } => {
                let most = usize::try_from(*left)
                    .unwrap_or(usize::MAX)
                    .min(buffer.len());
                let count = self.contents.read(opened, &mut buffer[..most])?;
                if count == 0 {
                    let short = io::Error::other("it is shorter than it was");
                    return Err(lost(&self.diff_id, kept, &short).into());
                }
                *left -= count as u64;
                Ok(count)
            }
        }
    }
}

impl Read for Reproduction {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let count = self.read_source(buffer)?;
            if count > 0 {
                if let Some(hasher) = &mut self.hasher {
                    hasher.update(&buffer[..count]);
                }
                return Ok(count);
            }
            if matches!(self.source, Source::End) {
                self.judge()?;
                return Ok(0);
            }
            self.advance()?;
        }
    }
}

fn lost(layer: &Digest, kept: &Kept<Vec<u8>>, error: &io::Error) -> ReproduceError {
    ReproduceError::Content {
        layer: layer.clone(),
        path: match kept {
            Kept::InFile(path, _) => path.escape_ascii().to_string(),
            Kept::InBlocks(_) | Kept::BesideInode(_) | Kept::Compressed(_) => IMAGE.to_owned(),
        },
        reason: error.to_string(),
    }
}
