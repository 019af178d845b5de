//! `--cpus`: a decimal number of CPUs, kept exact.

use super::ArgumentError;

/// A number of CPUs as CPU time per 100 ms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cpus {
    /// Zero: no limit.
    pub quota_us: u64,
    pub period_us: u64,
}

const PERIOD_US: u64 = 100_000;
/// The kernel refuses quotas below 1 ms (`kernel/sched/core.c`, `min_cfs_quota_period`).
const QUOTA_MINIMUM_US: u64 = 1_000;

/// `1.5` → 150,000 µs of each 100,000 µs; `0` lifts the limit.
pub fn parse_cpus(text: &str) -> Result<Cpus, ArgumentError> {
    let invalid = || ArgumentError::Cpus {
        text: text.to_owned(),
    };
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |part: &str| part.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(fraction) || (whole.is_empty() && fraction.is_empty()) {
        return Err(invalid());
    }
    let whole: u64 = match whole {
        "" => 0,
        number => number.parse().map_err(|_| invalid())?,
    };
    // Five decimals are one microsecond of the period; what is finer cannot be enforced.
    let fraction: u64 = format!("{fraction:0<5.5}").parse().map_err(|_| invalid())?;
    let quota_us = whole
        .checked_mul(PERIOD_US)
        .and_then(|quota| quota.checked_add(fraction))
        .ok_or_else(invalid)?;
    if quota_us != 0 && quota_us < QUOTA_MINIMUM_US {
        return Err(invalid());
    }
    Ok(Cpus {
        quota_us,
        period_us: PERIOD_US,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_become_microseconds_of_the_period() {
        for (text, quota_us) in [
            ("1", 100_000),
            ("1.5", 150_000),
            (".5", 50_000),
            ("0.01", 1_000),
            ("0", 0),
            ("2.123456789", 212_345),
        ] {
            assert_eq!(parse_cpus(text).map(|cpus| cpus.quota_us), Ok(quota_us));
        }
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            ".",
            "-1",
            "1,5",
            "0.001",
            "1e3",
            "999999999999999999999",
        ] {
            assert!(parse_cpus(text).is_err(), "{text}");
        }
    }
}
