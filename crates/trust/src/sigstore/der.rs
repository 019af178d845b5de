//! Just enough of DER (ITU-T X.690) for public keys and for the names in a certificate that `webpki`
//! has found right.

/// Tags.
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;

/// Reads one value after the other.
#[derive(Debug, Clone, Copy)]
pub(super) struct Der<'b>(pub(super) &'b [u8]);

impl<'b> Der<'b> {
    /// The next value: its tag and its content.
    pub(super) fn next(&mut self) -> Option<(u8, &'b [u8])> {
        let (&tag, rest) = self.0.split_first()?;
        let (&first, rest) = rest.split_first()?;
        let (length, rest) = match first {
            0..=0x7f => (usize::from(first), rest),
            // No certificate is longer than what three bytes count.
            0x81..=0x83 => {
                let count = usize::from(first & 0x7f);
                let bytes = rest.get(..count)?;
                let length = bytes
                    .iter()
                    .fold(0, |length, &byte| length << 8 | usize::from(byte));
                (length, &rest[count..])
            }
            _ => return None,
        };
        let content = rest.get(..length)?;
        self.0 = &rest[length..];
        Some((tag, content))
    }

    /// The next value, which must have this tag.
    pub(super) fn expect(&mut self, tag: u8) -> Option<&'b [u8]> {
        match self.next()? {
            (found, content) if found == tag => Some(content),
            _ => None,
        }
    }
}

/// The content of the only value in `bytes`.
pub(super) fn only(bytes: &[u8], tag: u8) -> Option<&[u8]> {
    let mut der = Der(bytes);
    let content = der.expect(tag)?;
    der.0.is_empty().then_some(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_are_checked() {
        assert_eq!(only(&[4, 2, 1, 2], OCTET_STRING), Some(&[1, 2][..]));
        let long = [&[4, 0x81, 200][..], &[7; 200]].concat();
        assert_eq!(only(&long, OCTET_STRING).map(<[u8]>::len), Some(200));
        for bytes in [
            &[][..],
            &[4],
            &[4, 1],
            &[4, 0x80, 0, 0],
            &[4, 0x84, 0, 0, 0, 1, 1],
            &[4, 0x83, 0xff, 0xff, 0xff],
            &[4, 1, 1, 1],
            &[3, 1, 1],
        ] {
            assert_eq!(only(bytes, OCTET_STRING), None, "{bytes:?}");
        }
    }
}
