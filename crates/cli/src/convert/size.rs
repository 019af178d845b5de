//! Sizes as Docker writes them: `512m`, `1.5g`, `64kb`, `1GiB`; the units are powers of 1,024.

use super::ArgumentError;
use gamut_plan::request::Bound;

/// Docker refuses less: below it nothing can even start.
const MEMORY_MINIMUM_BYTES: u64 = 6 << 20;

/// A size in bytes (go-units `RAMInBytes`).
pub fn parse_size(text: &str) -> Result<u64, ArgumentError> {
    size_bytes(text).ok_or_else(|| ArgumentError::Size {
        text: text.to_owned(),
    })
}

/// A memory limit; `0` is Docker's way to say none, and is `u64` zero here too.
pub fn parse_memory(text: &str) -> Result<u64, ArgumentError> {
    let bytes = parse_size(text)?;
    if bytes != 0 && bytes < MEMORY_MINIMUM_BYTES {
        return Err(ArgumentError::MemoryTooSmall {
            text: text.to_owned(),
            minimum: MEMORY_MINIMUM_BYTES,
        });
    }
    Ok(bytes)
}

/// A limit that `-1` lifts.
pub fn parse_memory_bound(text: &str) -> Result<Bound, ArgumentError> {
    if text == "-1" {
        return Ok(Bound::Unlimited);
    }
    parse_size(text).map(Bound::At)
}

fn size_bytes(text: &str) -> Option<u64> {
    let digits = text
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit = unit.strip_prefix(' ').unwrap_or(unit).to_ascii_lowercase();
    let unit = unit.strip_suffix('b').unwrap_or(&unit);
    let letter = match unit.strip_suffix('i') {
        Some("") => return None,
        Some(letter) => letter,
        None => unit,
    };
    let shift = match letter {
        "" => 0,
        "k" => 10,
        "m" => 20,
        "g" => 30,
        "t" => 40,
        "p" => 50,
        _ => return None,
    };
    scale(number, shift)
}

/// `number · 2^shift` in whole bytes, exact for as many decimals as fit.
fn scale(number: &str, shift: u32) -> Option<u64> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if whole.is_empty() || (number.contains('.') && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: u64 = whole.parse().ok()?;
    let whole = whole.checked_mul(1 << shift)?;
    let fraction = &fraction[..fraction.len().min(18)];
    if fraction.is_empty() {
        return Some(whole);
    }
    let numerator: u128 = fraction.parse().ok()?;
    let part = (numerator << shift) / 10u128.pow(u32::try_from(fraction.len()).ok()?);
    whole.checked_add(u64::try_from(part).ok()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_are_binary_and_may_be_spelled_out() {
        for (text, bytes) in [
            ("0", 0),
            ("32", 32),
            ("32b", 32),
            ("1k", 1024),
            ("1KiB", 1024),
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("0.25 GB", 1 << 28),
            ("2t", 2 << 40),
            ("1p", 1 << 50),
        ] {
            assert_eq!(parse_size(text), Ok(bytes), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "m",
            "-1",
            "1.",
            ".5g",
            "1.2.3m",
            "1x",
            "1mm",
            "1ib",
            "1  ",
            "99999999999p",
            "١m",
        ] {
            assert!(parse_size(text).is_err(), "{text}");
        }
    }

    #[test]
    fn memory_has_a_floor_and_swap_may_be_unlimited() {
        assert!(parse_memory("5m").is_err());
        assert_eq!(parse_memory("0"), Ok(0));
        assert_eq!(parse_memory("6m"), Ok(6 << 20));
        assert_eq!(parse_memory_bound("-1"), Ok(Bound::Unlimited));
        assert_eq!(parse_memory_bound("1g"), Ok(Bound::At(1 << 30)));
    }
}
