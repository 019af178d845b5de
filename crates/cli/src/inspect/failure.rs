//! The last failure of a container, as `inspect --failure` prints it.

use std::collections::BTreeMap;

use gamut_engine::View;
use gamut_engine::explain::Denied;
use gamut_plan::failure;
use gamut_plan::request::Signal;
use serde::Serialize;

use super::time;
use crate::convert::signal_name;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub struct Failure {
    id: String,
    name: String,
    image: String,
    at: String,
    started_at: String,
    exit_code: i32,
    /// Empty for one that ended by itself.
    signal: String,
    #[serde(rename = "OOMKilled")]
    oom_killed: bool,
    /// Why it never began.
    error: String,
    restart_count: u32,
    health: Option<String>,
    used: Option<Used>,
    /// Of the host: percent of the last ten seconds in which somebody waited for it.
    host_pressure: BTreeMap<String, f64>,
    /// Since the start of the run.
    denied: Vec<Refused>,
    log: Vec<String>,
}

/// Bytes and nanoseconds.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Used {
    memory: u64,
    memory_peak: Option<u64>,
    memory_limit: Option<u64>,
    #[serde(rename = "OOMKills")]
    oom_kills: u64,
    #[serde(rename = "CPU")]
    cpu: u64,
    #[serde(rename = "CPUThrottled")]
    cpu_throttled: u64,
    processes_limit: Option<u64>,
    read: u64,
    written: u64,
}

/// What the workload was kept from.
#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Refused {
    what: String,
    times: u64,
    last: String,
    allowed_by: String,
}

impl From<Denied> for Refused {
    fn from(denied: Denied) -> Self {
        Self {
            what: denied.what,
            times: denied.times,
            last: time(denied.last_ns),
            allowed_by: denied.allow,
        }
    }
}

impl Failure {
    #[must_use]
    pub fn of(view: &View, failure: failure::Failure, denied: Vec<Denied>) -> Self {
        let signal = failure.signal.and_then(|number| u8::try_from(number).ok());
        Self {
            id: view.row.id.clone(),
            name: view.row.name.clone(),
            image: view.row.image_ref.clone(),
            at: time(failure.at_ns),
            started_at: time(failure.started_at_ns),
            exit_code: failure.exit_code,
            signal: signal.map_or_else(String::new, |number| signal_name(Signal(number))),
            oom_killed: failure.oom_killed,
            error: failure.error,
            restart_count: failure.restarts,
            health: failure.health,
            used: failure.stats.map(|stats| Used {
                memory: stats.memory.usage_bytes,
                memory_peak: stats.memory.peak_bytes,
                memory_limit: stats.memory.limit_bytes,
                oom_kills: stats.memory.oom_kills,
                cpu: stats.cpu.usage_ns,
                cpu_throttled: stats.cpu.throttled_ns,
                processes_limit: stats.pids.limit,
                read: stats.block.read_bytes,
                written: stats.block.write_bytes,
            }),
            host_pressure: failure.pressure,
            denied: denied.into_iter().map(Refused::from).collect(),
            log: failure.log,
        }
    }
}
