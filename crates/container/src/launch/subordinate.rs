//! The maps of a user namespace that a user without privileges makes: the own ids, which the kernel
//! lets anybody map, or ranges that the host's administrator gave to the user (subuid(5), subgid(5)),
//! which newuidmap(1) and newgidmap(1) write.
//!
//! Those are the only programs that gamut runs, besides the hooks of a configuration: they are set-uid,
//! and the kernel knows no other way. They are looked for in the caller's PATH, and never called for
//! somebody who may write maps himself.

use std::process::{Command, Stdio};

use gamut_plan::cell::StartError;
use oci_spec::runtime::LinuxIdMapping;
use rustix::process::Pid;
use rustix::thread::CapabilitySet;

use super::idmap::Maps;
use super::prepare::errno_of;
use crate::privilege;

/// Whether processes of a user namespace may change their supplementary groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Groups {
    MayBeSet,
    /// The price of a map that the user writes: a group may be there to deny something.
    Stay,
}

/// How the maps come about for this caller.
pub(crate) fn groups(maps: &Maps) -> Groups {
    let own = rustix::process::getegid().as_raw();
    if !privilege::has(CapabilitySet::SETGID) && is_only(maps.gids(), own) {
        Groups::Stay
    } else {
        Groups::MayBeSet
    }
}

/// Writes the maps of `child`, which has just made its user namespace and waits. It is a child that
/// this process has not reaped: its number cannot have come to mean another.
pub(crate) fn write(maps: &Maps, child: Pid) -> Result<(), StartError> {
    let own = (rustix::process::geteuid(), rustix::process::getegid());
    if privilege::has(CapabilitySet::SETUID) && privilege::has(CapabilitySet::SETGID) {
        return maps.write(child);
    }
    if groups(maps) == Groups::Stay {
        write_file(child, "setgroups", "deny")?;
    }
    for (file, program, map, own) in [
        ("uid_map", "newuidmap", maps.uids(), own.0.as_raw()),
        ("gid_map", "newgidmap", maps.gids(), own.1.as_raw()),
    ] {
        // Root's PATH is nobody's to choose a program by.
        if is_only(map, own) || own == 0 {
            write_file(child, file, &super::idmap::text(map))?;
        } else {
            call(program, child, map)?;
        }
    }
    Ok(())
}

/// Whether one id is mapped, the caller's own.
fn is_only(map: &[LinuxIdMapping], own: u32) -> bool {
    matches!(map, [one] if one.size() == 1 && one.host_id() == own)
}

fn write_file(child: Pid, file: &str, text: &str) -> Result<(), StartError> {
    let path = format!("/proc/{}/{file}", child.as_raw_nonzero());
    std::fs::write(path, text).map_err(|error| StartError::Step {
        step: format!("write the user namespace's {file}"),
        reason: std::io::Error::from(errno_of(&error)).to_string(),
        hint: Some("without privileges only the caller's own ids can be mapped directly".into()),
    })
}

/// `newuidmap PID INSIDE OUTSIDE COUNT …`
fn call(program: &'static str, child: Pid, map: &[LinuxIdMapping]) -> Result<(), StartError> {
    let numbers = map
        .iter()
        .flat_map(|one| [one.container_id(), one.host_id(), one.size()]);
    let mut command = Command::new(program);
    command
        .arg(child.as_raw_nonzero().to_string())
        .args(numbers.map(|number| number.to_string()))
        .stdin(Stdio::null());
    let failed = |reason: String, hint: &str| StartError::Step {
        step: format!("map the ids of the user namespace with {program}"),
        reason,
        hint: Some(hint.to_owned()),
    };
    let output = command.output().map_err(|error| {
        failed(
            error.to_string(),
            "more than the caller's own id needs newuidmap and newgidmap (Debian: uidmap)",
        )
    })?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(failed(
        said.trim().to_owned(),
        "the ranges must be the caller's in /etc/subuid and /etc/subgid",
    ))
}
