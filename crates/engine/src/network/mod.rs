//! Networks: rows of the database, and bridges that are made on the host by whoever first needs
//! them. Here the default one, which is chosen at its first use, and a container's place on a network;
//! [`create`], [`list`], [`remove`] and [`connect`] are the commands about those that users make.

pub mod connect;
pub mod create;
mod error;
pub mod list;
mod live;
pub mod remove;

use std::net::IpAddr;

use gamut_net::files::{self, AddHost, HostResolver};
use gamut_net::subnet::{self, Prefix, Subnet4, Subnet6};
use gamut_plan::Level;
use gamut_plan::egress::EgressPolicy;
use gamut_plan::launch::{
    Bridged, Endpoint, LaunchPlan, NetworkPlan, Protocol, PublishedPort, Reach,
};
use gamut_plan::request::{self, Attachment, HostAddress, NetworkMode, RunRequest, Transport};
use gamut_spec::image::ImageConfig;
use gamut_store::db::{self, LeaseRequest, Mac, NetworkOptions};

use crate::engine::Engine;
use crate::error::EngineError;
use crate::{names, record};

pub use error::NetworksError;
pub use gamut_net::names::is_resolvable;

/// The name that Docker gives its default network.
pub const DEFAULT_NETWORK: &str = "bridge";

/// Bytes; the host's links may take less, which path MTU discovery finds out.
const DEFAULT_MTU: u32 = 1500;

/// What a container's files say of its network.
#[derive(Debug, Default)]
pub(crate) struct Addresses {
    pub(crate) own: Vec<IpAddr>,
    pub(crate) gateways: Vec<IpAddr>,
    pub(crate) asks: Asks,
}

/// Who answers a container's questions for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Asks {
    /// The host's servers.
    #[default]
    Servers,
    /// Its keeper, who knows the names of its networks, at this address.
    Keeper(IpAddr),
}

impl Engine {
    /// The default network's record; makes it at its first use.
    pub(crate) fn default_network(&mut self) -> Result<db::Network, EngineError> {
        if let Some(network) = self.store.db().network(DEFAULT_NETWORK)? {
            return Ok(network);
        }
        let used = self.used_subnets()?;
        let subnet4 = subnet::choose(subnet::candidates(), &used)?;
        let subnet6 = Subnet6::random().ok();
        let network = db::Network {
            name: DEFAULT_NETWORK.into(),
            bridge: self.instance().bridge,
            subnet4: Some(of_subnet4(subnet4)),
            gateway4: Some(subnet4.gateway()),
            subnet6: subnet6.map(of_subnet6),
            gateway6: subnet6.map(|s| s.gateway()),
            options: NetworkOptions {
                id: names::container_id(),
                created_ns: i64::try_from(record::now_ns()).unwrap_or(i64::MAX),
                ..NetworkOptions::default()
            },
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

    /// What the host has addresses in or routes to, and what networks have that are not made yet.
    fn used_subnets(&self) -> Result<Vec<Prefix>, EngineError> {
        let mut used = subnet::used()?;
        for network in self.store.db().networks()? {
            used.extend(network.subnet4.map(|subnet| Prefix {
                address: subnet.address.into(),
                bits: subnet.prefix_length,
            }));
            used.extend(network.subnet6.map(|subnet| Prefix {
                address: subnet.address.into(),
                bits: subnet.prefix_length,
            }));
        }
        Ok(used)
    }

    /// The network that a mode names; the default one is made at its first use.
    ///
    /// # Errors
    /// There is none, or it is being removed.
    pub(crate) fn named_network(&mut self, mode: &NetworkMode) -> Result<db::Network, EngineError> {
        match mode {
            NetworkMode::Named(named) if named != DEFAULT_NETWORK => {
                let network = self.find_network(named)?;
                match network.options.is_leaving {
                    true => Err(EngineError::NoNetwork(named.clone())),
                    false => Ok(network),
                }
            }
            _ => self.default_network(),
        }
    }

    /// A place on a network: a lease is taken for the container.
    pub(crate) fn lease_network(
        &mut self,
        whose: &LeaseOf<'_>,
        asked: &Attachment,
        place: u8,
    ) -> Result<Endpoint, EngineError> {
        let network = &self.named_network(&NetworkMode::Named(asked.network.clone()))?;
        let lease = self.store.db_mut().write(|transaction| {
            transaction.lease(&LeaseRequest {
                address4: asked.ipv4,
                address6: asked.ipv6,
                mac: asked.mac_address.map(Mac),
                ..LeaseRequest::new(&network.name, whose.id)
            })
        })?;
        let (Some(subnet4), Some(address4)) = (network.subnet4, lease.address4) else {
            return Err(EngineError::NoNetwork(network.name.clone()));
        };
        let has_names = network.name != DEFAULT_NETWORK && !network.options.is_nameless;
        if !has_names && !asked.aliases.is_empty() {
            return Err(EngineError::Alias);
        }
        Ok(Endpoint {
            place,
            network: network.name.clone(),
            network_id: id_of(network),
            bridge: network.bridge.clone(),
            table: self.instance().bridge,
            subnet4: (subnet4.address, subnet4.prefix_length),
            gateway4: network.gateway4,
            subnet6: network.subnet6.map(|s| s.address),
            prefix6: network.subnet6.map_or(64, |s| s.prefix_length),
            gateway6: network.gateway6,
            reach: match network.options.internal {
                true => Reach::Internal,
                false => Reach::Outside,
            },
            mtu: network.options.mtu.unwrap_or(DEFAULT_MTU),
            mac: lease.mac.0,
            address4,
            address6: lease.address6,
            names: match has_names {
                true => whose.names(&asked.aliases),
                false => Vec::new(),
            },
            aliases: asked.aliases.clone(),
            priority: asked.priority,
        })
    }

    /// The plan of the container whose network is shared.
    pub(crate) fn network_owner(
        &self,
        network: &NetworkPlan,
    ) -> Result<Option<LaunchPlan>, EngineError> {
        match network {
            NetworkPlan::Container(id) => Ok(Some(record::read_plan(&self.dirs.container(id))?)),
            _ => Ok(None),
        }
    }

    /// Places on all the networks that a request names.
    pub(crate) fn lease_networks(
        &mut self,
        whose: &LeaseOf<'_>,
        request: &RunRequest,
        image: &ImageConfig,
    ) -> Result<Bridged, EngineError> {
        let asked = &request.network;
        let mut bridged = Bridged {
            endpoints: Vec::new(),
            ports: ports(request, image)?,
            dns_servers: asked.dns_servers.clone(),
            egress: asked.egress.clone(),
        };
        for attachment in asked.first().iter().chain(&asked.further) {
            let place = bridged.free_place();
            let endpoint = self.lease_network(whose, attachment, place)?;
            if bridged
                .endpoints
                .iter()
                .any(|one| one.network == endpoint.network)
            {
                return Err(NetworksError::Twice(endpoint.network).into());
            }
            bridged.endpoints.push(endpoint);
        }
        Ok(bridged)
    }
}

/// What the files of a container say of its places.
pub(crate) fn addresses(
    endpoints: &[Endpoint],
    egress: Option<&EgressPolicy>,
    level: Level,
) -> Addresses {
    let mut addresses = Addresses::default();
    for endpoint in endpoints {
        addresses.own.push(endpoint.address4.into());
        addresses.own.extend(endpoint.address6.map(IpAddr::from));
        addresses
            .gateways
            .extend(endpoint.gateway4.map(IpAddr::from));
        let gateway6 = endpoint.address6.and(endpoint.gateway6);
        addresses.gateways.extend(gateway6.map(IpAddr::from));
        let asks_keeper = !endpoint.names.is_empty() || egress.is_some();
        if asks_keeper && addresses.asks == Asks::Servers {
            let inside = IpAddr::from(gamut_net::resolver::ADDRESS);
            addresses.asks = Asks::Keeper(match level {
                Level::Container | Level::Sandbox => inside,
                Level::Microvm | Level::Vm => endpoint.gateway4.map_or(inside, IpAddr::from),
            });
        }
    }
    addresses
}

/// A network's id: that of one from before there were ids follows from its bridge.
pub(crate) fn id_of(network: &db::Network) -> String {
    match network.options.id.is_empty() {
        true => gamut_store::blob::Blobs::digest(network.bridge.as_bytes()).hex(),
        false => network.options.id.clone(),
    }
}

/// A network as the net room has it; `None` if it has no IPv4.
pub(crate) fn on_host(network: &db::Network, table: &str) -> Option<gamut_net::Network> {
    let subnet4 = network.subnet4?;
    let ipv4 = Subnet4::new(subnet4.address, subnet4.prefix_length).ok()?;
    let ipv6 = network
        .subnet6
        .and_then(|subnet| Subnet6::new(subnet.address, subnet.prefix_length).ok());
    Some(gamut_net::Network {
        table: table.to_owned(),
        bridge: network.bridge.clone(),
        ipv4,
        gateway4: network.gateway4.unwrap_or_else(|| ipv4.gateway()),
        ipv6: ipv6.map(|subnet| {
            let gateway = network.gateway6.unwrap_or_else(|| subnet.gateway());
            (subnet, gateway)
        }),
        reach: match network.options.internal {
            true => gamut_net::Reach::Internal,
            false => gamut_net::Reach::Outside,
        },
        mtu: network.options.mtu.unwrap_or(DEFAULT_MTU),
    })
}

fn of_subnet4(subnet: Subnet4) -> db::Subnet4 {
    db::Subnet4 {
        address: subnet.network(),
        prefix_length: subnet.bits(),
    }
}

fn of_subnet6(subnet: Subnet6) -> db::Subnet6 {
    db::Subnet6 {
        address: subnet.network(),
        prefix_length: subnet.bits(),
    }
}

/// For whom a lease is taken.
#[derive(Debug)]
pub(crate) struct LeaseOf<'a> {
    pub(crate) id: &'a str,
    pub(crate) name: &'a str,
    /// That it was given.
    pub(crate) hostname: Option<&'a str>,
}

impl<'a> LeaseOf<'a> {
    pub(crate) fn of(id: &'a str, name: &'a str, request: &'a RunRequest) -> Self {
        LeaseOf {
            id,
            name,
            hostname: request.namespaces.hostname.as_deref(),
        }
    }

    /// Docker's: its name, its aliases, the short id, the host name if it was given one.
    fn names(&self, aliases: &[String]) -> Vec<String> {
        let mut names = vec![self.name.to_owned()];
        names.extend(aliases.iter().cloned());
        names.push(self.id.chars().take(12).collect());
        names.extend(self.hostname.map(str::to_owned));
        let mut seen = std::collections::BTreeSet::new();
        names.retain(|name| seen.insert(name.to_ascii_lowercase()));
        names
    }
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
pub(crate) fn ports(
    request: &RunRequest,
    image: &ImageConfig,
) -> Result<Vec<PublishedPort>, EngineError> {
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
    if let Asks::Keeper(own) = addresses.asks {
        let systemd = read("/run/systemd/resolve/resolv.conf");
        let host = HostResolver {
            etc: &etc,
            systemd: systemd.as_deref(),
        };
        let resolv = files::resolv_conf_of_names(own, host, &wanted);
        return (Some(hosts), Some(files::hostname(hostname)), Some(resolv));
    }
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
    match bridged {
        true => Ok(()),
        false if asked.egress.is_some() => Err(NetworksError::Egress.into()),
        false if !asked.further.is_empty() => Err(NetworksError::Mixed.into()),
        false if !asked.aliases.is_empty() => Err(EngineError::Alias),
        false => Ok(()),
    }
}
