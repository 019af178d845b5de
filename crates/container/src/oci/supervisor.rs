//! The supervisor of a seccomp filter: who decides calls that the filter does not decide itself gets
//! the listener, with the state of the process that asks. Runtime specification, "The Container
//! Process State".

use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;

use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction};
use serde_json::json;

use super::error::OciError;
use super::record::{Record, Status};

/// Whether a filter asks somebody who cannot be reached.
pub(super) fn check(seccomp: Option<&LinuxSeccomp>) -> Result<(), String> {
    let Some(seccomp) = seccomp else {
        return Ok(());
    };
    let mut calls = seccomp.syscalls().iter().flatten();
    let asks = calls.any(|call| call.action() == LinuxSeccompAction::ScmpActNotify);
    let metadata = seccomp.listener_metadata().as_deref().unwrap_or_default();
    match seccomp.listener_path() {
        None if asks => Err("seccomp: SCMP_ACT_NOTIFY needs a listenerPath".into()),
        None if !metadata.is_empty() => {
            Err("seccomp: listenerMetadata is nothing without a listenerPath".into())
        }
        _ => Ok(()),
    }
}

/// Gives the listener to whoever the filter names.
pub(super) fn give(record: &Record, status: Status, listener: &OwnedFd) -> Result<(), OciError> {
    let linux = record.spec.linux().as_ref();
    let Some(seccomp) = linux.and_then(|linux| linux.seccomp().as_ref()) else {
        return Ok(());
    };
    let Some(path) = seccomp.listener_path() else {
        return Ok(());
    };
    let state = json!({
        "ociVersion": super::SPEC_VERSION,
        "fds": ["seccompFd"],
        "pid": record.pid,
        "metadata": seccomp.listener_metadata().clone().unwrap_or_default(),
        "state": record.state(status),
    });
    let socket = UnixStream::connect(path).map_err(|source| OciError::Agent {
        path: path.clone(),
        source,
    })?;
    let text = state.to_string();
    gamut_sys::socket::send(socket.as_fd(), &[text.as_bytes()], &[listener.as_fd()])
        .map_err(|errno| OciError::io("send the seccomp listener to", path, errno.into()))
}
