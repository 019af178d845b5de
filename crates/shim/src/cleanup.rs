//! `delete`: containerd has lost a container's shim. What the shim would have done with it is done here,
//! from what it has left in the bundle.

use std::path::Path;

use prost::Message;

use crate::arguments::Arguments;
use crate::error::ShimError;
use crate::info::print;
use crate::log;
use crate::message::Timestamp;
use crate::message::task::DeleteResponse;
use crate::rootfs;
use crate::runtime::Runtime;
use crate::service::PID_FILE;
use crate::start::{SOCKETS, socket_path};

/// Carries out `delete`, and prints how the container ended: by SIGKILL, which this is.
///
/// # Errors
/// Standard output is gone. A runtime that fails is a warning, so that containerd can forget the container.
pub fn delete(arguments: &Arguments) -> Result<(), ShimError> {
    let bundle = arguments.bundle()?;
    let runtime = Runtime::recall(&arguments.namespace, &bundle);
    if let Err(error) = runtime.run_alone(&["delete", "--force", &arguments.id]) {
        log::warn(error);
    }
    rootfs::unmount_all(&bundle.join("rootfs"));
    forget_socket(arguments);
    let pid = std::fs::read_to_string(bundle.join(PID_FILE)).unwrap_or_default();
    let response = DeleteResponse {
        pid: pid.trim().parse().unwrap_or(0),
        exit_status: 128 + 9,
        exited_at: Some(Timestamp::now()),
    };
    print(&response.encode_to_vec())
}

/// The socket of a shim that had only this container. One of a pod is replaced by the pod's next shim.
fn forget_socket(arguments: &Arguments) {
    let path = socket_path(Path::new(SOCKETS), arguments, &arguments.id);
    if std::os::unix::net::UnixStream::connect(&path).is_err() {
        let _ = std::fs::remove_file(path);
    }
}
