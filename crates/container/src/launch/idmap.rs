//! User namespaces: their id maps, and a namespace that has them, for id-mapped mounts.
//! user_namespaces(7).

use std::fmt::Write as _;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_plan::cell::StartError;
use gamut_sys::process::{self, Lineage, Side, namespace};
use gamut_sys::user_namespace;
use oci_spec::runtime::{Linux, LinuxIdMapping, LinuxIdMappingBuilder};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;
use rustix::process::{Pid, Signal};

use super::prepare::{errno_of, step_failed};
use super::step::{At, Step};

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

    pub(crate) fn uids(&self) -> &[LinuxIdMapping] {
        &self.uids
    }

    pub(crate) fn gids(&self) -> &[LinuxIdMapping] {
        &self.gids
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

    /// The maps of a user namespace that is there, as this process's own has them.
    pub(crate) fn of_namespace(joined: BorrowedFd<'_>) -> Result<Maps, StartError> {
        with_member(joined, |child| {
            let read = |file: &str| {
                let path = format!("/proc/{}/{file}", child.as_raw_nonzero());
                let text = std::fs::read_to_string(path);
                text.map(|text| parse(&text))
                    .map_err(|e| write_failed("read the maps of the user namespace", &e))
            };
            Ok(Maps {
                uids: read("uid_map")?,
                gids: read("gid_map")?,
            })
        })
    }

    /// A user namespace with these maps. A short-lived process holds it open until we do.
    pub(crate) fn namespace(&self) -> Result<OwnedFd, StartError> {
        let failed = |errno| step_failed("create a user namespace", errno);
        user_namespace::in_new(|child| {
            self.write(child)?;
            let path = format!("/proc/{}/ns/user", child.as_raw_nonzero());
            rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(failed)
        })
        .map_err(failed)?
    }
}

/// Calls `look` with a process in the user namespace `joined`.
fn with_member<T>(
    joined: BorrowedFd<'_>,
    look: impl FnOnce(Pid) -> Result<T, StartError>,
) -> Result<T, StartError> {
    let failed = |errno| step_failed("join the user namespace", errno);
    let (ours, theirs) = gamut_sys::socket::pair().map_err(failed)?;
    // SAFETY: the keeper, an OCI runtime, and a test of this, has one thread; the child below only
    // asks the kernel.
    let side = unsafe { process::clone3(0, None, Lineage::Child) }.map_err(failed)?;
    let Side::Parent { child, pidfd } = side else {
        // Ends with its parent, or by the signal below, whichever is first.
        let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
        let done = super::through::shut()
            .and_then(|()| process::join(joined, namespace::USER).at(Step::JoinNamespace));
        let errno = done.map_or_else(|failure| failure.errno.raw_os_error(), |()| 0);
        let _ = rustix::io::write(&theirs, &errno.to_ne_bytes());
        loop {
            rustix::event::pause();
        }
    };
    drop(theirs);
    let mut word = [0u8; 4];
    let told = rustix::io::retry_on_intr(|| rustix::io::read(&ours, &mut word)).map_err(failed);
    let seen = told.and_then(|_| match i32::from_ne_bytes(word) {
        0 => look(child),
        errno => Err(failed(Errno::from_raw_os_error(errno))),
    });
    let _ = rustix::process::pidfd_send_signal(pidfd.as_fd(), Signal::KILL);
    let _ = rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty());
    seen
}

/// The lines of /proc/PID/uid_map: user_namespaces(7).
fn parse(text: &str) -> Vec<LinuxIdMapping> {
    let line = |line: &str| {
        let mut numbers = line.split_ascii_whitespace().map(|n| n.parse::<u32>().ok());
        let map = LinuxIdMappingBuilder::default()
            .container_id(numbers.next()??)
            .host_id(numbers.next()??)
            .size(numbers.next()??);
        map.build().ok()
    };
    text.lines().filter_map(line).collect()
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

pub(super) fn text(maps: &[LinuxIdMapping]) -> String {
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
