//! The network endpoint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::convert::{
    PublishList, parse_dns_server, parse_expose, parse_extra_host, parse_mac, parse_network,
    parse_publish,
};
use gamut_plan::request::{Expose, ExtraHost, Network, NetworkMode};

/// Flags about the network.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Network: bridge, none, host, container:NAME or a network's name
    #[arg(long, visible_alias = "net", value_parser = parse_network)]
    pub network: Option<NetworkMode>,

    /// Further name of the container on its network
    #[arg(long = "network-alias", alias = "net-alias", value_name = "NAME")]
    pub aliases: Vec<String>,

    /// Publish a port, as [ADDRESS:][HOSTPORT:]PORT[/udp]; ranges go
    #[arg(short, long, value_name = "PORT", value_parser = parse_publish)]
    pub publish: Vec<PublishList>,

    /// Publish every exposed port to a free port of the host
    #[arg(short = 'P', long)]
    pub publish_all: bool,

    /// Port the container listens on
    #[arg(long, value_name = "PORT", value_parser = parse_expose)]
    pub expose: Vec<Expose>,

    /// DNS server
    #[arg(long, value_name = "ADDRESS", value_parser = parse_dns_server)]
    pub dns: Vec<IpAddr>,

    /// DNS search domain
    #[arg(long, value_name = "DOMAIN")]
    pub dns_search: Vec<String>,

    /// DNS option, such as ndots:2
    #[arg(long = "dns-option", alias = "dns-opt", value_name = "OPTION")]
    pub dns_options: Vec<String>,

    /// Line of /etc/hosts as HOST:ADDRESS; host-gateway is the host
    #[arg(long = "add-host", value_name = "HOST", value_parser = parse_extra_host)]
    pub extra_hosts: Vec<ExtraHost>,

    /// MAC address
    #[arg(long = "mac-address", value_name = "MAC", value_parser = parse_mac)]
    pub mac: Option<[u8; 6]>,

    /// IPv4 address
    #[arg(long = "ip", value_name = "ADDRESS")]
    pub ipv4: Option<Ipv4Addr>,

    /// IPv6 address
    #[arg(long = "ip6", value_name = "ADDRESS")]
    pub ipv6: Option<Ipv6Addr>,
}

impl NetworkArgs {
    pub(super) fn request(&self) -> Network {
        Network {
            mode: self.network.clone().unwrap_or_default(),
            aliases: self.aliases.clone(),
            publish: self
                .publish
                .iter()
                .flat_map(|list| list.0.clone())
                .collect(),
            publish_all: self.publish_all,
            expose: self.expose.clone(),
            dns_servers: self.dns.clone(),
            dns_search: self.dns_search.clone(),
            dns_options: self.dns_options.clone(),
            extra_hosts: self.extra_hosts.clone(),
            mac_address: self.mac,
            ipv4: self.ipv4,
            ipv6: self.ipv6,
        }
    }
}
