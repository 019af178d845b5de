//! Which kernel parameters a configuration may set: those of the container's own namespaces, so that
//! none of the host's is changed. namespaces(7) and the kernel's Documentation/admin-guide/sysctl; the
//! rules are runc's.

use oci_spec::runtime::LinuxNamespaceType;

/// Parameters of System V and POSIX message queues, semaphores and shared memory.
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

/// `kinds`: the namespaces that the container has of its own, or shares with another one.
pub(super) fn check(name: &str, kinds: &[LinuxNamespaceType]) -> Result<(), String> {
    let dotted = name.replace('/', ".");
    let needed = if IPC.contains(&dotted.as_str()) || dotted.starts_with("fs.mqueue.") {
        LinuxNamespaceType::Ipc
    } else if dotted.starts_with("net.") {
        LinuxNamespaceType::Network
    } else if dotted == "kernel.domainname" {
        LinuxNamespaceType::Uts
    } else if dotted == "kernel.hostname" {
        return Err(format!(
            "sysctl {name:?} is not allowed: it is the field `hostname`"
        ));
    } else {
        return Err(format!(
            "sysctl {name:?} is not in a separate kernel namespace"
        ));
    };
    if kinds.contains(&needed) {
        Ok(())
    } else {
        Err(format!(
            "sysctl {name:?} is not allowed without a namespace of its own: {needed}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_parameters_of_the_containers_own_namespaces() {
        let kinds = [LinuxNamespaceType::Network, LinuxNamespaceType::Mount];
        assert!(check("net.ipv4.ip_forward", &kinds).is_ok());
        assert!(check("net/ipv4/conf/eth0.1/rp_filter", &kinds).is_ok());
        for refused in [
            "kernel.shmmax",
            "kernel.hostname",
            "vm.swappiness",
            "network.x",
            "",
        ] {
            assert!(check(refused, &kinds).is_err(), "{refused}");
        }
    }
}
