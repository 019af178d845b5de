//! Rate limiters, a part of many documents.

use gamut_virtio::rate::Limit;
use serde::{Deserialize, Serialize};

/// Limits of bytes and of operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimiter {
    pub bandwidth: Option<Bucket>,
    pub ops: Option<Bucket>,
}

/// A token bucket. A size or a refill time of 0 is no limit.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bucket {
    pub size: u64,
    pub one_time_burst: Option<u64>,
    /// Milliseconds in which an empty bucket gets full.
    pub refill_time: u64,
}

impl Bucket {
    fn limits(self) -> bool {
        self.size > 0 && self.refill_time > 0
    }
}

impl From<Bucket> for Limit {
    fn from(bucket: Bucket) -> Self {
        Self {
            size: bucket.size,
            one_time_burst: bucket.one_time_burst.unwrap_or(0),
            refill_time_ms: bucket.refill_time,
        }
    }
}

impl RateLimiter {
    /// What is left of it when limits that limit nothing are gone.
    #[must_use]
    pub fn effective(self) -> Option<Self> {
        let bandwidth = self.bandwidth.filter(|bucket| bucket.limits());
        let ops = self.ops.filter(|bucket| bucket.limits());
        (bandwidth.is_some() || ops.is_some()).then_some(Self { bandwidth, ops })
    }

    /// This one with what `update` says, where it says something.
    #[must_use]
    pub fn updated(self, update: Self) -> Self {
        Self {
            bandwidth: update.bandwidth.or(self.bandwidth),
            ops: update.ops.or(self.ops),
        }
    }

    /// For a device: of bytes, and of operations.
    #[must_use]
    pub fn limits(self) -> [Limit; 2] {
        [self.bandwidth, self.ops].map(|bucket| bucket.map_or_else(Limit::default, Limit::from))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_update_changes_what_it_names() {
        let bucket = |size| Bucket {
            size,
            one_time_burst: None,
            refill_time: 100,
        };
        let old = RateLimiter {
            bandwidth: Some(bucket(1)),
            ops: Some(bucket(2)),
        };
        let update = RateLimiter {
            bandwidth: Some(Bucket::default()),
            ops: None,
        };
        let new = old.updated(update).effective().expect("a limit");
        assert_eq!((new.bandwidth, new.ops), (None, Some(bucket(2))));
        assert_eq!(RateLimiter::default().effective(), None);
        assert_eq!(new.limits()[0], Limit::default());
        assert_eq!(new.limits()[1].refill_time_ms, 100);
    }
}
