//! `inspect`: what the engine knows → objects in Docker's shape, with Docker's names, so that
//! scripts and templates written for Docker find what they look for. What gamut has not got is
//! there all the same, empty.

mod config;
mod container;
mod failure;
mod host_config;
mod image;
mod mounts;
mod network;
mod networks;
mod pod;

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Serialize;

pub use container::{Container, Sizes};
pub use failure::Failure;
pub use image::Image;
pub use networks::Network;
pub use pod::Pod;

/// Docker's set: an object whose values are empty objects (Go's `map[string]struct{}`).
type Set = BTreeMap<String, Empty>;

/// `{}`.
#[derive(Debug, Clone, Copy, Serialize)]
struct Empty {}

fn set<'a>(keys: impl IntoIterator<Item = &'a String>) -> Option<Set> {
    let set: Set = keys
        .into_iter()
        .map(|key| (key.clone(), Empty {}))
        .collect();
    (!set.is_empty()).then_some(set)
}

/// Docker's drivers tell here where the root lies.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct GraphDriver {
    data: BTreeMap<&'static str, String>,
    name: &'static str,
}

/// RFC 3339 with nanoseconds; Go's zero time for "never".
fn time(ns: u64) -> String {
    if ns == 0 {
        return "0001-01-01T00:00:00Z".to_owned();
    }
    Timestamp::from_nanosecond(i128::from(ns)).map_or_else(|_| String::new(), |t| t.to_string())
}

fn joined_paths(paths: &[std::path::PathBuf]) -> String {
    let texts: Vec<String> = paths
        .iter()
        .map(|path| path.display().to_string())
        .collect();
    texts.join(":")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_sets() {
        assert_eq!(time(0), "0001-01-01T00:00:00Z");
        assert_eq!(time(1_500_000_000), "1970-01-01T00:00:01.5Z");
        let keys = ["80/tcp".to_owned()];
        assert_eq!(
            serde_json::to_string(&set(&keys)).unwrap(),
            r#"{"80/tcp":{}}"#
        );
        assert!(set(&[]).is_none());
    }
}
