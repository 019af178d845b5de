//! [`Guest`]: the machine as its kernel has it.

use std::fs;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use gamut_plan::cell::CellError;
use gamut_plan::guest::{GuestMount, GuestNetwork, HOST_CID, SHARE_TAG};
use gamut_sys::guest;
use rustix::fs::{CWD, Mode, OFlags};
use rustix::io::Errno;
use rustix::mount::{
    FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_flag,
    fsconfig_set_string, fsmount, fsopen, move_mount,
};
use rustix::system::RebootCommand;
use rustix::time::{ClockId, Timespec};

use crate::error::refused;
use crate::machine::Machine;
use crate::network;

/// The virtual machine that this process is the first one of.
#[derive(Debug, Clone, Copy)]
pub struct Guest;

impl Guest {
    /// Ends the machine by a reset, at which its monitor ends. Without ACPI the kernel makes of a power-off
    /// a halt (reboot(2)), of which nobody hears.
    pub(crate) fn power_off(self) {
        let _ = rustix::system::reboot(RebootCommand::Restart);
    }
}

impl Machine for Guest {
    fn dial(&self, port: u32) -> Result<OwnedFd, Errno> {
        guest::connect_vsock(HOST_CID, port)
    }

    fn mount(&self, mount: &GuestMount) -> Result<(), CellError> {
        let (target, mounted) = match mount {
            GuestMount::Erofs {
                serial,
                first,
                partitions,
                target,
            } => {
                let disk = disk(serial)?;
                let numbers = *first..first.saturating_add(*partitions);
                let devices: Vec<String> = numbers.map(|n| format!("/dev/{disk}{n}")).collect();
                (target, erofs(target, &devices))
            }
            GuestMount::Share { target } => {
                let mounted = attach("virtiofs", target, MountAttrFlags::empty(), |fs| {
                    fsconfig_set_string(fs, "source", SHARE_TAG)
                });
                (target, mounted)
            }
            GuestMount::Tmpfs { target } => {
                let mounted = attach("tmpfs", target, MountAttrFlags::empty(), |fs| {
                    fsconfig_set_string(fs, "mode", "755")
                });
                (target, mounted)
            }
        };
        mounted.map_err(|errno| refused(format!("mount {}", target.display()), errno))
    }

    fn set_clock(&self, time_ns: u64) -> Result<(), CellError> {
        let time = Timespec {
            tv_sec: (time_ns / 1_000_000_000) as i64,
            tv_nsec: (time_ns % 1_000_000_000) as i64,
        };
        rustix::time::clock_settime(ClockId::Realtime, time)
            .map_err(|errno| refused("set the clock", errno))
    }

    fn add_entropy(&self, bytes: &[u8]) -> Result<(), CellError> {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        rustix::fs::openat(CWD, "/dev/random", flags, Mode::empty())
            .and_then(|random| guest::add_entropy(random.as_fd(), bytes))
            .map_err(|errno| refused("add entropy", errno))
    }

    fn connect(&self, network: Option<&GuestNetwork>) -> Result<(), CellError> {
        network::connect(network)
    }

    fn sync(&self) {
        rustix::fs::sync();
    }

    fn power_off(&self) {
        Guest::power_off(*self);
    }
}

/// The block device of this serial number: its name in /dev.
fn disk(serial: &str) -> Result<String, CellError> {
    let missing = || refused(format!("find the disk {serial}"), Errno::NODEV);
    let listed = fs::read_dir("/sys/block").map_err(|_| missing())?;
    for entry in listed.flatten() {
        let said = fs::read_to_string(entry.path().join("serial"));
        if said.is_ok_and(|said| said.trim() == serial) {
            return entry.file_name().into_string().map_err(|_| missing());
        }
    }
    Err(missing())
}

/// The first device has the metadata.
fn erofs(target: &Path, devices: &[String]) -> Result<(), Errno> {
    let (metadata, data) = devices.split_first().ok_or(Errno::INVAL)?;
    attach("erofs", target, MountAttrFlags::MOUNT_ATTR_RDONLY, |fs| {
        fsconfig_set_flag(fs, "ro")?;
        fsconfig_set_string(fs, "source", metadata)?;
        data.iter()
            .try_for_each(|device| fsconfig_set_string(fs, "device", device))
    })
}

/// Makes a file system, as `configure` has it, and attaches it to `target`, which is made.
fn attach(
    kind: &str,
    target: &Path,
    attributes: MountAttrFlags,
    configure: impl FnOnce(&OwnedFd) -> Result<(), Errno>,
) -> Result<(), Errno> {
    fs::create_dir_all(target)
        .map_err(|error| Errno::from_io_error(&error).unwrap_or(Errno::IO))?;
    let fs = fsopen(kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
    configure(&fs)?;
    fsconfig_create(&fs)?;
    let tree = fsmount(&fs, FsMountFlags::FSMOUNT_CLOEXEC, attributes)?;
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH;
    move_mount(&tree, c"", CWD, target, flags)
}
