//! The header that every packet begins with: `struct virtio_vsock_hdr`; VIRTIO 1.2, 5.10.6.

pub(super) const HEADER_BYTES: usize = 44;
/// `VIRTIO_VSOCK_TYPE_STREAM`.
pub(super) const STREAM: u16 = 1;

// Operations.
pub(super) const REQUEST: u16 = 1;
pub(super) const RESPONSE: u16 = 2;
pub(super) const RST: u16 = 3;
pub(super) const SHUTDOWN: u16 = 4;
pub(super) const RW: u16 = 5;
pub(super) const CREDIT_UPDATE: u16 = 6;
pub(super) const CREDIT_REQUEST: u16 = 7;

// Flags of SHUTDOWN.
/// Its sender will not receive any more.
pub(super) const SHUTDOWN_RECEIVE: u32 = 1;
/// Its sender will not send any more.
pub(super) const SHUTDOWN_SEND: u32 = 2;
pub(super) const SHUTDOWN_BOTH: u32 = SHUTDOWN_RECEIVE | SHUTDOWN_SEND;

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) source_cid: u64,
    pub(super) destination_cid: u64,
    pub(super) source_port: u32,
    pub(super) destination_port: u32,
    /// Bytes that follow.
    pub(super) length: u32,
    /// The socket's type.
    pub(super) kind: u16,
    pub(super) operation: u16,
    pub(super) flags: u32,
    /// `buf_alloc`: how much the sender buffers of this connection.
    pub(super) buffer_bytes: u32,
    /// `fwd_cnt`: how much of what it received has left that buffer, modulo 2^32.
    pub(super) forwarded: u32,
}

impl Header {
    pub(super) fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let mut rest = &bytes[..];
        let mut take = |length: usize| {
            // The lengths below add up to HEADER_BYTES.
            let (field, after) = rest.split_at(length);
            rest = after;
            let bytes = field.iter().rev();
            bytes.fold(0_u64, |value, &byte| value << 8 | u64::from(byte))
        };
        Self {
            source_cid: take(8),
            destination_cid: take(8),
            source_port: take(4) as u32,
            destination_port: take(4) as u32,
            length: take(4) as u32,
            kind: take(2) as u16,
            operation: take(2) as u16,
            flags: take(4) as u32,
            buffer_bytes: take(4) as u32,
            forwarded: take(4) as u32,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(&self.source_cid.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.destination_cid.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.source_port.to_le_bytes());
        bytes[20..24].copy_from_slice(&self.destination_port.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.length.to_le_bytes());
        bytes[28..30].copy_from_slice(&self.kind.to_le_bytes());
        bytes[30..32].copy_from_slice(&self.operation.to_le_bytes());
        bytes[32..36].copy_from_slice(&self.flags.to_le_bytes());
        bytes[36..40].copy_from_slice(&self.buffer_bytes.to_le_bytes());
        bytes[40..].copy_from_slice(&self.forwarded.to_le_bytes());
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_is_what_it_was() {
        let mut bytes = [0; HEADER_BYTES];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = at as u8 + 1;
        }
        let header = Header::parse(&bytes);
        assert_eq!(header.source_port, 0x1413_1211);
        assert_eq!(header.operation, 0x201f);
        assert_eq!(header.to_bytes(), bytes);
    }
}
