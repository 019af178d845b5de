//! `update`: other limits for a container that runs.

use oci_spec::runtime::{LinuxCpu, LinuxMemory, LinuxResources};

use super::Known;
use super::error::OciError;
use super::record::Status;
use crate::cgroup::{Cgroup, Hierarchies};
use crate::systemd::{self, Host, Systemd};

impl Known {
    /// Sets limits; what `limits` leaves out stays as it is. Gives what this host cannot give.
    ///
    /// # Errors
    /// [`OciError::NotRunning`]; a limit that is refused. Limits set before it stay.
    pub fn update(&self, limits: &LinuxResources) -> Result<Vec<String>, OciError> {
        if self.status() == Status::Stopped {
            return Err(OciError::NotRunning(self.record.id.clone()));
        }
        let cgroup = self.cgroup()?;
        if let Some(unit) = &self.record.scope {
            let hierarchies = Hierarchies::discover().map_err(OciError::Cgroup)?;
            let mut systemd = Systemd::open(unit.bus)?;
            let host = Host {
                groups: hierarchies.limits_version(),
                systemd: systemd.version()?,
            };
            let whole = completed(limits, &cgroup)?;
            // systemd would take all devices away for a moment; the container has them already.
            let properties = systemd::of_limits(&whole, unit.bus, host);
            unit.set(&mut systemd, &properties)?;
        }
        let warnings = cgroup.apply(limits).map_err(OciError::Cgroup)?;
        Ok(warnings.iter().map(ToString::to_string).collect())
    }
}

/// The limits with what a property is made of besides: systemd counts swap apart from memory, and
/// has a quota for each second.
fn completed(limits: &LinuxResources, cgroup: &Cgroup) -> Result<LinuxResources, OciError> {
    let mut whole = limits.clone();
    whole.set_devices(None);
    let files = || cgroup.files().map_err(OciError::Cgroup);
    let asks_swap = |memory: &LinuxMemory| memory.swap().is_some() && memory.limit().is_none();
    if let Some(memory) = whole.memory_mut().as_mut().filter(|m| asks_swap(m)) {
        let now = cgroup.stats().map_err(OciError::Cgroup)?.memory.limit_bytes;
        memory.set_limit(now.and_then(|bytes| i64::try_from(bytes).ok()).or(Some(-1)));
    }
    let asks_half = |cpu: &LinuxCpu| cpu.quota().is_some() != cpu.period().is_some();
    if let Some(cpu) = whole.cpu_mut().as_mut().filter(|cpu| asks_half(cpu)) {
        for file in files()? {
            let words: Vec<&str> = file.value.split_ascii_whitespace().collect();
            let (quota, period) = match file.path.rsplit('/').next() {
                Some("cpu.max") => (words.first().copied(), words.get(1).copied()),
                Some("cpu.cfs_quota_us") => (words.first().copied(), None),
                Some("cpu.cfs_period_us") => (None, words.first().copied()),
                _ => continue,
            };
            let (quota, period) = (
                quota.map(|word| word.parse().unwrap_or(-1)),
                period.and_then(|word| word.parse().ok()),
            );
            cpu.set_quota(cpu.quota().or(quota));
            cpu.set_period(cpu.period().or(period));
        }
    }
    Ok(whole)
}
