//! Building netlink requests: headers, attributes, nesting, alignment.

use super::{aligned, flag, kind};

/// Marks an attribute that holds attributes (`NLA_F_NESTED`).
const NESTED: u16 = 0x8000;
/// The generation a transaction is valid for (`NFNL_BATCH_GENID`).
const BATCH_GENERATION: u16 = 1;

/// One or many messages, sent to the kernel in one system call.
///
/// The kernel works through them in order and goes on after one that it refuses, except inside a
/// transaction ([`Requests::begin`] … [`Requests::commit`]), which happens wholly or not at all.
#[derive(Debug, Default)]
pub struct Requests {
    pub(super) bytes: Vec<u8>,
    /// Where each message begins in `bytes`.
    pub(super) starts: Vec<usize>,
    /// The message whose answer ends the exchange: the last that is not a `BATCH_END`.
    pub(super) last: Option<usize>,
    pub(super) transaction: bool,
    pub(super) overflow: bool,
}

impl Requests {
    /// No messages yet.
    pub fn new() -> Requests {
        Requests::default()
    }

    /// How many messages there are.
    pub fn len(&self) -> usize {
        self.starts.len()
    }

    /// Whether there is no message.
    pub fn is_empty(&self) -> bool {
        self.starts.is_empty()
    }

    /// The messages as they stand, not numbered yet.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Appends one message. `kind` is the protocol's `nlmsg_type`, `flags` are added to
    /// [`flag::REQUEST`]; `build` writes the protocol's fixed header, then the attributes.
    /// Gives the message's index, as [`Refusal::index`](super::Refusal::index) counts.
    pub fn add(&mut self, kind: u16, flags: u16, build: impl FnOnce(&mut Message<'_>)) -> usize {
        let start = self.bytes.len();
        let index = self.starts.len();
        self.starts.push(start);
        self.bytes.extend_from_slice(&[0; 4]);
        self.bytes.extend_from_slice(&kind.to_ne_bytes());
        self.bytes
            .extend_from_slice(&(flags | flag::REQUEST).to_ne_bytes());
        self.bytes.extend_from_slice(&[0; 8]);
        build(&mut Message { requests: self });
        let length = self.bytes.len() - start;
        match u32::try_from(length) {
            Ok(length) => self.bytes[start..start + 4].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.overflow = true,
        }
        self.bytes.resize(start + aligned(length), 0);
        self.last = Some(index);
        index
    }

    /// Opens an nfnetlink transaction of `subsystem` (`NFNL_SUBSYS_*`). With a `generation`, the
    /// kernel refuses the whole with `ERESTART` if its rules have changed since.
    pub fn begin(&mut self, subsystem: u8, generation: Option<u32>) {
        self.transaction = true;
        self.add(kind::BATCH_BEGIN, 0, |message| {
            message.raw(&[0, 0, 0, subsystem]);
            if let Some(generation) = generation {
                message.be32(BATCH_GENERATION, generation);
            }
        });
    }

    /// Ends the transaction that [`Requests::begin`] opened.
    pub fn commit(&mut self, subsystem: u8) {
        let last = self.last;
        self.add(kind::BATCH_END, 0, |message| {
            message.raw(&[0, 0, 0, subsystem]);
        });
        self.last = last;
    }

    /// Numbers the messages from `first` on and asks for an answer to the last one.
    pub(super) fn seal(&mut self, first: u32, acknowledge: u16) {
        for (index, &start) in self.starts.iter().enumerate() {
            let sequence = first.wrapping_add(index as u32);
            self.bytes[start + 8..start + 12].copy_from_slice(&sequence.to_ne_bytes());
        }
        if let Some(&start) = self.last.and_then(|last| self.starts.get(last)) {
            let flags = u16::from_ne_bytes([self.bytes[start + 6], self.bytes[start + 7]]);
            self.bytes[start + 6..start + 8].copy_from_slice(&(flags | acknowledge).to_ne_bytes());
        }
    }
}

/// The message under construction.
#[derive(Debug)]
pub struct Message<'r> {
    requests: &'r mut Requests,
}

impl Message<'_> {
    /// Bytes as they are, padded to the alignment: the protocol's fixed header.
    pub fn raw(&mut self, bytes: &[u8]) {
        let buffer = &mut self.requests.bytes;
        buffer.extend_from_slice(bytes);
        buffer.resize(aligned(buffer.len()), 0);
    }

    /// An attribute of any content.
    pub fn bytes(&mut self, kind: u16, value: &[u8]) {
        self.attribute(kind, |bytes| bytes.extend_from_slice(value));
    }

    /// An attribute of one byte.
    pub fn byte(&mut self, kind: u16, value: u8) {
        self.bytes(kind, &[value]);
    }

    /// An attribute of 32 bits in the machine's order.
    pub fn u32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_ne_bytes());
    }

    /// An attribute of 32 bits in network order, as nfnetlink wants them.
    pub fn be32(&mut self, kind: u16, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An attribute of 16 bits in network order.
    pub fn be16(&mut self, kind: u16, value: u16) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// A text attribute with its terminating NUL.
    pub fn text(&mut self, kind: u16, value: &str) {
        self.attribute(kind, |bytes| {
            bytes.extend_from_slice(value.as_bytes());
            bytes.push(0);
        });
    }

    /// An attribute that holds what `build` writes.
    pub fn nest(&mut self, kind: u16, build: impl FnOnce(&mut Message<'_>)) {
        let start = self.open(kind | NESTED);
        build(&mut Message {
            requests: self.requests,
        });
        self.close(start);
    }

    fn attribute(&mut self, kind: u16, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.open(kind);
        write(&mut self.requests.bytes);
        self.close(start);
    }

    fn open(&mut self, kind: u16) -> usize {
        let buffer = &mut self.requests.bytes;
        let start = buffer.len();
        buffer.extend_from_slice(&[0; 2]);
        buffer.extend_from_slice(&kind.to_ne_bytes());
        start
    }

    fn close(&mut self, start: usize) {
        let buffer = &mut self.requests.bytes;
        match u16::try_from(buffer.len() - start) {
            Ok(length) => buffer[start..start + 2].copy_from_slice(&length.to_ne_bytes()),
            Err(_) => self.requests.overflow = true,
        }
        buffer.resize(aligned(buffer.len()), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Attributes, Messages};
    use super::*;

    #[test]
    fn what_is_built_reads_back() {
        let mut requests = Requests::new();
        requests.add(16, flag::CREATE, |message| {
            message.raw(&[1; 16]);
            message.text(3, "eth0");
            message.nest(18, |message| {
                message.text(1, "veth");
                message.byte(2, 7);
            });
        });
        requests.add(20, 0, |message| message.be32(1, 0x0102_0304));
        requests.seal(40, flag::ACK);
        let read: Vec<_> = Messages::new(&requests.bytes).map(Result::unwrap).collect();
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].kind, read[0].sequence), (16, 40));
        assert_eq!(read[0].flags, flag::REQUEST | flag::CREATE);
        assert_eq!(read[1].flags, flag::REQUEST | flag::ACK);
        let attributes = Attributes::new(&read[0].payload[16..]);
        assert_eq!(attributes.find(3).unwrap().text(), Some("eth0"));
        let nested = attributes.find(18).unwrap().nested();
        assert_eq!(nested.find(1).unwrap().text(), Some("veth"));
        assert_eq!(nested.find(2).unwrap().payload, [7]);
        let second = Attributes::new(read[1].payload);
        assert_eq!(second.find(1).unwrap().be32(), Some(0x0102_0304));
    }

    #[test]
    fn the_end_of_a_transaction_is_not_what_is_acknowledged() {
        let mut requests = Requests::new();
        requests.begin(10, Some(5));
        requests.add(0xa00, 0, |_| {});
        requests.commit(10);
        requests.seal(1, flag::ACK);
        let flags: Vec<_> = Messages::new(&requests.bytes)
            .map(|message| message.unwrap().flags & flag::ACK)
            .collect();
        assert_eq!(flags, [0, flag::ACK, 0]);
    }

    #[test]
    fn an_attribute_beyond_its_length_field_is_noticed() {
        let mut requests = Requests::new();
        requests.add(1, 0, |message| message.bytes(1, &vec![0; 70_000]));
        assert!(requests.overflow);
    }
}
