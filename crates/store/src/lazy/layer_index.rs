//! The index of a layer that has no table of contents itself: a blob beside the layer's.
//!
//! It is a zstd file of [`MAGIC`], the length of a JSON document in four bytes, the document ([`Head`]),
//! and what it counts, numbers little-endian:
//!
//! | | |
//! |---|---|
//! | points | 20 bytes each: byte of the blob, byte of the archive, bits of the byte before it, those bits, length of the window |
//! | marks | 16 bytes each: byte of the archive, byte of the blob |
//! | digests | 32 bytes each: the SHA-256 of each chunk, in the archive's order |
//! | windows | what came before each point |
//! | headers | the archive without files' contents |
//!
//! The archive's own reader reads the headers, so that a layer that is laid out is what an unpacking makes
//! of it, whatever its archive has. A chunk is a file's bytes up to the next point or mebibyte
//! ([`Points::cut`]).

use std::io::{BufRead, Read};

use gamut_spec::digest::Digest;
use serde::{Deserialize, Serialize};

use super::LazyError;
use super::index::MAX_INDEX_BYTES;
use super::inflate::Boundary;
use super::points::{MARK_RECORD_BYTES, Mark, POINT_BYTES, Point, Points};
use super::toc::{Dialect, Piece, Toc, TocEntry};
use crate::decompress::Format;
use crate::reproduce::tape::Tape;
use crate::unpack::archive::{Archive, Entry, EntryKind};
use crate::unpack::{LayerSource, Limits, UnpackProblem};

/// What an index begins with.
const MAGIC: &[u8; 16] = b"gamut layer idx\n";
/// The only version there is.
const VERSION: u32 = 1;
/// Bytes of the JSON document, at most.
const MAX_HEAD_BYTES: usize = 4096;
/// Made once and fetched often.
const LEVEL: i32 = 12;

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LayerIndex {
    /// The blob that it is about.
    pub(super) layer: Digest,
    pub(super) diff_id: Digest,
    pub(super) points: Points,
    /// Of chunks.
    pub(super) digests: Vec<[u8; 32]>,
    /// The archive without files' contents.
    pub(super) headers: Vec<u8>,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Head {
    version: u32,
    layer: Digest,
    layer_bytes: u64,
    diff_id: Digest,
    tar_bytes: u64,
    format: Format,
    points: usize,
    marks: usize,
    digests: usize,
    header_bytes: usize,
}

impl LayerIndex {
    /// As it goes into a registry: the same index, the same bytes.
    ///
    /// # Errors
    /// [`LazyError::Index`]: it is too long.
    pub fn to_bytes(&self) -> Result<Vec<u8>, LazyError> {
        let points = &self.points;
        let head = Head {
            version: VERSION,
            layer: self.layer.clone(),
            layer_bytes: points.stored_bytes,
            diff_id: self.diff_id.clone(),
            tar_bytes: points.tar_bytes,
            format: points.format,
            points: points.points.len(),
            marks: points.marks.len(),
            digests: self.digests.len(),
            header_bytes: self.headers.len(),
        };
        let failed = |error: &dyn std::fmt::Display| LazyError::Index(error.to_string());
        let head = serde_json::to_vec(&head).map_err(|error| failed(&error))?;
        let mut bytes = MAGIC.to_vec();
        bytes.extend((head.len() as u32).to_le_bytes());
        bytes.extend(head);
        for point in &points.points {
            bytes.extend(point.stored.to_le_bytes());
            bytes.extend(point.at.to_le_bytes());
            bytes.extend([point.boundary.bits, point.boundary.bit_buffer]);
            // No more than 32 KiB.
            bytes.extend((point.boundary.window.len() as u16).to_le_bytes());
        }
        for mark in &points.marks {
            bytes.extend(mark.at.to_le_bytes());
            bytes.extend(mark.stored.to_le_bytes());
        }
        bytes.extend(self.digests.as_flattened());
        for point in &points.points {
            bytes.extend(&point.boundary.window);
        }
        bytes.extend(&self.headers);
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            return Err(too_long());
        }
        zstd::bulk::compress(&bytes, LEVEL).map_err(|error| failed(&error))
    }

    /// Reads one that somebody has made.
    ///
    /// # Errors
    /// [`LazyError::Index`].
    pub fn parse(stored: &[u8]) -> Result<Self, LazyError> {
        let failed = |error: std::io::Error| LazyError::Index(error.to_string());
        let mut bytes = Vec::new();
        zstd::stream::read::Decoder::with_buffer(stored)
            .map_err(failed)?
            .take(MAX_INDEX_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(failed)?;
        if bytes.len() as u64 > MAX_INDEX_BYTES {
            return Err(too_long());
        }
        Self::read(&bytes)
    }

    /// The same of one that has been decompressed.
    pub(crate) fn read(bytes: &[u8]) -> Result<Self, LazyError> {
        let mut sections = Sections(bytes);
        let index = sections.read();
        let index = index.map_err(|what| LazyError::Index(what.into()))?;
        match sections.0 {
            [] => Ok(index),
            _ => Err(LazyError::Index("there is something after its end".into())),
        }
    }

    /// The table of contents of the layer, if the index is about that.
    ///
    /// # Errors
    /// [`LazyError::Index`]; what an unpacking of the same headers would fail with.
    pub fn into_toc(self, source: &LayerSource<'_>, limits: &Limits) -> Result<Toc, LazyError> {
        let is_its = self.layer == *source.digest
            && self.diff_id == *source.diff_id
            && source.size_bytes == Some(self.points.stored_bytes);
        if !is_its {
            return Err(LazyError::Index("it is about another layer".into()));
        }
        let entries = self.entries(limits);
        let entries = entries.map_err(|problem| LazyError::Index(problem.to_string()))?;
        Ok(Toc {
            dialect: Dialect::of(self.points.format),
            entries,
            points: self.points.points,
        })
    }

    fn entries(&self, limits: &Limits) -> Result<Vec<TocEntry>, UnpackProblem> {
        let headers = Headers {
            left: &self.headers,
            at: 0,
        };
        let mut archive = Archive::new(headers, limits, Tape::off());
        let mut digests = self.digests.iter();
        let mut entries = Vec::new();
        while let Some(entry) = archive.next()? {
            let mut found = TocEntry {
                entry,
                bytes: 0,
                pieces: Vec::new(),
            };
            match &found.entry {
                Entry {
                    kind: EntryKind::File { sparse: Some(_) },
                    ..
                } => {
                    return Err(UnpackProblem::Archive("a file in it is sparse"));
                }
                Entry {
                    kind: EntryKind::File { sparse: None },
                    ..
                } => {
                    let (headers, length) = archive.take_data();
                    let file = headers.at..headers.at.saturating_add(length);
                    headers.at = file.end;
                    found.bytes = length;
                    found.pieces = self.pieces(file, &mut digests)?;
                }
                _ => {}
            }
            entries.push(found);
        }
        archive.finish()?;
        match digests.next() {
            None => Ok(entries),
            Some(_) => Err(UnpackProblem::Archive("it has digests of nothing")),
        }
    }

    fn pieces<'d>(
        &self,
        file: std::ops::Range<u64>,
        digests: &mut impl Iterator<Item = &'d [u8; 32]>,
    ) -> Result<Vec<Piece>, UnpackProblem> {
        let mut pieces = Vec::new();
        for chunk in self.points.cut(file) {
            let digest = digests.next();
            let digest = digest.ok_or(UnpackProblem::Archive("a file in it has no digest"))?;
            let (blob, inner) = self.points.part(&chunk).map_err(UnpackProblem::Archive)?;
            pieces.push(Piece {
                blob,
                inner,
                // No more than a mebibyte.
                length: (chunk.end - chunk.start) as u32,
                digest: *digest,
            });
        }
        Ok(pieces)
    }
}

/// Headers, and where in the archive they are.
struct Headers<'h> {
    left: &'h [u8],
    at: u64,
}

impl BufRead for Headers<'_> {
    fn fill_buf(&mut self) -> std::io::Result<&[u8]> {
        Ok(self.left)
    }

    fn consume(&mut self, count: usize) {
        self.left = &self.left[count..];
        self.at = self.at.saturating_add(count as u64);
    }
}

impl Read for Headers<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.left.read(buffer)?;
        self.at = self.at.saturating_add(count as u64);
        Ok(count)
    }
}

/// What is left to be read of an index.
struct Sections<'b>(&'b [u8]);

/// It ends where it should not.
const SHORT: &str = "it ends early";

impl<'b> Sections<'b> {
    fn read(&mut self) -> Result<LayerIndex, &'static str> {
        if self.take(MAGIC.len())? != MAGIC {
            return Err("it is not an index of a layer");
        }
        let length = u32::from_le_bytes(self.array()?) as usize;
        if length > MAX_HEAD_BYTES {
            return Err("its head is too long");
        }
        let head = serde_json::from_slice(self.take(length)?);
        let head: Head = head.map_err(|_| "its head is not of a known version")?;
        if head.version != VERSION {
            return Err("its head is not of a known version");
        }
        let mut windows = Vec::new();
        let mut points = Vec::new();
        for _ in 0..self.count(head.points, POINT_BYTES)? {
            let (stored, at) = (self.number()?, self.number()?);
            let [bits, bit_buffer] = self.array()?;
            windows.push(u16::from_le_bytes(self.array()?));
            points.push(Point {
                stored,
                at,
                boundary: Boundary {
                    bits,
                    bit_buffer,
                    window: Vec::new(),
                },
            });
        }
        let mut marks = Vec::new();
        for _ in 0..self.count(head.marks, MARK_RECORD_BYTES)? {
            let (at, stored) = (self.number()?, self.number()?);
            marks.push(Mark { at, stored });
        }
        let mut digests = Vec::new();
        for _ in 0..self.count(head.digests, 32)? {
            digests.push(self.array()?);
        }
        for (point, length) in points.iter_mut().zip(windows) {
            point.boundary.window = self.take(length.into())?.to_vec();
        }
        let headers = self.take(head.header_bytes)?.to_vec();
        let points = Points {
            format: head.format,
            points,
            marks,
            stored_bytes: head.layer_bytes,
            tar_bytes: head.tar_bytes,
        };
        points.check()?;
        Ok(LayerIndex {
            layer: head.layer,
            diff_id: head.diff_id,
            points,
            digests,
            headers,
        })
    }

    /// So many records, if there can be so many.
    fn count(&self, count: usize, record_bytes: usize) -> Result<usize, &'static str> {
        match count > self.0.len() / record_bytes {
            true => Err(SHORT),
            false => Ok(count),
        }
    }

    fn take(&mut self, count: usize) -> Result<&'b [u8], &'static str> {
        let (taken, left) = self.0.split_at_checked(count).ok_or(SHORT)?;
        self.0 = left;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], &'static str> {
        let (taken, left) = self.0.split_first_chunk().ok_or(SHORT)?;
        self.0 = left;
        Ok(*taken)
    }

    fn number(&mut self) -> Result<u64, &'static str> {
        self.array().map(u64::from_le_bytes)
    }
}

fn too_long() -> LazyError {
    LazyError::Index(format!("it has more than {MAX_INDEX_BYTES} bytes"))
}
