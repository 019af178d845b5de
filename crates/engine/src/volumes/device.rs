//! What Docker's driver `local` is told by `-o`: a file system that is mounted over a volume's directory while
//! containers use it.

use std::collections::BTreeMap;
use std::ffi::CString;
use std::path::Path;

use rustix::fs::{AtFlags, CWD, FlockOperation, Mode, OFlags, StatxAttributes, StatxFlags};
use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};

use super::VolumeError;
use crate::dirs::Dirs;

/// The only driver.
pub const DRIVER: &str = "local";

/// File systems whose mounting takes more than mount(2): names to resolve, secrets, helpers.
const NEED_HELPERS: [&str; 7] = ["nfs", "nfs4", "cifs", "smb3", "ceph", "9p", "fuse"];

/// What is mounted over a volume's directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Device {
    kind: String,
    device: String,
    flags: MountFlags,
    data: String,
}

/// `None`: nothing is.
pub(super) fn parse(options: &BTreeMap<String, String>) -> Result<Option<Device>, VolumeError> {
    for name in options.keys() {
        match name.as_str() {
            "type" | "device" | "o" => {}
            "size" => return Err(VolumeError::Size),
            other => return Err(VolumeError::Option(other.to_owned())),
        }
    }
    let get = |name: &str| options.get(name).map(String::as_str);
    let needs = |option, needs| Err(VolumeError::Needs { option, needs });
    let (kind, device) = match (get("type"), get("device"), get("o")) {
        (None, None, None) => return Ok(None),
        (Some(kind), Some(device), _) if !kind.is_empty() && !device.is_empty() => (kind, device),
        (None, Some(_), _) => return needs("device", "type"),
        (None, None, Some(_)) => return needs("o", "type"),
        _ => return needs("type", "device"),
    };
    if NEED_HELPERS.contains(&kind) {
        return Err(VolumeError::Type(kind.to_owned()));
    }
    let (flags, data) = flags(get("o").unwrap_or_default());
    let is_bind = flags.contains(MountFlags::BIND);
    if is_bind && !Path::new(device).is_absolute() {
        return Err(VolumeError::Option(format!("device={device}")));
    }
    if !is_bind && kind == "none" {
        return Err(VolumeError::Needs {
            option: "type=none",
            needs: "o=bind",
        });
    }
    Ok(Some(Device {
        kind: kind.to_owned(),
        device: device.to_owned(),
        flags,
        data,
    }))
}

/// mount(8)'s words that are flags of mount(2), and the rest.
fn flags(text: &str) -> (MountFlags, String) {
    let mut flags = MountFlags::empty();
    let mut data = Vec::new();
    for word in text.split(',').filter(|word| !word.is_empty()) {
        let (flag, on) = match word {
            "defaults" | "auto" | "noauto" => continue,
            "ro" => (MountFlags::RDONLY, true),
            "rw" => (MountFlags::RDONLY, false),
            "bind" => (MountFlags::BIND, true),
            "rbind" => (MountFlags::BIND | MountFlags::REC, true),
            "nosuid" => (MountFlags::NOSUID, true),
            "suid" => (MountFlags::NOSUID, false),
            "nodev" => (MountFlags::NODEV, true),
            "dev" => (MountFlags::NODEV, false),
            "noexec" => (MountFlags::NOEXEC, true),
            "exec" => (MountFlags::NOEXEC, false),
            "noatime" => (MountFlags::NOATIME, true),
            "atime" => (MountFlags::NOATIME, false),
            "nodiratime" => (MountFlags::NODIRATIME, true),
            "relatime" => (MountFlags::RELATIME, true),
            "strictatime" => (MountFlags::STRICTATIME, true),
            "sync" => (MountFlags::SYNCHRONOUS, true),
            "async" => (MountFlags::SYNCHRONOUS, false),
            "dirsync" => (MountFlags::DIRSYNC, true),
            other => {
                data.push(other);
                continue;
            }
        };
        flags.set(flag, on);
    }
    (flags, data.join(","))
}

impl Device {
    /// Has it mounted at `at`, which two starts may want at once.
    pub(super) fn mount(&self, name: &str, at: &Path) -> Result<(), VolumeError> {
        let failed = |source: std::io::Error| VolumeError::Mount {
            name: name.to_owned(),
            kind: self.kind.clone(),
            device: self.device.clone(),
            at: at.to_owned(),
            source,
        };
        if is_mounted(at) {
            return Ok(());
        }
        std::fs::create_dir_all(at).map_err(failed)?;
        let parent = at.parent().unwrap_or(at);
        let open = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let lock = rustix::fs::open(parent, open, Mode::empty()).map_err(|e| failed(e.into()))?;
        rustix::io::retry_on_intr(|| rustix::fs::flock(&lock, FlockOperation::LockExclusive))
            .map_err(|e| failed(e.into()))?;
        if is_mounted(at) {
            return Ok(());
        }
        self.mount_now(at).map_err(|errno| {
            let _ = rustix::mount::unmount(at, UnmountFlags::DETACH | UnmountFlags::NOFOLLOW);
            failed(errno.into())
        })
    }

    fn mount_now(&self, at: &Path) -> rustix::io::Result<()> {
        if !self.flags.contains(MountFlags::BIND) {
            let data = CString::new(self.data.clone()).map_err(|_| rustix::io::Errno::INVAL)?;
            let data = (!self.data.is_empty()).then_some(data.as_c_str());
            rustix::mount::mount(&self.device, at, &self.kind, self.flags, data)?;
            return rustix::mount::mount_change(at, MountPropagationFlags::PRIVATE);
        }
        match self.flags.contains(MountFlags::REC) {
            true => rustix::mount::mount_bind_recursive(&self.device, at)?,
            false => rustix::mount::mount_bind(&self.device, at)?,
        }
        rustix::mount::mount_change(at, MountPropagationFlags::PRIVATE)?;
        let rest = self.flags - MountFlags::BIND - MountFlags::REC;
        match rest.is_empty() {
            true => Ok(()),
            // A bind's own flags are a second step (mount(2), "Creating a bind mount").
            false => rustix::mount::mount_remount(at, rest | MountFlags::BIND, ""),
        }
    }
}

/// Takes off whatever is mounted at `at`.
pub(super) fn unmount(at: &Path) -> Result<(), VolumeError> {
    let flags = UnmountFlags::DETACH | UnmountFlags::NOFOLLOW;
    while is_mounted(at) {
        rustix::mount::unmount(at, flags).map_err(VolumeError::at("unmount", at))?;
    }
    Ok(())
}

/// Takes off what is mounted over any volume: before they are all removed, and with them what is in them.
pub(crate) fn release_all(dirs: &Dirs) -> Result<(), VolumeError> {
    for name in super::record::names(&dirs.volumes())? {
        unmount(&dirs.volumes().join(&name).join("_data"))?;
    }
    Ok(())
}

/// statx(2), Linux 5.8.
pub(super) fn is_mounted(path: &Path) -> bool {
    let flags = AtFlags::SYMLINK_NOFOLLOW | AtFlags::NO_AUTOMOUNT;
    let found = rustix::fs::statx(CWD, path, flags, StatxFlags::MODE);
    found.is_ok_and(|found| found.stx_attributes.contains(StatxAttributes::MOUNT_ROOT))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn dockers_options_become_mounts() {
        assert_eq!(parse(&BTreeMap::new()).expect("none"), None);
        let bind = options(&[("type", "none"), ("device", "/srv"), ("o", "bind,ro")]);
        let bind = parse(&bind).expect("a bind").expect("a device");
        assert!(bind.flags.contains(MountFlags::BIND | MountFlags::RDONLY));
        let memory = options(&[
            ("type", "tmpfs"),
            ("device", "tmpfs"),
            ("o", "size=1m,nosuid,uid=5"),
        ]);
        let memory = parse(&memory).expect("tmpfs").expect("a device");
        assert_eq!(memory.flags, MountFlags::NOSUID);
        assert_eq!(memory.data, "size=1m,uid=5");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for pairs in [
            &[("type", "tmpfs")][..],
            &[("device", "/x")],
            &[("o", "bind")],
            &[("what", "x")],
            &[("size", "1g")],
            &[("type", "none"), ("device", "/x")],
            &[("type", "none"), ("device", "x"), ("o", "bind")],
            &[("type", "nfs"), ("device", ":/x"), ("o", "addr=1.2.3.4")],
        ] {
            assert!(parse(&options(pairs)).is_err(), "{pairs:?}");
        }
    }
}
