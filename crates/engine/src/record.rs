//! The two documents of a container: the plan, written once, and the status, which only its keeper
//! (or, once that is dead, a repair) replaces. They lie together: in the container's directory,
//! or, for one that goes with its run (`--rm`), in its run directory, where writing costs no disk.

use std::fs::File;
use std::io::{ErrorKind, Write};
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use gamut_plan::failure::Failure;
use gamut_plan::health::Health;
use gamut_plan::launch::Removal;
use gamut_plan::{LaunchPlan, Status};
use gamut_spec::{Fault, Kind};
use rustix::fs::FlockOperation;
use rustix::io::Errno;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::dirs::Container;
use crate::summary::PlanExtract;

#[derive(Debug, Error)]
pub enum RecordError {
    #[error("cannot read {}: {source}", .path.display())]
    Read {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("cannot write {}: {source}", .path.display())]
    Write {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("{} is damaged: {source}", .path.display())]
    Damaged {
        path: PathBuf,
        source: serde_json::Error,
    },
    #[error("{} was written by another version of gamut (form {found})", .path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("the container was never finished: whoever made it was killed before it wrote {}", .path.display())]
    Unfinished { path: PathBuf },
}

impl Fault for RecordError {
    fn kind(&self) -> Kind {
        match self {
            RecordError::Read { source, .. } if source.kind() == ErrorKind::NotFound => {
                Kind::NotFound
            }
            RecordError::Read { .. } | RecordError::Write { .. } => Kind::Unavailable,
            RecordError::Damaged { .. }
            | RecordError::Version { .. }
            | RecordError::Unfinished { .. } => Kind::Conflict,
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            RecordError::Write { source, .. } if source.kind() == ErrorKind::StorageFull => {
                Some("free some disk space".into())
            }
            RecordError::Damaged { .. }
            | RecordError::Version { .. }
            | RecordError::Unfinished { .. } => {
                Some("remove the container with `gamut rm -f` and make it anew".into())
            }
            _ => None,
        }
    }
}

fn read<T: DeserializeOwned>(path: &Path) -> Result<T, RecordError> {
    let bytes = std::fs::read(path).map_err(|source| RecordError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_json::from_slice(&bytes).map_err(|source| RecordError::Damaged {
        path: path.to_owned(),
        source,
    })
}

fn document<T: Serialize>(path: &Path, value: &T) -> Result<Vec<u8>, RecordError> {
    serde_json::to_vec(value).map_err(|error| RecordError::Write {
        path: path.to_owned(),
        source: error.into(),
    })
}

/// Replaces a document as one: a reader sees the old or the new one, whatever happens.
fn replace(path: &Path, bytes: &[u8]) -> Result<(), RecordError> {
    let failed = |source| RecordError::Write {
        path: path.to_owned(),
        source,
    };
    let temporary = path.with_extension("tmp");
    let written = File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&temporary)
        .and_then(|mut file| file.write_all(bytes))
        .and_then(|()| std::fs::rename(&temporary, path));
    if written.is_err() {
        let _ = std::fs::remove_file(&temporary);
    }
    written.map_err(failed)
}

const PLAN: &str = "plan.json";
const STATUS: &str = "status.json";
const HEALTH: &str = "health.json";
const FAILURE: &str = "failure.json";

/// Where a container's documents are: where its plan was put.
fn place(container: &Container) -> &Path {
    if container.run().join(PLAN).exists() {
        container.run()
    } else {
        &container.directory
    }
}

/// The plan of a container.
///
/// # Errors
/// Missing, damaged, or of another form.
pub fn read_plan(container: &Container) -> Result<LaunchPlan, RecordError> {
    read_versioned(container, |plan: &LaunchPlan| plan.version)
}

/// As much of it as lists show.
pub(crate) fn read_plan_extract(container: &Container) -> Result<PlanExtract, RecordError> {
    read_versioned(container, |plan: &PlanExtract| plan.version)
}

fn read_versioned<T: DeserializeOwned>(
    container: &Container,
    version: impl Fn(&T) -> u32,
) -> Result<T, RecordError> {
    let path = place(container).join(PLAN);
    let plan = match read(&path) {
        // It comes last, and whoever makes it may be killed before.
        Err(RecordError::Read { source, .. })
            if source.kind() == ErrorKind::NotFound && container.directory.exists() =>
        {
            return Err(RecordError::Unfinished { path });
        }
        other => other?,
    };
    match version(&plan) {
        LaunchPlan::VERSION => Ok(plan),
        found => Err(RecordError::Version { path, found }),
    }
}

/// Writes a plan down, and has `meanwhile` see its document before that.
///
/// # Errors
/// What the disk says.
pub fn write_plan(
    container: &Container,
    plan: &LaunchPlan,
    meanwhile: impl FnOnce(&[u8]),
) -> Result<(), RecordError> {
    let place = match plan.removal {
        Removal::Keep => &container.directory,
        Removal::OnExit => container.run(),
    };
    let path = place.join(PLAN);
    let document = document(&path, plan)?;
    meanwhile(&document);
    make_private(place).map_err(|source| RecordError::Write {
        path: path.clone(),
        source,
    })?;
    replace(&path, &document)
}

/// The status of a container; one that was never started has none and is [`Status::default`].
///
/// # Errors
/// Unreadable or damaged.
pub fn read_status(container: &Container) -> Result<Status, RecordError> {
    match read(&place(container).join(STATUS)) {
        Err(RecordError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(Status::default())
        }
        other => other,
    }
}

/// # Errors
/// What the disk says.
pub fn write_status(container: &Container, status: &Status) -> Result<(), RecordError> {
    let path = place(container).join(STATUS);
    replace(&path, &document(&path, status)?)
}

/// The results of a container's health checks; none yet is fine.
///
/// # Errors
/// Damaged.
pub fn read_health(container: &Container) -> Result<Health, RecordError> {
    match read(&place(container).join(HEALTH)) {
        Err(RecordError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => {
            Ok(Health::default())
        }
        other => other,
    }
}

/// # Errors
/// What the disk says.
pub fn write_health(container: &Container, health: &Health) -> Result<(), RecordError> {
    let path = place(container).join(HEALTH);
    replace(&path, &document(&path, health)?)
}

/// What was written down of a container's last failure; `None`: it has not failed.
///
/// # Errors
/// Damaged.
pub fn read_failure(container: &Container) -> Result<Option<Failure>, RecordError> {
    match read(&place(container).join(FAILURE)) {
        Err(RecordError::Read { source, .. }) if source.kind() == ErrorKind::NotFound => Ok(None),
        other => other.map(Some),
    }
}

/// # Errors
/// What the disk says.
pub fn write_failure(container: &Container, failure: &Failure) -> Result<(), RecordError> {
    let path = place(container).join(FAILURE);
    replace(&path, &document(&path, failure)?)
}

/// The right to be a container's keeper, held as a file lock (flock(2)): it ends with the process
/// that holds it, however that ends, and cannot be mistaken for another's as a pid can.
///
/// # Errors
/// `None` if somebody holds it.
pub fn try_lock(container: &Container) -> Result<Option<OwnedFd>, RecordError> {
    // Another command may be removing the directory, or be asking just now whether a keeper lives
    // ([`is_kept`]): what takes an instant is ours to wait out.
    for _ in 0..10 {
        match try_lock_once(container) {
            Err(RecordError::Write { source, .. }) if source.kind() == ErrorKind::NotFound => {}
            Ok(None) => std::thread::sleep(std::time::Duration::from_micros(500)),
            other => return other,
        }
    }
    try_lock_once(container)
}

/// Makes a directory that only root may enter: what lies in it speaks to keepers.
fn make_private(path: &Path) -> std::io::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
}

fn try_lock_once(container: &Container) -> Result<Option<OwnedFd>, RecordError> {
    let path = container.lock();
    let file = make_private(container.run())
        .and_then(|()| {
            File::options()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(&path)
        })
        .map_err(|source| RecordError::Write {
            path: path.clone(),
            source,
        })?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(Some(file.into())),
        Err(Errno::AGAIN) => Ok(None),
        Err(errno) => Err(RecordError::Write {
            path,
            source: errno.into(),
        }),
    }
}

/// Whether a keeper is alive.
#[must_use]
pub fn is_kept(container: &Container) -> bool {
    let Ok(file) = File::open(container.lock()) else {
        return false;
    };
    // Shared: two who ask at once do not take each other for a keeper.
    matches!(
        rustix::fs::flock(&file, FlockOperation::NonBlockingLockShared),
        Err(Errno::AGAIN)
    )
}

/// This boot's id; process ids of another boot mean nothing.
#[must_use]
pub fn boot_id() -> &'static str {
    static ID: OnceLock<String> = OnceLock::new();
    ID.get_or_init(|| {
        std::fs::read_to_string("/proc/sys/kernel/random/boot_id")
            .map(|s| s.trim().to_owned())
            .unwrap_or_default()
    })
}

/// The time now, nanoseconds since the epoch.
#[must_use]
pub fn now_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}
