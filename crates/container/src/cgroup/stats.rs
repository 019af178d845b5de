//! What the workload uses, in the shape that every isolation level has, and pressure.

use std::time::SystemTime;

use gamut_plan::Stats;
use serde::{Deserialize, Serialize};

use super::controller::Controller;
use super::dir::Dir;
use super::error::CgroupError;
use super::group::Cgroup;
use super::{block, cpu, memory, pids};

impl Cgroup {
    /// One reading of every controller the group has; a part without its controller is zero.
    /// `networks` stays empty: the network namespace knows those.
    ///
    /// # Errors
    /// [`CgroupError::Read`], also when the group has been removed.
    pub fn stats(&self) -> Result<Stats, CgroupError> {
        let mut stats = Stats {
            read_at_ns: now_ns(),
            cpu: cpu::stats(self.dir(Controller::Cpuacct)?, self.dir(Controller::Cpu)?)?,
            ..Stats::default()
        };
        if let Some((version, dir)) = self.dir(Controller::Memory)? {
            stats.memory = memory::stats(dir, version)?;
        }
        if let Some((_, dir)) = self.dir(Controller::Pids)? {
            stats.pids = pids::stats(dir)?;
        }
        if let Some((version, dir)) = self.dir(Controller::Block)? {
            stats.block = block::stats(dir, version)?;
        }
        Ok(stats)
    }

    /// How many of the workload's processes the OOM killer took. `None`: memory isn't controlled.
    ///
    /// # Errors
    /// [`CgroupError::Read`].
    pub fn oom_kills(&self) -> Result<Option<u64>, CgroupError> {
        match self.dir(Controller::Memory)? {
            Some((version, dir)) => memory::oom_kills(dir, version).map(Some),
            None => Ok(None),
        }
    }

    /// Pressure stall information (Documentation/accounting/psi.rst): how much time tasks lost
    /// for want of a resource. `None`: no v2 group, or a kernel without PSI.
    ///
    /// # Errors
    /// [`CgroupError::Read`] and [`CgroupError::Parse`].
    pub fn pressure(&self) -> Result<Option<Pressure>, CgroupError> {
        let Some(dir) = self.v2_dir()? else {
            return Ok(None);
        };
        let Some(cpu) = stall(dir, "cpu.pressure")? else {
            return Ok(None);
        };
        Ok(Some(Pressure {
            cpu,
            memory: stall(dir, "memory.pressure")?.unwrap_or_default(),
            io: stall(dir, "io.pressure")?.unwrap_or_default(),
        }))
    }
}

/// Pressure on each resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Pressure {
    pub cpu: Stall,
    pub memory: Stall,
    pub io: Stall,
}

/// Time in which some tasks, or all that weren't idle, waited for a resource.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Stall {
    pub some: PressureLine,
    pub full: PressureLine,
}

/// Shares of the last 10, 60 and 300 seconds in percent, and all time in µs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct PressureLine {
    pub avg10: f64,
    pub avg60: f64,
    pub avg300: f64,
    pub total_us: u64,
}

fn stall(dir: &Dir, file: &str) -> Result<Option<Stall>, CgroupError> {
    let mut buffer = [0; 4096];
    let text = match dir.read(file, &mut buffer) {
        Ok(text) => text,
        // Built in but switched off (`psi=0`): opening or reading says so.
        Err(CgroupError::Read {
            errno: rustix::io::Errno::OPNOTSUPP | rustix::io::Errno::NOENT,
            ..
        }) => return Ok(None),
        Err(error) => return Err(error),
    };
    let mut stall = Stall::default();
    for line in text.lines() {
        let (place, rest) = match line.split_once(' ') {
            Some(("some", rest)) => (&mut stall.some, rest),
            Some(("full", rest)) => (&mut stall.full, rest),
            _ => return Err(dir.parse_error(file, line)),
        };
        *place = pressure_line(rest).ok_or_else(|| dir.parse_error(file, line))?;
    }
    Ok(Some(stall))
}

/// `avg10=0.00 avg60=0.00 avg300=0.00 total=0`
fn pressure_line(text: &str) -> Option<PressureLine> {
    let mut line = PressureLine::default();
    for word in text.split_ascii_whitespace() {
        let (key, value) = word.split_once('=')?;
        match key {
            "avg10" => line.avg10 = value.parse().ok()?,
            "avg60" => line.avg60 = value.parse().ok()?,
            "avg300" => line.avg300 = value.parse().ok()?,
            "total" => line.total_us = value.parse().ok()?,
            _ => {}
        }
    }
    Some(line)
}

/// Lines of a key and a number ("flat keyed" in cgroup-v2.rst); others are left out.
pub(super) fn pairs(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (key, value) = line.split_once(' ')?;
        Some((key, value.trim().parse().ok()?))
    })
}

/// The number beside `key`.
pub(super) fn field(text: &str, key: &str) -> Option<u64> {
    pairs(text)
        .find(|(name, _)| *name == key)
        .map(|(_, value)| value)
}

fn now_ns() -> u64 {
    let since = SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flat_keys_are_found_whole() {
        let text = "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n";
        assert_eq!(field(text, "oom_kill"), Some(3));
        assert_eq!(field(text, "oom"), None);
    }

    #[test]
    fn pressure_lines_are_read() {
        let line = pressure_line("avg10=1.50 avg60=0.25 avg300=0.00 total=1234").expect("a line");
        assert_eq!(line.total_us, 1234);
        assert!((line.avg10 - 1.5).abs() < 1e-9);
        assert_eq!(pressure_line("avg10=x"), None);
    }
}
