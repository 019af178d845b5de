//! The rows of `stats`, from two readings.

use std::collections::BTreeMap;

use gamut_plan::Stats;

use super::Width;
use crate::format::Row;
use crate::human;

/// The table of `stats`.
pub const TABLE: &str = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// The table of `pod stats`.
pub const POD_TABLE: &str = "{{.Pod}}\t{{.CID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}";

/// `(template name, heading)`.
pub const TITLES: [(&str, &str); 11] = [
    ("Container", "CONTAINER"),
    ("ID", "CONTAINER ID"),
    ("Name", "NAME"),
    ("CPUPerc", "CPU %"),
    ("MemUsage", "MEM USAGE / LIMIT"),
    ("MemPerc", "MEM %"),
    ("NetIO", "NET I/O"),
    ("BlockIO", "BLOCK I/O"),
    ("PIDs", "PIDS"),
    ("Pod", "POD"),
    ("CID", "CID"),
];

/// A container and what it uses.
#[derive(Debug)]
pub struct Line<'a> {
    pub id: &'a str,
    pub name: &'a str,
    /// The id of the pod it is in.
    pub pod: Option<&'a str>,
    /// The reading before; `None`: this is the first, and CPU use is not known yet.
    pub before: Option<&'a Stats>,
    /// `None`: it does not run.
    pub now: Option<&'a Stats>,
    /// What a container without a limit may use.
    pub host_memory_bytes: u64,
}

impl Line<'_> {
    /// The row.
    pub fn row(&self, width: Width) -> Row {
        let id = width.id(self.id);
        let nothing = || "--".to_owned();
        let pair = |left: &str, right: &str| format!("{left} / {right}");
        let (cpu, memory, share, network, block, pids) = match self.now {
            None => (
                nothing(),
                pair("--", "--"),
                nothing(),
                nothing(),
                nothing(),
                nothing(),
            ),
            Some(now) => {
                let used = now
                    .memory
                    .usage_bytes
                    .saturating_sub(now.memory.inactive_file_bytes);
                let limit = now.memory.limit_bytes.unwrap_or(self.host_memory_bytes);
                let received = now
                    .networks
                    .iter()
                    .map(|interface| interface.rx_bytes)
                    .sum();
                let sent = now
                    .networks
                    .iter()
                    .map(|interface| interface.tx_bytes)
                    .sum();
                (
                    format!("{:.2}%", self.cpu_percent(now)),
                    pair(&human::binary_size(used), &human::binary_size(limit)),
                    format!("{:.2}%", percent(used as f64, limit as f64)),
                    pair(&human::decimal_size(received), &human::decimal_size(sent)),
                    pair(
                        &human::decimal_size(now.block.read_bytes),
                        &human::decimal_size(now.block.write_bytes),
                    ),
                    now.pids.current.to_string(),
                )
            }
        };
        Row::new(
            [
                ("Container", id.clone()),
                ("CID", id.clone()),
                (
                    "Pod",
                    self.pod.map_or_else(String::new, |pod| width.id(pod)),
                ),
                ("ID", id),
                ("Name", self.name.to_owned()),
                ("CPUPerc", cpu),
                ("MemUsage", memory),
                ("MemPerc", share),
                ("NetIO", network),
                ("BlockIO", block),
                ("PIDs", pids),
            ],
            BTreeMap::new(),
        )
    }

    /// CPU time per wall-clock time; two busy CPUs are 200.
    fn cpu_percent(&self, now: &Stats) -> f64 {
        let Some(before) = self.before else {
            return 0.0;
        };
        let used = now.cpu.usage_ns.saturating_sub(before.cpu.usage_ns);
        let passed = now.read_at_ns.saturating_sub(before.read_at_ns);
        percent(used as f64, passed as f64)
    }
}

fn percent(part: f64, whole: f64) -> f64 {
    match whole > 0.0 {
        true => part / whole * 100.0,
        false => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gamut_plan::stats::{Block, Cpu, Interface, Memory, Pids};

    fn reading(at_ns: u64, cpu_ns: u64) -> Stats {
        Stats {
            read_at_ns: at_ns,
            cpu: Cpu {
                usage_ns: cpu_ns,
                ..Cpu::default()
            },
            memory: Memory {
                usage_bytes: 3 << 20,
                inactive_file_bytes: 1 << 20,
                limit_bytes: Some(4 << 20),
                ..Memory::default()
            },
            pids: Pids {
                current: 7,
                limit: None,
            },
            block: Block {
                read_bytes: 1_500,
                ..Block::default()
            },
            networks: vec![Interface {
                rx_bytes: 10,
                tx_bytes: 20_000,
                ..Interface::default()
            }],
        }
    }

    fn text(line: &Line<'_>) -> String {
        let template = crate::format::Template::parse(&TABLE.replace('\t', "|")).unwrap();
        template.render_row(&line.row(Width::Cut)).unwrap()
    }

    #[test]
    fn two_readings_make_a_row() {
        let (before, now) = (reading(0, 0), reading(1_000_000_000, 1_500_000_000));
        let line = Line {
            id: "0123456789abcdef",
            name: "web",
            pod: None,
            before: Some(&before),
            now: Some(&now),
            host_memory_bytes: 1 << 30,
        };
        assert_eq!(
            text(&line),
            "0123456789ab|web|150.00%|2MiB / 4MiB|50.00%|10B / 20kB|1.5kB / 0B|7"
        );
        let line = Line { now: None, ..line };
        assert_eq!(text(&line), "0123456789ab|web|--|-- / --|--|--|--|--");
    }
}
