//! A part of a blob, decompressed by itself; and what has to be known for that where it begins in the
//! middle of a gzip member.

use std::fs::File;
use std::io::Read;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;

use super::LazyError;
use super::inflate::{Boundary, Inflated, WINDOW_BYTES};
use super::points::Point;
use super::toc::Dialect;
use crate::file_error::FileError;

/// What `lazy-points` begins with; the number of points follows.
const MAGIC: &[u8; 16] = b"gamut points 1\n\0";
/// Bytes of a record: place in the blob, bits, those bits, length of the window.
const RECORD_BYTES: usize = 8 + 1 + 1 + 2;

/// The points of a blob. What came out before each of them stays in the file, `lazy-points`.
#[derive(Debug, Default)]
pub(super) struct Windows {
    /// In order.
    points: Vec<Record>,
    file: Option<(File, PathBuf)>,
}

#[derive(Debug)]
struct Record {
    stored: u64,
    bits: u8,
    bit_buffer: u8,
    window: u16,
    /// Where the window is in the file.
    at: u64,
}

impl Windows {
    /// Writes the file.
    pub(super) fn write(path: &Path, points: &[Point]) -> Result<(), FileError> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend((points.len() as u64).to_le_bytes());
        for point in points {
            let boundary = &point.boundary;
            bytes.extend(point.stored.to_le_bytes());
            bytes.extend([boundary.bits, boundary.bit_buffer]);
            // No more than 32 KiB.
            bytes.extend((boundary.window.len() as u16).to_le_bytes());
        }
        for point in points {
            bytes.extend(&point.boundary.window);
        }
        std::fs::write(path, bytes).map_err(FileError::io("write", path))
    }

    /// Opens it.
    pub(super) fn open(path: &Path) -> Result<Self, LazyError> {
        let torn = || {
            let path = path.display();
            LazyError::Damaged(format!(
                "{path} is torn; remove the image and pull it again"
            ))
        };
        let mut file = File::open(path).map_err(FileError::io("open", path))?;
        let length = file
            .metadata()
            .map_err(FileError::io("look at", path))?
            .len();
        let mut beginning = [0; MAGIC.len() + 8];
        file.read_exact(&mut beginning).map_err(|_| torn())?;
        let (magic, count) = beginning.split_at(MAGIC.len());
        let count = u64::from_le_bytes(std::array::from_fn(|byte| count[byte]));
        if magic != MAGIC || count > length / RECORD_BYTES as u64 {
            return Err(torn());
        }
        // No longer than the file.
        let mut records = vec![0; count as usize * RECORD_BYTES];
        file.read_exact(&mut records).map_err(|_| torn())?;
        let mut at = (beginning.len() + records.len()) as u64;
        let mut points = Vec::with_capacity(count as usize);
        for record in records.as_chunks::<RECORD_BYTES>().0 {
            let window = u16::from_le_bytes([record[10], record[11]]);
            points.push(Record {
                stored: u64::from_le_bytes(std::array::from_fn(|byte| record[byte])),
                bits: record[8],
                bit_buffer: record[9],
                window,
                at,
            });
            at += u64::from(window);
        }
        match at == length {
            true => Ok(Self {
                points,
                file: Some((file, path.to_owned())),
            }),
            false => Err(torn()),
        }
    }

    /// The point at a byte of the blob, if there is one.
    pub(super) fn boundary(&self, stored: u64) -> Result<Option<Boundary>, LazyError> {
        let found = self
            .points
            .binary_search_by_key(&stored, |point| point.stored);
        let (Some(point), Some((file, path))) = (
            found.ok().and_then(|index| self.points.get(index)),
            &self.file,
        ) else {
            return Ok(None);
        };
        let mut window = vec![0; usize::from(point.window).min(WINDOW_BYTES)];
        file.read_exact_at(&mut window, point.at)
            .map_err(FileError::io("read", path))?;
        Ok(Some(Boundary {
            bits: point.bits,
            bit_buffer: point.bit_buffer,
            window,
        }))
    }
}

/// One part of the blob, being decompressed.
pub(super) struct Unpacking<'b> {
    decoder: Box<dyn Read + 'b>,
    /// Bytes that have come out.
    pub(super) done: u64,
}

impl<'b> Unpacking<'b> {
    /// Of what begins with `bytes`, where it begins at a point of gzip.
    pub(super) fn new(
        dialect: Dialect,
        point: Option<&Boundary>,
        bytes: &'b [u8],
    ) -> Result<Self, LazyError> {
        let decoder: Box<dyn Read + 'b> = match (dialect, point) {
            (Dialect::Estargz, _) => Box::new(MultiGzDecoder::new(bytes)),
            (Dialect::ZstdChunked | Dialect::Zstd, _) => Box::new(
                zstd::stream::read::Decoder::with_buffer(bytes)
                    .map_err(|error| LazyError::Damaged(error.to_string()))?,
            ),
            (Dialect::Plain, _) => Box::new(bytes),
            (Dialect::Gzip, Some(point)) => Box::new(Inflated::new(point, bytes)),
            (Dialect::Gzip, None) => {
                return Err(LazyError::Damaged("nothing can be begun there".into()));
            }
        };
        Ok(Self { decoder, done: 0 })
    }

    /// `length` bytes, from the uncompressed byte `at` on, which is not before what has been taken.
    pub(super) fn take(&mut self, at: u64, length: u32) -> Result<Vec<u8>, LazyError> {
        let damaged = |error: std::io::Error| LazyError::Damaged(error.to_string());
        let skipped = at - self.done;
        let skipping = &mut self.decoder.as_mut().take(skipped);
        let mut bytes = Vec::with_capacity(length as usize);
        std::io::copy(skipping, &mut std::io::sink()).map_err(damaged)?;
        let taking = &mut self.decoder.as_mut().take(length.into());
        taking.read_to_end(&mut bytes).map_err(damaged)?;
        self.done = at + bytes.len() as u64;
        match bytes.len() == length as usize {
            true => Ok(bytes),
            false => Err(LazyError::Damaged("it ends early".into())),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn points_are_read_as_they_were_written() {
        let point = |stored, bits, window: &[u8]| Point {
            stored,
            at: stored,
            boundary: Boundary {
                bits,
                bit_buffer: bits / 2,
                window: window.to_vec(),
            },
        };
        let points = [
            point(10, 0, b""),
            point(1 << 40, 7, &[3; WINDOW_BYTES]),
            point(u64::MAX, 1, b"xyz"),
        ];
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("points");
        Windows::write(&path, &points).expect("written");
        let windows = Windows::open(&path).expect("opened");
        for point in points {
            let found = windows.boundary(point.stored).expect("read");
            assert_eq!(found, Some(point.boundary));
        }
        assert_eq!(windows.boundary(11).expect("read"), None);
        let bytes = std::fs::read(&path).expect("bytes");
        for cut in [bytes.len() - 1, 50, 20, 3] {
            std::fs::write(&path, &bytes[..cut]).expect("torn");
            assert!(Windows::open(&path).is_err(), "{cut}");
        }
    }
}
