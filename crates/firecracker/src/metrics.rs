//! Metrics: a line of JSON with what happened since the line before, to a file or FIFO, on demand and every
//! minute; Firecracker's sections and names, as far as there is something behind them.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Write};
use std::time::{Duration, Instant, SystemTime};

use serde_json::{Map, Value, json};

use crate::http::Method;
use crate::log::open_sink;
use crate::model;

/// The time between two lines.
const PERIOD: Duration = Duration::from_secs(60);

/// Numbers by section and name. They only grow.
pub type Sections = BTreeMap<String, BTreeMap<String, u64>>;

/// The metrics of one process.
#[derive(Debug)]
pub struct Metrics {
    instance: String,
    sink: Option<Sink>,
    /// All of our own numbers.
    totals: Sections,
    /// What the last line was computed from.
    told: Sections,
    /// The last value is all there is to say.
    latencies_us: BTreeMap<&'static str, u64>,
}

#[derive(Debug)]
struct Sink {
    file: File,
    id: Option<String>,
    properties: Option<BTreeMap<String, String>>,
    next: Instant,
}

/// Why nothing is written.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("Cannot initialize the metrics system due to bad user input: {0}")]
    Open(#[source] io::Error),
    #[error(
        "Cannot initialize the metrics system due to bad user input: Reinitialization of metrics not allowed."
    )]
    Again,
}

/// Whether a request could be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    Good,
    Bad,
}

impl Metrics {
    #[must_use]
    pub fn new(instance: &str) -> Self {
        Self {
            instance: instance.to_owned(),
            sink: None,
            totals: Sections::new(),
            told: Sections::new(),
            latencies_us: BTreeMap::new(),
        }
    }

    /// Says where lines go; once.
    ///
    /// # Errors
    /// That the file cannot be opened, or that it is known already.
    pub fn configure(&mut self, metrics: model::Metrics) -> Result<(), MetricsError> {
        if self.sink.is_some() {
            return Err(MetricsError::Again);
        }
        let file = open_sink(&metrics.metrics_path).map_err(MetricsError::Open)?;
        self.sink = Some(Sink {
            file,
            id: metrics.emit_id.then(|| self.instance.clone()),
            properties: metrics.properties,
            next: Instant::now() + PERIOD,
        });
        Ok(())
    }

    /// Counts a request, by the first part of its path.
    pub fn count_request(&mut self, method: Method, resource: &str, reading: Reading) {
        let Some((section, name)) = request_name(method, resource) else {
            return;
        };
        self.add(section, &format!("{name}_count"), 1);
        if reading == Reading::Bad && method != Method::Get {
            self.add(section, &format!("{name}_fails"), 1);
        }
    }

    /// Adds to a number.
    pub fn add(&mut self, section: &str, name: &str, number: u64) {
        let section = self.totals.entry(section.to_owned()).or_default();
        let total = section.entry(name.to_owned()).or_default();
        *total = total.saturating_add(number);
    }

    /// Says how long something took the last time.
    pub fn took(&mut self, name: &'static str, time: Duration) {
        let us = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.latencies_us.insert(name, us);
    }

    /// When the next line is due.
    #[must_use]
    pub fn next(&self) -> Option<Instant> {
        self.sink.as_ref().map(|sink| sink.next)
    }

    /// Writes a line, with the numbers of a machine's devices; nothing without a file.
    ///
    /// # Errors
    /// Those of write(2).
    pub fn write(&mut self, devices: &Sections) -> io::Result<()> {
        if self.sink.is_none() {
            return Ok(());
        }
        let mut now = self.totals.clone();
        for (section, numbers) in devices {
            let into = now.entry(section.clone()).or_default();
            into.extend(numbers.iter().map(|(name, number)| (name.clone(), *number)));
        }
        let mut line = self.line(&now);
        line.push('\n');
        let Some(sink) = &mut self.sink else {
            return Ok(());
        };
        while sink.next <= Instant::now() {
            sink.next += PERIOD;
        }
        match sink.file.write_all(line.as_bytes()) {
            Ok(()) => {
                self.told = now;
                Ok(())
            }
            Err(error) => {
                self.add("logger", "missed_metrics_count", 1);
                Err(error)
            }
        }
    }

    fn line(&self, now: &Sections) -> String {
        let mut line = Map::new();
        let time_ms = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |time| time.as_millis() as u64);
        line.insert("utc_timestamp_ms".to_owned(), json!(time_ms));
        if let Some(sink) = &self.sink {
            if let Some(id) = &sink.id {
                line.insert("id".to_owned(), json!(id));
            }
            if let Some(properties) = &sink.properties {
                line.insert("properties".to_owned(), json!(properties));
            }
        }
        for section in SECTIONS {
            line.insert(section.name.to_owned(), Value::Object(section.zeroes()));
        }
        for (section, numbers) in now {
            let told = self.told.get(section);
            let fields = line
                .entry(section.clone())
                .or_insert_with(|| Value::Object(Map::new()));
            for (name, number) in numbers {
                let before = told.and_then(|told| told.get(name)).unwrap_or(&0);
                if let Value::Object(fields) = fields {
                    fields.insert(name.clone(), json!(number.saturating_sub(*before)));
                }
            }
        }
        line.insert("latencies_us".to_owned(), json!(self.latencies_us));
        Value::Object(line).to_string()
    }
}

/// A section that is in every line, with zeroes where nothing has happened.
struct Section {
    name: &'static str,
    counts: &'static [&'static str],
    has_fails: bool,
}

const SECTIONS: [Section; 3] = [
    Section {
        name: "get_api_requests",
        counts: &[
            "instance_info",
            "machine_cfg",
            "mmds",
            "vmm_version",
            "hotplug_memory",
        ],
        has_fails: false,
    },
    Section {
        name: "put_api_requests",
        counts: &[
            "actions",
            "boot_source",
            "drive",
            "logger",
            "machine_cfg",
            "cpu_cfg",
            "metrics",
            "network",
            "mmds",
            "vsock",
            "pmem",
            "serial",
            "hotplug_memory",
        ],
        has_fails: true,
    },
    Section {
        name: "patch_api_requests",
        counts: &[
            "drive",
            "network",
            "machine_cfg",
            "mmds",
            "hotplug_memory",
            "pmem",
        ],
        has_fails: true,
    },
];

impl Section {
    fn zeroes(&self) -> Map<String, Value> {
        let mut fields = Map::new();
        for name in self.counts {
            fields.insert(format!("{name}_count"), json!(0));
            if self.has_fails {
                fields.insert(format!("{name}_fails"), json!(0));
            }
        }
        fields
    }
}

/// The section and the name by which Firecracker counts a request.
fn request_name(method: Method, resource: &str) -> Option<(&'static str, &'static str)> {
    let section = match method {
        Method::Get => &SECTIONS[0],
        Method::Put => &SECTIONS[1],
        Method::Patch => &SECTIONS[2],
        Method::Delete => return None,
    };
    let name = match resource {
        "" => "instance_info",
        "version" => "vmm_version",
        "machine-config" => "machine_cfg",
        "cpu-config" => "cpu_cfg",
        "boot-source" => "boot_source",
        "drives" => "drive",
        "network-interfaces" => "network",
        "hotplug" => "hotplug_memory",
        other => other,
    };
    let known = section.counts.iter().find(|known| **known == name)?;
    Some((section.name, known))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_tells_what_happened_since_the_last() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("metrics");
        let mut metrics = Metrics::new("vm1");
        let wanted = model::Metrics {
            metrics_path: path.clone(),
            emit_id: true,
            properties: Some([("zone".to_owned(), "a".to_owned())].into()),
        };
        metrics
            .configure(wanted.clone())
            .expect("the file can be made");
        assert!(matches!(
            metrics.configure(wanted),
            Err(MetricsError::Again)
        ));
        metrics.count_request(Method::Put, "drives", Reading::Good);
        metrics.count_request(Method::Put, "drives", Reading::Bad);
        metrics.count_request(Method::Put, "no-such", Reading::Bad);
        let device = |bytes| -> Sections {
            [(
                "block_root".to_owned(),
                [("read_bytes".to_owned(), bytes)].into(),
            )]
            .into()
        };
        metrics.write(&device(5)).expect("a line");
        metrics.write(&device(7)).expect("a line");
        let text = std::fs::read_to_string(path).expect("the lines");
        let lines: Vec<Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"))
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["id"], "vm1");
        assert_eq!(lines[0]["properties"]["zone"], "a");
        assert_eq!(lines[0]["put_api_requests"]["drive_count"], 2);
        assert_eq!(lines[0]["put_api_requests"]["drive_fails"], 1);
        assert_eq!(lines[0]["patch_api_requests"]["drive_count"], 0);
        assert_eq!(lines[0]["block_root"]["read_bytes"], 5);
        assert_eq!(lines[1]["put_api_requests"]["drive_count"], 0);
        assert_eq!(lines[1]["block_root"]["read_bytes"], 2);
    }
}
