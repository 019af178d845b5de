//! Links, addresses and routes, by rtnetlink(7): the bridge, the veth pair that joins a container
//! to it, and what stands inside the container's network namespace.

mod bridge;
mod inside;
mod listing;
mod tap;
mod uapi;
mod veth;

use std::net::{Ipv4Addr, Ipv6Addr};

use gamut_sys::netlink::{Error, Requests, Socket, flag};
use rustix::io::Errno;

use crate::error::NetworkError;
use crate::subnet::{Subnet4, Subnet6};
use uapi::{
    AF_INET, AF_INET6, IFA_ADDRESS, IFA_BROADCAST, IFA_F_NODAD, IFA_LOCAL, IFLA_IFNAME, IFLA_MTU,
    RTM_DELLINK, RTM_NEWADDR, RTM_NEWLINK, State, ifaddrmsg, ifinfomsg,
};

pub use bridge::Bridge;
pub use inside::{CONTAINER_INTERFACE, Inside, Interior, within};
pub use listing::{
    Counters, Link, addresses_and_routes, interfaces_with_advertised_routes, list_links,
};
pub use tap::Tap;
pub use veth::{Veth, container_interface, host_interface};

/// The index of the interface of this name in the socket's network namespace; `None` if there is
/// none (netdevice(7), `SIOCGIFINDEX`).
pub(crate) fn index_of(socket: &Socket, name: &str) -> Result<Option<u32>, Errno> {
    match rustix::net::netdevice::name_to_index(socket, name) {
        Ok(index) => Ok(Some(index)),
        Err(Errno::NODEV) => Ok(None),
        Err(errno) => Err(errno),
    }
}

/// Removes a link; one that does not exist is fine. A veth takes its peer along, so this is for
/// repair only: the death of a network namespace removes what is in it.
pub fn delete_link(name: &str) -> Result<(), NetworkError> {
    let mut socket = crate::route_socket()?;
    delete(&mut socket, name)
}

fn delete(socket: &mut Socket, name: &str) -> Result<(), NetworkError> {
    let mut requests = Requests::new();
    requests.add(RTM_DELLINK, 0, |message| {
        message.raw(&ifinfomsg(0, State::Same));
        message.text(IFLA_IFNAME, name);
    });
    let fail = |source| NetworkError::Remove {
        name: name.to_owned(),
        source,
    };
    match socket.run(&mut requests).map_err(fail)?.into_iter().next() {
        Some(refusal) if refusal.errno != Errno::NODEV => Err(fail(refusal.into())),
        _ => Ok(()),
    }
}

/// Gives an interface that is down another name, and its largest packet's size.
///
/// # Errors
/// There is none of that name, or one of the new name already.
pub fn rename(name: &str, to: &str, mtu: u32) -> Result<(), NetworkError> {
    let mut socket = crate::route_socket()?;
    let fail = |source| NetworkError::Link {
        name: name.to_owned(),
        source,
    };
    let call = "ioctl SIOCGIFINDEX";
    let none = |errno| fail(Error::Call { call, errno });
    let index = index_of(&socket, name).map_err(none)?;
    let index = index.ok_or_else(|| none(Errno::NODEV))?;
    let mut requests = Requests::new();
    requests.add(RTM_NEWLINK, 0, |message| {
        message.raw(&ifinfomsg(index, State::Same));
        message.u32(IFLA_MTU, mtu);
        if name != to {
            message.text(IFLA_IFNAME, to);
        }
    });
    socket.run_all(&mut requests).map_err(fail)
}

/// Adds the request that puts interface `index` up.
fn add_up(requests: &mut Requests, index: u32) {
    requests.add(RTM_NEWLINK, 0, |message| {
        message.raw(&ifinfomsg(index, State::Up));
    });
}

/// Adds the request that gives interface `index` an IPv4 address.
fn add_address4(requests: &mut Requests, index: u32, address: Ipv4Addr, subnet: &Subnet4) -> usize {
    let flags = flag::CREATE | flag::EXCL;
    requests.add(RTM_NEWADDR, flags, |message| {
        message.raw(&ifaddrmsg(AF_INET, subnet.bits(), 0, index));
        message.bytes(IFA_LOCAL, &address.octets());
        message.bytes(IFA_ADDRESS, &address.octets());
        message.bytes(IFA_BROADCAST, &subnet.broadcast().octets());
    })
}

/// Adds the request that gives interface `index` an IPv6 address that is usable at once.
fn add_address6(requests: &mut Requests, index: u32, address: Ipv6Addr, subnet: &Subnet6) -> usize {
    let flags = flag::CREATE | flag::EXCL;
    requests.add(RTM_NEWADDR, flags, |message| {
        message.raw(&ifaddrmsg(AF_INET6, subnet.bits(), IFA_F_NODAD, index));
        message.bytes(IFA_LOCAL, &address.octets());
        message.bytes(IFA_ADDRESS, &address.octets());
    })
}
