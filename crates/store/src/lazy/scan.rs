//! A blob read from its beginning to its end, as the archive in it, noting the places from which it could
//! have been read.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

use zstd::stream::raw::Operation;

use super::inflate::{Boundary, Inflater, Reached};
use super::points::{MARK_BYTES, Mark, Point, Points};
use crate::decompress::{Format, Peeked, peek};

/// Bytes of input at a time.
const INPUT_BYTES: usize = 128 << 10;
/// Bytes of zstd's output at a time, and between two points of a blob that has many small frames.
const FRAMES_BYTES: usize = 128 << 10;

/// See the module. What [`BufRead::fill_buf`] gives does not go over a point.
#[derive(Debug)]
pub(super) struct Scan<R> {
    input: Counted<BufReader<Peeked<R>>>,
    decoder: Decoder,
    noted: Noted,
    is_at_end: bool,
}

impl<R: Read> Scan<R> {
    /// Of a blob of `stored_bytes`, with points after so many bytes of the archive, or some more.
    pub(super) fn new(stream: R, stored_bytes: u64, spacing: u64) -> io::Result<Self> {
        let (format, stream) = peek(stream)?;
        let decoder = match format {
            Format::Plain => Decoder::Plain,
            Format::Gzip => Decoder::Gzip(Members::new()),
            Format::Zstd => Decoder::Zstd(Frames::new()?),
        };
        let points = Points {
            format,
            points: Vec::new(),
            marks: Vec::new(),
            stored_bytes,
            tar_bytes: 0,
        };
        Ok(Self {
            input: Counted {
                input: BufReader::with_capacity(INPUT_BYTES, stream),
                bytes: 0,
            },
            decoder,
            noted: Noted { points, spacing },
            is_at_end: false,
        })
    }

    /// What is known so far.
    pub(super) fn points(&self) -> &Points {
        &self.noted.points
    }

    /// The same at the end, and the stream.
    pub(super) fn into_points(self) -> Points {
        self.noted.points
    }

    /// Decompresses some more, if there is more.
    fn advance(&mut self) -> io::Result<()> {
        let before = self.input.bytes;
        let came = match &mut self.decoder {
            Decoder::Plain => return Ok(()),
            Decoder::Gzip(members) => members.advance(&mut self.input, &mut self.noted)?,
            Decoder::Zstd(frames) => frames.advance(&mut self.input, &mut self.noted)?,
        };
        self.is_at_end = came == 0 && self.input.bytes == before;
        Ok(())
    }
}

impl<R: Read> BufRead for Scan<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        while self.decoder.output().is_some_and(<[u8]>::is_empty) && !self.is_at_end {
            self.advance()?;
        }
        if let Decoder::Plain = self.decoder {
            return self.input.fill_buf();
        }
        Ok(self.decoder.output().unwrap_or_default())
    }

    fn consume(&mut self, count: usize) {
        match &mut self.decoder {
            Decoder::Plain => {
                self.input.consume(count);
                self.noted.points.tar_bytes = self.input.bytes;
            }
            Decoder::Gzip(members) => members.output.start += count,
            Decoder::Zstd(frames) => frames.output.start += count,
        }
    }
}

impl<R: Read> Read for Scan<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// What the archive comes out of.
#[derive(Debug)]
enum Decoder {
    Plain,
    Gzip(Members),
    Zstd(Frames),
}

impl Decoder {
    /// What has come out and has not been taken; `None`: the input itself is the output.
    fn output(&self) -> Option<&[u8]> {
        match self {
            Self::Plain => None,
            Self::Gzip(members) => Some(members.inflater.output(members.output.clone())),
            Self::Zstd(frames) => Some(&frames.buffer[frames.output.clone()]),
        }
    }
}

/// The members of a gzip file.
#[derive(Debug)]
struct Members {
    inflater: Inflater,
    output: Range<usize>,
    /// One is about to begin.
    is_between: bool,
}

impl Members {
    fn new() -> Self {
        Self {
            inflater: Inflater::at(&Boundary::default()),
            output: 0..0,
            is_between: true,
        }
    }

    fn advance(
        &mut self,
        input: &mut Counted<impl BufRead>,
        noted: &mut Noted,
    ) -> io::Result<usize> {
        if self.is_between {
            if !input.fill_buf()?.is_empty() {
                skip_header(input)?;
                *self = Self {
                    is_between: false,
                    ..Self::new()
                };
                noted.point(input.bytes, Boundary::default());
            }
            return Ok(0);
        }
        let stored = input.fill_buf()?;
        if stored.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let step = self.inflater.step(stored)?;
        let came = step.output.len();
        input.consume(step.consumed);
        noted.came(came, input.bytes);
        self.output = step.output;
        match step.reached {
            Reached::Middle => {}
            Reached::Boundary if noted.since() >= noted.spacing => {
                let boundary = self.inflater.boundary();
                noted.point(input.bytes, boundary.unwrap_or_default());
            }
            Reached::Boundary => {}
            Reached::End => {
                // RFC 1952, section 2.3.1: a checksum and a length. Both digests say more.
                take(input, 8)?;
                self.is_between = true;
            }
        }
        Ok(came)
    }
}

/// The frames of a zstd file.
struct Frames {
    decoder: zstd::stream::raw::Decoder<'static>,
    buffer: Vec<u8>,
    output: Range<usize>,
    /// One is about to begin.
    is_between: bool,
}

impl std::fmt::Debug for Frames {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Frames").finish_non_exhaustive()
    }
}

impl Frames {
    fn new() -> io::Result<Self> {
        Ok(Self {
            decoder: zstd::stream::raw::Decoder::new()?,
            buffer: vec![0; FRAMES_BYTES],
            output: 0..0,
            is_between: true,
        })
    }

    fn advance(
        &mut self,
        input: &mut Counted<impl BufRead>,
        noted: &mut Noted,
    ) -> io::Result<usize> {
        let at = input.bytes;
        let stored = input.fill_buf()?;
        match (stored.is_empty(), self.is_between) {
            (true, true) => return Ok(0),
            // What is left may still have to come out of it.
            (true, false) if self.output.end < self.buffer.len() => {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            _ => {}
        }
        let is_far = noted.since() >= FRAMES_BYTES as u64;
        if self.is_between && (is_far || noted.points.points.is_empty()) {
            noted.point(at, Boundary::default());
        }
        let status = self.decoder.run_on_buffers(stored, &mut self.buffer)?;
        self.is_between = status.remaining == 0;
        self.output = 0..status.bytes_written;
        input.consume(status.bytes_read);
        noted.came(status.bytes_written, input.bytes);
        Ok(status.bytes_written)
    }
}

/// What has been found out.
#[derive(Debug)]
struct Noted {
    points: Points,
    spacing: u64,
}

impl Noted {
    /// Bytes of the archive since the last point.
    fn since(&self) -> u64 {
        let last = self.points.points.last().map_or(0, |last| last.at);
        self.points.tar_bytes - last
    }

    /// It can be begun here.
    fn point(&mut self, stored: u64, boundary: Boundary) {
        let at = self.points.tar_bytes;
        // Of two at the same byte, the nearer one.
        self.points.points.pop_if(|last| last.at == at);
        self.points.points.push(Point {
            stored,
            at,
            boundary,
        });
    }

    /// So many bytes came out of all that has been read.
    fn came(&mut self, bytes: usize, stored: u64) {
        self.points.tar_bytes += bytes as u64;
        let at = self.points.tar_bytes;
        let last = self.points.marks.last().map_or(0, |mark| mark.at);
        if at - last >= MARK_BYTES {
            self.points.marks.push(Mark { at, stored });
        }
    }
}

/// A stream of which it is known how far it has been read.
#[derive(Debug)]
struct Counted<R> {
    input: R,
    bytes: u64,
}

impl<R: BufRead> BufRead for Counted<R> {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        self.input.fill_buf()
    }

    fn consume(&mut self, count: usize) {
        self.input.consume(count);
        self.bytes += count as u64;
    }
}

impl<R: BufRead> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

/// Takes bytes that have to be there.
fn take(input: &mut impl Read, count: u64) -> io::Result<()> {
    match io::copy(&mut input.take(count), &mut io::sink())? == count {
        true => Ok(()),
        false => Err(io::ErrorKind::UnexpectedEof.into()),
    }
}

/// Takes a member's header: RFC 1952, section 2.3.
fn skip_header(input: &mut impl BufRead) -> io::Result<()> {
    const CHECKSUM: u8 = 2;
    const EXTRA: u8 = 4;
    const NAME: u8 = 8;
    const COMMENT: u8 = 16;
    let mut header = [0; 10];
    input.read_exact(&mut header)?;
    let [0x1f, 0x8b, 8, flags, ..] = header else {
        let wrong = "there is something after the gzip file";
        return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
    };
    if flags & EXTRA != 0 {
        let mut length = [0; 2];
        input.read_exact(&mut length)?;
        take(input, u16::from_le_bytes(length).into())?;
    }
    for text in [NAME, COMMENT] {
        if flags & text != 0 {
            input.skip_until(0)?;
        }
    }
    match flags & CHECKSUM != 0 {
        true => take(input, 2),
        false => Ok(()),
    }
}
