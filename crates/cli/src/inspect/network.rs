//! `NetworkSettings`: where a container is reached. As in Docker, one that does not run has no
//! addresses.

use std::collections::BTreeMap;

use gamut_engine::View;
use gamut_engine::details::Details;
use gamut_plan::launch::{Endpoint, NetworkPlan};
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

#[derive(Debug, Serialize)]
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
            NetworkPlan::Bridge(endpoint) if lives => Place::of(endpoint),
            _ => Place::default(),
        };
        let aliases = details
            .request
            .as_ref()
            .map(|request| request.network.aliases.clone())
            .filter(|aliases| !aliases.is_empty());
        let (name, bridge) = match &plan.network {
            NetworkPlan::None => (Some("none".to_owned()), String::new()),
            NetworkPlan::Host => (Some("host".to_owned()), String::new()),
            NetworkPlan::Container(_) => (None, String::new()),
            NetworkPlan::Bridge(at) => (Some(at.network.clone()), at.bridge.clone()),
        };
        let attached = Attached {
            ipam_config: None,
            links: None,
            aliases,
            driver_opts: None,
            network_id: bridge,
            endpoint_id: String::new(),
            place: place.clone(),
            dns_names: None,
        };
        Self {
            sandbox_key: match view.status.pid {
                pid if lives && pid > 0 => format!("/proc/{pid}/ns/net"),
                _ => String::new(),
            },
            ports: ports(view, details),
            place,
            networks: name
                .map(|name| BTreeMap::from([(name, attached)]))
                .unwrap_or_default(),
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
            global_ipv6_prefix_len: of_ipv6.map_or(0, |_| 64),
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
    for (port, protocol) in details.exposed() {
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
