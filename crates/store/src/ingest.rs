//! Downloads in progress: `ingest/<hex>`, kept when a pull dies so that the next one goes on.
//!
//! [`Ingest`] is locked by its process; another one that wants the same blob waits, and should
//! look again afterwards whether the layer is there. [`Ingest::tee`] is how a layer is unpacked
//! while it comes in: it gives back first what was there, then the network's bytes, keeping them.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;

use gamut_spec::digest::Digest;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

use crate::blob::BlobError;
use crate::file_error::FileError;
use crate::hash::Hasher;
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
    hasher: Hasher,
}

impl Ingests {
    /// `directory` is `ingest` under the store's root.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// Opens or starts the download of a blob; what is there is hashed again. Waits while another
    /// process is downloading the same blob.
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
        let mut ingest = Ingest {
            digest: digest.clone(),
            size_bytes,
            directory,
            path,
            file: File::from(file),
            offset: 0,
            hasher: Hasher::new(digest.algorithm()),
        };
        ingest.rehash()?;
        Ok(ingest)
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

    /// Forgets what is there: for a server that does not honour ranges, and for a wrong digest.
    pub fn restart(&mut self) -> Result<(), BlobError> {
        self.file
            .set_len(0)
            .and_then(|()| self.file.rewind())
            .map_err(FileError::io("truncate", &self.path))?;
        self.offset = 0;
        self.hasher = Hasher::new(self.digest.algorithm());
        Ok(())
    }

    /// Checks the whole of it and gives it back as a reader from the start. A wrong digest
    /// removes the file: there is nothing to go on with.
    pub fn finish(mut self) -> Result<Fetched, BlobError> {
        if let Some(expected_bytes) = self.size_bytes.filter(|&size| size != self.offset) {
            return Err(BlobError::WrongSize {
                digest: self.digest.clone(),
                expected_bytes,
                actual_bytes: self.offset,
            });
        }
        let actual = self.hasher.clone().finish();
        if actual != self.digest {
            let expected = self.digest.clone();
            self.discard()?;
            return Err(BlobError::WrongDigest { expected, actual });
        }
        self.rewind()?;
        Ok(Fetched { ingest: self })
    }

    /// Reads what is there, then `rest`, which is kept on the way. The reader of the result checks
    /// the digest (unpacking does).
    pub fn tee<R: Read>(mut self, rest: R) -> Result<Tee<R>, BlobError> {
        self.rewind()?;
        let stored_bytes = self.offset;
        Ok(Tee {
            ingest: self,
            stored_bytes,
            rest,
        })
    }

    /// Removes the file: the blob has been used, or must not be.
    pub fn discard(self) -> Result<(), BlobError> {
        match rustix::fs::unlinkat(&self.directory, self.digest.hex(), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(FileError::at("remove", &self.path)(errno).into()),
        }
    }

    fn rewind(&mut self) -> Result<(), BlobError> {
        self.file
            .rewind()
            .map_err(FileError::io("rewind", &self.path))?;
        Ok(())
    }

    /// Hashes what an earlier process left. More than the whole is no part of it.
    fn rehash(&mut self) -> Result<(), BlobError> {
        let mut buffer = vec![0; 256 << 10];
        loop {
            let count = self
                .file
                .read(&mut buffer)
                .map_err(FileError::io("read", &self.path))?;
            if count == 0 {
                break;
            }
            self.hasher.update(&buffer[..count]);
            self.offset += count as u64;
        }
        if self.size_bytes.is_some_and(|size| self.offset > size) {
            self.restart()?;
        }
        Ok(())
    }
}

impl Write for Ingest {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let left = self
            .size_bytes
            .map_or(u64::MAX, |size| size.saturating_sub(self.offset));
        if bytes.len() as u64 > left {
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("blob {} goes on past its declared size", self.digest),
            ));
        }
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.offset += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A download that is whole and right, as a reader from its start.
#[derive(Debug)]
pub struct Fetched {
    ingest: Ingest,
}

impl Fetched {
    /// Removes the file; to be called when its layer has been unpacked.
    pub fn discard(self) -> Result<(), BlobError> {
        self.ingest.discard()
    }
}

impl Read for Fetched {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.ingest.file.read(buffer)
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

    /// The download as far as it has come, to go on with another connection.
    pub fn into_ingest(mut self) -> Result<Ingest, BlobError> {
        self.ingest
            .file
            .seek(SeekFrom::End(0))
            .map_err(FileError::io("seek in", &self.ingest.path))?;
        Ok(self.ingest)
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
        self.ingest.write_all(&buffer[..count])?;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamut_spec::digest::Algorithm;

    fn ingests() -> (tempfile::TempDir, Ingests) {
        let directory = tempfile::tempdir().expect("a directory");
        let ingests = Ingests::new(directory.path().to_owned());
        (directory, ingests)
    }

    #[test]
    fn a_download_that_died_goes_on_where_it_was() {
        let (directory, ingests) = ingests();
        let digest = Hasher::of(Algorithm::Sha256, b"hello world");
        let mut first = ingests.resume(&digest, Some(11)).expect("started");
        first.write_all(b"hello ").expect("written");
        drop(first);
        let mut second = ingests.resume(&digest, Some(11)).expect("resumed");
        assert_eq!(second.offset(), 6);
        second.write_all(b"world").expect("written");
        let mut fetched = second.finish().expect("whole");
        let mut text = String::new();
        fetched.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hello world");
        fetched.discard().expect("removed");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("listed").count(),
            0
        );
    }

    #[test]
    fn a_tee_gives_the_stored_part_first_and_keeps_the_rest() {
        let (_directory, ingests) = ingests();
        let digest = Hasher::of(Algorithm::Sha256, b"hello world");
        let mut first = ingests.resume(&digest, None).expect("started");
        first.write_all(b"hello ").expect("written");
        let mut tee = first.tee(&b"wor"[..]).expect("teed");
        let mut text = String::new();
        tee.read_to_string(&mut text).expect("read");
        assert_eq!(text, "hello wor");
        let mut ingest = tee.into_ingest().expect("back");
        assert_eq!(ingest.offset(), 9);
        ingest.write_all(b"ld").expect("written");
        ingest.finish().expect("whole").discard().expect("removed");
    }

    #[test]
    fn wrong_content_is_thrown_away_and_short_content_is_kept() {
        let (directory, ingests) = ingests();
        let digest = Hasher::of(Algorithm::Sha256, b"right");
        let mut short = ingests.resume(&digest, Some(5)).expect("started");
        short.write_all(b"ri").expect("written");
        let error = short.finish().expect_err("short");
        assert!(
            matches!(
                error,
                BlobError::WrongSize {
                    actual_bytes: 2,
                    ..
                }
            ),
            "{error}"
        );
        let mut wrong = ingests.resume(&digest, Some(5)).expect("resumed");
        wrong.write_all(b"xxx").expect("written");
        assert!(wrong.write_all(b"y").is_err(), "past the declared size");
        let error = wrong.finish().expect_err("wrong");
        assert!(matches!(error, BlobError::WrongDigest { .. }), "{error}");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("listed").count(),
            0
        );
    }
}
