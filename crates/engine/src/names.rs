//! Ids, and names for containers that nobody named.

use rustix::rand::{GetRandomFlags, getrandom};

const FIRST: [&str; 48] = [
    "able", "agile", "amber", "apt", "bold", "brave", "bright", "brisk", "calm", "clear", "clever",
    "cosy", "crisp", "deft", "eager", "fair", "fleet", "fond", "frank", "fresh", "gentle", "glad",
    "grand", "hale", "happy", "hardy", "keen", "kind", "lively", "loyal", "lucid", "merry", "mild",
    "neat", "noble", "plain", "prime", "proud", "quick", "quiet", "ready", "sharp", "sound",
    "spry", "steady", "swift", "vivid", "warm",
];

const SECOND: [&str; 48] = [
    "alto", "aria", "bass", "bell", "brass", "cello", "chime", "chord", "choir", "clef", "coda",
    "cornet", "dulcian", "fiddle", "flute", "fugue", "gong", "harp", "horn", "hymn", "lute",
    "lyre", "march", "minim", "motet", "oboe", "octave", "opus", "organ", "pipe", "polka",
    "quaver", "reed", "rondo", "scale", "shawm", "sonata", "spinet", "tempo", "tenor", "tone",
    "treble", "trill", "tuba", "tune", "vibes", "viol", "waltz",
];

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0u8; N];
    // For so few bytes getrandom(2) neither fails nor comes short once the pool is ready, which
    // it waits for.
    let _ = getrandom(&mut bytes, GetRandomFlags::empty());
    bytes
}

/// 64 hexadecimal digits, not all decimal in the first twelve: a host name must not look like a
/// number.
#[must_use]
pub(crate) fn container_id() -> String {
    loop {
        let id: String = random::<32>().iter().map(|b| format!("{b:02x}")).collect();
        if id[..12].bytes().any(|b| b.is_ascii_alphabetic()) {
            return id;
        }
    }
}

/// A name such as `brisk_oboe`, with a number from the second try on.
#[must_use]
pub(crate) fn container_name(attempt: u32) -> String {
    let [a, b, c] = random::<3>();
    let words = format!(
        "{}_{}",
        FIRST[usize::from(a) % FIRST.len()],
        SECOND[usize::from(b) % SECOND.len()]
    );
    if attempt == 0 {
        words
    } else {
        format!("{words}{c}")
    }
}

/// Whether a name is one: Docker's `[a-zA-Z0-9][a-zA-Z0-9_.-]+`.
#[must_use]
pub(crate) fn is_container_name(name: &str) -> bool {
    name.len() > 1 && gamut_plan::request::is_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_and_names_have_their_form() {
        assert_eq!(container_id().len(), 64);
        assert_ne!(container_id(), container_id());
        for attempt in 0..50 {
            assert!(is_container_name(&container_name(attempt)));
        }
        for bad in ["", "a", "-a", "a b", "ä1", "a/b"] {
            assert!(!is_container_name(bad), "{bad}");
        }
    }
}
