//! Writing tar: ustar headers, with a PAX extended header before those that ustar cannot say
//! (POSIX.1-2024, pax, "ustar Interchange Format" and "pax Extended Header"). The counterpart of
//! `unpack::archive`.
//!
//! The `tar` crate is not used: it sets no PAX record by itself, so all that is here would stand
//! around it.

use std::io::{self, Read, Write};

use crate::unpack::{Attributes, BLOCK_BYTES, Time};

/// Bytes copied at a time.
const COPY_BYTES: usize = 256 << 10;
/// The longest name of a header, and the longest directory before it.
const NAME_BYTES: usize = 100;
const PREFIX_BYTES: usize = 155;

/// What an entry is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind<'a> {
    /// With the number of bytes that follow ([`TarWriter::data`]).
    File(u64),
    Directory,
    Symlink(&'a [u8]),
    Hardlink(&'a [u8]),
    CharacterDevice(u32, u32),
    BlockDevice(u32, u32),
    Fifo,
}

impl Kind<'_> {
    fn type_flag(self) -> u8 {
        match self {
            Kind::File(_) => b'0',
            Kind::Hardlink(_) => b'1',
            Kind::Symlink(_) => b'2',
            Kind::CharacterDevice(..) => b'3',
            Kind::BlockDevice(..) => b'4',
            Kind::Directory => b'5',
            Kind::Fifo => b'6',
        }
    }
}

/// Whether a file had as many bytes as its header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Length {
    AsSaid,
    /// It shrank while it was read; zeros stand for the rest, as in GNU tar.
    Shorter,
}

/// A tar archive in the making.
#[derive(Debug)]
pub(crate) struct TarWriter<W> {
    out: W,
    buffer: Vec<u8>,
}

impl<W: Write> TarWriter<W> {
    pub(crate) fn new(out: W) -> Self {
        Self {
            out,
            buffer: Vec::new(),
        }
    }

    /// Writes the headers of an entry. `path` has no slash at its end, not even a directory's.
    pub(crate) fn entry(
        &mut self,
        path: &[u8],
        kind: Kind<'_>,
        attributes: &Attributes,
    ) -> io::Result<()> {
        let mut path = path.to_vec();
        if kind == Kind::Directory {
            path.push(b'/');
        }
        let mut header = Header::new(kind.type_flag());
        let mut records = Records::default();
        if !header.set_path(&path) {
            records.add(b"path", &path);
        }
        if let Kind::Symlink(target) | Kind::Hardlink(target) = kind
            && !header.set_link(target)
        {
            records.add(b"linkpath", target);
        }
        let size_bytes = match kind {
            Kind::File(bytes) => bytes,
            _ => 0,
        };
        if !header.set_number(SIZE, size_bytes) {
            records.add(b"size", size_bytes.to_string().as_bytes());
        }
        if let Kind::CharacterDevice(major, minor) | Kind::BlockDevice(major, minor) = kind {
            // Linux's are of 12 and 20 bits: they fit.
            header.set_number(MAJOR, major.into());
            header.set_number(MINOR, minor.into());
        }
        header.set_attributes(attributes, &mut records);
        if !records.0.is_empty() {
            self.extended(&path, &records)?;
        }
        self.out.write_all(&header.finish())
    }

    /// The bytes of the file whose header was written last; `size_bytes` as it says.
    pub(crate) fn data(&mut self, mut from: impl Read, size_bytes: u64) -> io::Result<Length> {
        self.buffer.resize(COPY_BYTES, 0);
        let mut left = size_bytes;
        let mut length = Length::AsSaid;
        while left > 0 {
            let wanted = COPY_BYTES.min(usize::try_from(left).unwrap_or(COPY_BYTES));
            let count = match length {
                Length::AsSaid => from.read(&mut self.buffer[..wanted]),
                Length::Shorter => Ok(wanted),
            };
            match count {
                Ok(0) => {
                    length = Length::Shorter;
                    self.buffer.fill(0);
                }
                Ok(count) => {
                    self.out.write_all(&self.buffer[..count])?;
                    left -= count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        self.pad(size_bytes)?;
        Ok(length)
    }

    /// A whole file that is there as bytes.
    pub(crate) fn file(
        &mut self,
        path: &[u8],
        content: &[u8],
        attributes: &Attributes,
    ) -> io::Result<()> {
        let size_bytes = content.len() as u64;
        self.entry(path, Kind::File(size_bytes), attributes)?;
        self.data(content, size_bytes).map(drop)
    }

    /// The end of the archive: two empty blocks.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        self.out.write_all(&[0; 2 * BLOCK_BYTES])?;
        self.out.flush()?;
        Ok(self.out)
    }

    /// A PAX header for the entry to come, named as Go's writer names it.
    fn extended(&mut self, path: &[u8], records: &Records) -> io::Result<()> {
        let path = path.strip_suffix(b"/").unwrap_or(path);
        let (directory, name) = match path.iter().rposition(|&byte| byte == b'/') {
            Some(slash) => (&path[..=slash], &path[slash + 1..]),
            None => (&b""[..], path),
        };
        let shown = [directory, b"PaxHeaders.0/", name].concat();
        let mut header = Header::new(b'x');
        if !shown.is_ascii() || !header.set_path(&shown) {
            // Nobody reads this name.
            header.set_path(b"PaxHeaders.0/entry");
        }
        let text = records.text();
        header.set_number(SIZE, text.len() as u64);
        self.out.write_all(&header.finish())?;
        self.out.write_all(&text)?;
        self.pad(text.len() as u64)
    }

    fn pad(&mut self, written_bytes: u64) -> io::Result<()> {
        let block = BLOCK_BYTES as u64;
        let rest = written_bytes.next_multiple_of(block) - written_bytes;
        // Less than a block.
        self.out.write_all(&[0; BLOCK_BYTES][..rest as usize])
    }
}

/// PAX records by their keys, so that the same entry is always the same bytes.
#[derive(Debug, Default)]
struct Records(std::collections::BTreeMap<Vec<u8>, Vec<u8>>);

impl Records {
    fn add(&mut self, key: &[u8], value: &[u8]) {
        self.0.insert(key.to_vec(), value.to_vec());
    }

    /// `LENGTH KEY=VALUE\n`, the length counting itself.
    fn text(&self) -> Vec<u8> {
        let mut text = Vec::new();
        for (key, value) in &self.0 {
            let rest = key.len() + value.len() + 3;
            let mut length = rest + 1;
            while length != rest + length.to_string().len() {
                length += 1;
            }
            text.extend_from_slice(format!("{length} ").as_bytes());
            text.extend_from_slice(key);
            text.push(b'=');
            text.extend_from_slice(value);
            text.push(b'\n');
        }
        text
    }
}

type Field = std::ops::Range<usize>;
const MODE: Field = 100..108;
const UID: Field = 108..116;
const GID: Field = 116..124;
const SIZE: Field = 124..136;
const MTIME: Field = 136..148;
const SUM: Field = 148..156;
const LINK: Field = 157..257;
const MAGIC: Field = 257..265;
const MAJOR: Field = 329..337;
const MINOR: Field = 337..345;
const PREFIX: Field = 345..500;

/// A ustar header.
struct Header([u8; BLOCK_BYTES]);

impl Header {
    fn new(type_flag: u8) -> Self {
        let mut header = Self([0; BLOCK_BYTES]);
        for field in [MODE, UID, GID, SIZE, MTIME, MAJOR, MINOR] {
            header.set_number(field, 0);
        }
        header.0[156] = type_flag;
        header.0[MAGIC].copy_from_slice(b"ustar\x0000");
        header
    }

    /// Octal digits and a zero byte. False: it does not fit, and 0 stands there.
    fn set_number(&mut self, field: Field, value: u64) -> bool {
        let digits = field.len() - 1;
        let fits = value < 1 << (3 * digits);
        let text = format!("{:0digits$o}\0", if fits { value } else { 0 });
        self.0[field].copy_from_slice(text.as_bytes());
        fits
    }

    fn set_attributes(&mut self, attributes: &Attributes, records: &mut Records) {
        self.set_number(MODE, u64::from(attributes.mode & 0o7777));
        for (field, key, id) in [
            (UID, &b"uid"[..], attributes.uid),
            (GID, b"gid", attributes.gid),
        ] {
            if !self.set_number(field, id.into()) {
                records.add(key, id.to_string().as_bytes());
            }
        }
        let Time {
            seconds,
            nanoseconds,
        } = attributes.mtime;
        let whole = u64::try_from(seconds).is_ok_and(|seconds| self.set_number(MTIME, seconds));
        if !whole || nanoseconds != 0 {
            records.add(b"mtime", time_text(attributes.mtime).as_bytes());
        }
        for (name, value) in &attributes.xattrs {
            records.add(&[b"SCHILY.xattr.", name.as_slice()].concat(), value);
        }
    }

    /// False: it needs a PAX record, and what fits of it stands there.
    fn set_path(&mut self, path: &[u8]) -> bool {
        let split = match path.len() {
            0..=NAME_BYTES => Some((&b""[..], path)),
            _ => split(path),
        };
        let (prefix, name) = split.unwrap_or((b"", &path[..NAME_BYTES.min(path.len())]));
        self.0[..name.len()].copy_from_slice(name);
        self.0[PREFIX.start..PREFIX.start + prefix.len()].copy_from_slice(prefix);
        split.is_some() && path.is_ascii()
    }

    fn set_link(&mut self, target: &[u8]) -> bool {
        let fitting = &target[..target.len().min(LINK.len())];
        self.0[LINK.start..LINK.start + fitting.len()].copy_from_slice(fitting);
        target.len() <= LINK.len() && target.is_ascii()
    }

    /// The header with its check sum: six digits, a zero byte and a space.
    fn finish(mut self) -> [u8; BLOCK_BYTES] {
        self.0[SUM].fill(b' ');
        let sum: u32 = self.0.iter().map(|&byte| u32::from(byte)).sum();
        self.0[SUM].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        self.0
    }
}

/// The directory and the rest of a path that is too long for the name alone, if some slash parts it
/// so that both fit.
fn split(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let body = path.strip_suffix(b"/").unwrap_or(path);
    let slash = body
        .iter()
        .take(PREFIX_BYTES + 1)
        .rposition(|&byte| byte == b'/')?;
    let (prefix, name) = (&path[..slash], &path[slash + 1..]);
    (!prefix.is_empty() && name.len() <= NAME_BYTES).then_some((prefix, name))
}

/// `SECONDS[.FRACTION]`, the fraction without zeros at its end.
fn time_text(time: Time) -> String {
    let (negative, seconds, nanoseconds) = match (time.seconds < 0, time.nanoseconds) {
        (true, 0) => (true, time.seconds.unsigned_abs(), 0),
        // The fraction counts upwards from a whole second that is further down.
        (true, over) => (
            true,
            (time.seconds + 1).unsigned_abs(),
            1_000_000_000 - over,
        ),
        (false, over) => (false, time.seconds.unsigned_abs(), over),
    };
    let sign = if negative { "-" } else { "" };
    let text = format!("{sign}{seconds}.{nanoseconds:09}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attributes() -> Attributes {
        Attributes {
            mode: 0o644,
            mtime: Time {
                seconds: 1_700_000_000,
                nanoseconds: 0,
            },
            ..Attributes::default()
        }
    }

    /// What another reader makes of one entry.
    fn read_back(
        path: &[u8],
        kind: Kind<'_>,
        attributes: &Attributes,
    ) -> (Vec<u8>, Vec<u8>, usize) {
        let mut writer = TarWriter::new(Vec::new());
        writer.entry(path, kind, attributes).expect("written");
        let bytes = writer.finish().expect("finished");
        assert_eq!(bytes.len() % BLOCK_BYTES, 0);
        let mut archive = ::tar::Archive::new(bytes.as_slice());
        let entry = archive.entries().expect("read").next().expect("one");
        let entry = entry.expect("read");
        let link = entry.link_name_bytes().map(|link| link.into_owned());
        (
            entry.path_bytes().into_owned(),
            link.unwrap_or_default(),
            bytes.len() / BLOCK_BYTES,
        )
    }

    #[test]
    fn long_names_are_split_or_told_by_pax() {
        let plain = attributes();
        let long = |parts: &[usize]| -> Vec<u8> {
            let parts: Vec<_> = parts.iter().map(|&length| vec![b'n'; length]).collect();
            parts.join(&b'/')
        };
        for (path, blocks) in [
            (long(&[100]), 3),
            (long(&[155, 100]), 3),
            (long(&[100, 54, 60]), 3),
            (long(&[101]), 5),
            (long(&[156, 10]), 5),
            (long(&[255, 255]), 6),
            ("ä".as_bytes().to_vec(), 5),
        ] {
            let (name, _, written) = read_back(&path, Kind::File(0), &plain);
            assert_eq!(name, path);
            assert_eq!(written, blocks, "{}", path.escape_ascii());
        }
        let (_, link, _) = read_back(b"l", Kind::Symlink(&long(&[300])), &plain);
        assert_eq!(link, long(&[300]));
        let (name, ..) = read_back(&long(&[99]), Kind::Directory, &plain);
        assert_eq!(name, [long(&[99]), b"/".to_vec()].concat());
    }

    #[test]
    fn times_are_told_to_the_nanosecond_and_before_the_epoch() {
        let text = |seconds, nanoseconds| {
            time_text(Time {
                seconds,
                nanoseconds,
            })
        };
        assert_eq!(text(5, 100_000_000), "5.1");
        assert_eq!(text(5, 1), "5.000000001");
        assert_eq!(text(-2, 750_000_000), "-1.25");
        assert_eq!(text(-3, 0), "-3");
        assert_eq!(text(100, 0), "100");
    }

    #[test]
    fn a_file_that_shrank_is_filled_up() {
        let mut writer = TarWriter::new(Vec::new());
        writer
            .entry(b"f", Kind::File(600), &attributes())
            .expect("written");
        let length = writer.data(&b"abc"[..], 600).expect("written");
        assert_eq!(length, Length::Shorter);
        let bytes = writer.finish().expect("finished");
        assert_eq!(bytes.len(), 5 * BLOCK_BYTES);
        assert_eq!(&bytes[512..516], b"abc\0");
    }
}
