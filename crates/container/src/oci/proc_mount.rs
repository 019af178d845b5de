//! What a configuration may mount over /proc and into it: little, because the runtime itself and other
//! programs trust what they read and write there. The rules are runc's (`libcontainer/rootfs_linux.go`,
//! `checkProcMount`); links that lead there are for [`crate::launch::target`] to refuse.

use std::path::{Component, Path, PathBuf};

use oci_spec::runtime::Mount;

/// What lxcfs and its like show in another way.
const ALLOWED: [&str; 11] = [
    "cpuinfo",
    "diskstats",
    "meminfo",
    "stat",
    "swaps",
    "uptime",
    "loadavg",
    "slabinfo",
    "net/dev",
    "sys/kernel/ns_last_pid",
    "sys/crypto/fips_enabled",
];

/// Refuses a mount that fakes a part of /proc, or all of it (CVE-2019-16884, CVE-2025-52881).
pub(super) fn check(mount: &Mount) -> Result<(), String> {
    let destination = mount.destination();
    let cleaned = clean(destination);
    let Ok(below) = cleaned.strip_prefix("proc") else {
        return Ok(());
    };
    let kind = mount.typ().as_deref().unwrap_or_default();
    if below.as_os_str().is_empty() {
        let is_proc = match mount.source() {
            _ if kind == "proc" => true,
            Some(source) => is_on_proc(source),
            None => false,
        };
        return if is_proc {
            Ok(())
        } else {
            Err(format!(
                "{}: only a proc can be mounted there",
                destination.display()
            ))
        };
    }
    if ALLOWED.iter().any(|name| below == Path::new(name)) {
        return Ok(());
    }
    Err(format!(
        "{}: nothing can be mounted there, because it is inside of /proc",
        destination.display()
    ))
}

/// Relative to the root, without `.` and `..`, as if there were no links.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(name) => cleaned.push(name),
            Component::ParentDir => {
                cleaned.pop();
            }
            _ => {}
        }
    }
    cleaned
}

fn is_on_proc(path: &Path) -> bool {
    // statfs(2), PROC_SUPER_MAGIC.
    const PROC: u64 = 0x9fa0;
    rustix::fs::statfs(path).is_ok_and(|stat| stat.f_type as u64 == PROC)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_compared_without_their_dots() {
        assert_eq!(
            clean(Path::new("/proc/../proc/./self")),
            Path::new("proc/self")
        );
        assert_eq!(clean(Path::new("../../proc")), Path::new("proc"));
        assert!(is_on_proc(Path::new("/proc")) && !is_on_proc(Path::new("/")));
    }
}
