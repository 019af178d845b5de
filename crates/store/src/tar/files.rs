//! Where a saved image's files go: members of a tar, or files of a directory.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use super::header::Length;
use super::{EntryKind, TarWriter};
use crate::unpack::Attributes;

/// Files in the making. Their names are ours, and always relative.
#[derive(Debug)]
pub struct Files<W: Write> {
    to: To<W>,
}

#[derive(Debug)]
enum To<W: Write> {
    Tar(TarWriter<W>),
    Directory(PathBuf),
}

impl<W: Write> Files<W> {
    /// Members of an archive that is written to `out`.
    pub fn tar(out: W) -> Self {
        let tar = TarWriter::new(out);
        Self { to: To::Tar(tar) }
    }

    /// Files of a directory, which is there and empty.
    pub fn below(path: PathBuf) -> Self {
        Self {
            to: To::Directory(path),
        }
    }

    /// A directory for files to come.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn directory(&mut self, name: &str) -> io::Result<()> {
        match &mut self.to {
            To::Tar(tar) => tar.entry(name.as_bytes(), EntryKind::Directory, &attributes(0o755)),
            To::Directory(path) => std::fs::create_dir(path.join(name)),
        }
    }

    /// A file of `size_bytes`, which `content` must have.
    ///
    /// # Errors
    /// When it cannot be read or written; `UnexpectedEof` if there was less of it.
    pub fn file(&mut self, name: &str, mut content: impl Read, size_bytes: u64) -> io::Result<()> {
        let is_whole = match &mut self.to {
            To::Tar(tar) => {
                let kind = EntryKind::File(size_bytes);
                tar.entry(name.as_bytes(), kind, &attributes(0o644))?;
                tar.data(&mut content, size_bytes)? == Length::AsSaid
            }
            To::Directory(path) => {
                let mut file = File::create_new(path.join(name))?;
                io::copy(&mut (&mut content).take(size_bytes), &mut file)? == size_bytes
            }
        };
        match is_whole {
            true => drain(&mut content),
            false => Err(io::ErrorKind::UnexpectedEof.into()),
        }
    }

    /// Ends it; what the archive was written to.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> io::Result<Option<W>> {
        match self.to {
            To::Tar(tar) => tar.finish().map(Some),
            To::Directory(_) => Ok(None),
        }
    }
}

/// Reads the end: that is where a reader that checks its content speaks.
fn drain(content: &mut impl Read) -> io::Result<()> {
    match io::copy(content, &mut io::sink())? {
        0 => Ok(()),
        _ => Err(io::Error::other("it is longer than it should be")),
    }
}

/// The same image is the same archive, whenever it is saved.
fn attributes(mode: u32) -> Attributes {
    Attributes {
        mode,
        ..Attributes::default()
    }
}
