//! Session tokens of the metadata service's version 2: an end, and a mark that only we can make. Nothing is
//! kept of them, so a guest can have as many as it likes.

use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rustix::io::Errno;
use rustix::rand::{GetRandomFlags, getrandom};
use sha2::{Digest, Sha256};

/// The shortest and the longest life of a token, in seconds.
pub const LIFE_S: std::ops::RangeInclusive<u32> = 1..=21_600;

const KEY_BYTES: usize = 32;
const MARK_BYTES: usize = 32;
const TOKEN_BYTES: usize = 8 + MARK_BYTES;
/// SHA-256's block; RFC 2104.
const BLOCK_BYTES: usize = 64;

/// Gives tokens, and knows its own.
pub struct Tokens {
    key: [u8; KEY_BYTES],
    instance: String,
    /// Ends are told in milliseconds from here.
    began: Instant,
}

// The key stays here.
impl std::fmt::Debug for Tokens {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Tokens").finish_non_exhaustive()
    }
}

impl Tokens {
    /// With a new key.
    ///
    /// # Errors
    /// That the system has no random numbers.
    pub fn new() -> Result<Self, Errno> {
        let mut key = [0; KEY_BYTES];
        // Up to 256 bytes come at once; getrandom(2).
        let length = getrandom(&mut key[..], GetRandomFlags::empty())?;
        if length != KEY_BYTES {
            return Err(Errno::IO);
        }
        Ok(Self {
            key,
            instance: String::new(),
            began: Instant::now(),
        })
    }

    /// Makes tokens worth something in this instance only.
    pub fn bind(&mut self, instance: &str) {
        self.instance = instance.to_owned();
    }

    /// A token for so many seconds; `None` if [`LIFE_S`] has them not.
    #[must_use]
    pub fn give(&self, life_s: u32) -> Option<String> {
        LIFE_S.contains(&life_s).then(|| {
            let end_ms = self.now_ms() + u64::from(life_s) * 1000;
            let mut token = [0; TOKEN_BYTES];
            let (end, mark) = token.split_at_mut(8);
            end.copy_from_slice(&end_ms.to_le_bytes());
            mark.copy_from_slice(&self.mark(end_ms));
            URL_SAFE_NO_PAD.encode(token)
        })
    }

    /// Whether a token is ours and has not ended.
    #[must_use]
    pub fn is_valid(&self, token: &str) -> bool {
        let mut bytes = [0; TOKEN_BYTES];
        if URL_SAFE_NO_PAD.decode_slice(token, &mut bytes) != Ok(TOKEN_BYTES) {
            return false;
        }
        let (end, mark) = bytes.split_at(8);
        let Ok(end) = end.try_into().map(u64::from_le_bytes) else {
            return false;
        };
        // All bytes are looked at, so that the time it takes says nothing.
        let difference = mark
            .iter()
            .zip(self.mark(end))
            .fold(0, |d, (a, b)| d | (a ^ b));
        difference == 0 && end > self.now_ms()
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// HMAC-SHA-256 of the instance and the end; RFC 2104.
    fn mark(&self, end_ms: u64) -> [u8; MARK_BYTES] {
        let padded = |with: u8| {
            let mut block = [with; BLOCK_BYTES];
            for (byte, key) in block.iter_mut().zip(self.key) {
                *byte ^= key;
            }
            block
        };
        let inner = Sha256::new()
            .chain_update(padded(0x36))
            .chain_update(end_ms.to_le_bytes())
            .chain_update(self.instance.as_bytes())
            .finalize();
        Sha256::new()
            .chain_update(padded(0x5c))
            .chain_update(inner)
            .finalize()
            .into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_tokens_are_good() {
        let mut tokens = Tokens::new().expect("random numbers");
        tokens.bind("one");
        let token = tokens.give(60).expect("a life in range");
        assert!(tokens.is_valid(&token));
        for (at, _) in token.char_indices() {
            let mut other = token.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let other = String::from_utf8(other).expect("text");
            assert!(!tokens.is_valid(&other), "{at}");
        }
        assert!(!tokens.is_valid(""));
        assert!(!tokens.is_valid(&"A".repeat(1000)));
        assert!(!Tokens::new().expect("random numbers").is_valid(&token));
        tokens.bind("another");
        assert!(!tokens.is_valid(&token));
        assert_eq!(tokens.give(0), None);
        assert_eq!(tokens.give(21_601), None);
    }

    #[test]
    fn the_mark_is_hmac() {
        // RFC 4231, 4.2 cannot be asked for with our key length, so: against OpenSSL.
        // printf '\1\0\0\0\0\0\0\0vm' | openssl dgst -sha256 -mac HMAC -macopt hexkey:0000… (32 bytes)
        let tokens = Tokens {
            key: [0; KEY_BYTES],
            instance: "vm".to_owned(),
            began: Instant::now(),
        };
        let mark = tokens.mark(1);
        let hex: String = mark.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "e021421f2c176602c81a6d73a92b2edd2900cbf90eeb7787c6ed8bfe8a2a8d16"
        );
    }
}
