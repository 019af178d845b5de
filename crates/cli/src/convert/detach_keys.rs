//! `--detach-keys`: the keys that let go of a container, `ctrl-p,ctrl-q` by default.

use super::ArgumentError;

/// The bytes a terminal sends for the keys, in order; never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DetachKeys(Vec<u8>);

impl DetachKeys {
    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.0
    }
}

impl Default for DetachKeys {
    /// Ctrl-P, Ctrl-Q.
    fn default() -> Self {
        Self(vec![0x10, 0x11])
    }
}

/// Keys with commas between: one ASCII character, or `ctrl-` and one of `a`–`z @ [ \ ] ^ _`.
/// An empty text is the default, as in Docker.
pub fn parse_detach_keys(text: &str) -> Result<DetachKeys, ArgumentError> {
    if text.is_empty() {
        return Ok(DetachKeys::default());
    }
    text.split(',')
        .map(|key| {
            key_byte(key).ok_or_else(|| ArgumentError::DetachKey {
                text: text.to_owned(),
                key: key.to_owned(),
            })
        })
        .collect::<Result<_, _>>()
        .map(DetachKeys)
}

fn key_byte(key: &str) -> Option<u8> {
    let (control, key) = match key.get(..5) {
        Some(prefix) if prefix.eq_ignore_ascii_case("ctrl-") => (true, &key[5..]),
        _ => (false, key),
    };
    let [byte] = *key.as_bytes() else {
        return None;
    };
    match (control, byte) {
        (false, 0..=127) => Some(byte),
        (true, b'a'..=b'z') => Some(byte - b'a' + 1),
        (true, b'@' | b'['..=b'_') => Some(byte - b'@'),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_become_bytes() {
        for (text, bytes) in [
            ("ctrl-p,ctrl-q", &[0x10, 0x11][..]),
            ("ctrl-@,a,CTRL-]", &[0, b'a', 0x1d]),
            ("ctrl-_", &[0x1f]),
            ("", &[0x10, 0x11]),
        ] {
            assert_eq!(parse_detach_keys(text).unwrap().bytes(), bytes, "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in ["ctrl-", "ctrl-1", "ab", "a,,b", "é", "ctrl-P"] {
            assert!(parse_detach_keys(text).is_err(), "{text}");
        }
    }
}
