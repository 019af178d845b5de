//! `--cap-add` and `--cap-drop`.

use super::ArgumentError;
use gamut_plan::request::Capability;

/// capabilities(7), by number; the kernel's list ends with `CAP_CHECKPOINT_RESTORE` (5.9).
#[rustfmt::skip]
const NAMES: [&str; 41] = [
    "CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "KILL", "SETGID", "SETUID",
    "SETPCAP", "LINUX_IMMUTABLE", "NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW",
    "IPC_LOCK", "IPC_OWNER", "SYS_MODULE", "SYS_RAWIO", "SYS_CHROOT", "SYS_PTRACE", "SYS_PACCT",
    "SYS_ADMIN", "SYS_BOOT", "SYS_NICE", "SYS_RESOURCE", "SYS_TIME", "SYS_TTY_CONFIG", "MKNOD",
    "LEASE", "AUDIT_WRITE", "AUDIT_CONTROL", "SETFCAP", "MAC_OVERRIDE", "MAC_ADMIN", "SYSLOG",
    "WAKE_ALARM", "BLOCK_SUSPEND", "AUDIT_READ", "PERFMON", "BPF", "CHECKPOINT_RESTORE",
];

/// `NET_ADMIN`, `cap_net_admin` or `ALL`.
pub fn parse_capability(text: &str) -> Result<Capability, ArgumentError> {
    let upper = text.to_ascii_uppercase();
    if upper == "ALL" {
        return Ok(Capability::All);
    }
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if !NAMES.contains(&name) {
        return Err(ArgumentError::Capability {
            text: text.to_owned(),
        });
    }
    Ok(Capability::Named(format!("CAP_{name}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_come_in_every_dress() {
        let net_admin = Ok(Capability::Named("CAP_NET_ADMIN".to_owned()));
        assert_eq!(parse_capability("net_admin"), net_admin);
        assert_eq!(parse_capability("CAP_NET_ADMIN"), net_admin);
        assert_eq!(parse_capability("all"), Ok(Capability::All));
        assert!(parse_capability("CAP_").is_err());
        assert!(parse_capability("FLY").is_err());
    }
}
