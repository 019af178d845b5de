//! Deflate (RFC 1951) that can be begun at any of its blocks, given where that is to the bit and the 32 KiB
//! that came out before.

use std::io::{self, Read};
use std::ops::Range;

use miniz_oxide::inflate::TINFLStatus as Status;
use miniz_oxide::inflate::core::inflate_flags::{
    TINFL_FLAG_HAS_MORE_INPUT, TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY,
};
use miniz_oxide::inflate::core::{BlockBoundaryState, DecompressorOxide, decompress};

/// Bytes of output that a block may refer to.
pub(super) const WINDOW_BYTES: usize = 32 << 10;
/// Bytes of output that are kept: a power of two, and some more than the window.
const RING_BYTES: usize = 2 * WINDOW_BYTES;

/// What there is to know of a place between two blocks.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Boundary {
    /// How many bits of the byte before it belong to what follows, at most 7.
    pub(super) bits: u8,
    /// Those bits.
    pub(super) bit_buffer: u8,
    /// What came out before, at most [`WINDOW_BYTES`].
    pub(super) window: Vec<u8>,
}

/// See the module.
pub(super) struct Inflater {
    core: Box<DecompressorOxide>,
    ring: Vec<u8>,
    /// Where the next byte goes.
    at: usize,
    /// Bytes of the window that there are.
    seen: usize,
}

impl std::fmt::Debug for Inflater {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Inflater").finish_non_exhaustive()
    }
}

/// Where a step has come to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reached {
    /// The end of the input, or of the room for output.
    Middle,
    /// The end of a block that is not the last.
    Boundary,
    /// The end of the stream.
    End,
}

/// A step's account.
#[derive(Debug)]
pub(super) struct Step {
    /// Bytes of input that have been used.
    pub(super) consumed: usize,
    /// What came out, for [`Inflater::output`].
    pub(super) output: Range<usize>,
    pub(super) reached: Reached,
}

impl Inflater {
    /// Begins where a stream begins or between two of its blocks.
    pub(super) fn at(boundary: &Boundary) -> Self {
        let state = BlockBoundaryState {
            num_bits: boundary.bits,
            bit_buf: boundary.bit_buffer,
            ..BlockBoundaryState::default()
        };
        let mut ring = vec![0; RING_BYTES];
        let window = boundary.window.len().min(WINDOW_BYTES);
        ring[..window].copy_from_slice(&boundary.window[..window]);
        Self {
            core: Box::new(DecompressorOxide::from_block_boundary_state(&state)),
            ring,
            at: window,
            seen: window,
        }
    }

    /// Decompresses some of `input`.
    pub(super) fn step(&mut self, input: &[u8]) -> io::Result<Step> {
        let flags = TINFL_FLAG_HAS_MORE_INPUT | TINFL_FLAG_STOP_ON_BLOCK_BOUNDARY;
        let (status, consumed, written) =
            decompress(&mut self.core, input, &mut self.ring, self.at, flags);
        let reached = match status {
            Status::Done => Reached::End,
            Status::BlockBoundary => Reached::Boundary,
            Status::NeedsMoreInput | Status::HasMoreOutput => Reached::Middle,
            _ => {
                let wrong = "it is not what deflate makes";
                return Err(io::Error::new(io::ErrorKind::InvalidData, wrong));
            }
        };
        let output = self.at..self.at + written;
        self.at = output.end % RING_BYTES;
        self.seen = (self.seen + written).min(WINDOW_BYTES);
        Ok(Step {
            consumed,
            output,
            reached,
        })
    }

    /// What a step has brought; to be taken before the next one.
    pub(super) fn output(&self, output: Range<usize>) -> &[u8] {
        self.ring.get(output).unwrap_or_default()
    }

    /// The place between two blocks that was just [`Reached::Boundary`].
    pub(super) fn boundary(&self) -> Option<Boundary> {
        let state = self.core.block_boundary_state()?;
        let mut window = Vec::with_capacity(self.seen);
        if let Some(wrapped) = self.seen.checked_sub(self.at) {
            window.extend_from_slice(&self.ring[RING_BYTES - wrapped..]);
        }
        window.extend_from_slice(&self.ring[self.at.saturating_sub(self.seen)..self.at]);
        Some(Boundary {
            bits: state.num_bits,
            bit_buffer: state.bit_buf,
            window,
        })
    }
}

/// A part of a stream that is in memory, from a boundary on.
#[derive(Debug)]
pub(super) struct Inflated<'b> {
    inflater: Inflater,
    input: &'b [u8],
    output: Range<usize>,
    is_at_end: bool,
}

impl<'b> Inflated<'b> {
    pub(super) fn new(boundary: &Boundary, input: &'b [u8]) -> Self {
        Self {
            inflater: Inflater::at(boundary),
            input,
            output: 0..0,
            is_at_end: false,
        }
    }
}

impl Read for Inflated<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.output.is_empty() && !self.is_at_end {
            let step = self.inflater.step(self.input)?;
            self.input = &self.input[step.consumed..];
            let is_stuck = step.consumed == 0 && step.output.is_empty();
            self.is_at_end =
                step.reached == Reached::End || is_stuck && step.reached == Reached::Middle;
            self.output = step.output;
        }
        let output = self.inflater.output(self.output.clone());
        let count = output.len().min(buffer.len());
        buffer[..count].copy_from_slice(&output[..count]);
        self.output.start += count;
        Ok(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use flate2::write::DeflateEncoder;
    use std::io::Write;

    /// Bytes of which deflate makes blocks of all kinds: text, runs, and what does not compress.
    fn sample() -> Vec<u8> {
        let mut state = 7_u64;
        let mut bytes = Vec::new();
        for line in 0..60_000_u32 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            match line / 10_000 % 3 {
                0 => bytes.extend(format!("line {line} of {state}\n").into_bytes()),
                1 => bytes.extend(state.to_le_bytes()),
                _ => bytes.extend([0; 20]),
            }
        }
        bytes
    }

    #[test]
    fn a_stream_can_be_begun_at_each_of_its_blocks() {
        let sample = sample();
        let mut encoder = DeflateEncoder::new(Vec::new(), flate2::Compression::new(6));
        encoder.write_all(&sample).expect("memory");
        let stored = encoder.finish().expect("memory");
        let mut inflater = Inflater::at(&Boundary::default());
        let (mut at, mut out) = (0, Vec::new());
        let mut boundaries = vec![(0, 0, Boundary::default())];
        loop {
            // Little input, as from a network.
            let end = stored.len().min(at + 1000);
            let step = inflater.step(&stored[at..end]).expect("deflate");
            at += step.consumed;
            out.extend_from_slice(inflater.output(step.output));
            match step.reached {
                Reached::Middle => {}
                Reached::Boundary => {
                    boundaries.push((at, out.len(), inflater.boundary().expect("one")));
                }
                Reached::End => break,
            }
        }
        assert_eq!(out, sample);
        assert!(boundaries.len() > 5, "{}", boundaries.len());
        assert!(boundaries.iter().any(|(_, _, b)| b.bits % 2 == 1));
        for (at, from, boundary) in boundaries {
            let mut rest = Vec::new();
            let mut part = Inflated::new(&boundary, &stored[at..]);
            part.read_to_end(&mut rest).expect("deflate");
            assert!(rest == sample[from..], "from {from}");
        }
    }

    #[test]
    fn nonsense_comes_to_an_end() {
        let mut out = Vec::new();
        let mut nonsense = Inflated::new(&Boundary::default(), &[0xff; 100]);
        assert!(nonsense.read_to_end(&mut out).is_err());
        let mut short = Inflated::new(&Boundary::default(), &[0x63]);
        assert_eq!(short.read_to_end(&mut out).ok(), Some(0));
    }
}
