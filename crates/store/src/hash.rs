//! SHA-256 while bytes pass. `sha2` picks the SHA-NI instructions at run time.

use std::io::{self, Read};

use sha2::{Digest as _, Sha256};

use gamut_spec::digest::Digest;

/// Bytes in, a [`Digest`] out.
#[derive(Debug, Clone, Default)]
pub(crate) struct Hasher(Sha256);

impl Hasher {
    pub(crate) fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    pub(crate) fn finish(self) -> Digest {
        let mut text = String::with_capacity(7 + 64);
        text.push_str("sha256:");
        for byte in self.0.finalize() {
            for nibble in [byte >> 4, byte & 15] {
                text.push(char::from(b"0123456789abcdef"[usize::from(nibble)]));
            }
        }
        // Cannot fail: the text has exactly the form that the parser asks for.
        text.parse().expect("sha256: and 64 hexadecimal digits")
    }

    /// The digest of bytes that are all there.
    pub(crate) fn of(bytes: &[u8]) -> Digest {
        let mut hasher = Self::default();
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
    pub(crate) fn new(stream: R, declared_bytes: Option<u64>) -> Self {
        Self {
            stream,
            hasher: Hasher::default(),
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
            Hasher::of(b"").to_string(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
    }

    #[test]
    fn a_stream_past_its_declared_size_is_stopped() {
        let mut reader = HashingReader::new(&b"0123456789"[..], Some(9));
        assert!(io::copy(&mut reader, &mut io::sink()).is_err());
        assert!(matches!(reader.failure, Some(StreamFailure::TooLong(9))));
    }
}
