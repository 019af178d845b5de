//! The bridge that the containers of one network share.

use std::net::{Ipv4Addr, Ipv6Addr};

use gamut_sys::netlink::{Requests, Socket, flag};
use rustix::io::Errno;

use super::uapi::{
    IFLA_ADDRESS, IFLA_BR_FORWARD_DELAY, IFLA_BR_STP_STATE, IFLA_IFNAME, IFLA_INFO_DATA,
    IFLA_INFO_KIND, IFLA_LINKINFO, IFLA_MTU, RTM_NEWLINK, State, ifinfomsg,
};
use super::{add_address4, add_address6, add_up, index_of};
use crate::error::NetworkError;
use crate::subnet::{Subnet4, Subnet6, mac_of};

/// What the bridge is to be.
#[derive(Debug, Clone, Copy)]
pub struct Bridge<'a> {
    pub name: &'a str,
    /// Its network, and its own address there.
    pub ipv4: (Subnet4, Ipv4Addr),
    pub ipv6: Option<(Subnet6, Ipv6Addr)>,
    pub mtu: u32,
}

impl Bridge<'_> {
    /// Creates the bridge, unless it is there, and gives its index. It is not up yet.
    ///
    /// No spanning tree: a port forwards as soon as it is added. The hardware address is fixed;
    /// left to the kernel it would follow the ports as they come and go, and containers would lose
    /// their gateway for a while each time.
    pub(crate) fn create(&self, socket: &mut Socket) -> Result<u32, NetworkError> {
        let mut requests = Requests::new();
        requests.add(RTM_NEWLINK, flag::CREATE | flag::EXCL, |message| {
            message.raw(&ifinfomsg(0, State::Same));
            message.text(IFLA_IFNAME, self.name);
            message.bytes(IFLA_ADDRESS, &mac_of(self.ipv4.1));
            message.u32(IFLA_MTU, self.mtu);
            message.nest(IFLA_LINKINFO, |message| {
                message.text(IFLA_INFO_KIND, "bridge");
                message.nest(IFLA_INFO_DATA, |message| {
                    message.u32(IFLA_BR_FORWARD_DELAY, 0);
                    message.u32(IFLA_BR_STP_STATE, 0);
                });
            });
        });
        self.run(socket, &mut requests)?;
        let index = index_of(socket, self.name).map_err(|errno| self.failed("ioctl", errno))?;
        index.ok_or_else(|| NetworkError::NoBridge(self.name.to_owned()))
    }

    /// Puts the bridge up and gives it its addresses, the gateways of its networks. What it has
    /// already is fine.
    pub(crate) fn configure(&self, socket: &mut Socket, index: u32) -> Result<(), NetworkError> {
        let mut requests = Requests::new();
        add_up(&mut requests, index);
        let (subnet4, own4) = &self.ipv4;
        add_address4(&mut requests, index, *own4, subnet4);
        if let Some((subnet6, own6)) = &self.ipv6 {
            let link_local = Subnet6::LINK_LOCAL;
            // Neighbours are asked for in the name of a link-local address.
            add_address6(&mut requests, index, link_local.gateway(), &link_local);
            add_address6(&mut requests, index, *own6, subnet6);
        }
        self.run(socket, &mut requests)
    }

    fn run(&self, socket: &mut Socket, requests: &mut Requests) -> Result<(), NetworkError> {
        let fail = |source| NetworkError::Bridge {
            name: self.name.to_owned(),
            source,
        };
        let refusals = socket.run(requests).map_err(fail)?;
        match refusals.into_iter().find(|one| one.errno != Errno::EXIST) {
            Some(refusal) => Err(fail(refusal.into())),
            None => Ok(()),
        }
    }

    fn failed(&self, call: &'static str, errno: Errno) -> NetworkError {
        NetworkError::Bridge {
            name: self.name.to_owned(),
            source: gamut_sys::netlink::Error::Call { call, errno },
        }
    }
}
