//! From a failed write to its cause: the same error number means another thing in each file.

use rustix::io::Errno;

use super::dir::Dir;
use super::error::Cause;

/// Why writing to `file` of the group `dir` failed with `errno`.
pub(super) fn of_write(dir: &Dir, file: &str, errno: Errno) -> Cause {
    match errno {
        Errno::BUSY if file.starts_with("memory.") => in_use(dir),
        Errno::BUSY if file.starts_with("cpuset.") => Cause::ParentAllowsLess,
        Errno::INVAL if file.starts_with("memory.memsw") => Cause::SwapBelowMemory,
        // v1: memory.limit_in_bytes above memory.memsw.limit_in_bytes.
        Errno::INVAL if file == "memory.limit_in_bytes" => Cause::SwapBelowMemory,
        Errno::INVAL if file.starts_with("devices.") => Cause::HasChildren,
        Errno::INVAL | Errno::RANGE => match accepted(file) {
            Some(accepted) => Cause::OutOfRange { accepted },
            None => Cause::Kernel(errno),
        },
        Errno::ACCESS if file.starts_with("cpuset.") => Cause::ParentAllowsLess,
        Errno::NODEV | Errno::NXIO if file.starts_with("io.") || file.starts_with("blkio.") => {
            Cause::NoSuchDevice
        }
        // Of a device: its scheduler keeps no weights.
        Errno::OPNOTSUPP if file.contains("io.") && file.contains("weight") => Cause::NotBfq,
        Errno::OPNOTSUPP => Cause::Threaded,
        errno => Dir::plain_cause(errno),
    }
}

fn in_use(dir: &Dir) -> Cause {
    let read = |file| dir.read_number_if_there(file).ok().flatten();
    match read("memory.usage_in_bytes").or_else(|| read("memory.current")) {
        Some(used_bytes) => Cause::InUse { used_bytes },
        None => Cause::Kernel(Errno::BUSY),
    }
}

/// What a file takes, from Documentation/admin-guide/cgroup-v1/* and cgroup-v2.rst.
fn accepted(file: &str) -> Option<&'static str> {
    Some(match file {
        "cpu.cfs_quota_us" => {
            "a quota of at least 1000 µs, no more than the group above has per period, and -1"
        }
        "cpu.cfs_period_us" => "a period of 1000 to 1000000 µs",
        "cpu.max" => "a quota of at least 1000 µs and a period of 1000 to 1000000 µs",
        "cpu.cfs_burst_us" | "cpu.max.burst" => "a burst of 0 up to the quota",
        "cpu.shares" => "2 to 262144, and nothing else while cpu.idle is 1",
        "cpu.weight" => "1 to 10000, and nothing else while cpu.idle is 1",
        "cpu.idle" => "0 and 1",
        "cpuset.cpus" | "cpuset.mems" => "a list such as 0-3,7 of what this host has online",
        "memory.swappiness" => "0 to 100",
        "blkio.bfq.weight" | "io.bfq.weight" => "1 to 1000",
        "blkio.weight" => "10 to 1000",
        "io.weight" => "1 to 10000",
        "pids.max" => "0 to 4194304, and max",
        _ => return None,
    })
}

/// Why a controller was not enabled in `cgroup.subtree_control`
/// (cgroup-v2.rst, "Enabling and Disabling", "No Internal Process Constraint", "Threads").
pub(super) fn of_enable(errno: Errno) -> Cause {
    match errno {
        Errno::BUSY => Cause::InternalProcesses,
        Errno::OPNOTSUPP => Cause::Threaded,
        Errno::NOENT => Cause::NotAvailable,
        Errno::INVAL => Cause::RealTimeProcesses,
        errno => Dir::plain_cause(errno),
    }
}

/// Why a process was not moved into a group.
pub(super) fn of_attach(errno: Errno) -> Cause {
    match errno {
        Errno::NOSPC => Cause::EmptyCpuset,
        Errno::SRCH => Cause::NoProcess,
        Errno::BUSY => Cause::NotALeaf,
        Errno::OPNOTSUPP => Cause::Threaded,
        Errno::INVAL => Cause::RealTimeProcesses,
        errno => Dir::plain_cause(errno),
    }
}
