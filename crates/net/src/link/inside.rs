//! Inside a container's network namespace: a netlink socket that stays there while the calling
//! thread is back home, and what is set up through it.

use std::net::{Ipv4Addr, Ipv6Addr};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use gamut_sys::netlink::{
    self, Error, Protocol, Requests, Socket, own_network_namespace, unshare_network,
};
use rustix::io::Errno;
use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use super::uapi::{
    AF_INET, AF_INET6, LOOPBACK_INDEX, RTA_GATEWAY, RTA_OIF, RTM_NEWROUTE, rtmsg_default,
};
use super::{Counters, add_address4, add_address6, add_up, index_of, listing};
use crate::error::NetworkError;
use crate::home;
use crate::subnet::{Subnet4, Subnet6};
use crate::sysctl;

/// The name of the container's end of its first veth.
pub const CONTAINER_INTERFACE: &str = "eth0";

const IPV6_ADDRESS: &str = "the IPv6 address";
const IPV6_ROUTE: &str = "the IPv6 route";

/// Calls `work` with the calling thread in `netns`, then brings the thread back; where it could not come
/// back ([`crate::home`]), with another. Other threads stay where they are. [`NetworkError::Return`] means
/// that the thread could not come back; it must not be used for the host any more.
pub fn within<T: Send>(
    netns: BorrowedFd<'_>,
    work: impl FnOnce() -> T + Send,
) -> Result<T, NetworkError> {
    if home::is_elsewhere() {
        return home::sent(netns, work);
    }
    let home = own_network_namespace().map_err(NetworkError::Enter)?;
    enter(netns).map_err(NetworkError::Enter)?;
    let result = work();
    enter(home.as_fd()).map_err(NetworkError::Return)?;
    Ok(result)
}

fn enter(netns: BorrowedFd<'_>) -> Result<(), Errno> {
    move_into_link_name_space(netns, Some(LinkNameSpaceType::Network))
}

/// What a container's network namespace is to hold of one network.
#[derive(Debug, Clone, Copy)]
pub struct Interior<'a> {
    /// Its end of the veth, which must be there.
    pub interface: &'a str,
    pub ipv4: Ipv4Addr,
    pub subnet4: Subnet4,
    pub ipv6: Option<(Ipv6Addr, Subnet6)>,
    /// The way out; `None`: there is none, or it leads through another network.
    pub gateway4: Option<Ipv4Addr>,
    /// Counts only with an IPv6 address.
    pub gateway6: Option<Ipv6Addr>,
}

/// A way of speaking to the kernel about a network namespace from outside of it.
#[derive(Debug)]
pub struct Inside {
    socket: Socket,
}

impl Inside {
    /// Opens the way into `netns`: the calling thread goes there and back once.
    pub fn open(netns: BorrowedFd<'_>) -> Result<Inside, NetworkError> {
        let socket = within(netns, || Socket::open(Protocol::Route))?;
        let socket = socket.map_err(NetworkError::Netlink)?;
        Ok(Inside { socket })
    }

    /// Makes a new network namespace and opens the way into it, with one move less than making it
    /// and opening it apart. The namespace lives as long as the descriptor, the socket or a
    /// process in it.
    pub fn create() -> Result<(OwnedFd, Inside), NetworkError> {
        if home::is_elsewhere() {
            let made = home::aside(|| {
                unshare_network()?;
                own_network_namespace()
            });
            let netns = made?.map_err(NetworkError::Enter)?;
            let inside = Inside::open(netns.as_fd())?;
            return Ok((netns, inside));
        }
        let home = own_network_namespace().map_err(NetworkError::Enter)?;
        unshare_network().map_err(NetworkError::Enter)?;
        let made = own_network_namespace().map_err(NetworkError::Enter);
        let socket = Socket::open(Protocol::Route).map_err(NetworkError::Netlink);
        enter(home.as_fd()).map_err(NetworkError::Return)?;
        let inside = Inside { socket: socket? };
        Ok((made?, inside))
    }

    /// Puts the loopback up: all that a container without a network has.
    pub fn loopback_up(&mut self) -> Result<(), NetworkError> {
        let mut requests = Requests::new();
        add_up(&mut requests, LOOPBACK_INDEX);
        let run = self.socket.run_all(&mut requests);
        run.map_err(|source| failed("lo", source))
    }

    /// Puts the loopback and the interface up and gives the latter
    /// its addresses and the routes through the bridge: one system call for all. `netns` is the namespace's own
    /// descriptor. Gives whether there is IPv6: a kernel without it is no error.
    pub fn configure(
        &mut self,
        netns: BorrowedFd<'_>,
        interior: &Interior<'_>,
    ) -> Result<bool, NetworkError> {
        let index = index_of(&self.socket, interior.interface)
            .map_err(|errno| failed(interior.interface, call(errno)))?
            .ok_or_else(|| failed(interior.interface, call(Errno::NODEV)))?;
        match self.try_configure(index, interior)? {
            Ipv6Outcome::Done => return Ok(interior.ipv6.is_some()),
            Ipv6Outcome::Absent => return Ok(false),
            Ipv6Outcome::Disabled => {}
        }
        // Namespaces inherit `disable_ipv6` where the host's default has it.
        within(netns, || {
            sysctl::enable_ipv6("lo")?;
            sysctl::enable_ipv6(interior.interface)
        })??;
        Ok(self.try_configure(index, interior)? == Ipv6Outcome::Done)
    }

    /// Leads the default routes through an interface; those that are there stay.
    pub fn lead_out(
        &mut self,
        interface: &str,
        gateway4: Ipv4Addr,
        gateway6: Option<Ipv6Addr>,
    ) -> Result<(), NetworkError> {
        let index = index_of(&self.socket, interface)
            .map_err(|errno| failed(interface, call(errno)))?
            .ok_or_else(|| failed(interface, call(Errno::NODEV)))?;
        let mut requests = Requests::new();
        add_default_route(&mut requests, AF_INET, &gateway4.octets(), index);
        if let Some(gateway) = gateway6 {
            add_default_route(&mut requests, AF_INET6, &gateway.octets(), index);
        }
        let run = self.socket.run(&mut requests);
        let refusals = run.map_err(|source| failed(interface, source))?;
        match refusals.into_iter().find(|one| one.errno != Errno::EXIST) {
            Some(refusal) => Err(failed("the default route", refusal.into())),
            None => Ok(()),
        }
    }

    fn try_configure(
        &mut self,
        index: u32,
        interior: &Interior<'_>,
    ) -> Result<Ipv6Outcome, NetworkError> {
        let mut requests = Requests::new();
        let mut objects = vec![interior.interface];
        add_up(&mut requests, index);
        // Even without duplicate detection the kernel takes an IPv6 address into use in a worker
        // of its own: it comes first, so that this happens while the rest is being done.
        if let Some((address, subnet)) = &interior.ipv6 {
            add_address6(&mut requests, index, *address, subnet);
            objects.push(IPV6_ADDRESS);
        }
        add_up(&mut requests, LOOPBACK_INDEX);
        add_address4(&mut requests, index, interior.ipv4, &interior.subnet4);
        objects.extend(["lo", "the IPv4 address"]);
        if let Some(gateway) = interior.gateway4 {
            add_default_route(&mut requests, AF_INET, &gateway.octets(), index);
            objects.push("the IPv4 route");
        }
        if let Some(gateway) = interior.gateway6.filter(|_| interior.ipv6.is_some()) {
            add_default_route(&mut requests, AF_INET6, &gateway.octets(), index);
            objects.push(IPV6_ROUTE);
        }
        let run = self.socket.run(&mut requests);
        let refusals = run.map_err(|source| failed(interior.interface, source))?;
        let real = refusals.into_iter().filter(|one| one.errno != Errno::EXIST);
        let mut outcome = Ipv6Outcome::Done;
        for refusal in real {
            let object = objects
                .get(refusal.index)
                .copied()
                .unwrap_or(interior.interface);
            match (object, refusal.errno) {
                (IPV6_ADDRESS, Errno::ACCESS) => outcome = Ipv6Outcome::Disabled,
                (IPV6_ADDRESS, Errno::OPNOTSUPP | Errno::AFNOSUPPORT) => {
                    outcome = Ipv6Outcome::Absent;
                }
                // Follows from the address's.
                (IPV6_ROUTE, _) if outcome != Ipv6Outcome::Done => {}
                _ => return Err(failed(object, refusal.into())),
            }
        }
        Ok(outcome)
    }

    /// The counters of every interface but the loopback.
    pub fn counters(&mut self) -> Result<Vec<Counters>, NetworkError> {
        listing::counters(&mut self.socket)
    }
}

/// What came of the IPv6 part.
#[derive(Debug, PartialEq, Eq)]
enum Ipv6Outcome {
    Done,
    /// Switched off in this namespace.
    Disabled,
    /// The kernel has none.
    Absent,
}

fn add_default_route(requests: &mut Requests, family: u8, gateway: &[u8], index: u32) {
    let flags = netlink::flag::CREATE | netlink::flag::EXCL;
    requests.add(RTM_NEWROUTE, flags, |message| {
        message.raw(&rtmsg_default(family));
        message.bytes(RTA_GATEWAY, gateway);
        message.u32(RTA_OIF, index);
    });
}

fn failed(object: &str, source: Error) -> NetworkError {
    NetworkError::Inside {
        object: object.to_owned(),
        source,
    }
}

fn call(errno: Errno) -> Error {
    Error::Call {
        call: "ioctl SIOCGIFINDEX",
        errno,
    }
}
