//! A ttrpc frame: length and stream as big-endian u32, a type and flags of a byte each, the data.

/// Length, stream, type, flags.
pub const HEADER_BYTES: usize = 10;
/// The protocol's own limit.
pub const MAX_DATA_BYTES: usize = 4 << 20;

/// Message types that a unary call has.
pub mod kind {
    pub const REQUEST: u8 = 1;
    pub const RESPONSE: u8 = 2;
}

/// A whole frame.
#[derive(Debug, PartialEq, Eq)]
pub struct Frame {
    pub stream: u32,
    pub kind: u8,
    pub data: Vec<u8>,
}

/// A length above [`MAX_DATA_BYTES`]: whoever sent this does not speak ttrpc.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TooLong;

/// Takes the first whole frame out of what has been received; `None`: more is to come.
///
/// # Errors
/// [`TooLong`]; the connection is of no use then.
pub fn take(received: &mut Vec<u8>) -> Result<Option<Frame>, TooLong> {
    let Some(header) = received.first_chunk::<HEADER_BYTES>() else {
        return Ok(None);
    };
    let [l0, l1, l2, l3, s0, s1, s2, s3, kind, _flags] = *header;
    let length = u32::from_be_bytes([l0, l1, l2, l3]) as usize;
    let stream = u32::from_be_bytes([s0, s1, s2, s3]);
    if length > MAX_DATA_BYTES {
        return Err(TooLong);
    }
    let Some(data) = received.get(HEADER_BYTES..HEADER_BYTES + length) else {
        return Ok(None);
    };
    let data = data.to_vec();
    received.drain(..HEADER_BYTES + length);
    Ok(Some(Frame { stream, kind, data }))
}

/// A frame as it goes over the wire. `data` is one of our own messages, which are far below the limit.
#[must_use]
pub fn encode(stream: u32, kind: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(data.len()).unwrap_or(u32::MAX);
    let mut bytes = Vec::with_capacity(HEADER_BYTES + data.len());
    bytes.extend(length.to_be_bytes());
    bytes.extend(stream.to_be_bytes());
    bytes.extend([kind, 0]);
    bytes.extend(data);
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_comes_back_whole_however_it_arrives() {
        let mut bytes = encode(3, kind::REQUEST, b"hello");
        bytes.extend(encode(5, kind::RESPONSE, b""));
        let mut received = Vec::new();
        let mut frames = Vec::new();
        for byte in bytes {
            received.push(byte);
            frames.extend(take(&mut received).unwrap());
        }
        assert_eq!(frames.len(), 2);
        assert_eq!(frames[0].stream, 3);
        assert_eq!(frames[0].data, b"hello");
        assert_eq!(frames[1].kind, kind::RESPONSE);
        assert!(received.is_empty());
    }

    #[test]
    fn a_length_out_of_bounds_is_refused_before_anything_is_kept() {
        let mut received = encode(1, kind::REQUEST, b"");
        received[0] = 1;
        assert_eq!(take(&mut received), Err(TooLong));
    }
}
