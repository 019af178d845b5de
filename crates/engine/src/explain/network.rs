//! The way from the world to a container and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use gamut_net::link;
use gamut_net::nft::Table;
use gamut_plan::launch::{Endpoint, LaunchPlan, NetworkPlan, PortBinding};
use gamut_plan::{LaunchPlan as Plan, Status};
use serde::Serialize;

use crate::details::Details;

/// How a workload reaches others.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Path {
    /// Loopback only.
    None,
    /// The host's own interfaces.
    Host,
    /// Another container's, by its id.
    Container(String),
    /// One that somebody else has made, by its file.
    Namespace(PathBuf),
    Bridge(Vec<Joined>),
    /// By the host's sockets and pasta(1): the ports that it leads.
    Pasta(Vec<PortBinding>),
}

/// A place on a bridge.
#[derive(Debug, Clone, Serialize)]
pub struct Joined {
    pub network: String,
    pub bridge: String,
    /// The interface inside, and the host's end of the pair.
    pub interface: String,
    pub host_interface: String,
    pub address4: Ipv4Addr,
    pub prefix4: u8,
    pub gateway4: Option<Ipv4Addr>,
    pub address6: Option<Ipv6Addr>,
    pub gateway6: Option<Ipv6Addr>,
    /// Six octets with colons.
    pub mac: String,
    pub mtu: u32,
    /// The nftables table, of the family `inet`.
    pub table: String,
    /// While it runs.
    pub ports: Vec<Led>,
}

/// A published port, and how it is led to the container.
#[derive(Debug, Clone, Serialize)]
pub struct Led {
    pub protocol: &'static str,
    pub host: SocketAddr,
    pub container_port: u16,
    /// The map of the table that has it; `None`: only the keeper leads it.
    pub map: Option<String>,
    /// Who forwards what the packet filter cannot lead.
    pub forwarder: Option<String>,
}

pub(super) fn of(plan: &LaunchPlan, status: &Status) -> Path {
    match &plan.network {
        NetworkPlan::None => Path::None,
        NetworkPlan::Host => Path::Host,
        NetworkPlan::Container(id) => Path::Container(id.clone()),
        NetworkPlan::Namespace(path) => Path::Namespace(path.clone()),
        NetworkPlan::Pasta(_) => Path::Pasta(status.ports.clone()),
        NetworkPlan::Bridge(bridged) => {
            let leads = bridged.way_out().map(|endpoint| endpoint.place);
            let endpoints = bridged.endpoints.iter();
            let all = endpoints.map(|endpoint| {
                let ports = match leads == Some(endpoint.place) {
                    true => ports(plan, endpoint, status),
                    false => Vec::new(),
                };
                joined(plan, endpoint, ports)
            });
            Path::Bridge(all.collect())
        }
    }
}

fn joined(plan: &Plan, endpoint: &Endpoint, ports: Vec<Led>) -> Joined {
    let (gateway4, gateway6) = Details::gateways(endpoint);
    let octets: Vec<String> = endpoint.mac.iter().map(|b| format!("{b:02x}")).collect();
    Joined {
        network: endpoint.network.clone(),
        bridge: endpoint.bridge.clone(),
        interface: link::container_interface(endpoint.place),
        host_interface: link::host_interface(&plan.id, endpoint.place),
        address4: endpoint.address4,
        prefix4: endpoint.subnet4.1,
        gateway4,
        address6: endpoint.address6,
        gateway6,
        mac: octets.join(":"),
        mtu: endpoint.mtu,
        table: endpoint.table.clone(),
        ports,
    }
}

fn ports(plan: &Plan, endpoint: &Endpoint, status: &Status) -> Vec<Led> {
    let published = Table::open(&endpoint.table)
        .and_then(|mut table| table.list_elements())
        .unwrap_or_default();
    let led_to = |host: SocketAddr| {
        published
            .iter()
            .any(|p| p.owner == plan.id && p.redirect.host == host)
    };
    status
        .ports
        .iter()
        .map(|port| {
            let map = led_to(port.host).then(|| map_of(port.host.ip()).to_owned());
            Led {
                protocol: port.protocol.name(),
                host: port.host,
                container_port: port.container_port,
                forwarder: forwarder(port.host.ip(), map.is_some(), status.keeper_pid),
                map,
            }
        })
        .collect()
}

/// The map of gamut's table that has the redirects of such an address.
fn map_of(host: IpAddr) -> &'static str {
    match (host, host.is_unspecified()) {
        (IpAddr::V4(_), true) => "any4",
        (IpAddr::V4(_), false) => "ports4",
        (IpAddr::V6(_), true) => "any6",
        (IpAddr::V6(_), false) => "ports6",
    }
}

/// The kernel leads nothing off ::1, and nothing to a family that the container lacks.
fn forwarder(host: IpAddr, filtered: bool, keeper_pid: i32) -> Option<String> {
    let ipv6_loopback = host == IpAddr::V6(Ipv6Addr::LOCALHOST);
    match (filtered, host) {
        (false, _) => Some(format!("the keeper ({keeper_pid})")),
        (true, IpAddr::V6(_)) if ipv6_loopback || host.is_unspecified() => {
            Some(format!("the keeper ({keeper_pid}), for ::1"))
        }
        (true, _) => None,
    }
}
