//! What this host lacks for the container level, and the counters of a process's network.

use std::path::Path;

use gamut_plan::host::{HostFacts, Missing, Weight};
use gamut_plan::launch::Grouping;
use gamut_plan::stats::Interface;
use gamut_spec::Fault;
use rustix::io::Errno;
use rustix::mount::{FsOpenFlags, fsopen};

use crate::cgroup::{Controller, Hierarchies};
use crate::home;

/// Looks at what a start would use.
pub(crate) fn probe(host: &HostFacts) -> Vec<Missing> {
    let mut missing = Vec::new();
    let mut lack = |what: String, remedy: &str, weight| {
        missing.push(Missing {
            what,
            remedy: remedy.into(),
            weight,
        })
    };
    if host.uid != 0 {
        let (what, remedy) = match home::lack() {
            Some(error) => (error.to_string(), error.hint()),
            None => ("a user namespace".into(), None),
        };
        let remedy = remedy.unwrap_or_else(|| "`gamut info` tells what is in the way".into());
        lack(what, &remedy, Weight::Fatal);
    }
    if let Some(home) = &host.home {
        if home.grouping == Grouping::None {
            lack(
                "control groups for users: limits, `pause` and `stats` are refused".into(),
                "use cgroup version 2 with systemd, and a session of the user's (`loginctl enable-linger`)",
                Weight::Partial,
            );
        }
        if !home.leads_out {
            lack(
                "pasta, or a default route: networks do not lead out of the host".into(),
                "install passt",
                Weight::Partial,
            );
        }
    }
    if host.kernel_version() < (5, 12) {
        let what = format!(
            "mount_setattr and the new mount interface (this is Linux {})",
            host.kernel
        );
        lack(what, "use Linux 5.12 or newer", Weight::Fatal);
    }
    if !has_overlay() {
        lack(
            "overlayfs".into(),
            "use a kernel with CONFIG_OVERLAY_FS, or install its module and `modprobe overlay`; \
             until then each container gets a copy of its image",
            Weight::Partial,
        );
    }
    for (name, what) in [
        ("pid", "pid"),
        ("net", "network"),
        ("uts", "uts"),
        ("ipc", "ipc"),
        ("mnt", "mount"),
    ] {
        if !Path::new("/proc/self/ns").join(name).exists() {
            lack(
                format!("{what} namespaces"),
                "use a kernel with all CONFIG_*_NS options",
                Weight::Fatal,
            );
        }
    }
    for (name, what) in [
        ("user", "`--userns`"),
        ("cgroup", "a private cgroup view"),
        ("time", "`--time-offset`"),
    ] {
        if !Path::new("/proc/self/ns").join(name).exists() {
            lack(
                format!("{name} namespaces: {what} is refused"),
                "use a newer kernel",
                Weight::Partial,
            );
        }
    }
    if std::fs::read_to_string("/proc/self/status").is_ok_and(|s| !s.contains("Seccomp:")) {
        lack(
            "seccomp".into(),
            "use a kernel with CONFIG_SECCOMP_FILTER",
            Weight::Partial,
        );
    }
    match Hierarchies::discover() {
        Err(error) => lack(
            format!("cgroups: {error}"),
            "mount cgroup2 on /sys/fs/cgroup",
            Weight::Fatal,
        ),
        Ok(found) => {
            for controller in [Controller::Memory, Controller::Cpu, Controller::Pids] {
                if found.find(controller).is_none() {
                    let what = format!(
                        "the cgroup controller `{}`: its limits are ignored",
                        controller.v1_name()
                    );
                    lack(
                        what,
                        "enable it on the kernel's command line (`cgroup_enable=`)",
                        Weight::Partial,
                    );
                }
            }
        }
    }
    missing
}

/// Whether overlays can be mounted. A module that is not loaded yet is not listed: then the kernel
/// is asked, which loads it, as the first mount would. Only root is told; others lack root.
fn has_overlay() -> bool {
    let listed = std::fs::read_to_string("/proc/filesystems").unwrap_or_default();
    listed.lines().any(|l| l.ends_with("\toverlay"))
        || !matches!(
            fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC),
            Err(Errno::NODEV)
        )
}

/// The counters of a process's network namespace, `lo` left out; proc_pid_net(5).
pub(crate) fn interfaces(pid: i32) -> Vec<Interface> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/net/dev")).unwrap_or_default();
    text.lines()
        .filter_map(interface)
        .filter(|i| i.name != "lo")
        .collect()
}

fn interface(line: &str) -> Option<Interface> {
    let (name, counters) = line.split_once(':')?;
    let numbers: Vec<u64> = counters
        .split_whitespace()
        .map_while(|n| n.parse().ok())
        .collect();
    let at = |index: usize| numbers.get(index).copied();
    Some(Interface {
        name: name.trim().to_owned(),
        rx_bytes: at(0)?,
        rx_packets: at(1)?,
        rx_errors: at(2)?,
        rx_dropped: at(3)?,
        tx_bytes: at(8)?,
        tx_packets: at(9)?,
        tx_errors: at(10)?,
        tx_dropped: at(11)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interface_lines_are_read() {
        let line = "  eth0: 100 2 3 4 0 0 0 0 500 6 7 8 0 0 0 0";
        let read = interface(line).unwrap();
        assert_eq!(
            (
                read.name.as_str(),
                read.rx_bytes,
                read.tx_bytes,
                read.tx_dropped
            ),
            ("eth0", 100, 500, 8)
        );
        assert!(interface("Inter-|   Receive").is_none());
    }
}
