//! Isolation and privileges.

use std::path::Path;

use crate::convert::{
    SecurityOption, parse_capability, parse_device, parse_device_rule, parse_isolation,
    parse_level, parse_runtime, parse_security_option,
};
use crate::error::Failure;
use crate::workload::Surroundings;
use gamut_plan::request::{
    Capability, Device, DeviceRule, Isolation, Level, Seccomp, Security, SystemPaths,
};

/// Flags about what the workload may do.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Isolation and security")]
pub struct SecurityArgs {
    /// Isolation level: container, sandbox, microvm, vm, auto or default
    #[arg(long, value_name = "LEVEL", value_parser = parse_isolation)]
    pub isolation: Option<Isolation>,

    /// As --isolation, with the names of runtimes too: runc and crun are container, runsc is sandbox, kata is
    /// microvm
    #[arg(long, value_name = "RUNTIME", value_parser = parse_runtime, conflicts_with = "isolation")]
    pub runtime: Option<Isolation>,

    /// Weakest isolation level that is acceptable
    #[arg(long, value_name = "LEVEL", value_parser = parse_level)]
    pub min_isolation: Option<Level>,

    /// Guest kernel at the level microvm: one of `gamut kernel ls`, or a file
    #[arg(long, value_name = "KERNEL")]
    pub kernel: Option<String>,

    /// Add a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_parser = parse_capability)]
    pub cap_add: Vec<Capability>,

    /// Drop a capability, or ALL
    #[arg(long, value_name = "CAPABILITY", value_parser = parse_capability)]
    pub cap_drop: Vec<Capability>,

    /// Give the container every capability and device
    #[arg(long)]
    pub privileged: bool,

    /// no-new-privileges, seccomp=unconfined, seccomp=FILE, systempaths=unconfined, mask=PATH[:PATH...] or
    /// unmask=PATH[:PATH...]
    #[arg(long = "security-opt", value_name = "OPTION", value_parser = parse_security_option)]
    pub options: Vec<SecurityOption>,

    /// Host device, as /dev/HOST[:/dev/INSIDE][:rwm]
    #[arg(long = "device", value_name = "DEVICE", value_parser = parse_device)]
    pub devices: Vec<Device>,

    /// What may be done with device nodes made inside, as `c 13:* rwm`
    #[arg(long = "device-cgroup-rule", value_name = "RULE", value_parser = parse_device_rule)]
    pub device_rules: Vec<DeviceRule>,

    /// Leave this path as it is, neither masked nor read-only; ALL: every one
    #[arg(long = "unmask", value_name = "PATH")]
    pub unmask: Vec<String>,
}

impl SecurityArgs {
    pub(super) fn isolation(&self) -> Isolation {
        self.isolation.or(self.runtime).unwrap_or_default()
    }

    pub(super) fn request(&self, surroundings: &Surroundings) -> Result<Security, Failure> {
        let mut security = Security {
            capabilities_add: self.cap_add.clone(),
            capabilities_drop: self.cap_drop.clone(),
            privileged: self.privileged,
            devices: self.devices.clone(),
            device_rules: self.device_rules.clone(),
            ..Security::default()
        };
        for option in &self.options {
            match option {
                SecurityOption::NoNewPrivileges(wanted) => security.no_new_privileges = *wanted,
                SecurityOption::SeccompDefault => security.seccomp = Seccomp::Default,
                SecurityOption::SeccompUnconfined => security.seccomp = Seccomp::Unconfined,
                SecurityOption::SeccompProfile(path) => {
                    security.seccomp = profile(path, surroundings)?;
                }
                SecurityOption::SystemPathsUnconfined => {
                    security.system_paths = SystemPaths::Unconfined;
                }
                SecurityOption::Mask(paths) => security.masked.extend(paths.iter().cloned()),
                SecurityOption::Unmask(paths) => security.unmasked.extend(paths.iter().cloned()),
                SecurityOption::NothingToDo => {}
            }
        }
        security.unmasked.extend(self.unmask.iter().cloned());
        // Podman's word.
        if security.unmasked.iter().any(|path| path == "ALL") {
            security.system_paths = SystemPaths::Unconfined;
        }
        Ok(security)
    }
}

fn profile(path: &Path, surroundings: &Surroundings) -> Result<Seccomp, Failure> {
    let json = surroundings.read(path)?;
    serde_json::from_str::<serde::de::IgnoredAny>(&json).map_err(|source| Failure::Profile {
        path: path.to_owned(),
        source,
    })?;
    Ok(Seccomp::Profile { json })
}
