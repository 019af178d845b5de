//! When to try again, and how long to wait before.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::error::RegistryError;

/// How patient a client is. An attempt that brought something counts as none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// How often an attempt that brought nothing is repeated.
    pub retries: u32,
    /// The wait before the first repetition; it doubles with each further one.
    pub first_wait: Duration,
    /// No wait is longer than this, unless the registry asks for it.
    pub longest_wait: Duration,
    /// A registry that asks for a longer wait than this (`Retry-After`) is taken at its word: the
    /// attempt fails at once.
    pub longest_asked: Duration,
}

impl Default for Patience {
    fn default() -> Patience {
        Patience {
            retries: 5,
            first_wait: Duration::from_millis(500),
            longest_wait: Duration::from_secs(10),
            longest_asked: Duration::from_secs(30),
        }
    }
}

/// A failed attempt.
#[derive(Debug)]
pub(crate) enum Failure {
    /// The same would happen again.
    Final(Box<RegistryError>),
    /// It may pass; `asked` is what the registry wants to be waited.
    Passing {
        error: Box<RegistryError>,
        asked: Option<Duration>,
    },
}

impl<E: Into<RegistryError>> From<E> for Failure {
    fn from(error: E) -> Failure {
        let error = error.into();
        match &error {
            RegistryError::Unreachable { cause, .. } if cause.is_passing() => {
                Failure::passing(error, None)
            }
            _ => Failure::Final(Box::new(error)),
        }
    }
}

impl Failure {
    pub(crate) fn passing(error: RegistryError, asked: Option<Duration>) -> Failure {
        Failure::Passing {
            error: Box::new(error),
            asked,
        }
    }

    /// The same failure in the midst of a transfer, where a closed port is a registry that is
    /// being restarted rather than a mistyped name.
    pub(crate) fn midway(self) -> Failure {
        match self {
            Failure::Final(error) => match &*error {
                RegistryError::Unreachable { cause, .. } if cause.is_passing_midway() => {
                    Failure::Passing { error, asked: None }
                }
                _ => Failure::Final(error),
            },
            passing => passing,
        }
    }
}

/// Counts the attempts that brought nothing.
#[derive(Debug)]
pub(crate) struct Attempts {
    patience: Patience,
    failed: u32,
}

impl Attempts {
    pub(crate) fn new(patience: Patience) -> Attempts {
        Attempts {
            patience,
            failed: 0,
        }
    }

    /// Something was brought: the count begins anew.
    pub(crate) fn progressed(&mut self) {
        self.failed = 0;
    }

    /// Waits until it is time for the next attempt, or gives the failure's error back if there is
    /// to be none.
    pub(crate) fn wait_after(&mut self, failure: Failure) -> Result<(), RegistryError> {
        let (error, asked) = match failure {
            Failure::Final(error) => return Err(*error),
            Failure::Passing { error, asked } => (error, asked),
        };
        if self.failed >= self.patience.retries
            || asked.is_some_and(|asked| asked > self.patience.longest_asked)
        {
            return Err(*error);
        }
        std::thread::sleep(self.wait().max(asked.unwrap_or_default()));
        self.failed += 1;
        Ok(())
    }

    /// Between half and all of the doubled wait, so that clients that failed together do not come
    /// back together.
    fn wait(&self) -> Duration {
        let doubled = self
            .patience
            .first_wait
            .saturating_mul(1 << self.failed.min(16))
            .min(self.patience.longest_wait);
        // A fresh RandomState has fresh keys: randomness enough to spread clients.
        let random = RandomState::new().hash_one(self.failed);
        doubled.mul_f64(0.5 + 0.5 * (random as f64 / u64::MAX as f64))
    }
}

/// Repeats `attempt` as long as its failures may pass.
pub(crate) fn patiently<T>(
    patience: Patience,
    mut attempt: impl FnMut() -> Result<T, Failure>,
) -> Result<T, RegistryError> {
    let mut attempts = Attempts::new(patience);
    loop {
        match attempt() {
            Ok(value) => return Ok(value),
            Err(failure) => attempts.wait_after(failure)?,
        }
    }
}

/// `Retry-After` (RFC 9110, section 10.2.3): seconds, or a date to be waited for.
pub(crate) fn retry_after(header: &str, now: SystemTime) -> Option<Duration> {
    let header = header.trim();
    if header.bytes().all(|b| b.is_ascii_digit()) {
        return header.parse().ok().map(Duration::from_secs);
    }
    let then = UNIX_EPOCH + Duration::from_secs(http_date(header)?);
    Some(then.duration_since(now).unwrap_or_default())
}

/// `Sun, 06 Nov 1994 08:49:37 GMT` as seconds since the epoch.
fn http_date(text: &str) -> Option<u64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let (_, rest) = text.split_once(", ")?;
    let mut words = rest.split(' ');
    let day: i64 = words.next()?.parse().ok()?;
    let month = words.next()?;
    let month = MONTHS.iter().position(|name| *name == month)? as i64 + 1;
    let year: i64 = words.next()?.parse().ok()?;
    let mut clock = words.next()?.split(':').map(str::parse::<i64>);
    let (hour, minute, second) = (
        clock.next()?.ok()?,
        clock.next()?.ok()?,
        clock.next()?.ok()?,
    );
    if !(1970..=9999).contains(&year) || !(1..=31).contains(&day) {
        return None;
    }
    // Days since the epoch by the proleptic Gregorian calendar, with the year beginning in March.
    let (y, m) = if month > 2 {
        (year, month - 3)
    } else {
        (year - 1, month + 9)
    };
    let days = 365 * y + y / 4 - y / 100 + y / 400 + (153 * m + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + hour * 3600 + minute * 60 + second).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_retry_after() {
        let now = UNIX_EPOCH + Duration::from_secs(784_111_777 - 30);
        let seconds = |text| retry_after(text, now).map(|wait| wait.as_secs());
        assert_eq!(seconds("120"), Some(120));
        assert_eq!(seconds(" 0 "), Some(0));
        assert_eq!(seconds("Sun, 06 Nov 1994 08:49:37 GMT"), Some(30));
        assert_eq!(seconds("Sun, 06 Nov 1993 08:49:37 GMT"), Some(0));
        for text in [
            "soon",
            "-1",
            "",
            "Sun, 06 Foo 1994 08:49:37 GMT",
            "99999999999999999999",
        ] {
            assert_eq!(seconds(text), None, "{text}");
        }
        assert_eq!(
            http_date("Thu, 29 Feb 2024 00:00:00 GMT"),
            Some(1_709_164_800)
        );
    }

    fn passing(asked: Option<Duration>) -> Failure {
        let error = RegistryError::Server {
            host: "h".into(),
            status: 503,
            message: None,
        };
        Failure::passing(error, asked)
    }

    #[test]
    fn gives_up_after_the_retries_and_starts_anew_on_progress() {
        let patience = Patience {
            retries: 2,
            first_wait: Duration::ZERO,
            ..Patience::default()
        };
        let mut attempts = Attempts::new(patience);
        attempts.wait_after(passing(None)).unwrap();
        attempts.wait_after(passing(None)).unwrap();
        attempts.progressed();
        attempts.wait_after(passing(None)).unwrap();
        attempts.wait_after(passing(None)).unwrap();
        attempts.wait_after(passing(None)).unwrap_err();
        let mut calls = 0;
        let outcome: Result<(), _> = patiently(patience, || {
            calls += 1;
            Err(passing(None))
        });
        assert!(outcome.is_err() && calls == 3);
    }

    #[test]
    fn waits_grow_to_the_longest_and_an_overlong_demand_fails() {
        let patience = Patience {
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(4),
            ..Patience::default()
        };
        let mut attempts = Attempts::new(patience);
        for longest in [1, 2, 4, 4, 4] {
            let (wait, longest) = (attempts.wait(), Duration::from_secs(longest));
            assert!(wait <= longest && wait >= longest / 2, "{wait:?}");
            attempts.failed += 1;
        }
        let overlong = patience.longest_asked + Duration::from_secs(1);
        Attempts::new(patience)
            .wait_after(passing(Some(overlong)))
            .unwrap_err();
    }
}
