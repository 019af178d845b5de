//! Downloads in progress: `ingest/<hex>`, kept when a pull dies so that the next one goes on.
//!
//! [`Ingest`] is locked by its process; another one that wants the same blob waits, and should
//! look again afterwards whether the layer is there. [`Ingest::tee`] is how a layer is unpacked
//! while it comes in: it gives back first what was there, then the network's bytes, keeping them.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use gamut_spec::digest::Digest;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::blob::BlobError;
use crate::file_error::FileError;
use crate::pin;

/// The partial downloads of one store.
#[derive(Debug, Clone)]
pub struct Ingests {
    directory: PathBuf,
}

/// One partial download, locked by this process. Dropping it keeps what has come so far.
#[derive(Debug)]
pub struct Ingest {
    digest: Digest,
    size_bytes: Option<u64>,
    directory: OwnedFd,
    path: PathBuf,
    file: File,
    offset: u64,
}

impl Ingests {
    /// `directory` is `ingest` under the store's root.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Opens or starts the download of a blob. Waits while another process is downloading it.
    pub fn resume(&self, digest: &Digest, size_bytes: Option<u64>) -> Result<Ingest, BlobError> {
        let directory = pin::open_directory(&self.directory)?;
        let path = self.directory.join(digest.hex());
        let file = loop {
            let file = open_locked(&directory, digest).map_err(FileError::at("open", &path))?;
            if pin::is_named(file.as_fd(), directory.as_fd(), digest.hex().as_ref())
                .map_err(FileError::at("look at", &path))?
            {
                break file;
            }
        };
        let file = File::from(file);
        let metadata = file.metadata().map_err(FileError::io("look at", &path))?;
        let mut offset = metadata.len();
        // More than the whole is no part of it.
        if size_bytes.is_some_and(|size| offset > size) {
            file.set_len(0).map_err(FileError::io("truncate", &path))?;
            offset = 0;
        }
        Ok(Ingest {
            digest: digest.clone(),
            size_bytes,
            directory,
            path,
            file,
            offset,
        })
    }
}

impl Ingests {
    /// An empty file without a name, for bytes on their way out; it goes with its descriptor.
    pub fn scratch(&self) -> Result<File, BlobError> {
        let failed = |errno| FileError::at("make a temporary file in", &self.directory)(errno);
        let mode = Mode::RUSR | Mode::WUSR;
        let flags = OFlags::RDWR | OFlags::TMPFILE | OFlags::CLOEXEC;
        match rustix::fs::open(&self.directory, flags, mode) {
            Ok(file) => return Ok(file.into()),
            // Not every file system has files without names: open(2), O_TMPFILE.
            Err(Errno::OPNOTSUPP | Errno::ISDIR | Errno::NOENT) => {}
            Err(errno) => return Err(failed(errno).into()),
        }
        let directory = pin::open_directory(&self.directory)?;
        let (name, _pin) = pin::temporary_file(directory.as_fd()).map_err(failed)?;
        let flags = OFlags::RDWR | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&directory, &name, flags, mode).map_err(failed)?;
        rustix::fs::unlinkat(&directory, &name, AtFlags::empty()).map_err(failed)?;
        Ok(file.into())
    }
}

fn open_locked(directory: &OwnedFd, digest: &Digest) -> Result<OwnedFd, Errno> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = rustix::fs::openat(directory, digest.hex(), flags, Mode::RUSR | Mode::WUSR)?;
    rustix::io::retry_on_intr(|| {
        rustix::fs::flock(&file, rustix::fs::FlockOperation::LockExclusive)
    })?;
    Ok(file)
}

impl Ingest {
    /// Bytes that are there: where the download goes on (HTTP `Range: bytes=<offset>-`).
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads what is there, then `rest`, which is kept on the way. The reader of the result checks
    /// the digest (unpacking does): what an earlier process left is believed no more than what comes.
    pub fn tee<R: Read>(self, rest: R) -> Tee<R> {
        Tee {
            stored_bytes: self.offset,
            ingest: self,
            rest,
        }
    }

    /// Removes the file: the blob has been used, or must not be.
    pub fn discard(self) -> Result<(), BlobError> {
        match rustix::fs::unlinkat(&self.directory, self.digest.hex(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(FileError::at("remove", &self.path)(errno).into()),
        }
    }

    /// Keeps bytes at the end.
    fn keep(&mut self, bytes: &[u8]) -> io::Result<()> {
        let left = self
            .size_bytes
            .map_or(u64::MAX, |size| size.saturating_sub(self.offset));
        if bytes.len() as u64 > left {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("blob {} goes on past its declared size", self.digest),
            ));
        }
        self.file.write_all(bytes)?;
        self.offset += bytes.len() as u64;
        Ok(())
    }
}

/// See [`Ingest::tee`].
#[derive(Debug)]
pub struct Tee<R> {
    ingest: Ingest,
    /// Of what was there at the beginning, what has not been read yet.
    stored_bytes: u64,
    rest: R,
}

impl<R> Tee<R> {
    /// Removes the file; to be called when its layer has been unpacked, or had a wrong digest.
    pub fn discard(self) -> Result<(), BlobError> {
        self.ingest.discard()
    }
}

impl<R: Read> Read for Tee<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.stored_bytes > 0 {
            let wanted = usize::try_from(self.stored_bytes).unwrap_or(usize::MAX);
            let wanted = wanted.min(buffer.len());
            let count = self.ingest.file.read(&mut buffer[..wanted])?;
            if count == 0 && wanted > 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.stored_bytes -= count as u64;
            return Ok(count);
        }
        let count = self.rest.read(buffer)?;
        self.ingest.keep(&buffer[..count])?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::Hasher;
    use gamut_spec::digest::Algorithm;

    fn ingests() -> (tempfile::TempDir, Ingests) {
        let directory = tempfile::tempdir().expect("a directory");
        let ingests = Ingests::new(directory.path().to_owned());
        (directory, ingests)
    }

    fn read(mut tee: impl Read) -> io::Result<String> {
        let mut text = String::new();
        tee.read_to_string(&mut text).map(|_| text)
    }

    #[test]
    fn a_download_that_died_goes_on_where_it_was() {
        let (directory, ingests) = ingests();
        let digest = Hasher::of(Algorithm::Sha256, b"hello world");
        let first = ingests.resume(&digest, Some(11)).expect("started");
        assert_eq!(read(first.tee(&b"hello "[..])).expect("read"), "hello ");
        let second = ingests.resume(&digest, Some(11)).expect("resumed");
        assert_eq!(second.offset(), 6);
        let mut tee = second.tee(&b"world"[..]);
        assert_eq!(read(&mut tee).expect("read"), "hello world");
        tee.discard().expect("removed");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("listed").count(),
            0
        );
    }

    #[test]
    fn more_than_the_declared_size_is_not_kept() {
        let (_directory, ingests) = ingests();
        let digest = Hasher::of(Algorithm::Sha256, b"right");
        let first = ingests.resume(&digest, Some(8)).expect("started");
        assert!(read(first.tee(&b"much more"[..])).is_err());
        let second = ingests.resume(&digest, None).expect("resumed");
        assert_eq!(second.offset(), 0);
        read(second.tee(&b"much more"[..])).expect("read");
        // What is longer than the blob is no part of it.
        let third = ingests.resume(&digest, Some(5)).expect("resumed");
        assert_eq!(third.offset(), 0);
    }
}
