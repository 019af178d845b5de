//! Messages on a byte stream: a little-endian `u32` of length, and that much JSON.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// The longest frame's JSON.
pub const MAX_FRAME_BYTES: usize = 16 << 20;

const LENGTH_BYTES: usize = 4;

/// Bytes that are no frames, or a message that is too long for one.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    #[error("a message of {0} bytes is longer than any may be")]
    TooLong(usize),
    #[error("a message makes no sense: {0}")]
    Content(#[from] serde_json::Error),
}

/// A message as one frame.
///
/// # Errors
/// [`FrameError::TooLong`].
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, FrameError> {
    let mut frame = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut frame, message)?;
    let length = frame.len() - LENGTH_BYTES;
    if length > MAX_FRAME_BYTES {
        return Err(FrameError::TooLong(length));
    }
    // At most MAX_FRAME_BYTES.
    frame[..LENGTH_BYTES].copy_from_slice(&(length as u32).to_le_bytes());
    Ok(frame)
}

/// What has come of a stream of frames and was not taken yet.
#[derive(Debug, Default)]
pub struct Frames(Vec<u8>);

impl Frames {
    /// Takes up what was read. Between two calls [`Frames::take`] wants to be asked, which refuses what
    /// would grow too long.
    pub fn push(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    /// Takes the next message; `None`: it is not whole yet.
    ///
    /// # Errors
    /// The stream is of no use any more.
    pub fn take<T: DeserializeOwned>(&mut self) -> Result<Option<T>, FrameError> {
        let Some((head, rest)) = self.0.split_first_chunk::<LENGTH_BYTES>() else {
            return Ok(None);
        };
        let length = u32::from_le_bytes(*head) as usize;
        if length > MAX_FRAME_BYTES {
            return Err(FrameError::TooLong(length));
        }
        let Some(json) = rest.get(..length) else {
            return Ok(None);
        };
        let message = serde_json::from_slice(json)?;
        self.0.drain(..LENGTH_BYTES + length);
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_in_pieces_of_any_size() {
        let mut stream = encode(&"one").unwrap();
        stream.extend(encode(&vec![1, 2, 3]).unwrap());
        for piece in 1..=stream.len() {
            let mut frames = Frames::default();
            let mut first: Option<String> = None;
            let mut second: Option<Vec<u32>> = None;
            for bytes in stream.chunks(piece) {
                frames.push(bytes);
                if first.is_none() {
                    first = frames.take().unwrap();
                }
                if first.is_some() && second.is_none() {
                    second = frames.take().unwrap();
                }
            }
            assert_eq!(first.as_deref(), Some("one"), "pieces of {piece}");
            assert_eq!(second.unwrap(), [1, 2, 3], "pieces of {piece}");
        }
    }

    #[test]
    fn a_cut_stream_is_not_whole() {
        let stream = encode(&"a message").unwrap();
        for length in 0..stream.len() {
            let mut frames = Frames::default();
            frames.push(&stream[..length]);
            assert!(frames.take::<String>().unwrap().is_none());
        }
    }

    #[test]
    fn a_length_is_refused_before_it_comes() {
        let mut frames = Frames::default();
        frames.push(&(MAX_FRAME_BYTES as u32 + 1).to_le_bytes());
        assert!(matches!(
            frames.take::<String>(),
            Err(FrameError::TooLong(_))
        ));
    }

    #[test]
    fn nonsense_is_refused() {
        let mut seed = 7u64;
        for _ in 0..10_000 {
            let mut frames = Frames::default();
            let mut bytes = 12u32.to_le_bytes().to_vec();
            bytes.extend((0..12).map(|_| {
                seed = seed.wrapping_mul(6364136223846793005).wrapping_add(1);
                (seed >> 56) as u8
            }));
            frames.push(&bytes);
            assert!(frames.take::<crate::guest::GuestRequest>().is_err());
        }
    }
}
