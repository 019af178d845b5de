//! The network endpoint.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use crate::convert::{
    ArgumentError, NetworkArg, PublishList, parse_alias, parse_dns_server, parse_egress,
    parse_expose, parse_extra_host, parse_mac, parse_network_arg, parse_publish,
};
use crate::error::Failure;
use gamut_plan::egress::{EgressPolicy, EgressWord};
use gamut_plan::request::{Attachment, Expose, ExtraHost, Network, NetworkMode};

/// Flags about the network.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Network")]
pub struct NetworkArgs {
    /// Network: bridge, none, host, container:NAME, ns:PATH or a network's name, several of these, or
    /// name=NETWORK,alias=NAME,ip=ADDRESS,ip6=ADDRESS,mac-address=MAC,gw-priority=NUMBER
    #[arg(long = "network", visible_alias = "net", value_name = "NETWORK", value_parser = parse_network_arg)]
    pub networks: Vec<NetworkArg>,

    /// Further name of the container on its network
    #[arg(long = "network-alias", alias = "net-alias", value_name = "NAME", value_parser = parse_alias)]
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

    /// What may be reached: deny (nothing), allow=HOST[:PORT], allow=ADDRESS[/BITS][:PORT], PORT with
    /// /udp for UDP; what is not allowed is denied then. allow: everything
    #[arg(long, value_name = "RULE", value_parser = parse_egress)]
    pub egress: Vec<EgressWord>,

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
    pub(crate) fn request(&self) -> Result<Network, Failure> {
        let mut networks = self.networks.iter();
        let first = networks.next();
        let own = match first {
            Some(NetworkArg::Attachment(attachment)) => attachment.clone(),
            _ => Attachment::default(),
        };
        let further = networks.map(|one| match one {
            NetworkArg::Attachment(attachment) => attachment.clone(),
            NetworkArg::Mode(mode) => Attachment {
                network: word(mode),
                ..Attachment::default()
            },
        });
        let egress = EgressPolicy::of(&self.egress)
            .map_err(|error| Failure::engine(ArgumentError::Egress(error)))?;
        Ok(Network {
            egress,
            mode: match first {
                Some(NetworkArg::Mode(mode)) => mode.clone(),
                Some(NetworkArg::Attachment(attachment)) => {
                    NetworkMode::Named(attachment.network.clone())
                }
                None => NetworkMode::Default,
            },
            further: further.collect(),
            priority: own.priority,
            aliases: [own.aliases, self.aliases.clone()].concat(),
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
            mac_address: self.mac.or(own.mac_address),
            ipv4: self.ipv4.or(own.ipv4),
            ipv6: self.ipv6.or(own.ipv6),
        })
    }
}

/// What a network is called that comes after another: those that are none are refused by their names.
fn word(mode: &NetworkMode) -> String {
    match mode {
        NetworkMode::Default => "bridge".to_owned(),
        NetworkMode::None => "none".to_owned(),
        NetworkMode::Host => "host".to_owned(),
        NetworkMode::Container(name) => format!("container:{name}"),
        NetworkMode::Namespace(path) => format!("ns:{}", path.display()),
        NetworkMode::Pasta(_) => "pasta".to_owned(),
        NetworkMode::Named(name) => name.clone(),
    }
}
