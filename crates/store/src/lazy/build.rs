//! Making the index of a layer: all of its blob is read once.

use std::io::{self, BufRead, Read};
use std::ops::Range;

use gamut_spec::digest::{Algorithm, Digest};

use super::LazyError;
use super::index::MAX_INDEX_BYTES;
use super::layer_index::LayerIndex;
use super::points::spacing;
use super::scan::Scan;
use crate::decompress::Format;
use crate::hash::{Hasher, HashingReader};
use crate::layer::LayerError;
use crate::reproduce::tape::Tape;
use crate::unpack::archive::{Archive, EntryKind};
use crate::unpack::entries::Refusal;
use crate::unpack::{LayerSource, Limits, UnpackProblem};

/// Bytes of an archive that may be in one frame of zstd: to read from its middle one needs all before.
const MAX_ONLY_FRAME_BYTES: u64 = 8 << 20;

impl LayerIndex {
    /// Makes the index of a layer, of which `bytes` is the blob.
    ///
    /// # Errors
    /// [`LazyError::Index`]: it cannot have one. What an unpacking would fail with.
    pub fn build(source: &LayerSource<'_>, bytes: impl Read) -> Result<Self, LazyError> {
        let stored_bytes = source.size_bytes.unwrap_or(u64::MAX);
        let mut input = HashingReader::new(bytes, source.digest.algorithm(), source.size_bytes);
        let scan = Scan::new(&mut input, stored_bytes, spacing(stored_bytes))?;
        let mut split = Split::new(scan, source.diff_id.algorithm());
        let limits = Limits::default();
        let of_layer = |problem| LayerError::from(Refusal::from(problem).of_layer(source.digest));
        split.read(&limits).map_err(|problem| match problem {
            UnpackProblem::Archive(SPARSE) => LazyError::Index(SPARSE.into()),
            problem => of_layer(problem).into(),
        })?;
        let Split {
            scan,
            hasher,
            headers,
            digests,
            files,
            ..
        } = split;
        let points = scan.into_points();
        // What the decompressor had no use for is hashed, too.
        io::copy(&mut input, &mut io::sink())?;
        check("the layer", source.digest, input.finish())?;
        check("the layer's archive", source.diff_id, hasher.finish())?;
        let index = Self {
            layer: source.digest.clone(),
            diff_id: source.diff_id.clone(),
            points,
            digests,
            headers,
        };
        index.check_use(&files)?;
        Ok(index)
    }

    /// Whether files can be had one by one.
    fn check_use(&self, files: &[Range<u64>]) -> Result<(), LazyError> {
        let points = &self.points;
        if points.format == Format::Zstd
            && points.points.len() == 1
            && points.tar_bytes > MAX_ONLY_FRAME_BYTES
        {
            return Err(LazyError::Index(
                "it is one frame of zstd, which can be read from its beginning only".into(),
            ));
        }
        let mut chunks = files.iter().flat_map(|file| points.cut(file.clone()));
        chunks
            .try_for_each(|chunk| points.part(&chunk).map(drop))
            .map_err(|what| LazyError::Index(what.into()))
    }
}

/// What tables of contents cannot say.
const SPARSE: &str = "a file in it is sparse";

fn check(what: &'static str, expected: &Digest, actual: Digest) -> Result<(), LazyError> {
    match actual == *expected {
        true => Ok(()),
        false => Err(LazyError::WrongDigest {
            what,
            expected: expected.clone(),
            actual,
        }),
    }
}

/// An archive whose reader keeps what it reads, but for files' contents, of which it keeps digests.
struct Split<R> {
    scan: Scan<R>,
    /// Bytes of the archive that have been read.
    at: u64,
    hasher: Hasher,
    headers: Vec<u8>,
    /// Of chunks.
    digests: Vec<[u8; 32]>,
    /// Where contents are in the archive.
    files: Vec<Range<u64>>,
}

impl<R: Read> Split<R> {
    fn new(scan: Scan<R>, algorithm: Algorithm) -> Self {
        Self {
            scan,
            at: 0,
            hasher: Hasher::new(algorithm),
            headers: Vec::new(),
            digests: Vec::new(),
            files: Vec::new(),
        }
    }

    fn read(&mut self, limits: &Limits) -> Result<(), UnpackProblem> {
        let mut archive = Archive::new(self, limits, Tape::off());
        while let Some(entry) = archive.next()? {
            match entry.kind {
                EntryKind::File { sparse: Some(_) } => return Err(UnpackProblem::Archive(SPARSE)),
                EntryKind::File { sparse: None } => {
                    let (split, length) = archive.take_data();
                    split.content(length, limits)?;
                }
                _ => {}
            }
        }
        archive.finish().map(drop)
    }

    /// Takes a file's bytes.
    fn content(&mut self, length: u64, limits: &Limits) -> Result<(), UnpackProblem> {
        let file = self.at..self.at.saturating_add(length);
        let mut start = file.start;
        let mut hasher = Hasher::new(Algorithm::Sha256);
        while self.at < file.end {
            let bytes = self
                .scan
                .fill_buf()
                .map_err(|error| UnpackProblem::Stream(error.to_string()))?;
            if bytes.is_empty() {
                return Err(UnpackProblem::Archive("it ends in the middle of a file"));
            }
            let bytes = bytes.len() as u64;
            let stop = self.scan.points().end_of_chunk(&file, start);
            let count = bytes.min(stop - self.at) as usize;
            if count > 0 {
                let bytes = self.scan.fill_buf().unwrap_or_default();
                hasher.update(&bytes[..count]);
                self.hasher.update(&bytes[..count]);
                self.scan.consume(count);
                self.at += count as u64;
            }
            // A point that comes here is seen with the next bytes.
            if self.at == file.end || count == 0 {
                let done = std::mem::replace(&mut hasher, Hasher::new(Algorithm::Sha256));
                if let Digest::Sha256(digest) = done.finish() {
                    self.digests.push(digest);
                }
                start = self.at;
            }
        }
        if length > 0 {
            self.files.push(file);
        }
        self.check_size(limits)
    }

    fn check_size(&self, limits: &Limits) -> Result<(), UnpackProblem> {
        if self.at > limits.unpacked_bytes {
            return Err(UnpackProblem::Limit {
                what: "bytes of uncompressed data",
                limit: limits.unpacked_bytes,
            });
        }
        let size = self.headers.len() + self.digests.len() * 32 + self.scan.points().size_bytes();
        match size as u64 > MAX_INDEX_BYTES {
            true => Err(UnpackProblem::Limit {
                what: "bytes of its index",
                limit: MAX_INDEX_BYTES,
            }),
            false => Ok(()),
        }
    }
}

impl<R: Read> BufRead for Split<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.headers.len() as u64 > MAX_INDEX_BYTES {
            return Err(io::Error::other("its headers are too long for an index"));
        }
        self.scan.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        // They have been given, so they are there.
        let bytes = self.scan.fill_buf().unwrap_or_default();
        let bytes = bytes.get(..count).unwrap_or_default();
        self.hasher.update(bytes);
        self.headers.extend_from_slice(bytes);
        self.scan.consume(count);
        self.at += count as u64;
    }
}

impl<R: Read> Read for Split<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}
