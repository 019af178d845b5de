//! The small ones: `/cpu-config`, `/entropy`, `/hotplug/memory`, `/logger`, `/metrics`, `/serial`, `/vsock`.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, de};
use serde_json::Value;

use super::{Bucket, RateLimiter};

/// `PUT /cpu-config`: what is to be changed of the processors.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CpuConfig {
    #[serde(default)]
    pub kvm_capabilities: Vec<Value>,
    #[serde(default)]
    pub cpuid_modifiers: Vec<Value>,
    #[serde(default)]
    pub msr_modifiers: Vec<Value>,
}

/// `PUT /entropy`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entropy {
    pub rate_limiter: Option<RateLimiter>,
}

/// `PUT /hotplug/memory`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplug {
    pub total_size_mib: u32,
    #[serde(default = "default_block_mib")]
    pub block_size_mib: u32,
    #[serde(default = "default_slot_mib")]
    pub slot_size_mib: u32,
}

fn default_block_mib() -> u32 {
    2
}

fn default_slot_mib() -> u32 {
    128
}

/// `PATCH /hotplug/memory`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MemoryHotplugSize {
    pub requested_size_mib: u32,
}

/// `PUT /logger`. What is not said stays, but for the level, which is then `Info`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Logger {
    pub log_path: Option<PathBuf>,
    pub level: Option<Level>,
    pub show_level: Option<bool>,
    pub show_log_origin: Option<bool>,
    /// Only what comes from modules whose path begins so.
    pub module: Option<String>,
}

/// How much is logged; each has all before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub enum Level {
    Off,
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

/// That a word is no level.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("Failed to parse string to level filter: {0}")]
pub struct LevelError(String);

impl FromStr for Level {
    type Err = LevelError;

    fn from_str(word: &str) -> Result<Self, LevelError> {
        Ok(match word.to_ascii_lowercase().as_str() {
            "off" => Self::Off,
            "error" => Self::Error,
            "warn" | "warning" => Self::Warn,
            "info" => Self::Info,
            "debug" => Self::Debug,
            "trace" => Self::Trace,
            _ => return Err(LevelError(word.to_owned())),
        })
    }
}

impl<'de> Deserialize<'de> for Level {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = String::deserialize(deserializer)?;
        word.parse()
            .map_err(|_| de::Error::custom("Invalid LevelFilter"))
    }
}

/// `PUT /metrics`. Firecracker ignores what it does not know in this one.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Metrics {
    pub metrics_path: PathBuf,
    #[serde(default)]
    pub emit_id: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub properties: Option<BTreeMap<String, String>>,
}

/// `PUT /serial`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Serial {
    /// `None`: standard output.
    pub serial_out_path: Option<PathBuf>,
    pub rate_limiter: Option<Bucket>,
}

/// `PUT /vsock`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Vsock {
    /// Deprecated, and without a meaning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub vsock_id: Option<String>,
    pub guest_cid: u32,
    pub uds_path: String,
}
