//! Rate limits: token buckets for bytes and for operations, with Firecracker's fields and their meaning.
//!
//! A request may begin while there is anything in its buckets, and takes all of its size: what is missing
//! becomes a debt that refills first. So a request that is larger than a bucket is slow, not impossible.
//! When a bucket is empty a timer is set, one of the device's sources.

use std::os::fd::BorrowedFd;
use std::time::{Duration, Instant};

use rustix::io::Errno;

use crate::timer::Timer;

/// The shortest time that a limiter waits, so that a device does not wake for single tokens.
const PAUSE_MIN: Duration = Duration::from_millis(1);
/// The longest, so that a limit that is raised meanwhile is soon seen.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// One limit. A `size` or `refill_time_ms` of 0 is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limit {
    /// Tokens (bytes, or operations) that the bucket holds, and that one refill time brings.
    pub size: u64,
    /// Tokens on top, once.
    pub one_time_burst: u64,
    /// In which time an empty bucket gets full.
    pub refill_time_ms: u64,
}

#[derive(Debug)]
struct Bucket {
    limit: Limit,
    burst: u64,
    /// Millionths of a token; below 0 a debt.
    micro_tokens: i128,
    refilled_at: Instant,
}

impl Bucket {
    fn new(limit: Limit, now: Instant) -> Option<Self> {
        (limit.size > 0 && limit.refill_time_ms > 0).then(|| Self {
            limit,
            burst: limit.one_time_burst,
            micro_tokens: micro(limit.size),
            refilled_at: now,
        })
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.refilled_at);
        let passed_us = u64::try_from(passed.as_micros()).unwrap_or(u64::MAX);
        // tokens = size × µs / (ms × 1000); in millionths: size × µs × 1000 / ms.
        let per_us = i128::from(self.limit.size) * 1000;
        let new = per_us.saturating_mul(passed_us.into()) / i128::from(self.limit.refill_time_ms);
        self.micro_tokens = self
            .micro_tokens
            .saturating_add(new)
            .min(micro(self.limit.size));
        // What is less than a microsecond counts the next time.
        self.refilled_at += Duration::from_micros(passed_us);
    }

    fn has_any(&self) -> bool {
        self.burst > 0 || self.micro_tokens > 0
    }

    fn take(&mut self, tokens: u64) {
        let from_burst = tokens.min(self.burst);
        self.burst -= from_burst;
        self.micro_tokens -= micro(tokens - from_burst);
    }

    /// Until there is something in it.
    fn pause(&self) -> Duration {
        let missing = self.micro_tokens.saturating_neg().max(0).saturating_add(1);
        let per_us = i128::from(self.limit.size) * 1000;
        let us = missing.saturating_mul(self.limit.refill_time_ms.into()) / per_us;
        let us = u64::try_from(us).unwrap_or(u64::MAX);
        Duration::from_micros(us.saturating_add(1)).clamp(PAUSE_MIN, PAUSE_MAX)
    }
}

fn micro(tokens: u64) -> i128 {
    i128::from(tokens) * 1_000_000
}

/// The limits of one queue or direction.
#[derive(Debug)]
pub struct Limiter {
    bytes: Option<Bucket>,
    operations: Option<Bucket>,
    timer: Timer,
    throttled: u64,
}

impl Limiter {
    /// # Errors
    /// `EMFILE`, `ENOMEM`: its timer.
    pub fn new(bandwidth: Limit, operations: Limit) -> Result<Self, Errno> {
        let mut limiter = Self {
            bytes: None,
            operations: None,
            timer: Timer::new()?,
            throttled: 0,
        };
        limiter.update(bandwidth, operations);
        Ok(limiter)
    }

    /// Without limits.
    ///
    /// # Errors
    /// As [`Limiter::new`].
    pub fn unlimited() -> Result<Self, Errno> {
        Self::new(Limit::default(), Limit::default())
    }

    /// Begins anew with other limits.
    pub fn update(&mut self, bandwidth: Limit, operations: Limit) {
        let now = Instant::now();
        self.bytes = Bucket::new(bandwidth, now);
        self.operations = Bucket::new(operations, now);
    }

    /// How often a request had to wait.
    pub(crate) fn throttled(&self) -> u64 {
        self.throttled
    }

    /// Readable when it is time to go on.
    pub(crate) fn timer(&self) -> BorrowedFd<'_> {
        self.timer.fd()
    }

    /// Whether a request may begin now; if not, the timer is set.
    pub(crate) fn admits(&mut self) -> bool {
        (self.bytes.is_none() && self.operations.is_none()) || self.admits_at(Instant::now())
    }

    fn admits_at(&mut self, now: Instant) -> bool {
        let mut pause = None;
        for bucket in [&mut self.bytes, &mut self.operations]
            .into_iter()
            .flatten()
        {
            bucket.refill(now);
            if !bucket.has_any() {
                pause = pause.max(Some(bucket.pause()));
            }
        }
        let Some(pause) = pause else { return true };
        self.throttled += 1;
        self.timer.set(Some(pause));
        false
    }

    /// Takes what a request costs.
    pub(crate) fn charge(&mut self, bytes: u64) {
        if let Some(bucket) = &mut self.bytes {
            bucket.take(bytes);
        }
        if let Some(bucket) = &mut self.operations {
            bucket.take(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: Limit = Limit {
        size: 1000,
        one_time_burst: 500,
        refill_time_ms: 100,
    };

    #[test]
    fn a_bucket_is_burst_then_size_then_debt_and_refills_over_time() {
        let start = Instant::now();
        let mut bucket = Bucket::new(LIMIT, start).expect("a limit");
        bucket.take(500);
        assert_eq!((bucket.burst, bucket.micro_tokens), (0, micro(1000)));
        bucket.take(3000);
        assert!(!bucket.has_any());
        // Twice its size is owed.
        assert_eq!(bucket.pause().as_millis(), 200);
        bucket.refill(start + Duration::from_millis(150));
        assert_eq!(bucket.micro_tokens, micro(1500) - micro(2000));
        bucket.refill(start + Duration::from_millis(250));
        assert_eq!(bucket.micro_tokens, micro(500));
        bucket.refill(start + Duration::from_secs(1 << 40));
        assert_eq!(bucket.micro_tokens, micro(1000));
    }

    #[test]
    fn absurd_limits_do_no_harm() {
        let start = Instant::now();
        for (size, refill_time_ms) in [(u64::MAX, 1), (1, u64::MAX), (u64::MAX, u64::MAX)] {
            let limit = Limit {
                size,
                one_time_burst: u64::MAX,
                refill_time_ms,
            };
            let mut bucket = Bucket::new(limit, start).expect("a limit");
            for _ in 0..3 {
                bucket.take(u64::MAX);
            }
            assert!(bucket.pause() <= PAUSE_MAX);
            bucket.refill(start + Duration::from_secs(1 << 40));
            assert!(bucket.micro_tokens <= micro(size));
        }
        assert!(Bucket::new(Limit::default(), start).is_none());
    }

    #[test]
    fn either_limit_holds_a_request_and_sets_the_timer() {
        let now = Instant::now();
        let operations = Limit {
            size: 2,
            one_time_burst: 0,
            refill_time_ms: 20,
        };
        let mut limiter = Limiter::new(Limit::default(), operations).expect("a timer");
        assert!(limiter.admits_at(now));
        limiter.charge(1 << 40);
        assert!(limiter.admits_at(now));
        limiter.charge(1);
        assert!(!limiter.admits_at(now));
        assert_eq!(limiter.throttled(), 1);
        let mut fds = [rustix::event::PollFd::from_borrowed_fd(
            limiter.timer(),
            rustix::event::PollFlags::IN,
        )];
        rustix::event::poll(&mut fds, None).expect("the timer rings");
        assert!(limiter.admits_at(now + Duration::from_millis(20)));
    }
}
