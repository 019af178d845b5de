//! The records of a PAX extended header (POSIX.1-2024, pax, "pax Extended Header"): what they
//! override of the header that follows, and the extended attributes they carry.
//!
//! A record is `LENGTH KEY=VALUE\n`; the length, not the line feed, ends it: a value may be binary
//! (`SCHILY.xattr.security.capability`) and contain line feeds of its own.

use super::UnpackProblem;
use super::sparse::PaxSparse;

/// A time stamp: seconds since the epoch, possibly negative, and nanoseconds after them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Time {
    pub(crate) seconds: i64,
    pub(crate) nanoseconds: u32,
}

/// An extended attribute: its name and its value.
pub(crate) type Xattr = (Vec<u8>, Vec<u8>);

/// What a PAX header says of the entry that follows it.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct PaxRecords {
    pub(crate) path: Option<Vec<u8>>,
    pub(crate) link_path: Option<Vec<u8>>,
    pub(crate) size: Option<u64>,
    pub(crate) uid: Option<u64>,
    pub(crate) gid: Option<u64>,
    pub(crate) mtime: Option<Time>,
    pub(crate) xattrs: Vec<Xattr>,
    pub(crate) sparse: Option<PaxSparse>,
}

impl PaxRecords {
    /// Reads all records of one header.
    pub(crate) fn parse(mut bytes: &[u8]) -> Result<Self, UnpackProblem> {
        let mut records = Self::default();
        while !bytes.is_empty() {
            let (key, value, rest) = record(bytes).ok_or(UnpackProblem::Archive(
                "a PAX record has not the form LENGTH KEY=VALUE",
            ))?;
            records.apply(key, value)?;
            bytes = rest;
        }
        Ok(records)
    }

    fn apply(&mut self, key: &[u8], value: &[u8]) -> Result<(), UnpackProblem> {
        match key {
            b"path" => self.path = text(value)?,
            b"linkpath" => self.link_path = text(value)?,
            b"size" => self.size = number(value)?,
            b"uid" => self.uid = number(value)?,
            b"gid" => self.gid = number(value)?,
            b"mtime" => self.mtime = time(value)?,
            _ => {
                if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                    self.set_xattr(name, value)?;
                } else if let Some(key) = key.strip_prefix(b"GNU.sparse.") {
                    self.sparse.get_or_insert_default().apply(key, value)?;
                }
            }
        }
        Ok(())
    }

    fn set_xattr(&mut self, name: &[u8], value: &[u8]) -> Result<(), UnpackProblem> {
        if name.is_empty() || name.contains(&0) {
            return Err(UnpackProblem::Archive(
                "an extended attribute has no usable name",
            ));
        }
        self.xattrs.retain(|(known, _)| known != name);
        self.xattrs.push((name.to_vec(), value.to_vec()));
        Ok(())
    }
}

/// The first record, and what follows it.
fn record(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let space = bytes.iter().take(20).position(|&byte| byte == b' ')?;
    let length: usize = std::str::from_utf8(&bytes[..space]).ok()?.parse().ok()?;
    let record = bytes.get(space + 1..length)?;
    let record = record.strip_suffix(b"\n")?;
    let equals = record.iter().position(|&byte| byte == b'=')?;
    Some((&record[..equals], &record[equals + 1..], &bytes[length..]))
}

/// An empty value takes an earlier one back.
pub(super) fn text(value: &[u8]) -> Result<Option<Vec<u8>>, UnpackProblem> {
    if value.contains(&0) {
        return Err(UnpackProblem::Archive("a path contains a zero byte"));
    }
    Ok((!value.is_empty()).then(|| value.to_vec()))
}

pub(super) fn number(value: &[u8]) -> Result<Option<u64>, UnpackProblem> {
    if value.is_empty() {
        return Ok(None);
    }
    let digits = value.iter().all(u8::is_ascii_digit);
    std::str::from_utf8(value)
        .ok()
        .filter(|_| digits)
        .and_then(|text| text.parse().ok())
        .map(Some)
        .ok_or(UnpackProblem::Archive("a number in a PAX record is none"))
}

/// `[-]SECONDS[.FRACTION]`; digits past the nanoseconds are cut off.
fn time(value: &[u8]) -> Result<Option<Time>, UnpackProblem> {
    if value.is_empty() {
        return Ok(None);
    }
    parse_time(value)
        .map(Some)
        .ok_or(UnpackProblem::Archive("a time in a PAX record is none"))
}

fn parse_time(value: &[u8]) -> Option<Time> {
    let text = std::str::from_utf8(value).ok()?;
    let (negative, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    if !whole
        .bytes()
        .chain(fraction.bytes())
        .all(|b| b.is_ascii_digit())
    {
        return None;
    }
    let seconds: i64 = if whole.is_empty() {
        0
    } else {
        whole.parse().ok()?
    };
    let nanoseconds = format!("{fraction:0<9.9}").parse().ok()?;
    Some(match (negative, nanoseconds) {
        (false, _) => Time {
            seconds,
            nanoseconds,
        },
        (true, 0) => Time {
            seconds: -seconds,
            nanoseconds,
        },
        (true, _) => Time {
            seconds: -seconds - 1,
            nanoseconds: 1_000_000_000 - nanoseconds,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(key: &str, value: &[u8]) -> Vec<u8> {
        let body = key.len() + value.len() + 3;
        let mut length = body + 1;
        while length != body + length.to_string().len() {
            length += 1;
        }
        let mut bytes = format!("{length} {key}=").into_bytes();
        bytes.extend_from_slice(value);
        bytes.push(b'\n');
        bytes
    }

    #[test]
    fn values_with_line_feeds_are_whole() {
        let mut bytes = written("SCHILY.xattr.security.capability", b"\x01\n\n=2");
        bytes.extend(written("path", b"a"));
        let records = PaxRecords::parse(&bytes).expect("parsed");
        assert_eq!(
            records.xattrs,
            [(b"security.capability".to_vec(), b"\x01\n\n=2".to_vec())]
        );
        assert_eq!(records.path.as_deref(), Some(&b"a"[..]));
    }

    #[test]
    fn an_empty_value_takes_back_and_the_last_one_counts() {
        let mut bytes = written("path", b"a");
        bytes.extend(written("path", b"b"));
        bytes.extend(written("uid", b"7"));
        bytes.extend(written("uid", b""));
        let records = PaxRecords::parse(&bytes).expect("parsed");
        assert_eq!(
            (records.path.as_deref(), records.uid),
            (Some(&b"b"[..]), None)
        );
    }

    #[test]
    fn times_may_be_fractions_and_before_the_epoch() {
        let time = |text: &str| parse_time(text.as_bytes()).map(|t| (t.seconds, t.nanoseconds));
        assert_eq!(
            time("1700000000.123456789123"),
            Some((1_700_000_000, 123_456_789))
        );
        assert_eq!(time("-1.25"), Some((-2, 750_000_000)));
        assert_eq!(time("-3"), Some((-3, 0)));
        assert_eq!(time("5.1"), Some((5, 100_000_000)));
        assert_eq!(time("+5"), None);
        assert_eq!(time("9e9"), None);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bytes in [
            &b"path=a\n"[..],
            b"9 path=a\n\n",
            b"99 path=a\n",
            b"18446744073709551615 path=a\n",
            b"3 a",
            b"0 =\n",
            b"10 path=\0aa\n",
        ] {
            assert!(
                PaxRecords::parse(bytes).is_err(),
                "{}",
                bytes.escape_ascii()
            );
        }
    }
}
