//! The default network: chosen once, kept in the database, made on the host by whoever first
//! needs it.

use std::collections::BTreeMap;
use std::net::IpAddr;

use gamut_net::files::{self, AddHost, HostResolver};
use gamut_net::subnet::{self, Subnet6};
use gamut_plan::launch::{Endpoint, NetworkPlan, Protocol, PublishedPort};
use gamut_plan::request::{self, HostAddress, NetworkMode, RunRequest, Transport};
use gamut_spec::image::ImageConfig;
use gamut_store::db::{self, LeaseRequest, Mac};

use crate::engine::Engine;
use crate::error::EngineError;

/// The name that Docker gives its default network.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Bytes; the host's links may take less, which path MTU discovery finds out.
const DEFAULT_MTU: u32 = 1500;

/// What a container's files say of its network.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) own: Vec<IpAddr>,
    pub(crate) gateways: Vec<IpAddr>,
}

impl Engine {
    /// The default network's record; makes it at its first use.
    pub(crate) fn default_network(&mut self) -> Result<db::Network, EngineError> {
        if let Some(network) = self.store.db().network(DEFAULT_NETWORK)? {
            return Ok(network);
        }
        let used = subnet::used()?;
        let subnet4 = subnet::choose(subnet::candidates(), &used)?;
        let subnet6 = Subnet6::random().ok();
        let bridge = self.instance().bridge;
        let network = db::Network {
            name: DEFAULT_NETWORK.into(),
            bridge,
            subnet4: Some(db::Subnet4 {
                address: subnet4.network(),
                prefix_length: subnet4.bits(),
            }),
            gateway4: Some(subnet4.gateway()),
            subnet6: subnet6.map(|s| db::Subnet6 {
                address: s.network(),
                prefix_length: s.bits(),
            }),
            gateway6: subnet6.map(|s| s.gateway()),
            options: BTreeMap::new(),
        };
        let made = self
            .store
            .db_mut()
            .write(|transaction| transaction.insert_network(&network));
        match made {
            Ok(()) => Ok(network),
            // Another process was quicker.
            Err(error) => self
                .store
                .db()
                .network(DEFAULT_NETWORK)?
                .ok_or(error.into()),
        }
    }

    /// Which network a request means; a lease is taken for the container if it is a bridge.
    pub(crate) fn lease_network(
        &mut self,
        transaction_of: &LeaseOf<'_>,
        network: &db::Network,
    ) -> Result<(NetworkPlan, Addresses), EngineError> {
        let asked = &transaction_of.request.network;
        let lease = self.store.db_mut().write(|transaction| {
            transaction.lease(&LeaseRequest {
                address4: asked.ipv4,
                address6: asked.ipv6,
                mac: asked.mac_address.map(Mac),
                ..LeaseRequest::new(&network.name, transaction_of.id)
            })
        })?;
        let (Some(subnet4), Some(address4)) = (network.subnet4, lease.address4) else {
            return Err(EngineError::NoNetwork(network.name.clone()));
        };
        let endpoint = Endpoint {
            network: network.name.clone(),
            bridge: network.bridge.clone(),
            table: self.instance().bridge,
            subnet4: (subnet4.address, subnet4.prefix_length),
            subnet6: network.subnet6.map(|s| s.address),
            mtu: DEFAULT_MTU,
            mac: lease.mac.0,
            address4,
            address6: lease.address6,
            ports: ports(transaction_of.request, transaction_of.image)?,
        };
        let mut addresses = Addresses {
            own: vec![address4.into()],
            gateways: Vec::new(),
        };
        addresses.own.extend(lease.address6.map(IpAddr::from));
        addresses
            .gateways
            .extend(network.gateway4.map(IpAddr::from));
        addresses
            .gateways
            .extend(network.gateway6.map(IpAddr::from));
        Ok((NetworkPlan::Bridge(Box::new(endpoint)), addresses))
    }
}

/// For whom a lease is taken.
#[derive(Debug)]
pub(crate) struct LeaseOf<'a> {
    pub(crate) id: &'a str,
    pub(crate) request: &'a RunRequest,
    pub(crate) image: &'a ImageConfig,
}

fn protocol(transport: Transport) -> Result<Protocol, EngineError> {
    match transport {
        Transport::Tcp => Ok(Protocol::Tcp),
        Transport::Udp => Ok(Protocol::Udp),
        Transport::Sctp => Err(EngineError::NotYet {
            flag: "-p PORT/sctp",
        }),
    }
}

/// `-p`, and with `-P` whatever is exposed and not published yet.
fn ports(request: &RunRequest, image: &ImageConfig) -> Result<Vec<PublishedPort>, EngineError> {
    let asked = &request.network;
    let mut list = Vec::new();
    for publish in &asked.publish {
        list.push(PublishedPort {
            protocol: protocol(publish.protocol)?,
            host_address: publish.host_ip,
            host_ports: publish.host_ports.map(|r| (r.first, r.last)),
            container_port: publish.container_port,
        });
    }
    if asked.publish_all {
        for (port, protocol) in exposed(request, image) {
            if !list
                .iter()
                .any(|p| p.container_port == port && p.protocol == protocol)
            {
                list.push(PublishedPort {
                    protocol,
                    host_address: None,
                    host_ports: None,
                    container_port: port,
                });
            }
        }
    }
    Ok(list)
}

/// The ports that the image and the request expose.
pub(crate) fn exposed(request: &RunRequest, image: &ImageConfig) -> Vec<(u16, Protocol)> {
    let mut list = Vec::new();
    for text in &image.config.exposed_ports {
        for (port, protocol) in gamut_net::publish::parse_exposed(text).unwrap_or_default() {
            list.push((
                port,
                match protocol {
                    gamut_net::Protocol::Tcp => Protocol::Tcp,
                    gamut_net::Protocol::Udp => Protocol::Udp,
                },
            ));
        }
    }
    for expose in &request.network.expose {
        if let Ok(protocol) = protocol(expose.protocol) {
            list.extend((expose.ports.first..=expose.ports.last).map(|port| (port, protocol)));
        }
    }
    list.sort_unstable_by_key(|(port, protocol)| (*port, protocol.name()));
    list.dedup();
    list
}

/// Contents of /etc/hosts, /etc/hostname and /etc/resolv.conf.
pub(crate) fn texts(
    request: &RunRequest,
    hostname: &str,
    addresses: &Addresses,
) -> (Option<String>, Option<String>, Option<String>) {
    let asked = &request.network;
    let host_network = asked.mode == NetworkMode::Host;
    let additional: Vec<AddHost> = asked
        .extra_hosts
        .iter()
        .map(|extra| AddHost {
            name: extra.name.clone(),
            target: match extra.address {
                HostAddress::Ip(address) => files::HostTarget::Address(address),
                HostAddress::HostGateway => files::HostTarget::HostGateway,
            },
        })
        .collect();
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let hosts = if host_network {
        let mut text = read("/etc/hosts").unwrap_or_default();
        for extra in &asked.extra_hosts {
            if let HostAddress::Ip(address) = extra.address {
                text.push_str(&format!("{address}\t{}\n", extra.name));
            }
        }
        text
    } else {
        files::hosts(hostname, &addresses.own, &additional, &addresses.gateways)
    };
    let etc = read("/etc/resolv.conf").unwrap_or_default();
    let wanted = files::DnsOptions {
        servers: asked.dns_servers.clone(),
        search: asked.dns_search.clone(),
        options: asked.dns_options.clone(),
    };
    let nothing_asked = wanted == files::DnsOptions::default();
    let resolv = if host_network && nothing_asked {
        etc
    } else {
        let systemd = read("/run/systemd/resolve/resolv.conf");
        files::resolv_conf(
            HostResolver {
                etc: &etc,
                systemd: systemd.as_deref(),
            },
            &wanted,
        )
        .text
    };
    (Some(hosts), Some(files::hostname(hostname)), Some(resolv))
}

/// Whether a request's flags go with its network.
pub(crate) fn check(asked: &request::Network) -> Result<(), EngineError> {
    let bridged = matches!(&asked.mode, NetworkMode::Default | NetworkMode::Named(_));
    if !bridged && (asked.ipv4.is_some() || asked.ipv6.is_some()) {
        return Err(EngineError::NotYet {
            flag: "--ip without a bridge network",
        });
    }
    match &asked.mode {
        NetworkMode::Named(name) if name != DEFAULT_NETWORK => {
            Err(EngineError::NoNetwork(name.clone()))
        }
        _ if !asked.aliases.is_empty() => Err(EngineError::Alias),
        _ => Ok(()),
    }
}
