//! What lists show: typed lines → rows with Docker's columns.

pub mod containers;
pub mod images;
pub mod ports;
pub mod referrers;
pub mod search;
pub mod stats;
pub mod usage;

use jiff::Timestamp;
use jiff::tz::TimeZone;

/// `--no-trunc`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Width {
    /// Short ids, long texts cut off.
    Cut,
    Full,
}

impl Width {
    /// An id as wide as that.
    pub fn id(self, id: &str) -> String {
        match self {
            Self::Cut => crate::human::short_id(id).to_owned(),
            Self::Full => id.to_owned(),
        }
    }
}

/// `2026-01-31 15:04:05 +0000 UTC`, in the host's time zone.
pub fn local_time(ns: i64) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(time) => time
            .to_zoned(TimeZone::system())
            .strftime("%Y-%m-%d %H:%M:%S %z %Z")
            .to_string(),
        Err(_) => String::new(),
    }
}
