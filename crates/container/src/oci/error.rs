//! What can go wrong with a container that has no keeper. The words are close to runc's, because
//! engines look for some of them.

use std::path::{Path, PathBuf};

use gamut_plan::cell::StartError;
use gamut_spec::{Fault, Kind};
use oci_spec::runtime::LinuxNamespaceType;
use thiserror::Error;

use super::criu::CriuError;
use super::record::Status;
use crate::cgroup::CgroupError;
use crate::systemd::SystemdError;

#[derive(Debug, Error)]
pub enum OciError {
    #[error("container does not exist: `{0}`")]
    NotFound(String),
    #[error("container with given ID already exists: `{0}`")]
    Exists(String),
    #[error("invalid container ID format: `{0}`")]
    Id(String),
    #[error("{}: {reason}", .path.display())]
    Config { path: PathBuf, reason: String },
    #[error("cannot {action} {}: {source}", .path.display())]
    Io {
        action: &'static str,
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("failed to connect with seccomp agent {}: {source}", .path.display())]
    Agent {
        path: PathBuf,
        source: std::io::Error,
    },
    #[error("container not running: `{0}`")]
    NotRunning(String),
    #[error("cannot start a container that is {}", .0.name())]
    NotCreated(Status),
    #[error("cannot {act} a {} container", .status.name())]
    State { act: &'static str, status: Status },
    #[error("cannot delete container `{id}` that is not stopped: {}", .status.name())]
    NotStopped { id: String, status: Status },
    #[error("container `{0}` has no control group of its own")]
    NoGroup(String),
    #[error("container `{0}` has no process in its configuration, and cannot be started")]
    NoProcess(String),
    #[error("cannot {act} a container that has no mount namespace of its own")]
    SharedMounts { act: &'static str },
    #[error("only root can restore a container")]
    NeedsRoot,
    #[error("container's cgroup is not empty: {0} process(es) found")]
    GroupInUse(usize),
    #[error("container's cgroup unexpectedly frozen")]
    GroupFrozen,
    #[error("{0} is no signal")]
    Signal(i32),
    #[error("error running {stage} hook #{index}: {}: {reason}", .path.display())]
    Hook {
        stage: &'static str,
        /// From 0.
        index: usize,
        path: PathBuf,
        reason: String,
    },
    #[error("{0}")]
    Console(String),
    #[error("cannot checkpoint: criu does not know that {} shows files with other owners", .0.display())]
    Unmappable(PathBuf),
    #[error("cannot restore: criu can join no namespace of kind {0}")]
    Unjoinable(LinuxNamespaceType),
    #[error("invalid --parent-path {}: {reason}", .path.display())]
    Parent { path: PathBuf, reason: String },
    #[error(transparent)]
    Criu(#[from] CriuError),
    #[error(transparent)]
    Cgroup(CgroupError),
    #[error(transparent)]
    Systemd(#[from] SystemdError),
    #[error(transparent)]
    Start(#[from] StartError),
}

impl OciError {
    pub(super) fn io(action: &'static str, path: &Path, source: std::io::Error) -> Self {
        OciError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl Fault for OciError {
    fn kind(&self) -> Kind {
        match self {
            OciError::NotFound(_) => Kind::NotFound,
            OciError::Exists(_)
            | OciError::NotRunning(_)
            | OciError::NotCreated(_)
            | OciError::GroupInUse(_)
            | OciError::GroupFrozen
            | OciError::State { .. }
            | OciError::NotStopped { .. } => Kind::Conflict,
            OciError::Id(_)
            | OciError::Config { .. }
            | OciError::Signal(_)
            | OciError::Parent { .. }
            | OciError::Console(_) => Kind::Invalid,
            OciError::NoProcess(_) | OciError::SharedMounts { .. } => Kind::Invalid,
            OciError::NoGroup(_) => Kind::HostLacks,
            OciError::NeedsRoot => Kind::Denied,
            OciError::Io { .. } | OciError::Agent { .. } | OciError::Hook { .. } => {
                Kind::Unavailable
            }
            OciError::Unmappable(_) | OciError::Unjoinable(_) => Kind::HostLacks,
            OciError::Criu(error) => error.kind(),
            OciError::Cgroup(error) => error.kind(),
            OciError::Systemd(error) => error.kind(),
            OciError::Start(error) => error.kind(),
        }
    }

    fn hint(&self) -> Option<String> {
        match self {
            OciError::Criu(error) => error.hint(),
            OciError::Cgroup(error) => error.hint(),
            OciError::Systemd(error) => error.hint(),
            // The engines' remedies for a program that is not there speak of images.
            OciError::Start(
                StartError::ProgramNotFound { .. }
                | StartError::InterpreterNotFound { .. }
                | StartError::ProgramNotRunnable { .. },
            ) => None,
            OciError::Start(error) => error.hint(),
            OciError::NoGroup(_) => Some(
                "its maker may make none: delegate one to the user, as `systemd-run --user --scope -p \
                 Delegate=yes` does on cgroup v2"
                    .into(),
            ),
            OciError::Io { source, path, .. }
                if source.kind() == std::io::ErrorKind::PermissionDenied
                    && path.starts_with("/run/gamut-oci") =>
            {
                Some("set XDG_RUNTIME_DIR, or give --root".into())
            }
            OciError::NotStopped { .. } => Some("kill it first, or use `--force`".into()),
            _ => None,
        }
    }
}
