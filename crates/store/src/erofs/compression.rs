//! How files' data is compressed, if at all: the choice, and one extent's worth of doing it.

use std::fmt;
use std::str::FromStr;

use lz4_flex::block::{CompressTable, compress_into_with_table, get_maximum_output_size};
use rustix::io::Errno;
use zstd::bulk::Compressor;

use super::ImageError;
use super::format::{Algorithm, BLOCK_BYTES};

/// Zstandard's own default level.
const ZSTD_LEVEL: i32 = 3;
/// Its levels; the negative ones are worse than LZ4.
const ZSTD_LEVELS: std::ops::RangeInclusive<i32> = 1..=22;

/// What is done to the data of files that are not inline.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Compression {
    /// Nothing.
    #[default]
    None,
    /// LZ4: read about as fast as without. Linux 5.13.
    Lz4,
    /// Zstandard, at a level: smaller. Linux 6.10, where its maker has put it in.
    Zstd(i32),
}

/// A text that names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no compression: there are none, lz4, zstd and zstd:LEVEL, from 1 to 22")]
pub struct UnknownCompression(String);

impl Compression {
    /// What the image has to say of it; `None`: nothing is compressed.
    pub fn algorithm(self) -> Option<Algorithm> {
        match self {
            Self::None => None,
            Self::Lz4 => Some(Algorithm::Lz4),
            Self::Zstd(_) => Some(Algorithm::Zstd),
        }
    }
}

impl FromStr for Compression {
    type Err = UnknownCompression;

    fn from_str(text: &str) -> Result<Self, UnknownCompression> {
        let level = |digits: &str| {
            digits
                .parse()
                .ok()
                .filter(|level| ZSTD_LEVELS.contains(level))
        };
        match text.split_once(':') {
            None if text == "none" => Some(Self::None),
            None if text == "lz4" => Some(Self::Lz4),
            None if text == "zstd" => Some(Self::Zstd(ZSTD_LEVEL)),
            Some(("zstd", digits)) => level(digits).map(Self::Zstd),
            _ => None,
        }
        .ok_or_else(|| UnknownCompression(text.to_owned()))
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("none"),
            Self::Lz4 => f.write_str("lz4"),
            Self::Zstd(ZSTD_LEVEL) => f.write_str("zstd"),
            Self::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

/// What compresses; it keeps its tables between extents, and forgets what was in them.
pub(super) enum Codec {
    Lz4(CompressTable),
    Zstd(Compressor<'static>),
}

impl Codec {
    /// `None` if there is nothing to do.
    pub(super) fn new(compression: Compression) -> Result<Option<Self>, ImageError> {
        Ok(match compression {
            Compression::None => None,
            // The small table would do for most extents, but gives other bytes.
            Compression::Lz4 => Some(Self::Lz4(CompressTable::large())),
            Compression::Zstd(level) => {
                // Only for want of memory: levels are checked.
                let made = Compressor::new(level).map_err(|_| Errno::NOMEM);
                Some(Self::Zstd(
                    made.map_err(ImageError::at("begin to compress"))?,
                ))
            }
        })
    }

    /// Compresses an extent into `stored`, which has what comes out; nothing, if that would not save a
    /// block.
    pub(super) fn compress(&mut self, extent: &[u8], stored: &mut Vec<u8>) {
        let room = (extent.len().div_ceil(BLOCK_BYTES).saturating_sub(1)) * BLOCK_BYTES;
        let length = match self {
            _ if room == 0 => None,
            Self::Lz4(table) => {
                stored.resize(get_maximum_output_size(extent.len()), 0);
                let length = compress_into_with_table(extent, stored, table);
                length.ok().filter(|&length| length <= room)
            }
            Self::Zstd(compressor) => {
                stored.resize(room, 0);
                // It fails where there is too little room.
                compressor.compress_to_buffer(extent, &mut stored[..]).ok()
            }
        };
        stored.truncate(length.unwrap_or_default());
    }
}

impl fmt::Debug for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Lz4(_) => "Lz4",
            Self::Zstd(_) => "Zstd",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_compression_is_what_its_text_says() {
        for (text, meant) in [
            ("none", Compression::None),
            ("lz4", Compression::Lz4),
            ("zstd", Compression::Zstd(3)),
            ("zstd:19", Compression::Zstd(19)),
        ] {
            assert_eq!(text.parse(), Ok(meant));
            assert_eq!(meant.to_string(), text);
        }
        for text in ["", "gzip", "lz4:9", "zstd:", "zstd:0", "zstd:23", "zstd:x"] {
            assert!(text.parse::<Compression>().is_err(), "{text}");
        }
    }

    #[test]
    fn what_does_not_save_a_block_is_left_alone() {
        for compression in [Compression::Lz4, Compression::Zstd(3)] {
            let mut codec = Codec::new(compression).expect("made").expect("one");
            let mut stored = Vec::new();
            codec.compress(&[7; BLOCK_BYTES], &mut stored);
            assert!(stored.is_empty(), "one block stays one");
            codec.compress(&[7; BLOCK_BYTES + 1], &mut stored);
            assert!((1..100).contains(&stored.len()));
            let mut state = 1_u32;
            let noise: Vec<u8> = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .take(3 * BLOCK_BYTES)
            .collect();
            codec.compress(&noise, &mut stored);
            assert!(stored.is_empty());
        }
    }
}
