//! The pids controller: how many tasks. Documentation/admin-guide/cgroup-v1/pids.rst; v2 is equal.

use gamut_plan::stats;
use oci_spec::runtime::LinuxPids;

use super::dir::Dir;
use super::error::CgroupError;
use super::write::Write;

/// OCI, Docker and Podman: 0 and -1 mean no limit.
pub(super) fn writes(pids: &LinuxPids) -> Vec<Write> {
    let limit = pids.limit();
    let write = match u64::try_from(limit) {
        Ok(limit) if limit > 0 => Write::new("pids limit", "pids.max", limit),
        _ => Write::new("pids limit", "pids.max", "max").or_ignore(),
    };
    vec![write]
}

pub(super) fn stats(dir: &Dir) -> Result<stats::Pids, CgroupError> {
    Ok(stats::Pids {
        current: dir.read_number("pids.current")?.unwrap_or(0),
        limit: dir.read_number("pids.max")?,
    })
}
