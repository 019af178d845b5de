//! The threads before the one that unpacks: [`fetch`] takes compressed bytes as they come and hashes
//! them, [`decode`] makes uncompressed tar of them, whose buffers are hashed where they are read
//! ([`Chunks`]). Each has about a third of the work.

use std::io::{self, BufRead, Chain, Cursor, Read};
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use flate2::bufread::MultiGzDecoder;
use gamut_spec::digest::Digest;

use super::{LayerSource, Limits, UnpackProblem};
use crate::hash::{Hasher, HashingReader, StreamFailure};

/// Bytes of one buffer between the threads: large enough that a file is few writes, small enough
/// to stay in the second-level cache.
const CHUNK_BYTES: usize = 256 << 10;
/// Buffers that may wait.
const CHUNKS: usize = 8;

/// The media types of layers: OCI image spec, "layer.md", with its non-distributable ones, and
/// Docker's image manifest v2 schema 2.
const MEDIA_TYPES: [&str; 10] = [
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.v1.tar+gzip",
    "application/vnd.oci.image.layer.v1.tar+zstd",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+gzip",
    "application/vnd.oci.image.layer.nondistributable.v1.tar+zstd",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.diff.tar.gzip",
    "application/vnd.docker.image.rootfs.diff.tar.zstd",
    "application/vnd.docker.image.rootfs.foreign.diff.tar.gzip",
];

pub(super) fn check_media_type(media_type: &str) -> Result<(), UnpackProblem> {
    if MEDIA_TYPES.contains(&media_type) {
        Ok(())
    } else {
        Err(UnpackProblem::MediaType(media_type.to_owned()))
    }
}

/// Where a thread puts its buffers; used ones come back.
#[derive(Debug)]
pub(super) struct Sink {
    full: SyncSender<Vec<u8>>,
    used: Receiver<Vec<u8>>,
}

/// What a thread has put, as a reader, hashed if that is asked for. A thread that failed looks like
/// the end of the stream.
#[derive(Debug)]
pub(super) struct Chunks {
    full: Receiver<Vec<u8>>,
    used: Sender<Vec<u8>>,
    current: Vec<u8>,
    consumed: usize,
    /// Bytes that have come.
    bytes: u64,
    hasher: Option<Hasher>,
}

/// A bounded queue of buffers.
pub(super) fn pipe(hasher: Option<Hasher>) -> (Chunks, Sink) {
    let (full_sender, full) = sync_channel(CHUNKS);
    let (used, used_receiver) = channel();
    let chunks = Chunks {
        full,
        used,
        current: Vec::new(),
        consumed: 0,
        bytes: 0,
        hasher,
    };
    let sink = Sink {
        full: full_sender,
        used: used_receiver,
    };
    (chunks, sink)
}

impl Chunks {
    /// The bytes that have come, and their digest if they were to be hashed. Whoever puts more learns
    /// that nobody takes it.
    pub(super) fn finish(self) -> (u64, Option<Digest>) {
        (self.bytes, self.hasher.map(Hasher::finish))
    }
}

impl Sink {
    /// Fills a buffer as far as `stream` goes and sends it; `None` at the stream's end.
    fn send_from(&self, stream: &mut impl Read) -> io::Result<Option<Sent>> {
        let mut chunk = self.used.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let count = fill(stream, &mut chunk)?;
        if count == 0 {
            return Ok(None);
        }
        chunk.truncate(count);
        Ok(Some(match self.full.send(chunk) {
            Ok(()) => Sent::Bytes(count as u64),
            Err(_) => Sent::ToNobody,
        }))
    }
}

/// What became of a buffer.
enum Sent {
    /// It is on its way, with so many bytes.
    Bytes(u64),
    /// Nobody takes any more.
    ToNobody,
}

impl Read for Chunks {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.fill_buf()?.read(buffer)?;
        self.consume(count);
        Ok(count)
    }
}

impl BufRead for Chunks {
    fn fill_buf(&mut self) -> io::Result<&[u8]> {
        if self.consumed == self.current.len() {
            let next = self.full.recv().unwrap_or_default();
            self.bytes += next.len() as u64;
            if let Some(hasher) = &mut self.hasher {
                hasher.update(&next);
            }
            let used = std::mem::replace(&mut self.current, next);
            self.consumed = 0;
            if used.capacity() > 0 {
                // The thread before may be done and gone.
                let _ = self.used.send(used);
            }
        }
        Ok(&self.current[self.consumed..])
    }

    fn consume(&mut self, count: usize) {
        self.consumed += count;
    }
}

/// How a layer is compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Plain,
    Gzip,
    Zstd,
}

/// A stream whose first bytes have been looked at.
pub(super) type Begun<R> = Chain<Cursor<Vec<u8>>, R>;

impl Format {
    /// Looks at the first bytes: RFC 1952 section 2.3.1, RFC 8878 section 3.1.
    pub(super) fn of<R: Read>(mut stream: R) -> Result<(Self, Begun<R>), UnpackProblem> {
        let mut beginning = vec![0; 4];
        let count = fill(&mut stream, &mut beginning)
            .map_err(|error| UnpackProblem::Stream(error.to_string()))?;
        beginning.truncate(count);
        let format = match beginning[..] {
            [0x1f, 0x8b, 8, _] => Self::Gzip,
            // A frame, or a skippable frame before it.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd,
            _ => Self::Plain,
        };
        Ok((format, Cursor::new(beginning).chain(stream)))
    }

    fn name(self) -> &'static str {
        match self {
            Self::Plain => "tar",
            Self::Gzip => "gzip",
            Self::Zstd => "zstd",
        }
    }
}

/// The stream behind its compression.
enum Decoder {
    Plain(Chunks),
    Gzip(Box<MultiGzDecoder<Chunks>>),
    Zstd(zstd::stream::read::Decoder<'static, Chunks>),
}

impl Decoder {
    fn new(format: Format, input: Chunks) -> io::Result<Self> {
        Ok(match format {
            Format::Plain => Self::Plain(input),
            Format::Gzip => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            // libzstd refuses windows above 128 MiB by default, which bounds its memory.
            Format::Zstd => Self::Zstd(zstd::stream::read::Decoder::with_buffer(input)?),
        })
    }

    /// The stream below.
    fn into_input(self) -> Chunks {
        match self {
            Self::Plain(input) => input,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        }
    }
}

impl Read for Decoder {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Reads `bytes` to their end, gives them to `sink` and returns their digest.
pub(super) fn fetch<R: Read>(
    source: &LayerSource<'_>,
    bytes: R,
    sink: Sink,
) -> Result<Digest, UnpackProblem> {
    let mut input = HashingReader::new(bytes, source.digest.algorithm(), source.size_bytes);
    loop {
        match sink.send_from(&mut input) {
            Ok(Some(Sent::Bytes(_))) => {}
            Ok(Some(Sent::ToNobody)) => return Err(UnpackProblem::Stopped),
            Ok(None) => break,
            Err(error) => {
                return Err(match input.failure {
                    Some(StreamFailure::TooLong(declared_bytes)) => {
                        UnpackProblem::TooLong { declared_bytes }
                    }
                    Some(StreamFailure::Broken(error)) => UnpackProblem::Stream(error.to_string()),
                    None => UnpackProblem::Stream(error.to_string()),
                });
            }
        }
    }
    match source.size_bytes {
        Some(declared) if input.bytes < declared => {
            Err(UnpackProblem::Truncated { bytes: input.bytes })
        }
        _ => Ok(input.finish()),
    }
}

/// Decompresses `input` to its end and gives the uncompressed tar to `sink`.
pub(super) fn decode(
    format: Format,
    input: Chunks,
    limits: &Limits,
    sink: Sink,
) -> Result<(), UnpackProblem> {
    let corrupt = |error: io::Error| UnpackProblem::Corrupt {
        format: format.name(),
        reason: error.to_string(),
    };
    let mut decoder = Decoder::new(format, input).map_err(corrupt)?;
    let mut unpacked_bytes = 0;
    loop {
        match sink.send_from(&mut decoder) {
            Ok(Some(Sent::Bytes(count))) => unpacked_bytes += count,
            Ok(Some(Sent::ToNobody)) => return Err(UnpackProblem::Stopped),
            Ok(None) => break,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                let bytes = decoder.into_input().bytes;
                return Err(UnpackProblem::Truncated { bytes });
            }
            Err(error) => return Err(corrupt(error)),
        }
        if unpacked_bytes > limits.unpacked_bytes {
            return Err(UnpackProblem::Limit {
                what: "bytes of uncompressed data",
                limit: limits.unpacked_bytes,
            });
        }
    }
    drop(sink);
    // What the decoder had no use for is hashed, too.
    io::copy(&mut decoder.into_input(), &mut io::sink()).map_err(corrupt)?;
    Ok(())
}

/// Fills a buffer as far as the stream goes.
fn fill(stream: &mut impl Read, buffer: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match stream.read(&mut buffer[filled..]) {
            Ok(0) => break,
            Ok(count) => filled += count,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}
