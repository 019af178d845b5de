//! Hashing while bytes pass. `sha2` picks the SHA-NI instructions at run time.

use std::io::{self, Read};

use gamut_spec::digest::{Algorithm, Digest};
use sha2::{Digest as _, Sha256, Sha512};

/// Bytes in, a [`Digest`] out.
#[derive(Debug, Clone)]
pub(crate) enum Hasher {
    Sha256(Sha256),
    Sha512(Box<Sha512>),
}

impl Hasher {
    /// With an algorithm.
    pub(crate) fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::Sha256(Sha256::default()),
            Algorithm::Sha512 => Self::Sha512(Box::default()),
        }
    }

    pub(crate) fn update(&mut self, bytes: &[u8]) {
        match self {
            Self::Sha256(hash) => hash.update(bytes),
            Self::Sha512(hash) => hash.update(bytes),
        }
    }

    pub(crate) fn finish(self) -> Digest {
        match self {
            Self::Sha256(hash) => Digest::Sha256(hash.finalize().into()),
            Self::Sha512(hash) => Digest::Sha512(Box::new(hash.finalize().into())),
        }
    }

    /// The digest of bytes that are all there.
    pub(crate) fn of(algorithm: Algorithm, bytes: &[u8]) -> Digest {
        let mut hasher = Self::new(algorithm);
        hasher.update(bytes);
        hasher.finish()
    }
}

/// Passes a stream on, counting and hashing it, and stops it one byte past its declared size.
#[derive(Debug)]
pub(crate) struct HashingReader<R> {
    stream: R,
    hasher: Hasher,
    /// Bytes that have passed.
    pub(crate) bytes: u64,
    declared_bytes: Option<u64>,
    /// What the stream itself failed with, as opposed to what a decoder makes of its content.
    pub(crate) failure: Option<StreamFailure>,
}

/// Why the stream below stopped.
#[derive(Debug)]
pub(crate) enum StreamFailure {
    /// Reading it failed.
    Broken(io::Error),
    /// It went on past its declared size.
    TooLong(u64),
}

impl<R: Read> HashingReader<R> {
    pub(crate) fn new(stream: R, algorithm: Algorithm, declared_bytes: Option<u64>) -> Self {
        Self {
            stream,
            hasher: Hasher::new(algorithm),
            bytes: 0,
            declared_bytes,
            failure: None,
        }
    }

    /// The digest of everything that has passed.
    pub(crate) fn finish(self) -> Digest {
        self.hasher.finish()
    }
}

impl<R: Read> Read for HashingReader<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = loop {
            match self.stream.read(buffer) {
                Ok(count) => break count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    let shown = io::Error::new(error.kind(), error.to_string());
                    self.failure = Some(StreamFailure::Broken(error));
                    return Err(shown);
                }
            }
        };
        self.hasher.update(&buffer[..count]);
        self.bytes += count as u64;
        match self.declared_bytes {
            Some(declared) if self.bytes > declared => {
                self.failure = Some(StreamFailure::TooLong(declared));
                Err(io::Error::from(io::ErrorKind::FileTooLarge))
            }
            _ => Ok(count),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(
            Hasher::of(Algorithm::Sha256, b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn the_other_algorithm_is_known_too() {
        // FIPS 180-4, example of "abc".
        let digest = Hasher::of(Algorithm::Sha512, b"abc").to_string();
        assert!(
            digest.starts_with("sha512:ddaf35a193617abacc417349ae204131"),
            "{digest}"
        );
    }

    #[test]
    fn a_stream_past_its_declared_size_is_stopped() {
        let mut reader = HashingReader::new(&b"0123456789"[..], Algorithm::Sha256, Some(9));
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
        assert!(matches!(reader.failure, Some(StreamFailure::TooLong(9))));
    }
}
