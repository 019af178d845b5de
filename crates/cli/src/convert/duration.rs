//! Durations in Go's form (`time.ParseDuration`): `10s`, `1m30s`, `1.5h`, `-250ms`.

use super::ArgumentError;
use gamut_plan::request::StopTimeout;

/// A signed duration in nanoseconds. A bare `0` is one; any other number needs a unit.
pub fn parse_duration_ns(text: &str) -> Result<i64, ArgumentError> {
    duration_ns(text).ok_or_else(|| ArgumentError::Duration {
        text: text.to_owned(),
    })
}

/// Whole seconds of `stop -t` and `--stop-timeout`; `-1` waits for ever.
pub fn parse_stop_timeout(text: &str) -> Result<StopTimeout, ArgumentError> {
    match text.parse::<i64>() {
        Ok(-1) => Ok(StopTimeout::Forever),
        Ok(seconds) if u32::try_from(seconds).is_ok() => Ok(StopTimeout::Seconds(
            u32::try_from(seconds).unwrap_or(u32::MAX),
        )),
        _ => Err(ArgumentError::StopTimeout {
            text: text.to_owned(),
        }),
    }
}

/// Microseconds, milliseconds or seconds, whichever reads best: `812µs`, `3.1ms`, `1.25s`.
pub fn format_duration(ns: u64) -> String {
    match ns {
        0..1_000 => format!("{ns}ns"),
        1_000..1_000_000 => format!("{}µs", ns / 1_000),
        1_000_000..1_000_000_000 => format!("{}.{}ms", ns / 1_000_000, ns / 100_000 % 10),
        _ => format!("{}.{:02}s", ns / 1_000_000_000, ns / 10_000_000 % 100),
    }
}

fn duration_ns(text: &str) -> Option<i64> {
    let (negative, mut rest) = match text.as_bytes().first()? {
        b'-' => (true, &text[1..]),
        b'+' => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Some(0);
    }
    if rest.is_empty() {
        return None;
    }
    let mut total: i128 = 0;
    while !rest.is_empty() {
        let digits = rest
            .find(|c: char| !c.is_ascii_digit() && c != '.')
            .filter(|&at| at > 0)?;
        let (number, tail) = rest.split_at(digits);
        let unit = tail
            .find(|c: char| c.is_ascii_digit() || c == '.')
            .unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        total = total.checked_add(term_ns(number, unit_ns(unit)?)?)?;
        rest = tail;
    }
    i64::try_from(if negative { -total } else { total }).ok()
}

fn unit_ns(unit: &str) -> Option<i128> {
    Some(match unit {
        "ns" => 1,
        // U+00B5 MICRO SIGN and U+03BC GREEK SMALL LETTER MU, as Go accepts.
        "us" | "\u{b5}s" | "\u{3bc}s" => 1_000,
        "ms" => 1_000_000,
        "s" => 1_000_000_000,
        "m" => 60_000_000_000,
        "h" => 3_600_000_000_000,
        _ => return None,
    })
}

fn term_ns(number: &str, unit_ns: i128) -> Option<i128> {
    let (whole, fraction) = number.split_once('.').unwrap_or((number, ""));
    if (whole.is_empty() && fraction.is_empty()) || fraction.contains('.') {
        return None;
    }
    let whole: i128 = match whole {
        "" => 0,
        digits => i128::from(digits.parse::<u64>().ok()?),
    };
    let fraction = &fraction[..fraction.len().min(18)];
    let part = match fraction {
        "" => 0,
        digits => {
            let scale = 10i128.pow(u32::try_from(digits.len()).ok()?);
            i128::from(digits.parse::<u64>().ok()?) * unit_ns / scale
        }
    };
    Some(whole * unit_ns + part)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_add_up() {
        for (text, ns) in [
            ("0", 0),
            ("10s", 10_000_000_000),
            ("1m30s", 90_000_000_000),
            ("1.5h", 5_400_000_000_000),
            ("-250ms", -250_000_000),
            ("+1us", 1_000),
            ("1\u{b5}s", 1_000),
            (".5s", 500_000_000),
            ("1h2m3s4ms5us6ns", 3_723_004_005_006),
        ] {
            assert_eq!(parse_duration_ns(text), Ok(ns), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "-",
            "10",
            "s",
            ".s",
            "1.2.3s",
            "1d",
            "99999999999h",
            "1s ",
            "٣s",
            "--1s",
        ] {
            assert!(parse_duration_ns(text).is_err(), "{text}");
        }
    }

    #[test]
    fn stop_timeouts_are_whole_seconds() {
        assert_eq!(parse_stop_timeout("10"), Ok(StopTimeout::Seconds(10)));
        assert_eq!(parse_stop_timeout("-1"), Ok(StopTimeout::Forever));
        assert!(parse_stop_timeout("-2").is_err());
        assert!(parse_stop_timeout("1.5").is_err());
    }

    #[test]
    fn formatting_picks_a_unit() {
        assert_eq!(format_duration(12), "12ns");
        assert_eq!(format_duration(812_499), "812µs");
        assert_eq!(format_duration(3_149_000), "3.1ms");
        assert_eq!(format_duration(1_259_000_000), "1.25s");
    }
}
