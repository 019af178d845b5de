//! Kernel parameters that belong to a namespace: a container may have its own. namespaces(7) and the
//! kernel's Documentation/admin-guide/sysctl.

use oci_spec::runtime::LinuxNamespaceType;

/// Of System V and POSIX message queues, semaphores and shared memory.
const IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
    "kernel.shm_rmid_forced",
];

/// Which namespace keeps a parameter, by its name with dots or slashes; `None`: it is the host's.
#[must_use]
pub fn namespace_of(name: &str) -> Option<LinuxNamespaceType> {
    // `net/ipv4/conf/eth0.1/…`: only the beginning matters.
    let name = name.replace('/', ".");
    if name.starts_with("net.") {
        Some(LinuxNamespaceType::Network)
    } else if IPC.contains(&name.as_str()) || name.starts_with("fs.mqueue.") {
        Some(LinuxNamespaceType::Ipc)
    } else if name == "kernel.domainname" || name == "kernel.hostname" {
        Some(LinuxNamespaceType::Uts)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_and_their_namespaces() {
        let network = Some(LinuxNamespaceType::Network);
        assert_eq!(namespace_of("net.ipv4.ip_forward"), network);
        assert_eq!(namespace_of("net/ipv4/conf/eth0.1/rp_filter"), network);
        assert_eq!(
            namespace_of("fs.mqueue.msg_max"),
            Some(LinuxNamespaceType::Ipc)
        );
        assert_eq!(
            namespace_of("kernel.hostname"),
            Some(LinuxNamespaceType::Uts)
        );
        for of_the_host in ["vm.swappiness", "network.x", "kernel.shmmaxx", ""] {
            assert_eq!(namespace_of(of_the_host), None, "{of_the_host}");
        }
    }
}
