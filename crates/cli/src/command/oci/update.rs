//! `gamut oci update`.

use std::path::PathBuf;

use oci_spec::runtime::LinuxResources;
use serde_json::{Map, Value, json};

use super::{Context, Done, OciFailure, SUCCESS};

/// Change the limits of a container
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Take them from this file, as JSON; `-` is standard input
    #[arg(short, long, value_name = "FILE")]
    resources: Option<PathBuf>,

    /// Relative block I/O weight, 10 to 1000
    #[arg(long, value_name = "N")]
    blkio_weight: Option<u16>,

    /// Microseconds of a CPU period
    #[arg(long, value_name = "US")]
    cpu_period: Option<u64>,

    /// Microseconds of CPU time in each period; -1 is no limit
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    cpu_quota: Option<i64>,

    /// Microseconds by which a period may be exceeded
    #[arg(long, value_name = "US")]
    cpu_burst: Option<u64>,

    /// Relative CPU weight
    #[arg(long, visible_alias = "cpu-shares", value_name = "N")]
    cpu_share: Option<u64>,

    /// Microseconds of a real-time period
    #[arg(long, value_name = "US")]
    cpu_rt_period: Option<u64>,

    /// Microseconds of real-time CPU in each of them
    #[arg(long, value_name = "US", allow_negative_numbers = true)]
    cpu_rt_runtime: Option<i64>,

    /// CPUs to run on
    #[arg(long, value_name = "LIST")]
    cpuset_cpus: Option<String>,

    /// Memory nodes to use
    #[arg(long, value_name = "LIST")]
    cpuset_mems: Option<String>,

    /// 1: run only when nothing else wants the CPU
    #[arg(long, value_name = "0|1")]
    cpu_idle: Option<i64>,

    /// Bytes of memory; -1 is no limit
    #[arg(short, long, value_name = "BYTES", allow_negative_numbers = true)]
    memory: Option<String>,

    /// Bytes that it is brought back to under pressure
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory_reservation: Option<String>,

    /// Bytes of memory and swap; -1 is no limit
    #[arg(long, value_name = "BYTES", allow_negative_numbers = true)]
    memory_swap: Option<String>,

    /// Processes; -1 is no limit
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pids_limit: Option<i64>,

    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let container = context.runtime.container(&args.id)?;
    let resources = match &args.resources {
        Some(path) => read(path)?,
        None => args.json()?,
    };
    let limits: LinuxResources = serde_json::from_value(resources)
        .map_err(|error| OciFailure::Argument(format!("the limits: {error}")))?;
    context.log.warn(&container.update(&limits)?);
    SUCCESS
}

fn read(path: &std::path::Path) -> Result<Value, OciFailure> {
    let text = if path.as_os_str() == "-" {
        std::io::read_to_string(std::io::stdin())?
    } else {
        std::fs::read_to_string(path)?
    };
    serde_json::from_str(&text)
        .map_err(|error| OciFailure::Argument(format!("{}: {error}", path.display())))
}

impl Args {
    /// The flags in the form of the specification.
    fn json(&self) -> Result<Value, OciFailure> {
        let mut memory = Map::new();
        for (name, text) in [
            ("limit", &self.memory),
            ("reservation", &self.memory_reservation),
            ("swap", &self.memory_swap),
        ] {
            if let Some(text) = text {
                memory.insert(name.into(), bytes(text)?.into());
            }
        }
        let cpu = only(json!({
            "shares": self.cpu_share, "quota": self.cpu_quota, "period": self.cpu_period,
            "burst": self.cpu_burst, "idle": self.cpu_idle, "cpus": self.cpuset_cpus,
            "mems": self.cpuset_mems, "realtimeRuntime": self.cpu_rt_runtime,
            "realtimePeriod": self.cpu_rt_period,
        }));
        let mut all = Map::new();
        if !memory.is_empty() {
            all.insert("memory".into(), memory.into());
        }
        if cpu.as_object().is_some_and(|cpu| !cpu.is_empty()) {
            all.insert("cpu".into(), cpu);
        }
        if let Some(limit) = self.pids_limit {
            all.insert("pids".into(), json!({"limit": limit}));
        }
        if let Some(weight) = self.blkio_weight {
            all.insert("blockIO".into(), json!({"weight": weight}));
        }
        Ok(all.into())
    }
}

fn only(mut value: Value) -> Value {
    if let Some(fields) = value.as_object_mut() {
        fields.retain(|_, field| !field.is_null());
    }
    value
}

/// A number with an optional k, m, g or t, as runc takes it; -1 is no limit.
fn bytes(text: &str) -> Result<i64, OciFailure> {
    let wrong = || OciFailure::Argument(format!("`{text}` is no number of bytes"));
    let lower = text.trim().to_ascii_lowercase();
    let number = lower.trim_end_matches(['b', 'i']);
    let (digits, shift) = match number.chars().last() {
        Some('k') => (&number[..number.len() - 1], 10),
        Some('m') => (&number[..number.len() - 1], 20),
        Some('g') => (&number[..number.len() - 1], 30),
        Some('t') => (&number[..number.len() - 1], 40),
        _ => (number, 0),
    };
    let value: i64 = digits.parse().map_err(|_| wrong())?;
    value.checked_mul(1 << shift).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_units() {
        assert_eq!(bytes("1048576").unwrap(), 1 << 20);
        assert_eq!(bytes("32M").unwrap(), 32 << 20);
        assert_eq!(bytes("1Gi").unwrap(), 1 << 30);
        assert_eq!(bytes("-1").unwrap(), -1);
        assert!(bytes("x").is_err());
        assert!(bytes("").is_err());
    }
}
