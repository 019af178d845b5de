//! `gamut oci events`.

use std::io::Write;
use std::thread::sleep;
use std::time::Duration;

use gamut_container::oci::{Known, OciError, Status};
use gamut_plan::Stats;
use serde_json::{Value, json};

use super::{Context, Done, OciFailure, SUCCESS};

/// Print what a container uses, again and again, and when it runs out of memory
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// How much time lies between two readings
    #[arg(long, value_name = "DURATION", default_value = "5s")]
    interval: String,

    /// Print one reading and end
    #[arg(long)]
    stats: bool,

    /// The container's id
    #[arg(value_name = "CONTAINER")]
    id: String,
}

pub(super) fn run(args: &Args, context: &Context<'_>) -> Done {
    let interval = crate::convert::parse_duration_ns(&args.interval)
        .ok()
        .and_then(|ns| u64::try_from(ns).ok())
        .filter(|ns| *ns > 0)
        .ok_or(OciFailure::Usage(
            "duration interval must be greater than 0",
        ))?;
    let container = context.runtime.container(&args.id)?;
    if container.status() == Status::Stopped {
        return Err(OciError::NotRunning(args.id.clone()).into());
    }
    if args.stats {
        print("stats", &args.id, Some(shown(&read(&container)?)))?;
        return SUCCESS;
    }
    let mut kills = 0;
    while container.status() != Status::Stopped {
        // A container that is going away has no more readings.
        let Ok(stats) = read(&container) else { break };
        for _ in kills..stats.memory.oom_kills {
            print("oom", &args.id, None)?;
        }
        kills = stats.memory.oom_kills;
        print("stats", &args.id, Some(shown(&stats)))?;
        sleep(Duration::from_nanos(interval));
    }
    SUCCESS
}

fn read(container: &Known) -> Result<Stats, OciError> {
    container.cgroup()?.stats().map_err(OciError::Cgroup)
}

fn print(kind: &str, id: &str, data: Option<Value>) -> Result<(), OciFailure> {
    // In runc's order: there is who looks for it.
    let id = Value::from(id);
    match data {
        Some(data) => writeln!(
            std::io::stdout(),
            r#"{{"type":"{kind}","id":{id},"data":{data}}}"#
        )?,
        None => writeln!(std::io::stdout(), r#"{{"type":"{kind}","id":{id}}}"#)?,
    }
    Ok(())
}

/// The form of runc's `types.Stats`.
fn shown(stats: &Stats) -> Value {
    let (cpu, memory, block) = (&stats.cpu, &stats.memory, &stats.block);
    // What the kernel says where there is no limit: the last whole page on version 1.
    let unlimited = if super::on_v2() {
        u64::MAX
    } else {
        0x7fff_ffff_ffff_f000
    };
    let mut used = json!({"total": cpu.usage_ns, "kernel": cpu.system_ns, "user": cpu.user_ns});
    if !cpu.per_cpu_ns.is_empty() {
        used["percpu"] = json!(cpu.per_cpu_ns);
    }
    let entry = |usage: u64, limit: Option<u64>, peak: Option<u64>| json!({"usage": usage, "limit": limit.unwrap_or(unlimited), "max": peak.unwrap_or(0), "failcnt": 0});
    json!({
        "cpu": {
            "usage": used,
            "throttling": {
                "periods": cpu.periods,
                "throttledPeriods": cpu.throttled_periods,
                "throttledTime": cpu.throttled_ns,
            },
        },
        "cpuset": {},
        "memory": {
            "usage": entry(memory.usage_bytes, memory.limit_bytes, memory.peak_bytes),
            "swap": entry(memory.usage_bytes + memory.swap_bytes, None, None),
            "kernel": entry(0, None, None),
            "kernelTCP": entry(0, None, None),
            "raw": {"inactive_file": memory.inactive_file_bytes, "total_inactive_file": memory.inactive_file_bytes},
        },
        "pids": {"current": stats.pids.current, "limit": stats.pids.limit.unwrap_or(0)},
        "blkio": {
            "ioServiceBytesRecursive": [
                {"major": 0, "minor": 0, "op": "Read", "value": block.read_bytes},
                {"major": 0, "minor": 0, "op": "Write", "value": block.write_bytes},
            ],
            "ioServicedRecursive": [
                {"major": 0, "minor": 0, "op": "Read", "value": block.reads},
                {"major": 0, "minor": 0, "op": "Write", "value": block.writes},
            ],
        },
        "hugetlb": {},
        "intel_rdt": {},
        "network_interfaces": null,
    })
}
