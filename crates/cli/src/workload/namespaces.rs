//! Which namespaces are the workload's own.

use crate::convert::{
    TimeOffset, parse_ipc, parse_sharing, parse_sysctl, parse_time_offset, parse_user_namespace,
};
use gamut_plan::request::{IpcNamespace, Namespaces, Sharing, UserNamespace};

/// Flags about namespaces.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Namespaces")]
pub struct NamespaceArgs {
    /// Host name inside
    #[arg(short = 'h', long, value_name = "NAME")]
    pub hostname: Option<String>,

    /// NIS domain name inside
    #[arg(long, value_name = "NAME")]
    pub domainname: Option<String>,

    /// User namespace: host, auto or private
    #[arg(long, value_name = "MODE", value_parser = parse_user_namespace)]
    pub userns: Option<UserNamespace>,

    /// Process namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", value_parser = parse_sharing)]
    pub pid: Option<Sharing>,

    /// IPC namespace: none, private, shareable, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", value_parser = parse_ipc)]
    pub ipc: Option<IpcNamespace>,

    /// UTS namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", value_parser = parse_sharing)]
    pub uts: Option<Sharing>,

    /// Cgroup namespace: private, host, container:NAME or ns:PATH
    #[arg(long, value_name = "MODE", value_parser = parse_sharing)]
    pub cgroupns: Option<Sharing>,

    /// Shift clocks in a time namespace, as monotonic=+1h,boottime=-90s
    #[arg(long, value_name = "OFFSETS", value_parser = parse_time_offset)]
    pub time_offset: Option<TimeOffset>,

    /// Namespaced kernel setting, as NAME=VALUE
    #[arg(long = "sysctl", value_name = "SETTING", value_parser = parse_sysctl)]
    pub sysctls: Vec<(String, String)>,
}

impl NamespaceArgs {
    pub(super) fn request(&self) -> Namespaces {
        Namespaces {
            pid: self.pid.clone(),
            ipc: self.ipc.clone(),
            uts: self.uts.clone(),
            cgroup: self.cgroupns.clone(),
            user: self.userns,
            time: self.time_offset.map(|TimeOffset(offsets)| offsets),
            hostname: self.hostname.clone().filter(|name| !name.is_empty()),
            domainname: self.domainname.clone().filter(|name| !name.is_empty()),
            sysctls: self.sysctls.iter().cloned().collect(),
        }
    }
}
