//! Blobs with a table of contents, written as their inventors' tools do: eStargz
//! (github.com/containerd/stargz-snapshotter, docs/estargz.md) and zstd:chunked (github.com/containers/storage).
//! Every stretch of headers and every chunk of a file is a gzip member or a zstd frame of its own.

use super::digest;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use flate2::write::GzEncoder;
use serde_json::{Map, Value, json};
use std::io::{Read, Write};
use tar::{EntryType, Header};

/// Bytes of a chunk: few, so that small images have files of several.
const CHUNK_BYTES: usize = 64 << 10;

/// A packed archive.
pub(super) struct Packed {
    pub(super) bytes: Vec<u8>,
    /// The digest of what it unpacks to, which may be more than what was packed.
    pub(super) diff_id: String,
    /// What vouches for the table of contents.
    pub(super) annotations: Vec<(&'static str, String)>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Gzip,
    Zstd,
}

impl Form {
    fn pack(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Gzip => {
                let mut gzip = GzEncoder::new(Vec::new(), flate2::Compression::new(4));
                gzip.write_all(bytes)
                    .and_then(|()| gzip.finish())
                    .expect("writing to memory")
            }
            Self::Zstd => zstd::encode_all(bytes, 3).expect("writing to memory"),
        }
    }
}

pub(super) fn estargz(tar: &[u8]) -> Packed {
    let (mut bytes, rows, end) = body(tar, Form::Gzip);
    let table = json!({"version": 1, "entries": rows}).to_string();
    let at = bytes.len();
    let mut own = Header::new_ustar();
    own.set_path("stargz.index.json").expect("a short name");
    own.set_size(table.len() as u64);
    own.set_entry_type(EntryType::Regular);
    own.set_cksum();
    let mut last = [own.as_bytes(), table.as_bytes()].concat();
    last.resize(last.len().next_multiple_of(512) + 1024, 0);
    bytes.extend(Form::Gzip.pack(&last));
    bytes.extend([
        0x1f, 0x8b, 8, 4, 0, 0, 0, 0, 0, 255, 26, 0, b'S', b'G', 22, 0,
    ]);
    bytes.extend(format!("{at:016x}STARGZ").into_bytes());
    bytes.extend([1, 0, 0, 0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
    Packed {
        bytes,
        diff_id: digest(&[&tar[..end], &last].concat()),
        annotations: vec![(
            "containerd.io/snapshot/stargz/toc.digest",
            digest(table.as_bytes()),
        )],
    }
}

pub(super) fn zstd_chunked(tar: &[u8]) -> Packed {
    let (mut bytes, rows, end) = body(tar, Form::Zstd);
    bytes.extend(Form::Zstd.pack(&tar[end..]));
    let table = json!({"version": 1, "entries": rows}).to_string();
    let stored = Form::Zstd.pack(table.as_bytes());
    let at = bytes.len() + 8;
    skippable(&mut bytes, &stored);
    let numbers = [at, stored.len(), table.len(), 1, 0, 0, 0];
    let mut footer: Vec<u8> = numbers
        .iter()
        .flat_map(|number| (*number as u64).to_le_bytes())
        .collect();
    footer.extend(b"GNUlInUx");
    skippable(&mut bytes, &footer);
    Packed {
        bytes,
        diff_id: digest(tar),
        annotations: vec![
            (
                "io.github.containers.zstd-chunked.manifest-position",
                format!("{at}:{}:{}:1", stored.len(), table.len()),
            ),
            (
                "io.github.containers.zstd-chunked.manifest-checksum",
                digest(&stored),
            ),
        ],
    }
}

/// RFC 8878, section 3.1.2.
fn skippable(bytes: &mut Vec<u8>, frame: &[u8]) {
    bytes.extend([0x50, 0x2a, 0x4d, 0x18]);
    bytes.extend((frame.len() as u32).to_le_bytes());
    bytes.extend(frame);
}

/// All entries packed, their rows, and where the archive's end begins.
fn body(tar: &[u8], form: Form) -> (Vec<u8>, Vec<Value>, usize) {
    let (mut bytes, mut rows, mut at) = (Vec::new(), Vec::new(), 0);
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().expect("an archive") {
        let mut entry = entry.expect("an entry");
        let data = entry.raw_file_position() as usize;
        let size = entry.size() as usize;
        bytes.extend(form.pack(&tar[at..data]));
        at = data;
        let mut row = row(&mut entry);
        let mut content = Vec::new();
        entry
            .read_to_end(&mut content)
            .expect("reading from memory");
        let is_file = row["type"] == "reg" && size > 0;
        let mut chunks = Vec::new();
        if is_file {
            row["size"] = size.into();
            row["digest"] = digest(&content).into();
            for start in (0..size).step_by(CHUNK_BYTES) {
                let piece = &content[start..size.min(start + CHUNK_BYTES)];
                chunks.push((start, bytes.len(), piece.len(), digest(piece)));
                bytes.extend(form.pack(piece));
            }
            at += size;
        }
        let end = bytes.len();
        add(&mut rows, row, &chunks, form, end);
    }
    let end = at.next_multiple_of(512);
    bytes.extend(form.pack(&tar[at..end]));
    (bytes, rows, end)
}

/// The rows of one entry: its own, which is about the first chunk, and one for each other chunk.
fn add(
    rows: &mut Vec<Value>,
    mut row: Value,
    chunks: &[(usize, usize, usize, String)],
    form: Form,
    end: usize,
) {
    let name = row["name"].clone();
    if form == Form::Zstd && !chunks.is_empty() {
        row["endOffset"] = end.into();
    }
    let single = chunks.len() == 1;
    let mut all = Vec::new();
    for (index, (start, offset, length, digest)) in chunks.iter().enumerate() {
        let mut chunk = match index {
            0 => row.clone(),
            _ => json!({"type": "chunk", "name": name, "chunkOffset": start}),
        };
        chunk["offset"] = (*offset).into();
        if form == Form::Gzip || !single {
            chunk["chunkDigest"] = digest.clone().into();
        }
        // eStargz leaves it out of the last.
        if !single && (form == Form::Zstd || index + 1 < chunks.len()) {
            chunk["chunkSize"] = (*length).into();
        }
        all.push(chunk);
    }
    if all.is_empty() {
        all.push(row);
    }
    rows.extend(all);
}

fn row(entry: &mut tar::Entry<'_, &[u8]>) -> Value {
    let header = entry.header().clone();
    let kind = match header.entry_type() {
        EntryType::Directory => "dir",
        EntryType::Symlink => "symlink",
        EntryType::Link => "hardlink",
        EntryType::Char => "char",
        EntryType::Block => "block",
        EntryType::Fifo => "fifo",
        _ => "reg",
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut row = json!({
        "type": kind,
        "name": text(&entry.path_bytes()),
        "mode": header.mode().expect("a mode"),
        "uid": header.uid().expect("an owner"),
        "gid": header.gid().expect("a group"),
        "modtime": moment(header.mtime().expect("a time")),
    });
    if let Some(target) = entry.link_name_bytes().filter(|target| !target.is_empty()) {
        row["linkName"] = text(&target).into();
    }
    if matches!(kind, "char" | "block") {
        row["devMajor"] = header.device_major().ok().flatten().into();
        row["devMinor"] = header.device_minor().ok().flatten().into();
    }
    let mut xattrs = Map::new();
    for record in entry.pax_extensions().ok().flatten().into_iter().flatten() {
        let record = record.expect("a record");
        let key = record.key().unwrap_or_default();
        if let Some(name) = key.strip_prefix("SCHILY.xattr.") {
            let value = BASE64_STANDARD.encode(record.value_bytes());
            xattrs.insert(name.to_owned(), value.into());
        }
    }
    if !xattrs.is_empty() {
        row["xattrs"] = xattrs.into();
    }
    row
}

/// RFC 3339, of a time after 1970: days to a date as H. Hinnant has it, "chrono-compatible low-level date
/// algorithms", `civil_from_days`.
fn moment(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400 + 719_468, seconds % 86400);
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
