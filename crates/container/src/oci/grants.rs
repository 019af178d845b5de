//! What a container is given of the host that is not made for it: network devices, and a class of the
//! processor's cache and bandwidth. Both are taken back if the container does not come about.

use std::os::fd::OwnedFd;

use gamut_plan::cell::StartError;
use oci_spec::runtime::{Linux, LinuxNamespaceType, Spec};
use rustix::fs::{Mode, OFlags};

use super::net_devices::Moved;
use super::record::Record;
use crate::launch::prepare::step_failed;
use crate::resctrl::{Entered, Resctrl};

/// What was given.
#[derive(Debug, Default)]
pub(super) struct Grants {
    devices: Option<Moved>,
    class: Option<Entered>,
}

impl Grants {
    /// Gives a container's first process what its configuration says.
    ///
    /// # Errors
    /// Names what cannot be given; nothing is.
    pub(super) fn give(record: &Record, pid: i32) -> Result<Grants, StartError> {
        let mut grants = Grants::default();
        let Some(linux) = record.spec.linux() else {
            return Ok(grants);
        };
        if let (Some(rdt), Some(resctrl)) = (linux.intel_rdt(), &record.resctrl) {
            grants.class = Some(resctrl.enter(rdt, pid)?);
        }
        let devices = linux.net_devices().as_ref();
        if let Some(devices) = devices.filter(|devices| !devices.is_empty()) {
            grants.devices = Some(Moved::into(network_of(linux, pid)?, devices)?);
        }
        Ok(grants)
    }

    /// They are the container's.
    pub(super) fn keep(self) {
        if let Some(devices) = self.devices {
            devices.keep();
        }
        if let Some(class) = self.class {
            class.keep();
        }
    }
}

/// The network namespace that a process is in, or is going to join.
fn network_of(linux: &Linux, pid: i32) -> Result<OwnedFd, StartError> {
    let mut listed = linux.namespaces().iter().flatten();
    let network = listed.find(|one| one.typ() == LinuxNamespaceType::Network);
    let own = format!("/proc/{pid}/ns/net").into();
    let path = network.and_then(|one| one.path().clone()).unwrap_or(own);
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    rustix::fs::open(&path, flags, Mode::empty())
        .map_err(|e| step_failed(format!("open the network namespace {}", path.display()), e))
}

/// What a container is going to have of the processor's classes.
pub(super) fn class_of(spec: &Spec, id: &str) -> Result<Option<Resctrl>, StartError> {
    let rdt = spec
        .linux()
        .as_ref()
        .and_then(|linux| linux.intel_rdt().as_ref());
    rdt.map(|rdt| Resctrl::of(rdt, id)).transpose()
}

/// What only the host's root has to give; `None`: nothing of it is asked for.
pub(super) fn of_the_host(spec: &Spec) -> Option<&'static str> {
    let linux = spec.linux().as_ref()?;
    let devices = linux.net_devices().as_ref();
    if devices.is_some_and(|devices| !devices.is_empty()) {
        return Some("network devices are not supported for rootless containers");
    }
    if linux.intel_rdt().is_some() {
        return Some("linux.intelRdt is not supported for rootless containers");
    }
    let own = super::check::own_mounts(spec);
    (!own).then_some("a rootless container needs a mount namespace of its own")
}
