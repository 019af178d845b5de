//! Tables of contents: JSON, in two dialects of one form (CRFS's, of Go's image builders). (Ours is
//! `super::layer_index`.)
//!
//! - eStargz: github.com/containerd/stargz-snapshotter, docs/estargz.md. An entry's data ends where the
//!   next gzip member begins; several may share one (`innerOffset`). Times are in whole seconds.
//! - zstd:chunked: github.com/containers/storage, docs/containers-storage-zstd-chunked.md.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use gamut_spec::digest::Digest;
use serde::{Deserialize, Serialize};

use super::LazyError;
use super::chunk::MAX_CHUNK_BYTES;
use super::points::{MAX_PART_BYTES, MAX_SPAN_BYTES, Point};
use crate::decompress::Format;
use crate::unpack::archive::{Attributes, Entry, EntryKind};
use crate::unpack::pax::{Time, Xattr};

/// Whose table of contents it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Dialect {
    /// eStargz.
    Estargz,
    /// zstd:chunked.
    ZstdChunked,
    /// An index of ours ([`super::LayerIndex`]) over a blob that is not compressed.
    Plain,
    /// Over gzip.
    Gzip,
    /// Over zstd.
    Zstd,
}

impl Dialect {
    /// Of an index over such a blob.
    pub(super) fn of(format: Format) -> Self {
        match format {
            Format::Plain => Self::Plain,
            Format::Gzip => Self::Gzip,
            Format::Zstd => Self::Zstd,
        }
    }

    /// Whether the image's own manifest vouches for the table. For an index it is whoever may put one
    /// beside the image.
    pub(super) fn is_vouched_for(self) -> bool {
        matches!(self, Self::Estargz | Self::ZstdChunked)
    }

    /// A time as it can be told: seconds and nanoseconds.
    pub(super) fn time(self, time: Time) -> (i64, u32) {
        match self {
            // Go's Time.Round.
            Self::Estargz => {
                let up = i64::from(time.nanoseconds >= 500_000_000);
                (time.seconds.saturating_add(up), 0)
            }
            _ => (time.seconds, time.nanoseconds),
        }
    }
}

/// A layer's entries, in the order of its archive.
#[derive(Debug)]
pub struct Toc {
    pub(super) dialect: Dialect,
    pub(super) entries: Vec<TocEntry>,
    /// Where the blob can be begun, if that is not all there is to know.
    pub(super) points: Vec<Point>,
}

/// One entry.
#[derive(Debug)]
pub(super) struct TocEntry {
    pub(super) entry: Entry,
    /// A file's bytes.
    pub(super) bytes: u64,
    /// They are a file's, one after the other.
    pub(super) pieces: Vec<Piece>,
}

/// A chunk that has no place in an image yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Piece {
    pub(super) blob: Range<u64>,
    pub(super) inner: u64,
    pub(super) length: u32,
    pub(super) digest: [u8; 32],
}

#[derive(Deserialize)]
struct Table {
    version: u32,
    entries: Vec<Row>,
}

/// `FileMetadata` there, `TOCEntry` here.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Row {
    #[serde(rename = "type")]
    kind: String,
    name: String,
    #[serde(default)]
    link_name: String,
    #[serde(default)]
    mode: u64,
    #[serde(default)]
    size: u64,
    #[serde(default)]
    uid: u64,
    #[serde(default)]
    gid: u64,
    #[serde(default)]
    modtime: Option<String>,
    #[serde(default)]
    dev_major: u32,
    #[serde(default)]
    dev_minor: u32,
    #[serde(default)]
    xattrs: Option<BTreeMap<String, String>>,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    offset: u64,
    #[serde(default)]
    end_offset: u64,
    #[serde(default)]
    inner_offset: u64,
    #[serde(default)]
    chunk_size: u64,
    #[serde(default)]
    chunk_offset: u64,
    #[serde(default)]
    chunk_digest: String,
}

impl Toc {
    /// Reads a table. `end` is where in the blob the data of the archive's files ends.
    pub(super) fn parse(json: &[u8], dialect: Dialect, end: u64) -> Result<Self, LazyError> {
        let table: Table =
            serde_json::from_slice(json).map_err(|error| LazyError::Index(error.to_string()))?;
        if table.version != 1 {
            return Err(LazyError::Index(format!(
                "its version is {}",
                table.version
            )));
        }
        let data = |row: &&Row| matches!(row.kind.as_str(), "reg" | "chunk") && row.offset > 0;
        let mut beginnings: BTreeSet<u64> = table
            .entries
            .iter()
            .filter(data)
            .map(|row| row.offset)
            .collect();
        beginnings.insert(end);
        let mut entries = Vec::with_capacity(table.entries.len());
        let mut rows = table.entries.into_iter().peekable();
        while let Some(row) = rows.next() {
            let mut chunks = Vec::new();
            while let Some(chunk) = rows.next_if(|row| row.kind == "chunk") {
                chunks.push(chunk);
            }
            let name = row.name.clone();
            let entry = entry(row, &chunks, dialect, &beginnings, end);
            entries.push(entry.map_err(|what| LazyError::Index(format!("`{name}`: {what}")))?);
        }
        Ok(Self {
            dialect,
            entries,
            points: Vec::new(),
        })
    }
}

fn entry(
    row: Row,
    chunks: &[Row],
    dialect: Dialect,
    beginnings: &BTreeSet<u64>,
    end: u64,
) -> Result<TocEntry, &'static str> {
    let target = row.link_name.clone().into_bytes();
    let (major, minor) = (row.dev_major, row.dev_minor);
    let kind = match row.kind.as_str() {
        "reg" => EntryKind::File { sparse: None },
        "dir" => EntryKind::Directory,
        "symlink" => EntryKind::Symlink { target },
        "hardlink" => EntryKind::Hardlink { target },
        "char" => EntryKind::CharacterDevice { major, minor },
        "block" => EntryKind::BlockDevice { major, minor },
        "fifo" => EntryKind::Fifo,
        _ => return Err("it is of no known type"),
    };
    let (mut bytes, mut pieces) = (0, Vec::new());
    if let EntryKind::File { .. } = kind {
        bytes = row.size;
        let beginnings = match dialect {
            Dialect::Estargz => Some(beginnings),
            _ => None,
        };
        pieces = cut(&row, chunks, beginnings, end)?;
    }
    let owner = |id: u64| u32::try_from(id).ok().filter(|&id| id != u32::MAX);
    let attributes = Attributes {
        mode: (row.mode & 0o7777) as u32,
        uid: owner(row.uid).ok_or("its owner is out of range")?,
        gid: owner(row.gid).ok_or("its group is out of range")?,
        mtime: time(row.modtime.as_deref().unwrap_or_default())?,
        xattrs: row
            .xattrs
            .unwrap_or_default()
            .into_iter()
            .map(xattr)
            .collect::<Result<_, _>>()?,
    };
    let path = row.name.into_bytes();
    let entry = Entry {
        path,
        kind,
        attributes,
    };
    Ok(TocEntry {
        entry,
        bytes,
        pieces,
    })
}

/// A file's chunks: its own row is about the first. `beginnings` has where compressed parts begin,
/// where rows do not say where theirs ends.
fn cut(
    row: &Row,
    chunks: &[Row],
    beginnings: Option<&BTreeSet<u64>>,
    end: u64,
) -> Result<Vec<Piece>, &'static str> {
    if row.size == 0 {
        return match chunks {
            [] => Ok(Vec::new()),
            _ => Err("it has chunks and no bytes"),
        };
    }
    let mut pieces = Vec::with_capacity(1 + chunks.len());
    let mut done = 0;
    let mut all = std::iter::once(row).chain(chunks).peekable();
    while let Some(chunk) = all.next() {
        let next = all.peek();
        let until = next.map_or(row.size, |next| next.chunk_offset);
        let length = until.checked_sub(chunk.chunk_offset);
        let length = length.filter(|_| chunk.chunk_offset == done);
        let length = length.and_then(|length| u32::try_from(length).ok());
        let length = length.filter(|length| (1..=MAX_CHUNK_BYTES).contains(length));
        let length = length.ok_or("its chunks are not one after the other, or are too large")?;
        if !matches!(chunk.chunk_size, 0) && chunk.chunk_size != u64::from(length) {
            return Err("a chunk is not as long as the next one's place says");
        }
        done = until;
        let stop = match (beginnings, next) {
            (Some(beginnings), _) => beginnings.range(chunk.offset + 1..).next().copied(),
            (None, Some(next)) => Some(next.offset),
            (None, None) => Some(row.end_offset),
        };
        let stop = stop.filter(|&stop| chunk.offset < stop && stop <= end);
        let is_near = |stop: u64| {
            stop - chunk.offset <= MAX_PART_BYTES && chunk.inner_offset <= MAX_SPAN_BYTES
        };
        if !stop.is_none_or(is_near) {
            return Err("a chunk is in too large a part of the blob");
        }
        let digest = match (chunk.chunk_digest.as_str(), chunks) {
            ("", []) => row.digest.as_str(),
            (digest, _) => digest,
        };
        let Ok(Digest::Sha256(digest)) = digest.parse() else {
            return Err("a chunk has no SHA-256");
        };
        pieces.push(Piece {
            blob: chunk.offset..stop.ok_or("a chunk is outside of the blob")?,
            inner: chunk.inner_offset,
            length,
            digest,
        });
    }
    Ok(pieces)
}

/// RFC 3339; nothing is the epoch.
fn time(text: &str) -> Result<Time, &'static str> {
    const SECOND: i128 = 1_000_000_000;
    if text.is_empty() {
        return Ok(Time::default());
    }
    let time: jiff::Timestamp = text.parse().map_err(|_| "its time is none")?;
    let time = time.as_nanosecond();
    Ok(Time {
        // A timestamp's seconds have 64 bits, and the rest is less than a second.
        seconds: time.div_euclid(SECOND) as i64,
        nanoseconds: time.rem_euclid(SECOND) as u32,
    })
}

fn xattr((name, value): (String, String)) -> Result<Xattr, &'static str> {
    let value = STANDARD
        .decode(value)
        .map_err(|_| "an attribute is no Base64")?;
    match name.is_empty() || name.contains('\0') {
        true => Err("an extended attribute has no usable name"),
        false => Ok((name.into_bytes(), value)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHA: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn parse(rows: &str, dialect: Dialect) -> Result<Toc, LazyError> {
        let json = format!(
            r#"{{"version":1,"entries":[{}]}}"#,
            rows.replace("SHA", SHA)
        );
        Toc::parse(json.as_bytes(), dialect, 1000)
    }

    #[test]
    fn members_end_where_the_next_begins() {
        let toc = parse(
            r#"{"type":"reg","name":"a","size":10,"offset":100,"chunkDigest":"SHA","chunkSize":6},
               {"type":"chunk","name":"a","offset":200,"chunkOffset":6,"chunkDigest":"SHA"},
               {"type":"reg","name":"b","size":3,"offset":200,"innerOffset":512,"chunkDigest":"SHA"}"#,
            Dialect::Estargz,
        )
        .expect("a table");
        let pieces: Vec<_> = toc.entries.iter().flat_map(|e| &e.pieces).collect();
        let shown: Vec<_> = pieces
            .iter()
            .map(|piece| (piece.blob.clone(), piece.inner, piece.length))
            .collect();
        assert_eq!(
            shown,
            [(100..200, 0, 6), (200..1000, 0, 4), (200..1000, 512, 3)]
        );
    }

    #[test]
    fn frames_end_where_their_file_says() {
        let toc = parse(
            r#"{"type":"dir","name":"d/","mode":493,"uid":1,"modtime":"1969-12-31T23:59:59.5Z"},
               {"type":"reg","name":"d/a","size":10,"offset":100,"endOffset":300,"digest":"SHA",
                "chunkDigest":"SHA","chunkSize":6,"xattrs":{"user.x":"AQI="}},
               {"type":"chunk","name":"d/a","offset":200,"chunkOffset":6,"chunkSize":4,"chunkDigest":"SHA"}"#,
            Dialect::ZstdChunked,
        )
        .expect("a table");
        let [directory, file] = &toc.entries[..] else {
            panic!("{:?}", toc.entries)
        };
        let mtime = directory.entry.attributes.mtime;
        assert_eq!((mtime.seconds, mtime.nanoseconds), (-1, 500_000_000));
        assert_eq!(file.entry.attributes.xattrs[0].1, [1, 2]);
        let blobs: Vec<_> = file.pieces.iter().map(|piece| piece.blob.clone()).collect();
        assert_eq!(blobs, [100..200, 200..300]);
    }

    #[test]
    fn nonsense_is_refused() {
        for rows in [
            r#"{"type":"chunk","name":"a"}"#,
            r#"{"type":"socket","name":"a"}"#,
            r#"{"type":"reg","name":"a","size":10,"offset":100,"endOffset":2000,"digest":"SHA"}"#,
            r#"{"type":"reg","name":"a","size":10,"offset":100,"endOffset":100,"digest":"SHA"}"#,
            r#"{"type":"reg","name":"a","size":10,"offset":100,"endOffset":200}"#,
            r#"{"type":"reg","name":"a","size":99999999999,"offset":1,"endOffset":9,"digest":"SHA"}"#,
            r#"{"type":"reg","name":"a","size":5,"offset":1,"endOffset":9,"chunkDigest":"SHA"},
               {"type":"chunk","name":"a","offset":3,"chunkOffset":7,"chunkDigest":"SHA"}"#,
            r#"{"type":"dir","name":"a","uid":4294967295}"#,
            r#"{"type":"dir","name":"a","xattrs":{"user.a":"!"}}"#,
            r#"{"type":"dir","name":"a","modtime":"yesterday"}"#,
        ] {
            assert!(parse(rows, Dialect::ZstdChunked).is_err(), "{rows}");
        }
    }
}
