//! Finding and reading a blob's table of contents. What vouches for it is an annotation of the layer in
//! the manifest, which is known by its own digest.

use std::io::{self, Read};
use std::ops::Range;

use flate2::bufread::MultiGzDecoder;
use gamut_spec::digest::{Algorithm, Digest};

use super::LazyError;
use super::toc::{Dialect, Piece, Toc, TocEntry};
use crate::hash::Hasher;
use crate::unpack::header::plain_file;

/// Bytes of a table of contents, compressed and uncompressed, at most.
pub const MAX_INDEX_BYTES: u64 = 64 << 20;
/// Bytes at a blob's end that are fetched to find an eStargz's table: most tables are no longer.
const TAIL_BYTES: u64 = 256 << 10;
/// Bytes of an eStargz's footer: docs/estargz.md, "Footer".
const FOOTER_BYTES: u64 = 51;
/// Bytes of a tar header.
const HEADER_BYTES: usize = 512;
/// The name of an eStargz's table in its own archive, which it does not mention.
const TABLE_NAME: &[u8] = b"stargz.index.json";

/// The digest of an eStargz's table: docs/verification.md there.
const ESTARGZ_DIGEST: &str = "containerd.io/snapshot/stargz/toc.digest";
/// `OFFSET:LENGTH:UNCOMPRESSED-LENGTH:TYPE` of a zstd:chunked's table.
const CHUNKED_POSITION: &str = "io.github.containers.zstd-chunked.manifest-position";
/// The digest of the compressed table.
const CHUNKED_CHECKSUM: &str = "io.github.containers.zstd-chunked.manifest-checksum";
/// The only TYPE there is.
const CHUNKED_TYPE: u64 = 1;

/// Where a blob's table of contents is, and what it must be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Index {
    /// At the place that the last bytes name.
    Estargz {
        /// Of the uncompressed table.
        digest: Digest,
    },
    /// At a known place.
    ZstdChunked {
        /// In the blob.
        place: Range<u64>,
        /// Its bytes, uncompressed.
        length: u64,
        /// Of the compressed table.
        digest: Digest,
    },
}

impl Index {
    /// What the annotations of a layer say; `None`: nothing, or nothing that is understood.
    pub fn of<'a>(annotation: impl Fn(&str) -> Option<&'a str>) -> Option<Self> {
        if let Some(digest) = annotation(ESTARGZ_DIGEST) {
            let digest = digest.parse().ok()?;
            return Some(Self::Estargz { digest });
        }
        let digest = annotation(CHUNKED_CHECKSUM)?.parse().ok()?;
        let numbers = annotation(CHUNKED_POSITION)?.split(':').map(str::parse);
        let numbers: Vec<u64> = numbers.collect::<Result<_, _>>().ok()?;
        let [offset, stored, length, CHUNKED_TYPE] = numbers[..] else {
            return None;
        };
        let place = offset..offset.checked_add(stored)?;
        Some(Self::ZstdChunked {
            place,
            length,
            digest,
        })
    }

    /// Fetches the table of a blob of `blob_bytes` and reads it. `fetch` gives a part of the blob.
    ///
    /// # Errors
    /// What `fetch` fails with; [`LazyError::WrongDigest`], [`LazyError::Index`].
    pub fn read(
        &self,
        blob_bytes: u64,
        fetch: impl FnMut(Range<u64>) -> io::Result<Vec<u8>>,
    ) -> Result<Toc, LazyError> {
        match self {
            Self::Estargz { digest } => read_estargz(digest, blob_bytes, fetch),
            Self::ZstdChunked {
                place,
                length,
                digest,
            } => read_chunked(place, *length, digest, blob_bytes, fetch),
        }
    }
}

fn read_chunked(
    place: &Range<u64>,
    length: u64,
    digest: &Digest,
    blob_bytes: u64,
    mut fetch: impl FnMut(Range<u64>) -> io::Result<Vec<u8>>,
) -> Result<Toc, LazyError> {
    check_place(place, blob_bytes)?;
    if length > MAX_INDEX_BYTES {
        return Err(too_long());
    }
    let stored = fetch(place.clone())?;
    check(digest, &stored)?;
    // No more than the limit, so it fits.
    let json = zstd::bulk::decompress(&stored, length as usize)
        .map_err(|error| LazyError::Index(error.to_string()))?;
    Toc::parse(&json, Dialect::ZstdChunked, place.start)
}

fn read_estargz(
    digest: &Digest,
    blob_bytes: u64,
    mut fetch: impl FnMut(Range<u64>) -> io::Result<Vec<u8>>,
) -> Result<Toc, LazyError> {
    let tail_at = blob_bytes.saturating_sub(TAIL_BYTES);
    let tail = fetch(tail_at..blob_bytes)?;
    let end = blob_bytes
        .checked_sub(FOOTER_BYTES)
        .ok_or_else(|| LazyError::Index("the blob is too short".into()))?;
    let footer = tail.get((end - tail_at) as usize..).unwrap_or_default();
    let at = table_offset(footer)
        .ok_or_else(|| LazyError::Index("the blob has not the end of an eStargz".into()))?;
    check_place(&(at..end), blob_bytes)?;
    let member = match at.checked_sub(tail_at) {
        Some(within) => tail[within as usize..(end - tail_at) as usize].to_vec(),
        None => fetch(at..end)?,
    };
    let mut archive = Vec::new();
    MultiGzDecoder::new(&member[..])
        .take(MAX_INDEX_BYTES)
        .read_to_end(&mut archive)
        .map_err(|error| LazyError::Index(error.to_string()))?;
    let (own, json) = own_entry(&archive, at..end)?;
    check(digest, json)?;
    let mut toc = Toc::parse(json, Dialect::Estargz, at)?;
    toc.entries.push(own);
    Ok(toc)
}

/// Where an eStargz's table begins: in the extra field of its last gzip member, which is empty.
fn table_offset(footer: &[u8]) -> Option<u64> {
    // RFC 1952, section 2.3: ten bytes, the length of the extra field, the subfield's name and length.
    let extra = footer.strip_prefix(&[0x1f, 0x8b, 8, 4])?.get(6..)?;
    let text = extra.strip_prefix(&[26, 0, b'S', b'G', 22, 0])?.get(..22)?;
    let digits = text.strip_suffix(b"STARGZ")?;
    u64::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

/// The table's own entry: a file like any other to whoever reads the archive, and so to us. `place` is
/// where it is in the blob.
fn own_entry(archive: &[u8], place: Range<u64>) -> Result<(TocEntry, &[u8]), LazyError> {
    let wrong = || LazyError::Index("it is not in the form that eStargz has".into());
    let (header, rest) = archive
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or_else(wrong)?;
    let (entry, bytes) = plain_file(header).ok_or_else(wrong)?;
    if entry.path != TABLE_NAME {
        return Err(wrong());
    }
    let length = u32::try_from(bytes).map_err(|_| too_long())?;
    let json = rest.get(..length as usize).ok_or_else(too_long)?;
    let Digest::Sha256(digest) = Hasher::of(Algorithm::Sha256, json) else {
        return Err(wrong());
    };
    if length > super::chunk::MAX_CHUNK_BYTES {
        return Err(too_long());
    }
    let piece = Piece {
        blob: place,
        inner: HEADER_BYTES as u64,
        length,
        digest,
    };
    let pieces = if length == 0 { Vec::new() } else { vec![piece] };
    let own = TocEntry {
        entry,
        bytes,
        pieces,
    };
    Ok((own, json))
}

fn check_place(place: &Range<u64>, blob_bytes: u64) -> Result<(), LazyError> {
    if place.start >= place.end || place.end > blob_bytes {
        return Err(LazyError::Index("it is outside of the blob".into()));
    }
    match place.end - place.start > MAX_INDEX_BYTES {
        true => Err(too_long()),
        false => Ok(()),
    }
}

fn check(expected: &Digest, bytes: &[u8]) -> Result<(), LazyError> {
    let actual = Hasher::of(expected.algorithm(), bytes);
    match actual == *expected {
        true => Ok(()),
        false => Err(LazyError::WrongDigest {
            what: "the table of contents",
            expected: expected.clone(),
            actual,
        }),
    }
}

fn too_long() -> LazyError {
    LazyError::Index(format!("it has more than {MAX_INDEX_BYTES} bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn annotations_say_where_it_is() {
        let of = |annotations: &[(&str, &'static str)]| {
            let annotations = annotations.to_vec();
            Index::of(move |name| {
                let found = annotations.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| *value)
            })
        };
        assert_eq!(of(&[]), None);
        assert_eq!(of(&[(ESTARGZ_DIGEST, "nonsense")]), None);
        assert!(matches!(
            of(&[(ESTARGZ_DIGEST, SHA)]),
            Some(Index::Estargz { .. })
        ));
        let chunked = |position| of(&[(CHUNKED_CHECKSUM, SHA), (CHUNKED_POSITION, position)]);
        let Some(Index::ZstdChunked { place, length, .. }) = chunked("5:10:20:1") else {
            panic!("not understood")
        };
        assert_eq!((place, length), (5..15, 20));
        for position in ["", "5:10:20", "5:10:20:2", "18446744073709551615:1:1:1"] {
            assert_eq!(chunked(position), None, "{position}");
        }
    }

    #[test]
    fn a_footer_says_where_the_table_begins() {
        let mut footer = vec![
            0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, b'S', b'G', 22, 0,
        ];
        footer.extend(b"00000000000001ffSTARGZ");
        footer.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(footer.len() as u64, FOOTER_BYTES);
        assert_eq!(table_offset(&footer), Some(0x1ff));
        footer[20] = b'x';
        assert_eq!(table_offset(&footer), None);
        assert_eq!(table_offset(&footer[..20]), None);
    }
}
