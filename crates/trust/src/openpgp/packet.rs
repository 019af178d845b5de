//! Packets: RFC 4880 section 4. Both formats of headers, partial and indeterminate lengths.

use std::io::Read;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::OpenPgpError;

/// Bytes that a compressed message may unpack to: a payload is a few hundred.
const UNPACKED_LIMIT_BYTES: u64 = 4 << 20;

/// Tags, section 4.3.
pub(super) const SIGNATURE: u8 = 2;
pub(super) const ONE_PASS: u8 = 4;
pub(super) const PUBLIC_KEY: u8 = 6;
pub(super) const COMPRESSED: u8 = 8;
pub(super) const LITERAL: u8 = 11;
pub(super) const USER_ID: u8 = 13;
pub(super) const PUBLIC_SUBKEY: u8 = 14;
pub(super) const USER_ATTRIBUTE: u8 = 17;

/// A packet.
#[derive(Debug)]
pub(super) struct Packet {
    pub(super) tag: u8,
    pub(super) body: Vec<u8>,
}

/// All packets of some bytes.
pub(super) fn packets(mut bytes: &[u8]) -> Result<Vec<Packet>, OpenPgpError> {
    let mut found = Vec::new();
    while !bytes.is_empty() {
        let (packet, rest) = packet(bytes).ok_or(OpenPgpError::Malformed("a packet is cut off"))?;
        found.push(packet);
        bytes = rest;
    }
    Ok(found)
}

fn packet(bytes: &[u8]) -> Option<(Packet, &[u8])> {
    let (&head, rest) = bytes.split_first()?;
    if head & 0x80 == 0 {
        return None;
    }
    if head & 0x40 != 0 {
        let (body, rest) = new_body(rest)?;
        let tag = head & 0x3f;
        return Some((Packet { tag, body }, rest));
    }
    let tag = head >> 2 & 0x0f;
    let (length, rest) = match head & 3 {
        0 => (usize::from(*rest.first()?), rest.get(1..)?),
        1 => (number(rest.get(..2)?), rest.get(2..)?),
        2 => (number(rest.get(..4)?), rest.get(4..)?),
        // To the end.
        _ => (rest.len(), rest),
    };
    let body = rest.get(..length)?.to_vec();
    Some((Packet { tag, body }, rest.get(length..)?))
}

/// A new-format body, which may come in pieces: section 4.2.2.
fn new_body(mut rest: &[u8]) -> Option<(Vec<u8>, &[u8])> {
    let mut body = Vec::new();
    loop {
        let (&first, after) = rest.split_first()?;
        let (length, after, is_last) = match first {
            0..=191 => (usize::from(first), after, true),
            192..=223 => {
                let (&second, after) = after.split_first()?;
                let length = (usize::from(first) - 192) << 8 | usize::from(second);
                (length + 192, after, true)
            }
            224..=254 => (1 << (first & 0x1f), after, false),
            255 => (number(after.get(..4)?), after.get(4..)?, true),
        };
        body.extend_from_slice(after.get(..length)?);
        rest = after.get(length..)?;
        if is_last {
            return Some((body, rest));
        }
    }
}

/// Big-endian; at most four bytes.
fn number(bytes: &[u8]) -> usize {
    bytes
        .iter()
        .fold(0, |value, &byte| value << 8 | usize::from(byte))
}

/// The packets within a compressed one: section 5.6.
pub(super) fn unpacked(body: &[u8]) -> Result<Vec<Packet>, OpenPgpError> {
    let (algorithm, data) = body
        .split_first()
        .ok_or(OpenPgpError::Malformed("a compressed packet is empty"))?;
    let mut bytes = Vec::new();
    let read = match algorithm {
        0 => data.take(UNPACKED_LIMIT_BYTES + 1).read_to_end(&mut bytes),
        1 => flate2::read::DeflateDecoder::new(data)
            .take(UNPACKED_LIMIT_BYTES + 1)
            .read_to_end(&mut bytes),
        2 => flate2::read::ZlibDecoder::new(data)
            .take(UNPACKED_LIMIT_BYTES + 1)
            .read_to_end(&mut bytes),
        _ => return Err(OpenPgpError::Unsupported("this compression")),
    };
    match read {
        Ok(count) if count as u64 <= UNPACKED_LIMIT_BYTES => packets(&bytes),
        Ok(_) => Err(OpenPgpError::Malformed(
            "it unpacks to more than is allowed",
        )),
        Err(_) => Err(OpenPgpError::Malformed("the compressed data is damaged")),
    }
}

/// The bytes behind ASCII armor (section 6.2), of each block one after the other; what is not armored
/// is given back.
pub(super) fn without_armor(bytes: &[u8]) -> Result<Vec<u8>, OpenPgpError> {
    const BEGIN: &str = "-----BEGIN PGP ";
    let text = match std::str::from_utf8(bytes) {
        Ok(text) if text.contains(BEGIN) => text,
        _ => return Ok(bytes.to_vec()),
    };
    let mut found = Vec::new();
    let mut block: Option<String> = None;
    let mut in_headers = false;
    for line in text.lines().map(str::trim) {
        match &mut block {
            None if line.starts_with(BEGIN) => {
                block = Some(String::new());
                in_headers = true;
            }
            None => {}
            Some(_) if in_headers && line.is_empty() => in_headers = false,
            // `Version: …`; without any, the empty line may be missing.
            Some(_) if in_headers && line.contains(": ") => {}
            Some(base64) if line.starts_with("-----END") => {
                let decoded = STANDARD.decode(base64.as_bytes());
                found.extend(decoded.map_err(|_| OpenPgpError::Malformed("its armor is damaged"))?);
                block = None;
            }
            // The check sum, which a signature makes superfluous.
            Some(_) if line.starts_with('=') => {}
            Some(base64) => {
                in_headers = false;
                base64.push_str(line);
            }
        }
    }
    match block {
        None => Ok(found),
        Some(_) => Err(OpenPgpError::Malformed("its armor does not end")),
    }
}

/// The next multiprecision integer (section 3.2) and the rest.
pub(super) fn integer(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let length = number(bytes.get(..2)?).div_ceil(8);
    let rest = &bytes[2..];
    Some((rest.get(..length)?, rest.get(length..)?))
}

/// An integer at a fixed length, with zeros before it.
pub(super) fn padded(integer: &[u8], length: usize) -> Option<Vec<u8>> {
    let missing = length.checked_sub(integer.len())?;
    let mut bytes = vec![0; missing];
    bytes.extend_from_slice(integer);
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_in_pieces_are_put_together() {
        // New format, tag 11: a piece of two bytes, then one byte.
        let found = packets(&[0xcb, 0xe1, b'a', b'b', 1, b'c']).unwrap();
        assert_eq!((found[0].tag, found[0].body.as_slice()), (11, &b"abc"[..]));
        // Old format, tag 2, one byte of length; then tag 8 to the end.
        let found = packets(&[0x88, 1, b'x', 0xa3, b'y', b'z']).unwrap();
        assert_eq!((found[0].tag, found[1].tag), (2, 8));
        assert_eq!(found[1].body, b"yz");
    }

    #[test]
    fn cut_packets_are_refused() {
        for bytes in [
            &[0x00][..],
            &[0x88],
            &[0x88, 5, 1],
            &[0xcb, 0xff, 0, 0],
            &[0xcb, 0xff, 0xff, 0xff, 0xff, 0xff],
            &[0xcb, 0xe1, b'a', b'b'],
            &[0xcb, 0xfe],
        ] {
            assert!(packets(bytes).is_err(), "{bytes:?}");
        }
    }

    #[test]
    fn armor_is_taken_off() {
        let text = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nVersion: x\n\naGVs\nbG8=\n=abcd\n-----END PGP PUBLIC KEY BLOCK-----\n";
        assert_eq!(without_armor(text.as_bytes()).unwrap(), b"hello");
        assert_eq!(without_armor(&[0x99, 1]).unwrap(), [0x99, 1]);
        assert!(without_armor(&text.as_bytes()[..70]).is_err());
    }
}
