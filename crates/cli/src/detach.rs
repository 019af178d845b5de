//! Watches what a user types for the keys that let go of a container.

use crate::convert::DetachKeys;

/// Finds the detach keys in a stream of input, also where reads divide them.
#[derive(Debug)]
pub struct DetachScanner {
    keys: Vec<u8>,
    /// How many of the keys the input so far ends with; they are held back.
    matched: usize,
}

/// What one read means.
#[derive(Debug, PartialEq, Eq)]
pub enum Scan {
    /// Bytes for the container; may be empty while keys are held back.
    Pass(Vec<u8>),
    /// Bytes for the container, then the user lets go. What was typed after the keys is dropped.
    Detach(Vec<u8>),
}

impl DetachScanner {
    /// Watches for `keys`.
    pub fn new(keys: &DetachKeys) -> Self {
        Self {
            keys: keys.bytes().to_vec(),
            matched: 0,
        }
    }

    /// Takes the next bytes of input. Keys that turn out not to be the whole sequence are passed
    /// on in their place.
    pub fn scan(&mut self, input: &[u8]) -> Scan {
        let mut output = Vec::with_capacity(input.len() + self.matched);
        for &byte in input {
            self.take(byte, &mut output);
            if self.matched == self.keys.len() {
                self.matched = 0;
                return Scan::Detach(output);
            }
        }
        Scan::Pass(output)
    }

    /// The held-back keys, for the end of the input.
    pub fn finish(&mut self) -> Vec<u8> {
        let held = self.keys[..self.matched].to_vec();
        self.matched = 0;
        held
    }

    /// One byte. On a mismatch the longest end of the held keys that is again a beginning stays
    /// held, as in Knuth, Morris and Pratt; sequences are a few keys, so it is searched for.
    fn take(&mut self, byte: u8, output: &mut Vec<u8>) {
        if self.keys.get(self.matched) == Some(&byte) {
            self.matched += 1;
            return;
        }
        let mut held = self.keys[..self.matched].to_vec();
        held.push(byte);
        let keep = (0..held.len())
            .rev()
            .find(|&length| held.ends_with(&self.keys[..length.min(self.keys.len())]))
            .unwrap_or(0);
        output.extend_from_slice(&held[..held.len() - keep]);
        self.matched = keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::convert::parse_detach_keys;

    fn scanner(keys: &str) -> DetachScanner {
        DetachScanner::new(&parse_detach_keys(keys).unwrap())
    }

    #[test]
    fn keys_in_one_read() {
        assert_eq!(
            scanner("").scan(b"ls\r\x10\x11rest"),
            Scan::Detach(b"ls\r".to_vec())
        );
    }

    #[test]
    fn keys_across_reads() {
        let mut scanner = scanner("ctrl-p,ctrl-q");
        assert_eq!(scanner.scan(b"a\x10"), Scan::Pass(b"a".to_vec()));
        assert_eq!(scanner.scan(b"\x11"), Scan::Detach(Vec::new()));
    }

    #[test]
    fn a_false_start_is_passed_on() {
        let mut scanner = scanner("ctrl-p,ctrl-q");
        assert_eq!(scanner.scan(b"\x10"), Scan::Pass(Vec::new()));
        assert_eq!(scanner.scan(b"x"), Scan::Pass(b"\x10x".to_vec()));
        assert_eq!(
            scanner.scan(b"\x10\x10\x11"),
            Scan::Detach(b"\x10".to_vec())
        );
        assert_eq!(scanner.scan(b"\x10"), Scan::Pass(Vec::new()));
        assert_eq!(scanner.finish(), b"\x10");
        assert_eq!(scanner.finish(), b"");
    }

    #[test]
    fn overlapping_beginnings_are_found() {
        let mut scanner = scanner("a,a,b");
        assert_eq!(scanner.scan(b"aaab"), Scan::Detach(b"a".to_vec()));
        assert_eq!(scanner.scan(b"aac"), Scan::Pass(b"aac".to_vec()));
        assert_eq!(scanner.scan(b"aabx"), Scan::Detach(Vec::new()));
    }

    #[test]
    fn passing_loses_nothing() {
        for keys in ["a", "a,b", "a,b,a,c", "a,a"] {
            for input in [&b"abab"[..], b"abaab", b"bbb", b"ab", b"abaxabad"] {
                let mut scanner = scanner(keys);
                let mut passed = Vec::new();
                let mut detached = false;
                for byte in input {
                    match scanner.scan(&[*byte]) {
                        Scan::Pass(bytes) => passed.extend(bytes),
                        Scan::Detach(bytes) => {
                            passed.extend(bytes);
                            detached = true;
                            break;
                        }
                    }
                }
                if !detached {
                    passed.extend(scanner.finish());
                    assert_eq!(passed, input, "{keys}");
                }
            }
        }
    }
}
