//! User namespaces: their id maps, and a namespace that has them, for id-mapped mounts.
//! user_namespaces(7).

use std::fmt::Write as _;
use std::os::fd::OwnedFd;

use gamut_plan::cell::StartError;
use gamut_sys::process;
use oci_spec::runtime::{Linux, LinuxIdMapping};
use rustix::fs::{Mode, OFlags};
use rustix::process::Pid;

use super::prepare::{errno_of, step_failed};

/// Which ids of the host stand behind the container's.
#[derive(Debug, Clone)]
pub(crate) struct Maps {
    uids: Vec<LinuxIdMapping>,
    gids: Vec<LinuxIdMapping>,
}

impl Maps {
    /// The maps of a plan, if it has any.
    pub(crate) fn of(linux: &Linux) -> Option<Maps> {
        Maps::new(
            linux.uid_mappings().as_deref(),
            linux.gid_mappings().as_deref(),
        )
    }

    /// `None` unless there is one of each.
    pub(crate) fn new(
        uids: Option<&[LinuxIdMapping]>,
        gids: Option<&[LinuxIdMapping]>,
    ) -> Option<Maps> {
        let some =
            |maps: Option<&[LinuxIdMapping]>| maps.filter(|m| !m.is_empty()).map(<[_]>::to_vec);
        Some(Maps {
            uids: some(uids)?,
            gids: some(gids)?,
        })
    }

    /// The host's id of a user of the container; 65534 if there is none.
    pub(crate) fn uid(&self, inside: u32) -> u32 {
        outside(&self.uids, inside)
    }

    pub(crate) fn gid(&self, inside: u32) -> u32 {
        outside(&self.gids, inside)
    }

    /// Writes the maps of a process that has just got its user namespace.
    pub(crate) fn write(&self, pid: Pid) -> Result<(), StartError> {
        for (file, maps) in [("uid_map", &self.uids), ("gid_map", &self.gids)] {
            let path = format!("/proc/{}/{file}", pid.as_raw_nonzero());
            std::fs::write(&path, text(maps)).map_err(|error| StartError::Step {
                step: format!("write the user namespace's {file}"),
                reason: error.to_string(),
                hint: Some("the ids must be yours to give, and not overlap".into()),
            })?;
        }
        Ok(())
    }

    /// A user namespace with these maps. A short-lived process holds it open until we do.
    pub(crate) fn namespace(&self) -> Result<OwnedFd, StartError> {
        let failed = |errno| step_failed("create a user namespace", errno);
        process::in_user_namespace(|child| {
            self.write(child)?;
            let path = format!("/proc/{}/ns/user", child.as_raw_nonzero());
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)
        })
        .map_err(failed)?
    }
}

fn outside(maps: &[LinuxIdMapping], inside: u32) -> u32 {
    maps.iter()
        .find_map(|m| {
            inside
                .checked_sub(m.container_id())
                .filter(|at| *at < m.size())
                .map(|at| m.host_id() + at)
        })
        .unwrap_or(65534)
}

fn text(maps: &[LinuxIdMapping]) -> String {
    let mut lines = String::new();
    for map in maps {
        // Writing to a String cannot fail.
        let _ = writeln!(
            lines,
            "{} {} {}",
            map.container_id(),
            map.host_id(),
            map.size()
        );
    }
    lines
}

/// The kernel's reason of a failed write under /proc.
pub(crate) fn write_failed(step: &str, error: &std::io::Error) -> StartError {
    step_failed(step, errno_of(error))
}
