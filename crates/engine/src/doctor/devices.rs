//! What virtual machines need: whether it is there and may be used. Whether KVM works is found
//! out by the level's own probe.

use gamut_plan::Level;
use rustix::fs::{Access, access};
use rustix::io::Errno;

use super::{Area, Feature, State};

pub(super) fn features() -> Vec<Feature> {
    vec![
        device("/dev/kvm", "microvm runs on it").or(
            "load it with `modprobe kvm_intel` or `kvm_amd`; inside a virtual machine, its host must \
             allow nested ones",
        ),
        device("/dev/net/tun", "a machine is on its network by it")
            .or("load it with `modprobe tun`"),
    ]
}

fn device(path: &str, for_what: &str) -> Feature {
    let (state, detail) = match usable(path) {
        Ok(()) => (State::Yes, format!("{for_what}; may be used")),
        Err(Errno::NOENT) => (State::No, format!("{for_what}; not there")),
        Err(Errno::ACCESS | Errno::PERM) => {
            (State::No, format!("{for_what}; there, and may not be used"))
        }
        Err(errno) => (State::Unknown, errno.to_string()),
    };
    Feature::new(Area::Machines, path, state, detail)
}

fn usable(path: &str) -> Result<(), Errno> {
    access(path, Access::READ_OK | Access::WRITE_OK)
}

/// What there is for a level that is not built yet.
pub(super) fn prospects(level: Level) -> Vec<String> {
    let kvm = match usable("/dev/kvm") {
        Ok(()) => "/dev/kvm is there and may be used",
        Err(Errno::NOENT) => "there is no /dev/kvm",
        Err(_) => "there is a /dev/kvm, which may not be used",
    };
    match level {
        Level::Container | Level::Microvm => Vec::new(),
        Level::Sandbox => vec![format!("{kvm}; without it a slower way will do")],
        Level::Vm => vec![kvm.to_owned()],
    }
}
