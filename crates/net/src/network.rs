//! A network: a bridge with its addresses, and a table of the packet filter that serves it.

use std::net::IpAddr;

use gamut_sys::netlink::{Error, Socket};
use serde::{Deserialize, Serialize};

use crate::error::NetworkError;
use crate::link::{self, Bridge};
use crate::nft::Table;
use crate::subnet::{Subnet4, Subnet6};
use crate::sysctl::{self, Change, Families};

/// A bridge network as it is meant to be. The same value always arranges the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Network {
    /// The packet filter's table (family `inet`): one for all networks of a gamut instance.
    pub table: String,
    /// The bridge's interface name, at most 15 bytes.
    pub bridge: String,
    pub ipv4: Subnet4,
    /// `None`: the network has no IPv6.
    pub ipv6: Option<Subnet6>,
    /// Bytes; of the bridge and of every container's interface.
    pub mtu: u32,
}

/// A network that is there, and the ways to speak of it: what attaching and publishing need.
#[derive(Debug)]
pub struct Ensured<'n> {
    pub(crate) network: &'n Network,
    pub(crate) bridge_index: u32,
    pub(crate) route: Socket,
    pub(crate) table: Table<'n>,
    /// Settings of the host that were changed; empty if the network was there already.
    pub changes: Vec<Change>,
}

impl Network {
    /// Makes the network on the host (the calling thread's network namespace), unless it is there.
    /// May run in many processes at once. To see that it is there takes ten system calls.
    pub fn ensure(&self) -> Result<Ensured<'_>, NetworkError> {
        let mut table = Table::open(&self.table)?;
        let mut route = crate::route_socket()?;
        let mut changes = Vec::new();
        // The table is told of a network last, so that what it serves is complete.
        let there = match table.serves(&self.bridge)? {
            true => self.bridge_index(&route)?,
            false => None,
        };
        let bridge_index = match there {
            Some(bridge_index) => bridge_index,
            None => self.make(&mut route, &mut table, &mut changes)?,
        };
        Ok(Ensured {
            network: self,
            bridge_index,
            route,
            table,
            changes,
        })
    }

    /// Makes what is missing. Gives the bridge's index.
    pub(crate) fn make(
        &self,
        route: &mut Socket,
        table: &mut Table<'_>,
        changes: &mut Vec<Change>,
    ) -> Result<u32, NetworkError> {
        let ipv6 = self.ipv6.filter(|_| sysctl::has_ipv6());
        let bridge = Bridge {
            name: &self.bridge,
            ipv4: self.ipv4,
            ipv6,
            mtu: self.mtu,
        };
        let bridge_index = bridge.create(route)?;
        let families = match ipv6 {
            Some(_) => Families::V4AndV6,
            None => Families::V4,
        };
        changes.extend(sysctl::prepare(&self.bridge, families)?);
        bridge.configure(route, bridge_index)?;
        table.serve(&self.bridge, &self.ipv4, ipv6.as_ref())?;
        Ok(bridge_index)
    }

    /// The host as containers of this network reach it: what `host-gateway` stands for.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let mut gateways = vec![self.ipv4.gateway().into()];
        gateways.extend(self.ipv6.map(|subnet| IpAddr::from(subnet.gateway())));
        gateways
    }

    fn bridge_index(&self, route: &Socket) -> Result<Option<u32>, NetworkError> {
        link::index_of(route, &self.bridge).map_err(|errno| NetworkError::Bridge {
            name: self.bridge.clone(),
            source: Error::Call {
                call: "ioctl SIOCGIFINDEX",
                errno,
            },
        })
    }
}
