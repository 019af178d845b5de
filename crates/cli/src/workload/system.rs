//! `--system`: what goes along with it, unless it was said otherwise.

use std::path::Path;

use gamut_plan::request::{Device, DeviceAccess, RunRequest, UserNamespace};

/// What engines inside want: for file systems and for networks of users' own.
const DEVICES: [&str; 2] = ["/dev/fuse", "/dev/net/tun"];

/// Users of its own, and the devices that this host has.
pub(super) fn complete(request: &mut RunRequest) {
    let user = &mut request.namespaces.user;
    if *user.get_or_insert(UserNamespace::Auto) == UserNamespace::Host {
        return;
    }
    let devices = &mut request.security.devices;
    for path in DEVICES.map(Path::new) {
        if path.exists() && !devices.iter().any(|device| device.target == path) {
            devices.push(Device {
                source: path.to_owned(),
                target: path.to_owned(),
                access: DeviceAccess::ALL,
            });
        }
    }
}
