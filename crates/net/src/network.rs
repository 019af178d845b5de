//! A network: a bridge with its addresses, and a table of the packet filter that serves it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gamut_sys::netlink::{Error, Socket};
use serde::{Deserialize, Serialize};

use crate::error::NetworkError;
use crate::home;
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
    /// The bridge's own address.
    pub gateway4: Ipv4Addr,
    /// The network and the bridge's own address in it. `None`: the network has no IPv6.
    pub ipv6: Option<(Subnet6, Ipv6Addr)>,
    pub reach: Reach,
    /// Bytes; of the bridge and of every container's interface.
    pub mtu: u32,
}

/// What a network's containers can reach.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Whatever the host can.
    #[default]
    Outside,
    /// Each other, and the host by the bridge's addresses.
    Internal,
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
            ipv4: (self.ipv4, self.gateway4),
            ipv6,
            mtu: self.mtu,
        };
        let bridge_index = bridge.create(route)?;
        let families = match ipv6 {
            Some(_) => Families::V4AndV6,
            None => Families::V4,
        };
        let bridge_name = self.bridge.as_str();
        changes.extend(home::there(|| sysctl::prepare(bridge_name, families))??);
        bridge.configure(route, bridge_index)?;
        table.serve(self, ipv6.map(|(subnet, _)| subnet))?;
        Ok(bridge_index)
    }

    /// The host as containers of this network reach it: what `host-gateway` stands for.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let mut gateways = vec![self.gateway4.into()];
        gateways.extend(self.ipv6.map(|(_, gateway)| IpAddr::from(gateway)));
        gateways
    }

    /// Takes the network off the host: its bridge, and what the table has of it. What is not there is
    /// fine. The caller sees to it that nobody is connected, or about to be.
    pub fn remove(&self) -> Result<(), NetworkError> {
        let mut table = Table::open(&self.table)?;
        if table.exists()? {
            table.forget(self)?;
        }
        link::delete_link(&self.bridge)
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
