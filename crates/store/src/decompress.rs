//! A stream that may be compressed, as it was before: for archives that a user hands over, of which
//! no digest is known. (Layers go through `unpack`, which hashes on both sides.)

use std::io::{self, BufReader, Chain, Cursor, Read};

use flate2::bufread::MultiGzDecoder;
use serde::{Deserialize, Serialize};

/// Bytes read at a time.
const INPUT_BYTES: usize = 128 << 10;

/// The stream with the bytes that were looked at before it.
pub(crate) type Peeked<R> = Chain<Cursor<Vec<u8>>, R>;

/// What a stream's first bytes say: RFC 1952 section 2.3.1, RFC 8878 section 3.1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Format {
    Plain,
    Gzip,
    Zstd,
}

/// Looks at the beginning of a stream, and gives all of it back.
pub(crate) fn peek<R: Read>(mut stream: R) -> io::Result<(Format, Peeked<R>)> {
    let mut beginning = Vec::with_capacity(4);
    (&mut stream).take(4).read_to_end(&mut beginning)?;
    let format = match beginning.as_slice() {
        [0x1f, 0x8b, 8, _] => Format::Gzip,
        [0x28, 0xb5, 0x2f, 0xfd] | [0x50..=0x5f, 0x2a, 0x4d, 0x18] => Format::Zstd,
        _ => Format::Plain,
    };
    Ok((format, Cursor::new(beginning).chain(stream)))
}

/// What the stream was before it was compressed. libzstd refuses windows above 128 MiB by default,
/// which bounds its memory; how much comes out is for the caller to count.
pub(crate) fn decompressed<'r>(
    format: Format,
    stream: impl Read + Send + 'r,
) -> io::Result<Box<dyn Read + Send + 'r>> {
    let stream = BufReader::with_capacity(INPUT_BYTES, stream);
    Ok(match format {
        Format::Plain => Box::new(stream),
        Format::Gzip => Box::new(MultiGzDecoder::new(stream)),
        Format::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(stream)?),
    })
}
