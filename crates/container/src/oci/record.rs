//! What is known of a container: one file in its directory, replaced as a whole.

use std::collections::HashMap;
use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use oci_spec::runtime::{LinuxNamespaceType, Spec};
use serde::{Deserialize, Serialize};

use super::error::OciError;
use crate::cgroup::Hierarchies;
use crate::resctrl::Resctrl;
use crate::systemd::Unit;

const FILE: &str = "state.json";

/// A container as it was made.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Record {
    pub id: String,
    /// Absolute.
    pub bundle: PathBuf,
    /// Of the first process, as this process's pid namespace has it; 0 while it is being made.
    pub pid: i32,
    /// When that process began, in clock ticks since boot: a pid alone may be another's by now.
    pub pid_began_ticks: u64,
    /// Since the epoch.
    pub created_ns: u64,
    /// Its control group, relative to each hierarchy; empty: it has none of its own.
    pub cgroup: String,
    /// The scope that this group is, where systemd makes it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<Unit>,
    /// Where that is, for a user without privileges: as the maker saw it from its own group.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hierarchies: Option<Hierarchies>,
    /// The names of its standard streams (`pipe:[4711]`) where they were its maker's; a checkpoint
    /// keeps them.
    #[serde(default)]
    pub streams: Vec<String>,
    /// What it has of a processor's classes of cache and bandwidth.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) resctrl: Option<Resctrl>,
    /// The id of the mount that its root is, where that lies among the mounts of others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) shared_root: Option<u64>,
    /// The bundle's configuration when the container was made.
    pub spec: Spec,
}

/// Runtime specification, "State", and runc's `paused`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    Creating,
    Created,
    Running,
    Paused,
    Stopped,
}

impl Status {
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Status::Creating => "creating",
            Status::Created => "created",
            Status::Running => "running",
            Status::Paused => "paused",
            Status::Stopped => "stopped",
        }
    }
}

impl Record {
    /// Whether the first process lives: neither gone, nor waiting to be reaped, nor another one.
    pub(super) fn is_alive(&self) -> bool {
        matches!(process_stat(self.pid), Some((state, began))
            if began == self.pid_began_ticks && state != 'Z' && state != 'X')
    }

    /// Whether a namespace of this kind was made for it.
    #[must_use]
    pub fn has_own(&self, kind: LinuxNamespaceType) -> bool {
        let linux = self.spec.linux().as_ref();
        let listed = linux.and_then(|linux| linux.namespaces().as_deref());
        let mut listed = listed.unwrap_or_default().iter();
        listed.any(|namespace| namespace.typ() == kind && namespace.path().is_none())
    }

    /// The root file system on the host.
    #[must_use]
    pub fn rootfs(&self) -> PathBuf {
        let root = self.spec.root().as_ref();
        root.map_or_else(PathBuf::new, |root| self.bundle.join(root.path()))
    }

    /// Runtime specification, "State": what hooks read, and the most of what `state` prints.
    #[must_use]
    pub fn state(&self, status: Status) -> State<'_> {
        State {
            oci_version: super::SPEC_VERSION,
            id: &self.id,
            status,
            pid: match status {
                Status::Stopped => 0,
                _ => self.pid,
            },
            bundle: &self.bundle,
            annotations: self.spec.annotations().as_ref(),
        }
    }
}

/// The state of a container as the runtime specification has it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct State<'a> {
    pub oci_version: &'static str,
    pub id: &'a str,
    pub pid: i32,
    pub status: Status,
    pub bundle: &'a Path,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub annotations: Option<&'a HashMap<String, String>>,
}

/// The state and the beginning of a process; proc_pid_stat(5), fields 3 and 22.
pub(super) fn process_stat(pid: i32) -> Option<(char, u64)> {
    if pid <= 0 {
        return None;
    }
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold anything.
    let (_, fields) = text.rsplit_once(") ")?;
    let mut fields = fields.split(' ');
    let state = fields.next()?.chars().next()?;
    let began = fields.nth(18)?.parse().ok()?;
    Some((state, began))
}

/// The number of a process in its own pid namespace; proc_pid_status(5), `NSpid`.
pub(super) fn pid_inside(pid: i32) -> i32 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let numbers = text.lines().find_map(|line| line.strip_prefix("NSpid:"));
    let own = numbers.and_then(|numbers| numbers.split_whitespace().last());
    own.and_then(|own| own.parse().ok()).unwrap_or(pid)
}

/// runc's rule: letters, digits, `_`, `+`, `-`, `.`, and nothing that leads elsewhere.
pub(super) fn check_id(id: &str) -> Result<(), OciError> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_+-.".contains(c);
    let good = !id.is_empty() && id.len() <= 1024 && id.chars().all(allowed);
    if good && !id.starts_with('.') {
        Ok(())
    } else {
        Err(OciError::Id(id.to_owned()))
    }
}

/// `None`: there is no such container.
pub(super) fn read(directory: &Path) -> Result<Option<Record>, OciError> {
    let path = directory.join(FILE);
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(OciError::io("read", &path, error)),
    };
    let record = serde_json::from_slice(&bytes);
    record.map(Some).map_err(|error| OciError::Config {
        path,
        reason: error.to_string(),
    })
}

pub(super) fn write(directory: &Path, record: &Record) -> Result<(), OciError> {
    let path = directory.join(FILE);
    let bytes = serde_json::to_vec(record).map_err(|error| OciError::Config {
        path: path.clone(),
        reason: error.to_string(),
    })?;
    replace(&path, &bytes, 0o600).map_err(|error| OciError::io("write", &path, error))
}

/// Replaces a file as one: a reader sees the old or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8], mode: u32) -> std::io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let temporary = path.with_file_name(format!(".{name}.tmp"));
    let mut options = File::options();
    options.write(true).create(true).truncate(true).mode(mode);
    let written = options
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_names_and_no_paths() {
        for good in ["a", "pod-1.2_x+y", "0123456789abcdef"] {
            assert!(check_id(good).is_ok(), "{good}");
        }
        for bad in ["", ".", "..", ".filters", "a/b", "a b", "ä", "a\0"] {
            assert!(check_id(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn this_process_has_a_beginning() {
        let own = rustix::process::getpid().as_raw_nonzero().get();
        let (state, began) = process_stat(own).unwrap();
        assert!(state == 'R' || state == 'S', "{state}");
        assert!(began > 0);
        assert_eq!(process_stat(0), None);
    }
}
