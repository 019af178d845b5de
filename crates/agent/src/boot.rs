//! From the kernel's first program to an agent: what every Linux program expects to be mounted, and
//! a root that can be left.

use std::fs;

use rustix::fs::Mode;
use rustix::io::Errno;
use rustix::mount::{MountFlags, mount, mount_move};
use rustix::process::{Resource, Rlimit};

use crate::error::AgentError;
use crate::modules;

/// Where the root of this machine is put together; the initramfs has it.
const NEW_ROOT: &str = "/gamut";
/// What a container's programs may open: as Docker's have it, and the kernel's own bound (`fs.nr_open`).
const OPEN_FILES: u64 = 1 << 20;

fn failed(act: &'static str, object: &str) -> impl Fn(Errno) -> AgentError {
    move |errno| AgentError::Boot {
        act,
        object: object.to_owned(),
        errno,
    }
}

/// Makes the machine one in which a container can be started.
pub(crate) fn prepare() -> Result<(), AgentError> {
    modules::load()?;
    switch_root()?;
    enable_controllers()?;
    // The machine is as large as its workload's limit, not as a host: what asks for more than that gets it,
    // as it would there, and meets the limit when it uses it.
    let _ = fs::write("/proc/sys/vm/overcommit_memory", "1");
    raise_limits();
    Ok(())
}

/// The initramfs cannot be left (pivot_root(2)), which every container does with its root: so there is a
/// file system on top of it.
fn switch_root() -> Result<(), AgentError> {
    make(NEW_ROOT)?;
    let plain = MountFlags::empty();
    let closed = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
    let mounts = [
        (
            "",
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            c"mode=755",
        ),
        ("/dev", "devtmpfs", MountFlags::NOSUID, c""),
        ("/proc", "proc", closed, c""),
        ("/sys", "sysfs", closed, c""),
        ("/sys/fs/cgroup", "cgroup2", closed, c"nsdelegate"),
        (
            "/run",
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            c"mode=755",
        ),
        (
            "/tmp",
            "tmpfs",
            MountFlags::NOSUID | MountFlags::NODEV,
            c"mode=1777",
        ),
    ];
    for (below, kind, flags, options) in mounts {
        let target = format!("{NEW_ROOT}{below}");
        if !target.contains("/sys/") {
            make(&target)?;
        }
        mount(kind, &target, kind, flags | plain, options).map_err(failed("mount", &target))?;
    }
    let entered = rustix::process::chdir(NEW_ROOT)
        .and_then(|()| mount_move(".", "/"))
        .and_then(|()| rustix::process::chroot("."))
        .and_then(|()| rustix::process::chdir("/"));
    entered.map_err(failed("leave", "the initramfs"))
}

fn make(directory: &str) -> Result<(), AgentError> {
    match rustix::fs::mkdir(directory, Mode::from_raw_mode(0o755)) {
        Ok(()) | Err(Errno::EXIST) => Ok(()),
        Err(errno) => Err(failed("make", directory)(errno)),
    }
}

/// Every controller that this kernel has, for what is below.
fn enable_controllers() -> Result<(), AgentError> {
    const TOP: &str = "/sys/fs/cgroup/cgroup";
    let names = fs::read_to_string(format!("{TOP}.controllers")).unwrap_or_default();
    for name in names.split_whitespace() {
        // One that cannot be had is missed where it is asked for.
        let _ = fs::write(format!("{TOP}.subtree_control"), format!("+{name}"));
    }
    Ok(())
}

/// What is inherited should be what a container has on a host.
fn raise_limits() {
    let limit = |current| Rlimit {
        current,
        maximum: current,
    };
    for (resource, value) in [
        (Resource::Nofile, Some(OPEN_FILES)),
        (Resource::Nproc, None),
        (Resource::Core, None),
    ] {
        let _ = rustix::process::setrlimit(resource, limit(value));
    }
}
