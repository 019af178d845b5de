//! Points in time for `--since` and `--until`, and the offsets of `--time-offset`.

use std::path::{Path, PathBuf};

use jiff::civil::DateTime;
use jiff::{Timestamp, tz::TimeZone};

use super::{ArgumentError, parse_duration_ns};
use gamut_plan::request::TimeOffsets;

/// A point in time, absolute or before now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Moment {
    /// Nanoseconds before now; negative: after.
    Ago(i64),
    /// Nanoseconds since the epoch.
    At(i64),
}

impl Moment {
    /// Nanoseconds since the epoch, given what time it is.
    pub fn resolve_ns(self, now_ns: i64) -> i64 {
        match self {
            Self::Ago(ns) => now_ns.saturating_sub(ns),
            Self::At(ns) => ns,
        }
    }
}

/// `10m`, `2026-01-31T15:04:05Z`, `2026-01-31T15:04`, `2026-01-31`, or `1769871845.25`.
/// A time without an offset is the host's local time, as in Docker.
pub fn parse_moment(text: &str) -> Result<Moment, ArgumentError> {
    if let Ok(ns) = parse_duration_ns(text)
        && text != "0"
    {
        return Ok(Moment::Ago(ns));
    }
    unix_seconds(text)
        .or_else(|| calendar(text))
        .map(Moment::At)
        .ok_or_else(|| ArgumentError::Moment {
            text: text.to_owned(),
        })
}

fn unix_seconds(text: &str) -> Option<i64> {
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if seconds.is_empty() || !digits(seconds) || !digits(fraction) {
        return None;
    }
    let ns: i64 = format!("{fraction:0<9.9}").parse().ok()?;
    let seconds: i64 = seconds.parse().ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(ns)
}

fn calendar(text: &str) -> Option<i64> {
    let timestamp = match text.parse::<Timestamp>() {
        Ok(timestamp) => timestamp,
        Err(_) => {
            // `15` and `15:04` complete to `15:00:00` and `15:04:00`.
            let complete = match text.split_once('T') {
                Some((_, time)) if time.len() == 2 => format!("{text}:00:00"),
                Some((_, time)) if time.len() == 5 => format!("{text}:00"),
                _ => text.to_owned(),
            };
            let local: DateTime = complete.parse().ok()?;
            local.to_zoned(TimeZone::system()).ok()?.timestamp()
        }
    };
    i64::try_from(timestamp.as_nanosecond()).ok()
}

/// How many lines `logs` starts with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tail {
    All,
    Lines(u64),
}

/// A number, or `all`; a negative number is all, as in Docker.
pub fn parse_tail(text: &str) -> Result<Tail, ArgumentError> {
    if text == "all" {
        return Ok(Tail::All);
    }
    match text.parse::<i64>() {
        Ok(lines) => Ok(u64::try_from(lines).map_or(Tail::All, Tail::Lines)),
        Err(_) => Err(ArgumentError::Tail {
            text: text.to_owned(),
        }),
    }
}

/// One `--time-offset`; several add up to one [`TimeOffsets`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TimeOffset(pub TimeOffsets);

/// `monotonic=+1h,boottime=-90s`.
pub fn parse_time_offset(text: &str) -> Result<TimeOffset, ArgumentError> {
    let invalid = || ArgumentError::TimeOffset {
        text: text.to_owned(),
    };
    let mut offsets = TimeOffsets::default();
    for part in text.split(',') {
        let (clock, offset) = part.split_once('=').ok_or_else(invalid)?;
        let ns = parse_duration_ns(offset).map_err(|_| invalid())?;
        match clock {
            "monotonic" => offsets.monotonic_ns = ns,
            "boottime" => offsets.boottime_ns = ns,
            _ => return Err(invalid()),
        }
    }
    Ok(TimeOffset(offsets))
}

/// `--tz`: the file of a time zone on this host.
pub fn parse_timezone(text: &str) -> Result<PathBuf, ArgumentError> {
    if text == "local" {
        return Ok(PathBuf::from("/etc/localtime"));
    }
    let is_name = |part: &str| {
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "_-+".contains(c);
        !part.is_empty() && part.chars().all(is_plain)
    };
    match text.split('/').all(is_name) {
        true => Ok(Path::new("/usr/share/zoneinfo").join(text)),
        false => Err(ArgumentError::Timezone {
            text: text.to_owned(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;

    #[test]
    fn durations_are_before_now() {
        let moment = parse_moment("10m").unwrap();
        assert_eq!(moment, Moment::Ago(600 * SECOND));
        assert_eq!(moment.resolve_ns(1000 * SECOND), 400 * SECOND);
    }

    #[test]
    fn times_and_seconds_are_absolute() {
        assert_eq!(parse_moment("1.5"), Ok(Moment::At(SECOND * 3 / 2)));
        assert_eq!(parse_moment("0"), Ok(Moment::At(0)));
        assert_eq!(
            parse_moment("1970-01-01T01:00:00.5+01:00"),
            Ok(Moment::At(SECOND / 2))
        );
        for text in [
            "2026-01-31",
            "2026-01-31T15",
            "2026-01-31T15:04",
            "2026-01-31T15:04:05",
        ] {
            assert!(matches!(parse_moment(text), Ok(Moment::At(_))), "{text}");
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "yesterday",
            "1x",
            "2026-13-01",
            "1.2.3",
            "99999999999999999999",
            ".",
        ] {
            assert!(parse_moment(text).is_err(), "{text}");
        }
    }

    #[test]
    fn tails() {
        assert_eq!(parse_tail("all"), Ok(Tail::All));
        assert_eq!(parse_tail("-1"), Ok(Tail::All));
        assert_eq!(parse_tail("0"), Ok(Tail::Lines(0)));
        assert!(parse_tail("some").is_err());
    }

    #[test]
    fn offsets_of_clocks() {
        let TimeOffset(offsets) = parse_time_offset("monotonic=+1h,boottime=-90s").unwrap();
        assert_eq!(offsets.monotonic_ns, 3600 * SECOND);
        assert_eq!(offsets.boottime_ns, -90 * SECOND);
        for text in ["", "monotonic", "realtime=1s", "monotonic=1"] {
            assert!(parse_time_offset(text).is_err(), "{text}");
        }
    }
}
