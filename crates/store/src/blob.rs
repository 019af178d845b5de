//! Content-addressed blobs: manifests and configs, each a file named by its digest.
//!
//! A blob is written to a temporary file while its digest and size are checked, and gets its name
//! only when both are right, so whatever has a name is whole. Nothing is synced one by one:
//! [`crate::Store::sync`] flushes the file system once, before the image that refers to the blobs
//! is recorded. Reading checks the digest again, so a blob torn by a power cut is never believed.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use gamut_spec::digest::{Algorithm, Digest};
use gamut_spec::{Fault, Kind};
use rustix::fs::AtFlags;
use rustix::io::Errno;

use crate::file_error::FileError;
use crate::hash::{Hasher, HashingReader, StreamFailure};
use crate::pin::{self, Pin};

/// A manifest or config larger than this is refused (registries refuse them at 4 MiB).
pub const BLOB_LIMIT_BYTES: u64 = 16 << 20;

/// Why a blob could not be written or read.
#[derive(Debug, thiserror::Error)]
pub enum BlobError {
    /// A system call failed.
    #[error(transparent)]
    File(#[from] FileError),
    /// The stream that was being stored broke off.
    #[error("the stream of blob {digest} broke off: {reason}")]
    Stream {
        /// The blob.
        digest: Digest,
        /// What the reader said.
        reason: String,
    },
    /// The bytes are not those that the digest names.
    #[error("blob {expected} has the digest {actual}")]
    WrongDigest {
        /// What was asked for.
        expected: Digest,
        /// What the bytes have.
        actual: Digest,
    },
    /// The bytes are fewer or more than declared.
    #[error("blob {digest} should have {expected_bytes} bytes, but has {actual_bytes}")]
    WrongSize {
        /// The blob.
        digest: Digest,
        /// As its descriptor says.
        expected_bytes: u64,
        /// As they came; one more than expected when the stream was cut off there.
        actual_bytes: u64,
    },
    /// The blob is larger than the limit.
    #[error("blob {digest} is larger than the {limit_bytes} bytes that are allowed")]
    TooLarge {
        /// The blob.
        digest: Digest,
        /// [`BLOB_LIMIT_BYTES`].
        limit_bytes: u64,
    },
    /// There is no such blob.
    #[error("there is no blob {0} in the store")]
    NotFound(Digest),
}

impl Fault for BlobError {
    fn kind(&self) -> Kind {
        match self {
            Self::File(error) => error.kind(),
            Self::Stream { .. } => Kind::Unavailable,
            Self::WrongDigest { .. } | Self::WrongSize { .. } | Self::TooLarge { .. } => {
                Kind::Invalid
            }
            Self::NotFound(_) => Kind::NotFound,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            Self::File(error) => error.hint(),
            Self::WrongDigest { .. } | Self::NotFound(_) => Some("pull the image again".into()),
            _ => None,
        }
    }
}

/// The blobs of one store.
#[derive(Debug, Clone)]
pub struct Blobs {
    directory: PathBuf,
}

/// A blob that is there and stays there while this lives.
#[derive(Debug)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its size.
    pub size_bytes: u64,
    pin: Pin,
}

impl Blobs {
    /// `directory` is `blobs/sha256` under the store's root.
    pub(crate) fn new(directory: PathBuf) -> Self {
        Self { directory }
    }

    /// The blob, pinned; `None` when it is not there.
    pub fn get(&self, digest: &Digest) -> Result<Option<Blob>, BlobError> {
        let directory = pin::open_directory(&self.directory)?;
        let path = self.path(digest);
        let Some(pin) = Pin::shared(directory.as_fd(), digest.hex().as_ref())
            .map_err(FileError::at("lock", &path))?
        else {
            return Ok(None);
        };
        let stat = rustix::fs::fstat(&pin).map_err(FileError::at("look at", &path))?;
        Ok(Some(Blob {
            digest: digest.clone(),
            size_bytes: u64::try_from(stat.st_size).unwrap_or(0),
            pin,
        }))
    }

    /// Stores a stream under `digest`, checking it on the way. A blob that is there already is
    /// left as it is, and the stream is not read.
    pub fn put(
        &self,
        digest: &Digest,
        size_bytes: Option<u64>,
        stream: impl Read,
    ) -> Result<Blob, BlobError> {
        if let Some(blob) = self.get(digest)? {
            return Ok(blob);
        }
        let limit_bytes = size_bytes.unwrap_or(BLOB_LIMIT_BYTES);
        if limit_bytes > BLOB_LIMIT_BYTES {
            return Err(BlobError::TooLarge {
                digest: digest.clone(),
                limit_bytes: BLOB_LIMIT_BYTES,
            });
        }
        let mut content = Vec::new();
        let mut stream = HashingReader::new(stream, digest.algorithm(), Some(limit_bytes));
        if let Err(error) = stream.read_to_end(&mut content) {
            return Err(stream_error(
                digest,
                size_bytes,
                stream.failure.take(),
                &error,
            ));
        }
        if let Some(expected_bytes) = size_bytes.filter(|&expected| expected != stream.bytes) {
            return Err(BlobError::WrongSize {
                digest: digest.clone(),
                expected_bytes,
                actual_bytes: stream.bytes,
            });
        }
        let actual = stream.finish();
        if actual != *digest {
            return Err(BlobError::WrongDigest {
                expected: digest.clone(),
                actual,
            });
        }
        self.write(digest, &content)
    }

    /// What some bytes would be stored under.
    pub fn digest(content: &[u8]) -> Digest {
        Hasher::of(Algorithm::Sha256, content)
    }

    /// Stores bytes that are all there under their own SHA-256 digest.
    pub fn put_bytes(&self, content: &[u8]) -> Result<Blob, BlobError> {
        let digest = Hasher::of(Algorithm::Sha256, content);
        match self.get(&digest)? {
            Some(blob) => Ok(blob),
            None => self.write(&digest, content),
        }
    }

    /// The content of a blob, its digest checked.
    pub fn read(&self, digest: &Digest) -> Result<Vec<u8>, BlobError> {
        let path = self.path(digest);
        let content = match std::fs::read(&path) {
            Ok(content) => content,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                return Err(BlobError::NotFound(digest.clone()));
            }
            Err(error) => return Err(FileError::io("read", &path)(error).into()),
        };
        let actual = Hasher::of(digest.algorithm(), &content);
        if actual == *digest {
            Ok(content)
        } else {
            Err(BlobError::WrongDigest {
                expected: digest.clone(),
                actual,
            })
        }
    }

    /// Where a blob lies or would lie.
    pub(crate) fn path(&self, digest: &Digest) -> PathBuf {
        self.directory.join(digest.hex())
    }

    /// The directory that holds the blobs.
    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    /// Writes checked content: temporary file, lock, rename. The lock becomes the pin.
    fn write(&self, digest: &Digest, content: &[u8]) -> Result<Blob, BlobError> {
        let directory = pin::open_directory(&self.directory)?;
        let path = self.path(digest);
        let (name, pin) = pin::temporary_file(directory.as_fd())
            .map_err(FileError::at("make a temporary file for", &path))?;
        let written =
            write_and_rename(&directory, &name, &pin, digest, content).and_then(|()| pin.share());
        if written.is_err() {
            let _ = rustix::fs::unlinkat(&directory, &name, AtFlags::empty());
        }
        Ok(Blob {
            digest: digest.clone(),
            size_bytes: content.len() as u64,
            pin: written.map_err(FileError::at("write", &path))?,
        })
    }
}

fn write_and_rename(
    directory: &OwnedFd,
    name: &str,
    file: &Pin,
    digest: &Digest,
    mut content: &[u8],
) -> Result<(), Errno> {
    while !content.is_empty() {
        let count = rustix::io::retry_on_intr(|| rustix::io::write(file, content))?;
        content = &content[count..];
    }
    // A blob of the same name has the same content: replacing it harms nobody.
    rustix::fs::renameat(directory, name, directory, digest.hex())
}

fn stream_error(
    digest: &Digest,
    size_bytes: Option<u64>,
    failure: Option<StreamFailure>,
    error: &std::io::Error,
) -> BlobError {
    match (failure, size_bytes) {
        (Some(StreamFailure::TooLong(limit)), Some(expected_bytes)) => BlobError::WrongSize {
            digest: digest.clone(),
            expected_bytes,
            actual_bytes: limit + 1,
        },
        (Some(StreamFailure::TooLong(limit_bytes)), None) => BlobError::TooLarge {
            digest: digest.clone(),
            limit_bytes,
        },
        _ => BlobError::Stream {
            digest: digest.clone(),
            reason: error.to_string(),
        },
    }
}

impl AsFd for Blob {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.pin.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn blobs() -> (tempfile::TempDir, Blobs) {
        let directory = tempfile::tempdir().expect("a directory");
        let blobs = Blobs::new(directory.path().to_owned());
        (directory, blobs)
    }

    #[test]
    fn what_is_put_is_read_and_putting_twice_is_nothing() {
        let (directory, blobs) = blobs();
        let digest = Hasher::of(Algorithm::Sha256, b"{}");
        blobs.put(&digest, Some(2), &b"{}"[..]).expect("stored");
        blobs
            .put(&digest, Some(2), &b"{}"[..])
            .expect("stored again");
        blobs.put_bytes(b"{}").expect("and again");
        assert_eq!(blobs.read(&digest).expect("read"), b"{}");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("listed").count(),
            1
        );
    }

    #[test]
    fn wrong_content_is_refused_and_leaves_nothing() {
        let (directory, blobs) = blobs();
        let digest = Hasher::of(Algorithm::Sha256, b"right");
        let wrong = blobs
            .put(&digest, None, &b"wrong"[..])
            .expect_err("refused");
        assert!(matches!(wrong, BlobError::WrongDigest { .. }), "{wrong}");
        let long = blobs
            .put(&digest, Some(4), &b"right"[..])
            .expect_err("refused");
        assert!(
            matches!(
                long,
                BlobError::WrongSize {
                    actual_bytes: 5,
                    ..
                }
            ),
            "{long}"
        );
        let short = blobs
            .put(&digest, Some(9), &b"right"[..])
            .expect_err("refused");
        assert!(matches!(short, BlobError::WrongSize { .. }), "{short}");
        let endless = blobs
            .put(&digest, None, std::io::repeat(0))
            .expect_err("refused");
        assert!(matches!(endless, BlobError::TooLarge { .. }), "{endless}");
        assert_eq!(
            std::fs::read_dir(directory.path()).expect("listed").count(),
            0
        );
    }

    #[test]
    fn a_torn_blob_is_not_believed() {
        let (_directory, blobs) = blobs();
        let blob = blobs.put_bytes(b"whole").expect("stored");
        std::fs::write(blobs.path(&blob.digest), b"").expect("torn");
        let torn = blobs.read(&blob.digest).expect_err("noticed");
        assert!(matches!(torn, BlobError::WrongDigest { .. }), "{torn}");
    }
}
