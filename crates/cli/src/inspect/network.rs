//! `NetworkSettings`: where a container is reached. As in Docker, one that does not run has no
//! addresses.

use std::collections::BTreeMap;

use gamut_engine::View;
use gamut_engine::details::Details;
use gamut_engine::network::DEFAULT_NETWORK;
use gamut_plan::launch::{Endpoint, NetworkPlan};
use gamut_plan::request::Network;
use serde::Serialize;

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct NetworkSettings {
    bridge: String,
    #[serde(rename = "SandboxID")]
    sandbox_id: String,
    sandbox_key: String,
    ports: Ports,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    #[serde(flatten)]
    place: Place,
    networks: BTreeMap<String, Attached>,
}

/// `80/tcp` → where it is published; `null` where it is only exposed.
pub(super) type Ports = BTreeMap<String, Option<Vec<HostPort>>>;

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(super) struct HostPort {
    pub(super) host_ip: String,
    pub(super) host_port: String,
}

/// The ports that are to be published.
pub(super) fn bindings(network: &Network) -> Ports {
    let mut ports = Ports::new();
    for publish in &network.publish {
        let key = format!("{}/{}", publish.container_port, publish.protocol.name());
        let host = HostPort {
            host_ip: publish
                .host_ip
                .map_or_else(String::new, |ip| ip.to_string()),
            host_port: match publish.host_ports {
                None => String::new(),
                Some(ports) if ports.first == ports.last => ports.first.to_string(),
                Some(ports) => format!("{}-{}", ports.first, ports.last),
            },
        };
        let hosts = ports.entry(key).or_default();
        hosts.get_or_insert_default().push(host);
    }
    ports
}

/// The addresses, which Docker tells twice.
#[derive(Debug, Clone, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Place {
    gateway: String,
    #[serde(rename = "GlobalIPv6Address")]
    global_ipv6_address: String,
    #[serde(rename = "GlobalIPv6PrefixLen")]
    global_ipv6_prefix_len: u8,
    #[serde(rename = "IPAddress")]
    ip_address: String,
    #[serde(rename = "IPPrefixLen")]
    ip_prefix_len: u8,
    #[serde(rename = "IPv6Gateway")]
    ipv6_gateway: String,
    mac_address: String,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Attached {
    #[serde(rename = "IPAMConfig")]
    ipam_config: Option<()>,
    links: Option<()>,
    aliases: Option<Vec<String>>,
    driver_opts: Option<()>,
    #[serde(rename = "NetworkID")]
    network_id: String,
    #[serde(rename = "EndpointID")]
    endpoint_id: String,
    #[serde(flatten)]
    place: Place,
    #[serde(rename = "DNSNames")]
    dns_names: Option<Vec<String>>,
}

impl NetworkSettings {
    pub(super) fn of(view: &View, details: &Details) -> Self {
        let Some(plan) = &details.plan else {
            return Self::default();
        };
        let lives = view.status.is_live();
        let place = match &plan.network {
            // Docker tells the default network's here, and no other's.
            NetworkPlan::Bridge(bridged) if lives => {
                let mut endpoints = bridged.endpoints.iter();
                let default = endpoints.find(|one| one.network == DEFAULT_NETWORK);
                default.map(Place::of).unwrap_or_default()
            }
            _ => Place::default(),
        };
        let networks = match &plan.network {
            NetworkPlan::None => BTreeMap::from([("none".to_owned(), Attached::default())]),
            NetworkPlan::Pasta(_) => BTreeMap::from([("pasta".to_owned(), Attached::default())]),
            NetworkPlan::Host => BTreeMap::from([("host".to_owned(), Attached::default())]),
            NetworkPlan::Container(_) | NetworkPlan::Namespace(_) => BTreeMap::new(),
            NetworkPlan::Bridge(bridged) => {
                let endpoints = bridged.endpoints.iter();
                let attached = endpoints.map(|at| (at.network.clone(), Attached::of(at, lives)));
                attached.collect()
            }
        };
        Self {
            sandbox_key: match view.status.pid {
                pid if lives && pid > 0 => format!("/proc/{pid}/ns/net"),
                _ => String::new(),
            },
            ports: ports(view, details),
            place,
            networks,
            ..Self::default()
        }
    }
}

impl Attached {
    fn of(endpoint: &Endpoint, lives: bool) -> Self {
        let some = |names: &[String]| (!names.is_empty()).then(|| names.to_vec());
        Self {
            aliases: some(&endpoint.aliases),
            network_id: endpoint.network_id.clone(),
            place: match lives {
                true => Place::of(endpoint),
                false => Place::default(),
            },
            dns_names: some(&endpoint.names),
            ..Self::default()
        }
    }
}

impl Place {
    fn of(endpoint: &Endpoint) -> Self {
        let (gateway4, gateway6) = Details::gateways(endpoint);
        let octets: Vec<String> = endpoint.mac.iter().map(|b| format!("{b:02x}")).collect();
        let of_ipv6 = endpoint.address6.and(endpoint.subnet6);
        Self {
            gateway: gateway4.map_or_else(String::new, |a| a.to_string()),
            global_ipv6_address: endpoint
                .address6
                .map_or_else(String::new, |a| a.to_string()),
            global_ipv6_prefix_len: of_ipv6.map_or(0, |_| endpoint.prefix6),
            ip_address: endpoint.address4.to_string(),
            ip_prefix_len: endpoint.subnet4.1,
            ipv6_gateway: gateway6.map_or_else(String::new, |a| a.to_string()),
            mac_address: octets.join(":"),
        }
    }
}

fn ports(view: &View, details: &Details) -> Ports {
    let mut ports: Ports = BTreeMap::new();
    if !view.status.is_live() {
        return ports;
    }
    for (port, protocol) in details.summary.exposed() {
        ports.insert(format!("{port}/{}", protocol.name()), None);
    }
    for binding in &view.status.ports {
        let key = format!("{}/{}", binding.container_port, binding.protocol.name());
        let host = HostPort {
            host_ip: binding.host.ip().to_string(),
            host_port: binding.host.port().to_string(),
        };
        ports
            .entry(key)
            .or_default()
            .get_or_insert_default()
            .push(host);
    }
    ports
}
