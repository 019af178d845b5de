//! `/balloon`.

use serde::{Deserialize, Serialize};

/// The device.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Balloon {
    pub amount_mib: u32,
    pub deflate_on_oom: bool,
    /// 0: the guest is never asked.
    #[serde(default)]
    pub stats_polling_interval_s: u16,
    #[serde(default)]
    pub free_page_hinting: bool,
    #[serde(default)]
    pub free_page_reporting: bool,
}

/// `PATCH /balloon`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonTarget {
    pub amount_mib: u32,
}

/// `PATCH /balloon/statistics`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BalloonInterval {
    pub stats_polling_interval_s: u16,
}

/// `PATCH /balloon/hinting/start`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
pub struct HintingStart {
    #[serde(default = "yes")]
    pub acknowledge_on_stop: bool,
}

fn yes() -> bool {
    true
}

/// `GET /balloon/statistics`. What the guest has not told is left out.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct BalloonStatistics {
    pub target_pages: u32,
    pub actual_pages: u32,
    pub target_mib: u32,
    pub actual_mib: u32,
    #[serde(flatten)]
    pub guest: std::collections::BTreeMap<&'static str, u64>,
}

/// The names of the guest's numbers by their tags; VIRTIO 1.2, 5.5.6.4, and `linux/virtio_balloon.h`.
const TAGS: [&str; 16] = [
    "swap_in",
    "swap_out",
    "major_faults",
    "minor_faults",
    "free_memory",
    "total_memory",
    "available_memory",
    "disk_caches",
    "hugetlb_allocations",
    "hugetlb_failures",
    "oom_kill",
    "alloc_stall",
    "async_scan",
    "direct_scan",
    "async_reclaim",
    "direct_reclaim",
];

impl BalloonStatistics {
    /// Of a balloon's sizes in pages of 4 KiB, and of what the guest has told, by tag.
    #[must_use]
    pub fn new(target_pages: u32, actual_pages: u32, told: &[(u16, u64)]) -> Self {
        const PAGES_PER_MIB: u32 = 256;
        let named = told.iter().filter_map(|(tag, value)| {
            let name = TAGS.get(usize::from(*tag))?;
            Some((*name, *value))
        });
        Self {
            target_pages,
            actual_pages,
            target_mib: target_pages / PAGES_PER_MIB,
            actual_mib: actual_pages / PAGES_PER_MIB,
            guest: named.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statistics_have_firecrackers_names() {
        let statistics = BalloonStatistics::new(512, 256, &[(4, 7), (1, 5), (99, 1)]);
        assert_eq!(
            serde_json::to_string(&statistics).expect("JSON"),
            r#"{"target_pages":512,"actual_pages":256,"target_mib":2,"actual_mib":1,"free_memory":7,"swap_out":5}"#
        );
    }
}
