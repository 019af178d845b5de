//! The places in a blob from which it can be decompressed, and what of it is needed for a part of the
//! archive in it.
//!
//! In gzip these are the beginnings of deflate's blocks, every so often ([`spacing`]), and of members; in
//! zstd those of frames. A blob that is not compressed needs none.

use std::ops::Range;

use super::inflate::{Boundary, WINDOW_BYTES};
use crate::decompress::Format;

/// Bytes of an archive between two points, where the blob is small; about a hundredth of them is what a
/// point costs in the index.
const SPACING_BYTES: u64 = 2 << 20;
/// Points of a blob, about, however large it is.
const POINTS: u64 = 128;
/// Bytes after a point that may have to be decompressed before those that somebody wants.
pub(super) const MAX_SPAN_BYTES: u64 = 32 << 20;
/// Bytes of a blob that may have to be fetched for one chunk.
pub(super) const MAX_PART_BYTES: u64 = 2 * MAX_SPAN_BYTES;
/// Bytes of a file in one chunk.
pub(super) const CHUNK_BYTES: u64 = 1 << 20;
/// Bytes of output between two marks.
pub(super) const MARK_BYTES: u64 = 64 << 10;
/// Bytes of a record of each in an index.
pub(super) const POINT_BYTES: usize = 8 + 8 + 1 + 1 + 2;
pub(super) const MARK_RECORD_BYTES: usize = 8 + 8;
/// Bytes that a decompressor may want to see beyond those that it needs.
const LOOKAHEAD_BYTES: u64 = 16;

/// A place to begin at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Point {
    /// In the blob.
    pub(super) stored: u64,
    /// In the archive.
    pub(super) at: u64,
    /// In gzip.
    pub(super) boundary: Boundary,
}

/// So many bytes of the blob give so many of the archive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mark {
    pub(super) at: u64,
    pub(super) stored: u64,
}

/// All of a blob.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Points {
    pub(super) format: Format,
    /// In order.
    pub(super) points: Vec<Point>,
    /// In order.
    pub(super) marks: Vec<Mark>,
    /// Of the blob.
    pub(super) stored_bytes: u64,
    /// Of the archive.
    pub(super) tar_bytes: u64,
}

/// Bytes of the archive between two points of a blob of so many.
pub(super) fn spacing(stored_bytes: u64) -> u64 {
    (stored_bytes / POINTS).clamp(SPACING_BYTES, MAX_SPAN_BYTES / 2)
}

impl Points {
    /// What is wrong with points that somebody else has made.
    pub(super) fn check(&self) -> Result<(), &'static str> {
        let in_order = |points: &[Point]| {
            points
                .windows(2)
                .all(|pair| pair[0].at < pair[1].at && pair[0].stored < pair[1].stored)
        };
        let is_within = |point: &Point| {
            point.at <= self.tar_bytes
                && point.stored < self.stored_bytes
                && point.boundary.bits < 8
                && point.boundary.window.len() <= WINDOW_BYTES
        };
        let sorted = |marks: &[Mark]| {
            let mut pairs = marks.windows(2);
            pairs.all(|pair| pair[0].at <= pair[1].at && pair[0].stored <= pair[1].stored)
        };
        if self.format != Format::Plain && self.points.first().is_none_or(|first| first.at > 0) {
            return Err("nothing can be begun at its beginning");
        }
        match in_order(&self.points) && self.points.iter().all(is_within) && sorted(&self.marks) {
            true => Ok(()),
            false => Err("its points are not in order"),
        }
    }

    /// Bytes that all this has in an index, before it is compressed.
    pub(super) fn size_bytes(&self) -> usize {
        let windows = self.points.iter().map(|point| point.boundary.window.len());
        windows.sum::<usize>()
            + self.points.len() * POINT_BYTES
            + self.marks.len() * MARK_RECORD_BYTES
    }

    /// A file's bytes in the archive as chunks: none of them goes over a point.
    pub(super) fn cut(&self, file: Range<u64>) -> impl Iterator<Item = Range<u64>> + '_ {
        let mut at = file.start;
        std::iter::from_fn(move || {
            let start = at;
            at = self.end_of_chunk(&file, start);
            (start < file.end).then_some(start..at)
        })
    }

    /// Where the chunk of `file` that begins at `start` ends, as far as points are known.
    pub(super) fn end_of_chunk(&self, file: &Range<u64>, start: u64) -> u64 {
        let within = (start - file.start) / CHUNK_BYTES * CHUNK_BYTES;
        let whole = file.start.saturating_add(within + CHUNK_BYTES);
        let next = self.points.partition_point(|point| point.at <= start);
        let next = self.points.get(next).map_or(u64::MAX, |point| point.at);
        whole.min(next).min(file.end)
    }

    /// What of the blob is needed for a chunk, and how many bytes come out of it before the chunk's.
    pub(super) fn part(&self, chunk: &Range<u64>) -> Result<(Range<u64>, u64), &'static str> {
        const OUTSIDE: &str = "a file is outside of the layer";
        if self.format == Format::Plain {
            return match chunk.end <= self.stored_bytes {
                true => Ok((chunk.clone(), 0)),
                false => Err(OUTSIDE),
            };
        }
        let next = self.points.partition_point(|point| point.at <= chunk.start);
        let point = next.checked_sub(1).and_then(|index| self.points.get(index));
        let point = point.ok_or(OUTSIDE)?;
        let stop = self
            .points
            .get(next)
            .map_or(self.stored_bytes, |next| next.stored);
        let mark = self.marks.partition_point(|mark| mark.at < chunk.end);
        let enough = self.marks.get(mark).map_or(stop, |mark| mark.stored);
        let stored = point.stored..stop.min(enough.saturating_add(LOOKAHEAD_BYTES));
        let inner = chunk.start - point.at;
        if chunk.end > self.tar_bytes || stored.is_empty() {
            return Err(OUTSIDE);
        }
        let is_near = inner + (chunk.end - chunk.start) <= MAX_SPAN_BYTES;
        match is_near && stored.end - stored.start <= MAX_PART_BYTES {
            true => Ok((stored, inner)),
            false => Err("it cannot be read from the middle"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn points() -> Points {
        let point = |stored, at| Point {
            stored,
            at,
            boundary: Boundary::default(),
        };
        let mark = |at, stored| Mark { at, stored };
        Points {
            format: Format::Gzip,
            points: vec![point(10, 0), point(400, 3 << 20), point(800, 6 << 20)],
            marks: vec![mark(1 << 20, 100), mark(2 << 20, 200), mark(4 << 20, 600)],
            stored_bytes: 1000,
            tar_bytes: 8 << 20,
        }
    }

    #[test]
    fn chunks_end_at_points_and_after_a_mebibyte() {
        let points = points();
        points.check().expect("in order");
        let chunks: Vec<_> = points.cut((2 << 20) + 5..(5 << 20)).collect();
        let expected = [
            (2 << 20) + 5..3 << 20,
            3 << 20..(3 << 20) + 5,
            (3 << 20) + 5..(4 << 20) + 5,
            (4 << 20) + 5..5 << 20,
        ];
        assert_eq!(chunks, expected);
        assert_eq!(points.cut(7..7).count(), 0);
    }

    #[test]
    fn a_part_is_no_longer_than_it_has_to_be() {
        let points = points();
        let part = |chunk: Range<u64>| points.part(&chunk);
        assert_eq!(part(5..9), Ok((10..116, 5)));
        assert_eq!(part((2 << 20) + 5..3 << 20), Ok((10..400, (2 << 20) + 5)));
        assert_eq!(part(7 << 20..8 << 20), Ok((800..1000, 1 << 20)));
        assert!(part(7 << 20..9 << 20).is_err());
        let mut far = points.clone();
        far.points.truncate(1);
        far.tar_bytes = 1 << 40;
        assert!(far.part(&(1 << 30..(1 << 30) + 1)).is_err());
    }

    #[test]
    fn disorder_is_seen() {
        let changed = |change: &dyn Fn(&mut Points)| {
            let mut points = points();
            change(&mut points);
            points.check()
        };
        assert!(changed(&|points| points.points.swap(0, 1)).is_err());
        assert!(changed(&|points| points.points[2].stored = 1000).is_err());
        assert!(changed(&|points| points.points[1].boundary.bits = 8).is_err());
        assert!(changed(&|points| points.marks.swap(0, 1)).is_err());
        assert!(changed(&|points| points.points.clear()).is_err());
        assert!(changed(&|_| ()).is_ok());
    }
}
