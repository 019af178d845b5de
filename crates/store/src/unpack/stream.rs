//! The first thread: compressed bytes in, hashed buffers of uncompressed tar out.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
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
/// Bytes read from the source at a time.
const INPUT_BYTES: usize = 128 << 10;

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

/// The digests of a stream that was read to its end.
#[derive(Debug)]
pub(super) struct Decoded {
    pub(super) digest: Digest,
    pub(super) diff_id: Digest,
}

/// Where the decoder puts its buffers; used ones come back.
#[derive(Debug)]
pub(super) struct Sink {
    full: SyncSender<Vec<u8>>,
    used: Receiver<Vec<u8>>,
}

/// What the decoder has put, as a reader. A decoder that failed looks like the end of the stream.
#[derive(Debug)]
pub(super) struct Chunks {
    full: Receiver<Vec<u8>>,
    used: Sender<Vec<u8>>,
    current: Vec<u8>,
    consumed: usize,
}

pub(super) fn pipe() -> (Chunks, Sink) {
    let (full_sender, full) = sync_channel(CHUNKS);
    let (used, used_receiver) = channel();
    let chunks = Chunks {
        full,
        used,
        current: Vec::new(),
        consumed: 0,
    };
    let sink = Sink {
        full: full_sender,
        used: used_receiver,
    };
    (chunks, sink)
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
            let used = std::mem::replace(&mut self.current, next);
            self.consumed = 0;
            if used.capacity() > 0 {
                // The decoder may be done and gone.
                let _ = self.used.send(used);
            }
        }
        Ok(&self.current[self.consumed..])
    }

    fn consume(&mut self, count: usize) {
        self.consumed += count;
    }
}

/// What [`Decoder::format`] says of an uncompressed stream.
const PLAIN: &str = "tar";

type Input<R> = BufReader<Chain<Cursor<Vec<u8>>, HashingReader<R>>>;

/// The stream behind its compression.
enum Decoder<R: Read> {
    Plain(Input<R>),
    Gzip(Box<MultiGzDecoder<Input<R>>>),
    Zstd(zstd::stream::read::Decoder<'static, Input<R>>),
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes: RFC 1952 section 2.3.1, RFC 8878 section 3.1.
    fn new(mut input: HashingReader<R>) -> Result<Self, UnpackProblem> {
        let mut beginning = Vec::with_capacity(4);
        if let Err(error) = (&mut input).take(4).read_to_end(&mut beginning) {
            return Err(explain(PLAIN, &input, &error));
        }
        let magic: [u8; 4] = beginning.as_slice().try_into().unwrap_or_default();
        let input = BufReader::with_capacity(INPUT_BYTES, Cursor::new(beginning).chain(input));
        Ok(match magic {
            [0x1f, 0x8b, 8, _] => Self::Gzip(Box::new(MultiGzDecoder::new(input))),
            // A frame, or a skippable frame before it. libzstd refuses windows above 128 MiB by
            // default, which bounds its memory.
            [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Self::Zstd(
                zstd::stream::read::Decoder::with_buffer(input).map_err(|error| {
                    UnpackProblem::Corrupt {
                        format: "zstd",
                        reason: error.to_string(),
                    }
                })?,
            ),
            _ => Self::Plain(input),
        })
    }

    fn format(&self) -> &'static str {
        match self {
            Self::Plain(_) => PLAIN,
            Self::Gzip(_) => "gzip",
            Self::Zstd(_) => "zstd",
        }
    }

    /// The stream below, with what it knows of itself.
    fn into_input(self) -> HashingReader<R> {
        let buffered = match self {
            Self::Plain(input) => input,
            Self::Gzip(decoder) => decoder.into_inner(),
            Self::Zstd(decoder) => decoder.finish(),
        };
        buffered.into_inner().into_inner().1
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(input) => input.read(buffer),
            Self::Gzip(decoder) => decoder.read(buffer),
            Self::Zstd(decoder) => decoder.read(buffer),
        }
    }
}

/// Whether an error is the stream's own, its end, or the decoder's judgement of its content.
fn explain<R>(format: &'static str, input: &HashingReader<R>, error: &io::Error) -> UnpackProblem {
    match &input.failure {
        Some(StreamFailure::Broken(error)) => UnpackProblem::Stream(error.to_string()),
        Some(StreamFailure::TooLong(declared_bytes)) => UnpackProblem::TooLong {
            declared_bytes: *declared_bytes,
        },
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            UnpackProblem::Truncated { bytes: input.bytes }
        }
        None => UnpackProblem::Corrupt {
            format,
            reason: error.to_string(),
        },
    }
}

/// Reads `bytes` to their end and gives the uncompressed tar to `sink`.
pub(super) fn decode<R: Read>(
    source: &LayerSource<'_>,
    bytes: R,
    limits: &Limits,
    sink: Sink,
) -> Result<Decoded, UnpackProblem> {
    let mut decoder = Decoder::new(HashingReader::new(
        bytes,
        source.digest.algorithm(),
        source.size_bytes,
    ))?;
    let format = decoder.format();
    let mut diff_id = Hasher::new(source.diff_id.algorithm());
    // A plain tar is its own diff id; hashing it once is enough.
    let hash_once = format == PLAIN && source.diff_id.algorithm() == source.digest.algorithm();
    let mut unpacked_bytes = 0;
    loop {
        let mut chunk = sink.used.try_recv().unwrap_or_default();
        chunk.resize(CHUNK_BYTES, 0);
        let count = match fill(&mut decoder, &mut chunk) {
            Ok(count) => count,
            Err(error) => return Err(explain(format, &decoder.into_input(), &error)),
        };
        if count == 0 {
            break;
        }
        unpacked_bytes += count as u64;
        if unpacked_bytes > limits.unpacked_bytes {
            return Err(UnpackProblem::Limit {
                what: "bytes of uncompressed data",
                limit: limits.unpacked_bytes,
            });
        }
        chunk.truncate(count);
        if !hash_once {
            diff_id.update(&chunk);
        }
        sink.full.send(chunk).map_err(|_| UnpackProblem::Stopped)?;
    }
    drop(sink);
    let digest = finish(source, decoder.into_input())?;
    let diff_id = match hash_once {
        true => digest.clone(),
        false => diff_id.finish(),
    };
    Ok(Decoded { digest, diff_id })
}

/// Hashes what the decoder had no use for, and checks the size.
fn finish<R: Read>(
    source: &LayerSource<'_>,
    mut input: HashingReader<R>,
) -> Result<Digest, UnpackProblem> {
    if let Err(error) = io::copy(&mut input, &mut io::sink()) {
        return Err(explain(PLAIN, &input, &error));
    }
    match source.size_bytes {
        Some(declared) if input.bytes < declared => {
            Err(UnpackProblem::Truncated { bytes: input.bytes })
        }
        _ => Ok(input.finish()),
    }
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
