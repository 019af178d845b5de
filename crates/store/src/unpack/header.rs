//! The fields of a tar header: ustar's, GNU's and those of the oldest archives.

use super::UnpackProblem;
use super::archive::{Attributes, Entry, EntryKind};
use super::pax::Time;

/// Bytes of a header and of the unit that data is padded to.
pub(crate) const BLOCK_BYTES: usize = 512;

/// The fields of one header.
#[derive(Debug, Clone, Copy)]
pub(super) struct Header<'b>(pub(super) &'b [u8; BLOCK_BYTES]);

impl Header<'_> {
    pub(super) fn type_flag(self) -> u8 {
        self.0[156]
    }

    /// The sum of all bytes, those of the sum itself taken for spaces; some old writers summed
    /// signed bytes.
    pub(super) fn check(self) -> Result<(), UnpackProblem> {
        let bytes = self.0[..148].iter().chain(&self.0[156..]);
        let (unsigned, signed) = bytes.fold((256_i64, 256_i64), |(unsigned, signed), &byte| {
            (
                unsigned + i64::from(byte),
                signed + i64::from(i8::from_ne_bytes([byte])),
            )
        });
        match i64::try_from(number(&self.0[148..156])?) {
            Ok(stored) if stored == unsigned || stored == signed => Ok(()),
            _ => Err(UnpackProblem::Archive("the check sum of a header is wrong")),
        }
    }

    pub(super) fn path(self) -> Vec<u8> {
        let name = until_zero(&self.0[..100]);
        let prefix = until_zero(&self.0[345..500]);
        // GNU headers have other fields where ustar has the prefix.
        if &self.0[257..263] != b"ustar\0" || prefix.is_empty() {
            return name.to_vec();
        }
        [prefix, b"/", name].concat()
    }

    pub(super) fn link(self) -> Vec<u8> {
        until_zero(&self.0[157..257]).to_vec()
    }

    pub(super) fn mtime(self) -> Result<Time, UnpackProblem> {
        let field = &self.0[136..148];
        // Base 256 in two's complement: a time before the epoch.
        let seconds = if field[0] == 0xff {
            let low: [u8; 8] = std::array::from_fn(|i| field[4 + i]);
            i64::from_be_bytes(low)
        } else {
            i64::try_from(number(&self.0[136..148])?).unwrap_or(i64::MAX)
        };
        Ok(Time {
            seconds,
            nanoseconds: 0,
        })
    }
}

/// A number: octal digits between blanks and zero bytes, or base 256 with its top bit set.
/// An empty field is 0.
pub(super) fn number(field: &[u8]) -> Result<u64, UnpackProblem> {
    if field[0] & 0x80 != 0 {
        let mut value = u64::from(field[0] & 0x7f);
        for &byte in &field[1..] {
            if value >> 56 != 0 {
                return Err(UnpackProblem::Archive(
                    "a number in a header is out of range",
                ));
            }
            value = value << 8 | u64::from(byte);
        }
        return Ok(value);
    }
    let blank = |byte: &&u8| matches!(byte, b' ' | 0);
    let mut value = 0;
    for &byte in field
        .iter()
        .skip_while(blank)
        .take_while(|byte| !blank(byte))
    {
        if !matches!(byte, b'0'..=b'7') {
            return Err(UnpackProblem::Archive("a number in a header is none"));
        }
        // At most twelve digits: 36 bits.
        value = value << 3 | u64::from(byte - b'0');
    }
    Ok(value)
}

fn until_zero(field: &[u8]) -> &[u8] {
    let end = field
        .iter()
        .position(|&byte| byte == 0)
        .unwrap_or(field.len());
    &field[..end]
}

/// The file that a header alone describes, and its bytes; `None`: it is no file, or not the header of
/// one.
pub(crate) fn plain_file(header: &[u8; BLOCK_BYTES]) -> Option<(Entry, u64)> {
    let header = Header(header);
    header.check().ok()?;
    let small = |field| u32::try_from(number(field).ok()?).ok();
    if !matches!(header.type_flag(), 0 | b'0') {
        return None;
    }
    let attributes = Attributes {
        mode: small(&header.0[100..108])? & 0o7777,
        uid: small(&header.0[108..116])?,
        gid: small(&header.0[116..124])?,
        mtime: header.mtime().ok()?,
        xattrs: Vec::new(),
    };
    let entry = Entry {
        path: header.path(),
        kind: EntryKind::File { sparse: None },
        attributes,
    };
    Some((entry, number(&header.0[124..136]).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_octal_or_base_256() {
        let of = |field: &[u8]| number(field).ok();
        assert_eq!(of(b"0000644\0"), Some(0o644));
        assert_eq!(of(b"   644 \0"), Some(0o644));
        assert_eq!(of(b"77777777777"), Some(0o77_777_777_777));
        assert_eq!(of(b"\0\0\0\0\0\0\0\0"), Some(0));
        assert_eq!(of(b"\x80\0\0\0\0\0\x01\x02"), Some(0x102));
        assert_eq!(
            of(b"\x80\0\0\0\xff\xff\xff\xff\xff\xff\xff\xff"),
            Some(u64::MAX)
        );
        assert_eq!(of(b"\x80\0\0\x01\0\0\0\0\0\0\0\0"), None);
        assert_eq!(
            of(b"\xff\xff\xff\xff\xff\xff\xff\xff"),
            Some(0x7fff_ffff_ffff_ffff)
        );
        assert_eq!(of(b"0000648\0"), None);
        assert_eq!(of(b"-000644\0"), None);
    }

    #[test]
    fn a_time_may_be_before_the_epoch() {
        let mut bytes = [0; BLOCK_BYTES];
        bytes[136..148].fill(0xff);
        let time = Header(&bytes).mtime().expect("a time");
        assert_eq!((time.seconds, time.nanoseconds), (-1, 0));
    }
}
