//! A network: a bridge with its addresses, and a table of the packet filter that serves it.

use std::net::IpAddr;

use gamut_sys::netlink::Error;
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

/// What was found or made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ensured {
    pub(crate) bridge_index: u32,
    /// Settings of the host that were changed; empty if the network was there already.
    pub changes: Vec<Change>,
}

impl Network {
    /// Makes the network on the host (the calling thread's network namespace), unless it is there.
    /// May run in many processes at once. What is there costs five system calls to see.
    pub fn ensure(&self) -> Result<Ensured, NetworkError> {
        let mut table = Table::open(&self.table)?;
        // The table is told of a network last, so that what it serves is complete.
        if table.serves(&self.bridge)?
            && let Some(bridge_index) = self.bridge_index()?
        {
            return Ok(Ensured {
                bridge_index,
                changes: Vec::new(),
            });
        }
        self.make(&mut table)
    }

    fn make(&self, table: &mut Table<'_>) -> Result<Ensured, NetworkError> {
        let ipv6 = self.ipv6.filter(|_| sysctl::has_ipv6());
        let bridge = Bridge {
            name: &self.bridge,
            ipv4: self.ipv4,
            ipv6,
            mtu: self.mtu,
        };
        let mut socket = crate::route_socket()?;
        let bridge_index = bridge.create(&mut socket)?;
        let families = match ipv6 {
            Some(_) => Families::V4AndV6,
            None => Families::V4,
        };
        let changes = sysctl::prepare(&self.bridge, families)?;
        bridge.configure(&mut socket, bridge_index)?;
        table.serve(&self.bridge, &self.ipv4, ipv6.as_ref())?;
        Ok(Ensured {
            bridge_index,
            changes,
        })
    }

    /// The host as containers of this network reach it: what `host-gateway` stands for.
    pub fn gateways(&self) -> Vec<IpAddr> {
        let mut gateways = vec![self.ipv4.gateway().into()];
        gateways.extend(self.ipv6.map(|subnet| IpAddr::from(subnet.gateway())));
        gateways
    }

    fn bridge_index(&self) -> Result<Option<u32>, NetworkError> {
        let socket = crate::route_socket()?;
        link::index_of(&socket, &self.bridge).map_err(|errno| NetworkError::Bridge {
            name: self.bridge.clone(),
            source: Error::Call {
                call: "ioctl SIOCGIFINDEX",
                errno,
            },
        })
    }
}
