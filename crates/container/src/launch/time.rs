//! The time namespace of a container: time_namespaces(7).

use std::os::fd::OwnedFd;

use gamut_plan::cell::StartError;
use gamut_plan::launch::LaunchPlan;
use gamut_sys::process::{self, namespace};
use oci_spec::runtime::{LinuxNamespace, LinuxNamespaceType};
use rustix::fs::{Mode, OFlags};

use super::idmap::write_failed;
use super::prepare::step_failed;

/// Time namespaces take effect on children only: the keeper prepares itself. Gives the way back.
pub(super) fn enter(plan: &LaunchPlan) -> Result<Option<OwnedFd>, StartError> {
    let Some(linux) = plan.spec.linux() else {
        return Ok(None);
    };
    let own = |one: &LinuxNamespace| one.typ() == LinuxNamespaceType::Time && one.path().is_none();
    if !linux.namespaces().iter().flatten().any(own) {
        return Ok(None);
    }
    let failed = |e| step_failed("create the time namespace", e);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let home = rustix::fs::open(c"/proc/self/ns/time", flags, Mode::empty()).map_err(failed)?;
    process::unshare(namespace::TIME).map_err(failed)?;
    if let Some(offsets) = linux.time_offsets() {
        let mut text = String::new();
        for (clock, offset) in offsets {
            use std::fmt::Write as _;
            let (secs, nanos) = (offset.secs().unwrap_or(0), offset.nanosecs().unwrap_or(0));
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{clock} {secs} {nanos}");
        }
        std::fs::write("/proc/self/timens_offsets", text)
            .map_err(|e| write_failed("set the time offsets", &e))?;
    }
    Ok(Some(home))
}
