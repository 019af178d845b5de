//! Archives packed for a registry: a tar stream becomes a blob, compressed and hashed on the way.
//!
//! The same archive gives the same blob for as long as the compressor stays the same: no time and
//! no name goes into it. It lies in a file without a name, which goes with its descriptor.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::unix::fs::FileExt;

use flate2::GzBuilder;
use gamut_spec::digest::{Algorithm, Digest};
use gamut_spec::image::Compression;

use crate::hash::Hasher;

/// gzip's level: what Docker's and Podman's registries are full of.
const GZIP_LEVEL: u32 = 6;
/// zstd's own default.
const ZSTD_LEVEL: i32 = 3;
/// Bytes of an archive in one frame of zstd: somebody may want to begin in the middle ([`crate::lazy`]).
const FRAME_BYTES: u64 = 4 << 20;
/// Bytes written to the file at a time.
const BUFFER_BYTES: usize = 256 << 10;

/// A packed archive.
#[derive(Debug)]
pub struct Packed {
    /// Of the packed bytes.
    pub digest: Digest,
    /// Of the packed bytes.
    pub size_bytes: u64,
    file: File,
}

impl Packed {
    /// The packed bytes from `offset` on.
    pub fn read_from(&self, offset: u64) -> impl Read + '_ {
        FromOffset {
            file: &self.file,
            offset,
        }
    }
}

/// Packs `tar` into `file`, which is empty.
pub fn pack(mut tar: impl Read, compression: Compression, file: File) -> io::Result<Packed> {
    let output = Counted {
        file: BufWriter::with_capacity(BUFFER_BYTES, file),
        hasher: Hasher::new(Algorithm::Sha256),
        bytes: 0,
    };
    let output = match compression {
        Compression::None => {
            let mut output = output;
            io::copy(&mut tar, &mut output)?;
            output
        }
        Compression::Gzip => {
            // No time, no name, and no operating system: 255 is "unknown" (RFC 1952, section 2.3.1).
            let builder = GzBuilder::new().operating_system(255);
            let mut encoder = builder.write(output, flate2::Compression::new(GZIP_LEVEL));
            io::copy(&mut tar, &mut encoder)?;
            encoder.finish()?
        }
        Compression::Zstd => {
            let mut output = output;
            loop {
                let mut encoder = zstd::stream::write::Encoder::new(output, ZSTD_LEVEL)?;
                let bytes = io::copy(&mut (&mut tar).take(FRAME_BYTES), &mut encoder)?;
                output = encoder.finish()?;
                if bytes < FRAME_BYTES {
                    break output;
                }
            }
        }
    };
    Ok(Packed {
        digest: output.hasher.finish(),
        size_bytes: output.bytes,
        file: output
            .file
            .into_inner()
            .map_err(|error| error.into_error())?,
    })
}

/// A file that counts and hashes what is written to it.
struct Counted {
    file: BufWriter<File>,
    hasher: Hasher,
    bytes: u64,
}

impl Write for Counted {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.update(&bytes[..count]);
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

/// A reader with a position of its own.
struct FromOffset<'f> {
    file: &'f File,
    offset: u64,
}

impl Read for FromOffset<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.file.read_at(buffer, self.offset)?;
        self.offset += count as u64;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn packed(tar: &[u8], compression: Compression) -> Vec<u8> {
        let file = tempfile::tempfile().expect("a file");
        let packed = pack(tar, compression, file).expect("packed");
        let mut bytes = Vec::new();
        packed.read_from(0).read_to_end(&mut bytes).expect("read");
        assert_eq!(bytes.len() as u64, packed.size_bytes);
        assert_eq!(Hasher::of(Algorithm::Sha256, &bytes), packed.digest);
        let mut tail = Vec::new();
        packed.read_from(3).read_to_end(&mut tail).expect("read");
        assert_eq!(tail, bytes[3..]);
        bytes
    }

    #[test]
    fn packing_twice_gives_the_same_bytes() {
        let tar: Vec<u8> = (0..9_000_000_u32)
            .map(|n| (n.wrapping_mul(n) % 251) as u8)
            .collect();
        let read = |mut stream: Box<dyn Read>| {
            let mut bytes = Vec::new();
            stream.read_to_end(&mut bytes).expect("unpacked");
            bytes
        };
        assert_eq!(packed(&tar, Compression::None), tar);
        let gzip = packed(&tar, Compression::Gzip);
        assert_eq!(packed(&tar, Compression::Gzip), gzip);
        let decoder = flate2::read::GzDecoder::new(io::Cursor::new(gzip));
        assert_eq!(read(Box::new(decoder)), tar);
        let zstd = packed(&tar, Compression::Zstd);
        assert_eq!(packed(&tar, Compression::Zstd), zstd);
        let decoder = zstd::stream::read::Decoder::new(io::Cursor::new(zstd)).expect("zstd");
        assert_eq!(read(Box::new(decoder)), tar);
    }
}
