//! A container's place on a network: its interface, its addresses, its published ports.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;

use crate::error::NetworkError;
use crate::link::{Counters, Inside, Interior, Tap, Veth};
use crate::network::{Ensured, Network, Reach};
use crate::nft::{Redirect, Table};
use crate::publish::{Binding, Protocol};
use crate::subnet::mac_of;

/// Whether a network is a container's way out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// The default routes lead through it.
    Out,
    /// Only its own addresses are reached by it.
    Within,
}

/// A container's place on a network as it is meant to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The container's end of the veth: [`crate::link::container_interface`].
    pub container_interface: String,
    /// The host's end of the veth: [`crate::link::host_interface`].
    pub host_interface: String,
    /// The container's end's hardware address.
    pub mac: [u8; 6],
    pub ipv4: Ipv4Addr,
    /// Counts only if the network has IPv6.
    pub ipv6: Option<Ipv6Addr>,
    /// Counts only if the network reaches the outside.
    pub way: Way,
}

impl Endpoint {
    /// The place that goes with an IPv4 address of the network: hardware address and IPv6 address
    /// follow from it.
    pub fn at(network: &Network, container_id: &str, ipv4: Ipv4Addr) -> Endpoint {
        Endpoint {
            container_interface: crate::link::container_interface(0),
            host_interface: crate::link::host_interface(container_id, 0),
            mac: mac_of(ipv4),
            ipv4,
            ipv6: network
                .ipv6
                .map(|(subnet, _)| subnet.beside(&network.ipv4, ipv4)),
            way: Way::Out,
        }
    }
}

/// What came of [`attach`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Attached {
    /// The container's IPv6 address; `None` if the network or the kernel has no IPv6.
    pub ipv6: Option<Ipv6Addr>,
}

/// Joins the network namespace `netns` to the network: makes the veth pair with its far end inside
/// under the endpoint's name, puts loopback and that up, sets addresses and default routes. To be called on the
/// host; the calling thread visits `netns` once.
pub fn attach(
    ensured: &mut Ensured<'_>,
    netns: BorrowedFd<'_>,
    endpoint: &Endpoint,
) -> Result<Attached, NetworkError> {
    let mut inside = Inside::open(netns)?;
    attach_inside(ensured, netns, &mut inside, endpoint)
}

/// [`attach`] for a namespace that the way into is open already ([`Inside::create`]).
pub fn attach_inside(
    ensured: &mut Ensured<'_>,
    netns: BorrowedFd<'_>,
    inside: &mut Inside,
    endpoint: &Endpoint,
) -> Result<Attached, NetworkError> {
    let network = ensured.network;
    let veth = Veth {
        host_name: &endpoint.host_interface,
        bridge_index: ensured.bridge_index,
        netns,
        container_name: &endpoint.container_interface,
        mac: endpoint.mac,
        mtu: network.mtu,
    };
    veth.create(&mut ensured.route)?;
    let leads_out = network.reach == Reach::Outside && endpoint.way == Way::Out;
    let interior = Interior {
        interface: &endpoint.container_interface,
        ipv4: endpoint.ipv4,
        subnet4: network.ipv4,
        ipv6: endpoint.ipv6.zip(network.ipv6.map(|(subnet, _)| subnet)),
        gateway4: leads_out.then_some(network.gateway4),
        gateway6: network
            .ipv6
            .map(|(_, gateway)| gateway)
            .filter(|_| leads_out),
    };
    let has_ipv6 = inside.configure(netns, &interior)?;
    veth.settle(&mut ensured.route)?;
    Ok(Attached {
        ipv6: endpoint.ipv6.filter(|_| has_ipv6),
    })
}

/// Puts a TAP device on the network, for a machine that sets the endpoint's addresses itself, and gives
/// its other end. To be called on the host.
pub fn attach_machine(
    ensured: &mut Ensured<'_>,
    endpoint: &Endpoint,
) -> Result<OwnedFd, NetworkError> {
    let tap = Tap {
        name: &endpoint.host_interface,
        bridge_index: ensured.bridge_index,
        mtu: ensured.network.mtu,
    };
    tap.create(&mut ensured.route)
}

/// Leads the bindings' host ports to the container's addresses. Bindings of a family that the
/// container has no address of are left to a [`crate::forward`]er. The caller holds the ports
/// ([`crate::ports::reserve`]) until it has called [`unpublish`]. May be repeated.
pub fn publish(
    ensured: &mut Ensured<'_>,
    container_id: &str,
    bindings: &[Binding],
    ipv4: Ipv4Addr,
    ipv6: Option<Ipv6Addr>,
) -> Result<(), NetworkError> {
    let redirects = redirects(bindings, ipv4, ipv6);
    if redirects.is_empty() {
        return Ok(());
    }
    let Ensured { network, table, .. } = ensured;
    match table.publish(container_id, &redirects) {
        // Somebody has flushed the host's rules since the network was made.
        Err(NetworkError::Publish { source, .. }) if source.errno() == Some(Errno::NOENT) => {
            network.make(&mut ensured.route, table, &mut ensured.changes)?;
            table.publish(container_id, &redirects)?;
        }
        other => other?,
    }
    let udp: Vec<SocketAddr> = redirects
        .iter()
        .filter(|redirect| redirect.protocol == Protocol::Udp)
        .map(|redirect| redirect.host)
        .collect();
    table.forget_udp(&udp)
}

/// Takes back what [`publish`] did; what is not there is fine. Only for the holder of the ports:
/// who repairs after somebody else uses [`Table::remove_owned_by`].
///
/// What it gives closes a socket when dropped, for which the kernel waits until nothing uses the
/// removed elements any more: some milliseconds, better spent when nobody waits.
pub fn unpublish<'n>(
    network: &'n Network,
    container_id: &str,
    bindings: &[Binding],
    ipv4: Ipv4Addr,
    ipv6: Option<Ipv6Addr>,
) -> Result<Closing<'n>, NetworkError> {
    let redirects = redirects(bindings, ipv4, ipv6);
    if redirects.is_empty() {
        return Ok(Closing(None));
    }
    let mut table = Table::open(&network.table)?;
    table.unpublish(container_id, &redirects)?;
    Ok(Closing(Some(table)))
}

/// The end of [`unpublish`]: to be dropped when there is time.
#[derive(Debug)]
#[must_use = "dropping it takes some milliseconds"]
pub struct Closing<'n>(#[expect(dead_code, reason = "kept for its end")] Option<Table<'n>>);

/// The counters of a network namespace's interfaces, the loopback left out.
pub fn interface_counters(netns: BorrowedFd<'_>) -> Result<Vec<Counters>, NetworkError> {
    Inside::open(netns)?.counters()
}

fn redirects(bindings: &[Binding], ipv4: Ipv4Addr, ipv6: Option<Ipv6Addr>) -> Vec<Redirect> {
    let target = |host: IpAddr| match host {
        IpAddr::V4(_) => Some(IpAddr::from(ipv4)),
        IpAddr::V6(_) => ipv6.map(IpAddr::from),
    };
    bindings
        .iter()
        .filter_map(|binding| {
            Some(Redirect {
                protocol: binding.protocol,
                host: binding.host,
                target: (target(binding.host.ip())?, binding.container_port).into(),
            })
        })
        .collect()
}
