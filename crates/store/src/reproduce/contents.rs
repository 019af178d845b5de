//! Where the contents of a layer's files are, in whatever form the layer is kept.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;

use gamut_spec::digest::Digest;
use rustix::fs::{Mode, OFlags, ResolveFlags};
use rustix::io::Errno;

use super::error::ReproduceError;
use super::items::{Items, Metadata, Replaced};
use super::{Kept, REPLACED};
use crate::erofs::format::SLOT_BYTES;
use crate::erofs::read::{Image, Inode, ReadError};
use crate::file_error::FileError;
use crate::layer::{Form, IMAGE, TREE};

/// A layer's files.
#[derive(Debug)]
pub(super) enum Contents {
    /// In a directory tree.
    Tree {
        tree: OwnedFd,
        /// Where replaced ones are, and which those are.
        replaced: Option<(OwnedFd, Replaced)>,
        /// Contents that have been opened.
        number: u64,
    },
    /// In an EROFS image.
    Image {
        image: Image<File>,
        metadata: Metadata,
    },
}

/// A content that is being read.
#[derive(Debug)]
pub(super) enum Opened {
    /// By way of a file of its own.
    File(File),
    /// From this byte of the image on.
    Image(u64),
    /// A compressed file of the image, from this byte of it on.
    Compressed(Inode, u64),
}

impl Contents {
    /// Those of the layer in `directory`.
    pub(super) fn of(
        directory: BorrowedFd<'_>,
        form: Form,
        layer: &Digest,
    ) -> Result<Self, ReproduceError> {
        let open = |name: &str, kind| {
            let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC | kind;
            rustix::fs::openat(directory, name, flags, Mode::empty())
        };
        let failed = |name: &'static str| FileError::at("open", name.as_ref());
        Ok(match form {
            Form::Directory => Self::Tree {
                tree: open(TREE, OFlags::DIRECTORY).map_err(failed(TREE))?,
                replaced: match open(REPLACED, OFlags::DIRECTORY) {
                    Ok(replaced) => Some((replaced, Items::open(directory, layer)?.replaced()?)),
                    Err(Errno::NOENT) => None,
                    Err(errno) => return Err(failed(REPLACED)(errno).into()),
                },
                number: 0,
            },
            Form::Erofs | Form::Lazy => Self::Image {
                image: Image::open(open(IMAGE, OFlags::empty()).map_err(failed(IMAGE))?.into())
                    .map_err(|error| lost(layer, &error))?,
                metadata: Items::open(directory, layer)?.metadata()?,
            },
        })
    }

    /// Opens the next content of the record.
    pub(super) fn open(&mut self, kept: &Kept<Vec<u8>>) -> io::Result<Opened> {
        match (self, kept) {
            (
                Self::Tree {
                    tree,
                    replaced,
                    number,
                },
                Kept::InFile(path, offset),
            ) => {
                let aside = replaced
                    .as_ref()
                    .and_then(|(directory, which)| Some((directory, which.get(number)?)));
                *number += 1;
                let file = match aside {
                    Some((directory, aside)) => open(directory, aside.to_string().as_bytes())?,
                    None => open(tree, path)?,
                };
                (&file).seek(SeekFrom::Start(*offset))?;
                Ok(Opened::File(file))
            }
            (Self::Image { .. }, Kept::InBlocks(start)) => Ok(Opened::Image(*start)),
            (Self::Image { metadata, .. }, Kept::BesideInode(offset)) => metadata
                .find(*offset)
                .map(Opened::Image)
                .ok_or_else(|| io::Error::other("its inode is nowhere")),
            (Self::Image { image, metadata }, Kept::Compressed(offset)) => {
                let nid = metadata.find(*offset).map(|at| at / SLOT_BYTES as u64);
                let nid = nid.ok_or_else(|| io::Error::other("its inode is nowhere"))?;
                let inode = image.inode(nid).map_err(io::Error::other)?;
                Ok(Opened::Compressed(inode, 0))
            }
            _ => Err(io::Error::other("the layer has another form")),
        }
    }

    /// Reads from a content that was opened.
    pub(super) fn read(&self, opened: &mut Opened, buffer: &mut [u8]) -> io::Result<usize> {
        match (self, opened) {
            (Self::Image { image, .. }, Opened::Image(at)) => {
                let count = image.source().read_at(buffer, *at)?;
                *at += count as u64;
                Ok(count)
            }
            (Self::Image { image, .. }, Opened::Compressed(inode, at)) => {
                let count = image.read_at(inode, buffer, *at);
                let count = count.map_err(io::Error::other)?;
                *at += count as u64;
                Ok(count)
            }
            (_, Opened::File(file)) => file.read(buffer),
            // Cannot be: trees open files.
            (Self::Tree { .. }, Opened::Image(_) | Opened::Compressed(..)) => Ok(0),
        }
    }
}

fn lost(layer: &Digest, error: &ReadError) -> ReproduceError {
    ReproduceError::Content {
        layer: layer.clone(),
        path: IMAGE.to_owned(),
        reason: error.to_string(),
    }
}

fn open(directory: &OwnedFd, path: &[u8]) -> Result<File, Errno> {
    // O_NONBLOCK: whatever else has come to lie there, opening it must not wait.
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_XDEV;
    let path = OsStr::from_bytes(path);
    rustix::fs::openat2(directory.as_fd(), path, flags, Mode::empty(), resolve).map(File::from)
}
