//! How a workload is reached and what it can reach.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::egress::EgressPolicy;

/// The network endpoint.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    pub mode: NetworkMode,
    /// Other names of this container on its network.
    pub aliases: Vec<String>,
    pub publish: Vec<Publish>,
    /// Every exposed port, the image's included, goes to a free port of the host.
    pub publish_all: bool,
    pub expose: Vec<Expose>,
    pub dns_servers: Vec<IpAddr>,
    /// Search domains; a single `.` means none at all.
    pub dns_search: Vec<String>,
    /// resolv.conf(5) options, such as `ndots:2`.
    pub dns_options: Vec<String>,
    pub extra_hosts: Vec<ExtraHost>,
    /// A unicast address.
    pub mac_address: Option<[u8; 6]>,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// Of the network of `mode`: see [`Attachment::priority`].
    #[serde(default)]
    pub priority: i32,
    /// What may be reached; `None`: everything.
    #[serde(default)]
    pub egress: Option<EgressPolicy>,
    /// Networks besides the one of `mode`.
    #[serde(default)]
    pub further: Vec<Attachment>,
}

/// A network to join, and what to be there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attachment {
    /// Its name or id.
    pub network: String,
    pub aliases: Vec<String>,
    pub mac_address: Option<[u8; 6]>,
    pub ipv4: Option<Ipv4Addr>,
    pub ipv6: Option<Ipv6Addr>,
    /// Whose network is the way out: the highest, the first of equals.
    #[serde(default)]
    pub priority: i32,
}

impl Network {
    /// The attachment to the network of `mode`, if that is one.
    #[must_use]
    pub fn first(&self) -> Option<Attachment> {
        let network = match &self.mode {
            NetworkMode::Default => "bridge",
            NetworkMode::Named(name) => name,
            NetworkMode::None
            | NetworkMode::Host
            | NetworkMode::Container(_)
            | NetworkMode::Namespace(_)
            | NetworkMode::Pasta(_) => return None,
        };
        Some(Attachment {
            network: network.to_owned(),
            aliases: self.aliases.clone(),
            mac_address: self.mac_address,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
            priority: self.priority,
        })
    }
}

/// Which network.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NetworkMode {
    /// The engine's default bridge.
    #[default]
    Default,
    /// Loopback only.
    None,
    Host,
    /// Another container's namespace, by name or id.
    Container(String),
    /// A namespace that somebody else has made, by its file.
    Namespace(PathBuf),
    /// By the host's sockets, with these options for pasta(1).
    Pasta(Vec<String>),
    /// A network by name; `bridge` is the default one.
    Named(String),
}

/// One port made reachable; ranges are already spread out, one item a port.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Publish {
    /// `None`: every address of the host, IPv4 and IPv6.
    pub host_ip: Option<IpAddr>,
    /// `None`: any free port; a range: the first free one in it.
    pub host_ports: Option<PortRange>,
    pub container_port: u16,
    pub protocol: Transport,
}

/// Ports `first..=last`, neither 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct PortRange {
    pub first: u16,
    pub last: u16,
}

/// Ports the workload listens on, told to `--publish-all` and to readers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Expose {
    pub ports: PortRange,
    pub protocol: Transport,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Transport {
    #[default]
    Tcp,
    Udp,
    Sctp,
}

/// A line of the workload's `/etc/hosts`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExtraHost {
    pub name: String,
    pub address: HostAddress,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum HostAddress {
    Ip(IpAddr),
    /// The host, as the workload's network reaches it.
    HostGateway,
}

impl Transport {
    /// `tcp`, `udp` or `sctp`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Sctp => "sctp",
        }
    }
}
