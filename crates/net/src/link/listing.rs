//! What there is already: links, their counters, addresses, routes.

use std::net::IpAddr;

use gamut_sys::netlink::{Error, Malformed, Reply, Requests, Socket, flag};

use super::uapi::{
    AF_INET6, IFA_ADDRESS, IFADDRMSG_BYTES, IFINFOMSG_BYTES, IFLA_EXT_MASK, IFLA_IFNAME,
    IFLA_STATS64, LOOPBACK_INDEX, RTA_DST, RTA_OIF, RTEXT_FILTER_SKIP_STATS, RTM_GETADDR,
    RTM_GETLINK, RTM_GETROUTE, RTMSG_BYTES, RTN_UNICAST, RTPROT_RA, State, ifinfomsg,
};
use crate::error::NetworkError;
use crate::subnet::Prefix;

/// One link of the host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub name: String,
    pub index: u32,
}

/// What went through one interface since it was made (`struct rtnl_link_stats64`), seen from its
/// own side: what a container sends is `tx`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counters {
    pub name: String,
    pub rx_bytes: u64,
    pub rx_packets: u64,
    pub rx_errors: u64,
    pub rx_dropped: u64,
    pub tx_bytes: u64,
    pub tx_packets: u64,
    pub tx_errors: u64,
    pub tx_dropped: u64,
}

/// The links of the calling thread's network namespace whose name begins with `prefix`.
pub fn list_links(prefix: &str) -> Result<Vec<Link>, NetworkError> {
    let mut socket = crate::route_socket()?;
    let mut links = links(&mut socket)?;
    links.retain(|link| link.name.starts_with(prefix));
    Ok(links)
}

fn links(socket: &mut Socket) -> Result<Vec<Link>, NetworkError> {
    let request = |requests: &mut Requests| {
        requests.add(RTM_GETLINK, flag::DUMP, |message| {
            message.raw(&ifinfomsg(0, State::Same));
            message.u32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
        });
    };
    list(socket, "the links", request, |reply| {
        let (name, index) = name_and_index(reply)?;
        Ok(Some(Link { name, index }))
    })
}

pub(super) fn counters(socket: &mut Socket) -> Result<Vec<Counters>, NetworkError> {
    let request = |requests: &mut Requests| {
        requests.add(RTM_GETLINK, flag::DUMP, |message| {
            message.raw(&ifinfomsg(0, State::Same));
        });
    };
    list(socket, "the interfaces' counters", request, |reply| {
        let (name, index) = name_and_index(reply)?;
        if index == LOOPBACK_INDEX {
            return Ok(None);
        }
        let stats = reply.attributes(IFINFOMSG_BYTES).find(IFLA_STATS64);
        let stats = stats.ok_or(Malformed::Content)?;
        let at = |position: usize| stats.u64_at(position * 8).ok_or(Malformed::Content);
        Ok(Some(Counters {
            name,
            rx_packets: at(0)?,
            tx_packets: at(1)?,
            rx_bytes: at(2)?,
            tx_bytes: at(3)?,
            rx_errors: at(4)?,
            tx_errors: at(5)?,
            rx_dropped: at(6)?,
            tx_dropped: at(7)?,
        }))
    })
}

/// The networks of every address and the destinations of every unicast route.
pub fn addresses_and_routes() -> Result<Vec<Prefix>, NetworkError> {
    let mut socket = crate::route_socket()?;
    let request = |requests: &mut Requests| {
        requests.add(RTM_GETADDR, flag::DUMP, |message| {
            message.raw(&[0; IFADDRMSG_BYTES]);
        });
    };
    let mut all = list(&mut socket, "the addresses", request, |reply| {
        let bits = *reply.payload.get(1).ok_or(Malformed::Content)?;
        let address = reply.attributes(IFADDRMSG_BYTES).find(IFA_ADDRESS);
        Ok(address.and_then(|address| prefix(address.payload, bits)))
    })?;
    let routes = list(&mut socket, "the routes", routes_of(0), |reply| {
        let header = Route::of(reply)?;
        let destination = reply.attributes(RTMSG_BYTES).find(RTA_DST);
        Ok(destination
            .filter(|_| header.kind == RTN_UNICAST)
            .and_then(|destination| prefix(destination.payload, header.bits)))
    })?;
    all.extend(routes);
    Ok(all)
}

/// The interfaces that a route learnt from an IPv6 router advertisement leads through.
pub fn interfaces_with_advertised_routes() -> Result<Vec<String>, NetworkError> {
    let mut socket = crate::route_socket()?;
    let indices = list(
        &mut socket,
        "the IPv6 routes",
        routes_of(AF_INET6),
        |reply| {
            let header = Route::of(reply)?;
            let interface = reply.attributes(RTMSG_BYTES).find(RTA_OIF);
            Ok(interface
                .filter(|_| header.protocol == RTPROT_RA)
                .and_then(|interface| interface.u32()))
        },
    )?;
    if indices.is_empty() {
        return Ok(Vec::new());
    }
    let mut links = links(&mut socket)?;
    links.retain(|link| indices.contains(&link.index));
    Ok(links.into_iter().map(|link| link.name).collect())
}

/// What is read of a `struct rtmsg`.
struct Route {
    bits: u8,
    protocol: u8,
    kind: u8,
}

impl Route {
    fn of(reply: &Reply<'_>) -> Result<Route, Malformed> {
        let header = reply.payload.get(..RTMSG_BYTES).ok_or(Malformed::Content)?;
        Ok(Route {
            bits: header[1],
            protocol: header[5],
            kind: header[7],
        })
    }
}

fn routes_of(family: u8) -> impl Fn(&mut Requests) {
    move |requests| {
        requests.add(RTM_GETROUTE, flag::DUMP, |message| {
            let mut header = [0; RTMSG_BYTES];
            header[0] = family;
            message.raw(&header);
        });
    }
}

fn prefix(address: &[u8], bits: u8) -> Option<Prefix> {
    let address = match address.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(address).ok()?),
        16 => IpAddr::from(<[u8; 16]>::try_from(address).ok()?),
        _ => return None,
    };
    Some(Prefix { address, bits })
}

fn name_and_index(reply: &Reply<'_>) -> Result<(String, u32), Malformed> {
    let index = reply.payload.get(4..8).and_then(|at| at.try_into().ok());
    let index = u32::from_ne_bytes(index.ok_or(Malformed::Content)?);
    let name = reply.attributes(IFINFOMSG_BYTES).find(IFLA_IFNAME);
    let name = name.ok_or(Malformed::Content)?;
    // A name of arbitrary bytes is legal; nothing of ours has one.
    let name = String::from_utf8_lossy(name.payload);
    Ok((name.trim_end_matches('\0').to_owned(), index))
}

/// Collects a listing.
fn list<T>(
    socket: &mut Socket,
    object: &'static str,
    request: impl Fn(&mut Requests),
    mut read: impl FnMut(&Reply<'_>) -> Result<Option<T>, Malformed>,
) -> Result<Vec<T>, NetworkError> {
    let mut all = Vec::new();
    let dumped: Result<(), Error> = socket.dump(request, |reply| {
        match reply {
            Some(reply) => all.extend(read(reply)?),
            None => all.clear(),
        }
        Ok(())
    });
    dumped.map_err(|source| NetworkError::List { object, source })?;
    Ok(all)
}
