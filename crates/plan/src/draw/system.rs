//! Workloads whose first process is systemd: what that wants of whoever starts it
//! (<https://systemd.io/CONTAINER_INTERFACE>), and what a whole system in a container may do.

use oci_spec::runtime::Mount;

use super::{DrawError, Drawing, mounts};
use crate::request::{Systemd, UserNamespace};

/// Where distributions have it.
const INITS: [&str; 6] = [
    "/sbin/init",
    "/usr/sbin/init",
    "/usr/local/sbin/init",
    "/lib/systemd/systemd",
    "/usr/lib/systemd/systemd",
    "/bin/systemd",
];
/// What a system boots without being told.
pub(super) const INIT: &str = "/sbin/init";

/// SIGRTMIN+3: halt, cleanly.
pub(super) const STOP_SIGNAL: i32 = 37;
/// What systemd gives its own services.
pub(super) const STOP_TIMEOUT_S: u32 = 90;

/// Whether the first process is systemd; `command` is what it will be.
pub(super) fn is_systemd(drawing: &Drawing<'_>, command: &[String]) -> bool {
    match drawing.request.process.systemd {
        Systemd::Never => false,
        Systemd::Always | Systemd::System => true,
        Systemd::Detect => command
            .first()
            .is_some_and(|program| INITS.contains(&program.as_str())),
    }
}

/// Whether the workload is a whole system with users of its own, over whom it may do all.
pub(super) fn owns_itself(drawing: &Drawing<'_>) -> bool {
    drawing.request.process.systemd == Systemd::System
        && !matches!(drawing.request.namespaces.user, Some(UserNamespace::Host))
}

/// Capabilities that mean nothing to users of one's own; services that are there only with them would fail.
pub(super) const WITHOUT: [&str; 5] = [
    "CAP_MAC_ADMIN",
    "CAP_MAC_OVERRIDE",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_TIME",
];

/// Directories that are empty at each start.
pub(super) fn directories() -> Result<Vec<Mount>, DrawError> {
    let directory = |path, mode| mounts::mount(path, "tmpfs", &["nosuid", "nodev", mode]);
    Ok(vec![
        directory("/run", "mode=755")?,
        directory("/run/lock", "mode=1777")?,
        directory("/tmp", "mode=1777")?,
    ])
}

/// `container` tells that it is one; `container_uuid` is the machine's id when it has none.
pub(super) fn environment(id: &str) -> Option<[String; 2]> {
    let hex = id.get(..32)?;
    let uuid = format!(
        "{}-{}-{}-{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[12..16],
        &hex[16..20],
        &hex[20..]
    );
    Some([
        "container=gamut".to_owned(),
        format!("container_uuid={uuid}"),
    ])
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_machine_id_has_its_form() {
        let id = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
        let [_, uuid] = super::environment(id).expect("long enough");
        assert_eq!(uuid, "container_uuid=01234567-89ab-cdef-0123-456789abcdef");
        assert!(super::environment("short").is_none());
    }
}
