//! Sizes and durations in the words Docker uses (docker/go-units).

const DECIMAL: [&str; 7] = ["B", "kB", "MB", "GB", "TB", "PB", "EB"];
const BINARY: [&str; 7] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];

/// Three digits in powers of 1,000: `133MB`, `4.46kB`, `0B`. For images, disk and network.
pub fn decimal_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, 3, &DECIMAL)
}

/// Four digits in powers of 1,000: `16.43MB`. For sums, as in `system df`.
pub fn precise_size(bytes: u64) -> String {
    scaled(bytes, 1000.0, 4, &DECIMAL)
}

/// Four digits in powers of 1,024: `1.953GiB`. For memory.
pub fn binary_size(bytes: u64) -> String {
    scaled(bytes, 1024.0, 4, &BINARY)
}

fn scaled(bytes: u64, base: f64, digits: usize, units: &[&str; 7]) -> String {
    // A double's rounding is below the digits that are shown.
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit < units.len() - 1 {
        value /= base;
        unit += 1;
    }
    let mut text = significant(value, digits);
    if text.contains('e') && unit < units.len() - 1 {
        text = significant(value / base, digits);
        unit += 1;
    }
    text + units[unit]
}

/// `%.{digits}g` of C and Go: that many significant digits without trailing zeros.
pub(crate) fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 || !value.is_finite() {
        return format!("{value}");
    }
    let digits = digits.max(1);
    let scientific = format!("{value:.*e}", digits - 1);
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let power: i32 = exponent.parse().unwrap_or(0);
    let trim = |text: &str| match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text.to_owned(),
    };
    match usize::try_from(power) {
        Ok(power) if power < digits => trim(&format!("{value:.*}", digits - 1 - power)),
        Err(_) if power >= -4 => {
            let decimals = digits - 1 + power.unsigned_abs() as usize;
            trim(&format!("{value:.decimals$}"))
        }
        _ => {
            let sign = if power < 0 { '-' } else { '+' };
            format!("{}e{sign}{:02}", trim(mantissa), power.unsigned_abs())
        }
    }
}

/// `Less than a second`, `30 seconds`, `About a minute`, `3 hours`, `2 weeks`.
pub fn duration(seconds: u64) -> String {
    let minutes = seconds / 60;
    // Docker rounds hours to the nearest.
    let hours = (seconds + 1800) / 3600;
    let whole_hours = seconds / 3600;
    match seconds {
        0 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", whole_hours / 24 / 365),
    }
}

/// `3 minutes ago`, for a time before now, both in nanoseconds since the epoch.
pub fn ago(then_ns: i64, now_ns: i64) -> String {
    format!("{} ago", duration(seconds_between(then_ns, now_ns)))
}

/// Whole seconds from one time to a later one; a clock set back counts as no time.
pub fn seconds_between(then_ns: i64, now_ns: i64) -> u64 {
    u64::try_from(now_ns.saturating_sub(then_ns) / 1_000_000_000).unwrap_or(0)
}

/// The first twelve characters of an id, its `sha256:` left off.
pub fn short_id(id: &str) -> &str {
    let bare = id.strip_prefix("sha256:").unwrap_or(id);
    bare.get(..12).unwrap_or(bare)
}

/// At most `length` characters, the last one an ellipsis if something was cut off.
pub fn ellipsis(text: &str, length: usize) -> String {
    if text.chars().count() <= length {
        return text.to_owned();
    }
    let kept: String = text.chars().take(length.saturating_sub(1)).collect();
    kept + "…"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_three_or_four_digits() {
        for (bytes, decimal, binary) in [
            (0, "0B", "0B"),
            (999, "999B", "999B"),
            (1_000, "1kB", "1000B"),
            (4_463, "4.46kB", "4.358KiB"),
            (133_000_000, "133MB", "126.8MiB"),
            (999_950, "1MB", "976.5KiB"),
            (1 << 30, "1.07GB", "1GiB"),
            (u64::MAX, "18.4EB", "16EiB"),
        ] {
            assert_eq!(decimal_size(bytes), decimal);
            assert_eq!(binary_size(bytes), binary);
        }
    }

    #[test]
    fn significant_digits_follow_c() {
        for (value, digits, text) in [
            (100.0, 3, "100"),
            (1000.0, 3, "1e+03"),
            (0.001_234, 3, "0.00123"),
            (0.000_012_34, 2, "1.2e-05"),
            (1.0, 4, "1"),
            (9.999, 3, "10"),
            (-2.5, 2, "-2.5"),
        ] {
            assert_eq!(significant(value, digits), text);
        }
    }

    #[test]
    fn durations_in_dockers_words() {
        const HOUR: u64 = 3600;
        const DAY: u64 = 24 * HOUR;
        for (seconds, words) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (59 * 60, "59 minutes"),
            (HOUR, "About an hour"),
            (89 * 60, "About an hour"),
            (90 * 60, "2 hours"),
            (47 * HOUR, "47 hours"),
            (2 * DAY, "2 days"),
            (13 * DAY, "13 days"),
            (14 * DAY, "2 weeks"),
            (60 * DAY, "2 months"),
            (729 * DAY, "24 months"),
            (730 * DAY, "2 years"),
        ] {
            assert_eq!(duration(seconds), words, "{seconds}");
        }
        assert_eq!(ago(0, 180_000_000_000), "3 minutes ago");
        assert_eq!(ago(5, 0), "Less than a second ago");
    }

    #[test]
    fn ids_and_long_texts_are_cut() {
        assert_eq!(short_id("sha256:0123456789abcdef"), "0123456789ab");
        assert_eq!(short_id("0123"), "0123");
        assert_eq!(ellipsis("0123456789", 5), "0123…");
        assert_eq!(ellipsis("01234", 5), "01234");
    }
}
