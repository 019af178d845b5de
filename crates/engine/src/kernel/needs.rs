//! What a guest's kernel must have, and why: the one table that a kernel is judged by, and that says which
//! modules of a distribution's kernel go into the initramfs.

use gamut_plan::launch::Discovery;
use serde::Serialize;

use super::config::{Config, Value};

/// How bad it is to be without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Weight {
    /// No guest comes up, or no workload starts.
    Needed,
    /// Something does not work, or costs more.
    Wanted,
}

/// One line of the table.
pub(super) struct Need {
    /// Without `CONFIG_`.
    pub(super) option: &'static str,
    /// The module that has it, where it may be one: the initramfs brings it along.
    pub(super) module: Option<&'static str>,
    /// What will do in its place.
    pub(super) or: Option<&'static str>,
    pub(super) weight: Weight,
    pub(super) purpose: &'static str,
}

/// Something that a kernel has not got.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Lack {
    /// As Kconfig calls it.
    pub option: String,
    pub weight: Weight,
    pub purpose: &'static str,
}

const fn needed(option: &'static str, purpose: &'static str) -> Need {
    Need {
        option,
        module: None,
        or: None,
        weight: Weight::Needed,
        purpose,
    }
}

const fn wanted(option: &'static str, purpose: &'static str) -> Need {
    Need {
        weight: Weight::Wanted,
        ..needed(option, purpose)
    }
}

const fn module(need: Need, module: &'static str) -> Need {
    Need {
        module: Some(module),
        ..need
    }
}

const COMMAND_LINE_DEVICES: &str = "VIRTIO_MMIO_CMDLINE_DEVICES";

/// How a kernel with this configuration learns of its devices. Without ACPI there is less to do at each
/// start, so that is for a kernel that needs it.
pub(super) fn discovery(config: &Config) -> Discovery {
    let has = |option| *config.value(option) == Value::Yes;
    match !has(COMMAND_LINE_DEVICES) && has("ACPI") {
        true => Discovery::Acpi,
        false => Discovery::CommandLine,
    }
}

/// Modules are loaded in this order, each after what it depends on.
pub(super) const NEEDS: [Need; 42] = [
    // The machine.
    needed("64BIT", "the machine is one of 64 bits"),
    needed("BLK_DEV_INITRD", "the agent comes in an initramfs"),
    needed("BINFMT_ELF", "the agent is a program"),
    module(
        needed("VIRTIO_MMIO", "the machine's devices"),
        "virtio_mmio",
    ),
    Need {
        or: Some("ACPI"),
        ..needed(
            COMMAND_LINE_DEVICES,
            "the machine names its devices on the command line, or by ACPI",
        )
    },
    module(needed("VIRTIO_BLK", "the image's device"), "virtio_blk"),
    module(
        needed("VIRTIO_VSOCKETS", "talking to the agent"),
        "vmw_vsock_virtio_transport",
    ),
    module(needed("VIRTIO_NET", "networks"), "virtio_net"),
    module(
        needed("VIRTIO_FS", "volumes and what a container writes"),
        "virtiofs",
    ),
    module(
        wanted("VIRTIO_BALLOON", "giving memory back to the host"),
        "virtio_balloon",
    ),
    wanted("PAGE_REPORTING", "giving memory back that is free"),
    module(
        wanted("HW_RANDOM_VIRTIO", "random numbers from the host"),
        "virtio_rng",
    ),
    wanted("SERIAL_8250_CONSOLE", "the kernel's own messages"),
    wanted("KVM_GUEST", "the host's clock"),
    // The root.
    needed(
        "EFI_PARTITION",
        "the image's layers are partitions of a GPT",
    ),
    module(needed("EROFS_FS", "the image's layers"), "erofs"),
    wanted("EROFS_FS_XATTR", "files' capabilities in images"),
    wanted("EROFS_FS_ZIP", "compressed layers"),
    module(needed("OVERLAY_FS", "what a container writes"), "overlay"),
    needed("DEVTMPFS", "/dev"),
    needed("TMPFS", "/dev/shm and tmpfs mounts"),
    needed("PROC_FS", "/proc"),
    needed("SYSFS", "/sys"),
    // The container room, which makes the workload in the guest as on the host.
    needed("NAMESPACES", "the workload's own process ids and mounts"),
    needed("PID_NS", "the workload's own process ids"),
    needed("UTS_NS", "--hostname"),
    needed("IPC_NS", "--ipc private"),
    wanted("NET_NS", "--network none"),
    wanted("USER_NS", "user namespaces in the workload"),
    needed("CGROUPS", "limits"),
    needed("MEMCG", "--memory"),
    needed("CGROUP_PIDS", "--pids-limit"),
    needed("FAIR_GROUP_SCHED", "--cpu-shares"),
    wanted("CFS_BANDWIDTH", "--cpus"),
    wanted("CPUSETS", "--cpuset-cpus"),
    wanted("BLK_CGROUP", "--blkio-weight and --device-read-bps"),
    wanted("CGROUP_BPF", "which devices a workload may use"),
    wanted("PSI", "pressure in `gamut stats`"),
    needed("SECCOMP_FILTER", "the system calls that a workload may use"),
    needed("UNIX98_PTYS", "-t"),
    // What programs take for granted, and a distribution may have as modules.
    module(wanted("IPV6", "IPv6"), "ipv6"),
    module(
        wanted("PACKET", "ping and tcpdump in the workload"),
        "af_packet",
    ),
];

/// What a kernel with this configuration has not got. A kernel without modules has all it has inside.
#[must_use]
pub fn lacks(config: &Config) -> Vec<Lack> {
    let has = |need: &Need| match config.value(need.option) {
        Value::Yes | Value::Text(_) => true,
        Value::Module => need.module.is_some(),
        Value::No => need.or.is_some_and(|or| *config.value(or) == Value::Yes),
    };
    NEEDS
        .iter()
        .filter(|need| !has(need))
        .map(|need| Lack {
            option: format!("CONFIG_{}", need.option),
            weight: need.weight,
            purpose: need.purpose,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_will_do_where_the_initramfs_brings_it() {
        let all: String = NEEDS
            .iter()
            .map(|need| match need.module {
                Some(_) => format!("CONFIG_{}=m\n", need.option),
                None => format!("CONFIG_{}=y\n", need.option),
            })
            .collect();
        assert_eq!(lacks(&Config::parse(&all)), []);
        let without = all.replace("CONFIG_SYSFS=y", "CONFIG_SYSFS=m");
        let lacks = lacks(&Config::parse(&without));
        assert_eq!(lacks.len(), 1);
        assert_eq!(lacks[0].option, "CONFIG_SYSFS");
    }

    #[test]
    fn devices_are_found_in_one_of_two_ways() {
        let is_lacking = |text: &str| {
            let lacks = lacks(&Config::parse(text));
            lacks
                .iter()
                .any(|lack| lack.option == "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES")
        };
        let both = "CONFIG_VIRTIO_MMIO_CMDLINE_DEVICES=y\nCONFIG_ACPI=y\n";
        assert!(!is_lacking(both) && !is_lacking("CONFIG_ACPI=y\n") && is_lacking(""));
        let found = |text: &str| discovery(&Config::parse(text));
        assert_eq!(found(both), Discovery::CommandLine);
        assert_eq!(found("CONFIG_ACPI=y\n"), Discovery::Acpi);
        assert_eq!(found(""), Discovery::CommandLine);
    }

    #[test]
    fn nothing_is_needed_twice() {
        let mut options: Vec<&str> = NEEDS.iter().map(|need| need.option).collect();
        options.sort_unstable();
        options.dedup();
        assert_eq!(options.len(), NEEDS.len());
    }
}
