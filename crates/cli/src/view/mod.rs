//! What lists show: typed lines → rows with Docker's columns.

pub mod containers;
pub mod images;
pub mod networks;
pub mod pods;
pub mod ports;
pub mod referrers;
pub mod search;
pub mod stats;
pub mod usage;
pub mod volumes;

use std::sync::OnceLock;

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

/// The host's time zone. Its file is read as it is: to find its name would take a walk through all zones.
pub fn zone() -> &'static TimeZone {
    static ZONE: OnceLock<TimeZone> = OnceLock::new();
    ZONE.get_or_init(|| {
        let file = match std::env::var_os("TZ") {
            Some(_) => None,
            None => std::fs::read("/etc/localtime").ok(),
        };
        let zone = file.and_then(|bytes| TimeZone::tzif("Local", &bytes).ok());
        zone.unwrap_or_else(TimeZone::system)
    })
}

/// `2026-01-31T15:04:05Z`, in the host's time zone; seconds, as Docker has them of volumes.
pub fn local_rfc3339(ns: u64) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(time) => time
            .to_zoned(zone().clone())
            .strftime("%Y-%m-%dT%H:%M:%S%:z")
            .to_string(),
        Err(_) => String::new(),
    }
}

/// `2026-01-31 15:04:05 +0000 UTC`, in the host's time zone.
pub fn local_time(ns: i64) -> String {
    match Timestamp::from_nanosecond(i128::from(ns)) {
        Ok(time) => time
            .to_zoned(zone().clone())
            .strftime("%Y-%m-%d %H:%M:%S %z %Z")
            .to_string(),
        Err(_) => String::new(),
    }
}
