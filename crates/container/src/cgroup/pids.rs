//! The pids controller: how many tasks. Documentation/admin-guide/cgroup-v1/pids.rst; v2 is equal.

use gamut_plan::stats;
use oci_spec::runtime::LinuxPids;

use super::dir::Dir;
use super::error::CgroupError;
use super::write::Write;

/// -1 means no limit; 0 is one: nothing can be started. As runc has it, that is written as 1, which allows the
/// first process alone and is all that systemd knows.
pub(super) fn writes(pids: &LinuxPids) -> Vec<Write> {
    let limit = pids.limit();
    let write = match u64::try_from(limit) {
        Ok(limit) => Write::new("pids limit", "pids.max", limit.max(1)),
        Err(_) => Write::new("pids limit", "pids.max", "max").or_ignore(),
    };
    vec![write]
}

pub(super) fn stats(dir: &Dir) -> Result<stats::Pids, CgroupError> {
    Ok(stats::Pids {
        current: dir.read_number("pids.current")?.unwrap_or(0),
        limit: dir.read_number("pids.max")?,
    })
}
