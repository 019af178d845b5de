//! Reading netlink answers. Never panics, whatever the bytes: every length is checked against
//! what is there before it is believed.

use std::fmt;

use rustix::io::Errno;

use super::{HEADER_BYTES, aligned, flag};

/// `nla_len` and `nla_type`.
const ATTRIBUTE_HEADER_BYTES: usize = 4;
/// The type without its two flags (`NLA_TYPE_MASK`).
const ATTRIBUTE_KIND_MASK: u16 = 0x3fff;
/// The kernel's sentence in an acknowledgement (`NLMSGERR_ATTR_MSG`).
const REASON: u16 = 1;

/// What is wrong with a received datagram.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Malformed {
    /// A message says that it is shorter than its header or longer than the datagram.
    Length,
    /// The datagram did not fit the receive buffer.
    Truncated,
    /// A message of a known type lacks what the type demands.
    Content,
}

impl fmt::Display for Malformed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Malformed::Length => "a message's length is wrong",
            Malformed::Truncated => "a datagram was cut off",
            Malformed::Content => "a message lacks a part",
        })
    }
}

impl std::error::Error for Malformed {}

/// One received message (`struct nlmsghdr` and what follows).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply<'a> {
    /// `nlmsg_type`.
    pub kind: u16,
    /// `nlmsg_flags`.
    pub flags: u16,
    /// `nlmsg_seq`, that of the request.
    pub sequence: u32,
    /// Everything after the header.
    pub payload: &'a [u8],
}

impl<'a> Reply<'a> {
    /// The attributes after a fixed header of `header` bytes; none if it is shorter.
    pub fn attributes(&self, header: usize) -> Attributes<'a> {
        Attributes::new(self.payload.get(aligned(header)..).unwrap_or_default())
    }

    /// Reads the payload of an error message or of a dump's end (`struct nlmsgerr`): the error,
    /// `None` for an acknowledgement, and the kernel's sentence.
    pub(super) fn refusal(&self) -> Result<Option<(Errno, Option<String>)>, Malformed> {
        let code = read_u32(self.payload, 0).ok_or(Malformed::Content)?;
        if code == 0 {
            return Ok(None);
        }
        let number = code.wrapping_neg();
        if number > 4095 {
            return Err(Malformed::Content);
        }
        let errno = Errno::from_raw_os_error(number as i32);
        Ok(Some((errno, self.reason())))
    }

    fn reason(&self) -> Option<String> {
        if self.flags & flag::ACK_TLVS == 0 {
            return None;
        }
        let echoed = match self.flags & flag::CAPPED {
            0 => usize::try_from(read_u32(self.payload, 4)?).ok()?,
            _ => HEADER_BYTES,
        };
        let tlvs = self.payload.get(aligned(echoed.checked_add(4)?)..)?;
        let text = Attributes::new(tlvs).find(REASON)?.text()?;
        Some(text.to_owned())
    }
}

/// The messages of one datagram. Ends after the first malformed one.
#[derive(Debug, Clone)]
pub struct Messages<'a> {
    rest: &'a [u8],
}

impl<'a> Messages<'a> {
    /// Reads `datagram`.
    pub fn new(datagram: &'a [u8]) -> Messages<'a> {
        Messages { rest: datagram }
    }
}

impl<'a> Iterator for Messages<'a> {
    type Item = Result<Reply<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = self.rest;
        self.rest = &[];
        let length = read_u32(whole, 0).and_then(|length| usize::try_from(length).ok());
        let Some(length) = length.filter(|&length| length >= HEADER_BYTES) else {
            return Some(Err(Malformed::Length));
        };
        let Some(message) = whole.get(..length) else {
            return Some(Err(Malformed::Length));
        };
        self.rest = whole.get(aligned(length)..).unwrap_or_default();
        Some(Ok(Reply {
            kind: u16::from_ne_bytes([message[4], message[5]]),
            flags: u16::from_ne_bytes([message[6], message[7]]),
            sequence: read_u32(message, 8).unwrap_or_default(),
            payload: &message[HEADER_BYTES..],
        }))
    }
}

/// One attribute (`struct nlattr` and its payload).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// `nla_type` without the flags for nesting and byte order.
    pub kind: u16,
    /// What it holds, without padding.
    pub payload: &'a [u8],
}

impl<'a> Attribute<'a> {
    /// The attributes it holds.
    pub fn nested(&self) -> Attributes<'a> {
        Attributes::new(self.payload)
    }

    /// Its text, up to the first NUL; `None` if that is not UTF-8.
    pub fn text(&self) -> Option<&'a str> {
        let end = self.payload.iter().position(|&byte| byte == 0);
        std::str::from_utf8(&self.payload[..end.unwrap_or(self.payload.len())]).ok()
    }

    /// Its 32 bits in the machine's order.
    pub fn u32(&self) -> Option<u32> {
        read_u32(self.payload, 0)
    }

    /// Its 32 bits in network order.
    pub fn be32(&self) -> Option<u32> {
        self.u32().map(u32::from_be)
    }

    /// The 64-bit number in the machine's order that begins at byte `at`.
    pub fn u64_at(&self, at: usize) -> Option<u64> {
        let bytes = self.payload.get(at..at.checked_add(8)?)?;
        Some(u64::from_ne_bytes(bytes.try_into().ok()?))
    }
}

/// A run of attributes. Ends before the first malformed one.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Attributes<'a> {
    /// Reads `bytes`.
    pub fn new(bytes: &'a [u8]) -> Attributes<'a> {
        Attributes { rest: bytes }
    }

    /// The first attribute of this kind among those not read yet.
    pub fn find(&self, kind: u16) -> Option<Attribute<'a>> {
        Iterator::find(&mut self.clone(), |one| one.kind == kind)
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Attribute<'a>;

    fn next(&mut self) -> Option<Attribute<'a>> {
        let whole = self.rest;
        self.rest = &[];
        let header = whole.get(..ATTRIBUTE_HEADER_BYTES)?;
        let length = usize::from(u16::from_ne_bytes([header[0], header[1]]));
        let payload = whole.get(ATTRIBUTE_HEADER_BYTES..length)?;
        self.rest = whole.get(aligned(length)..).unwrap_or_default();
        Some(Attribute {
            kind: u16::from_ne_bytes([header[2], header[3]]) & ATTRIBUTE_KIND_MASK,
            payload,
        })
    }
}

fn read_u32(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads everything that can be read out of `bytes`.
    fn exhaust(bytes: &[u8]) -> usize {
        let mut seen = 0;
        for message in Messages::new(bytes) {
            let Ok(message) = message else { break };
            let _ = message.refusal();
            for attribute in message.attributes(seen % 20) {
                let _ = (attribute.text(), attribute.be32(), attribute.u64_at(4));
                seen += attribute.nested().count();
            }
            seen += 1;
        }
        seen
    }

    #[test]
    fn arbitrary_bytes_never_panic() {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        for round in 0..20_000_usize {
            let mut bytes = vec![0; round % 97];
            for byte in &mut bytes {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                // Small numbers make plausible lengths, and so reach further.
                *byte = if state & 3 == 0 {
                    state as u8
                } else {
                    (state >> 8) as u8 & 0x1f
                };
            }
            exhaust(&bytes);
        }
    }

    #[test]
    fn lengths_that_lie_are_refused() {
        for length in [0_u32, 15, 17, u32::MAX] {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&length.to_ne_bytes());
            assert_eq!(
                Messages::new(&bytes).collect::<Vec<_>>(),
                [Err(Malformed::Length)]
            );
        }
        assert_eq!(Attributes::new(&[3, 0, 1, 0]).count(), 0);
        assert_eq!(Attributes::new(&[9, 0, 1, 0, 5, 5, 5, 5]).count(), 0);
    }

    #[test]
    fn a_refusal_carries_the_kernels_sentence() {
        let mut payload = Vec::from((-17_i32).to_ne_bytes());
        payload.extend_from_slice(&[0; 16]);
        payload.extend_from_slice(&[9, 0, 1, 0]);
        payload.extend_from_slice(b"Busy\0\0\0\0");
        let reply = Reply {
            kind: super::super::kind::ERROR,
            flags: flag::CAPPED | flag::ACK_TLVS,
            sequence: 1,
            payload: &payload,
        };
        let (errno, text) = reply.refusal().unwrap().unwrap();
        assert_eq!(errno, Errno::EXIST);
        assert_eq!(text.as_deref(), Some("Busy"));
    }
}
