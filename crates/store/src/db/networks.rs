//! Tables `networks` and `leases`: bridges with their subnets, and who has which address.

use std::collections::{BTreeMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use rusqlite::Row;
use rusqlite::types::ValueRef;
use serde::{Deserialize, Serialize};

use super::address::{Mac, Subnet4, Subnet6};
use super::images::{json, parse, parsed};
use super::{DbError, Session, Transaction};

/// A network on this host.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Network {
    /// Its name.
    pub name: String,
    /// The name of its bridge interface.
    pub bridge: String,
    /// IPv4, if it has that.
    pub subnet4: Option<Subnet4>,
    /// The bridge's own address in `subnet4`.
    pub gateway4: Option<Ipv4Addr>,
    /// IPv6, if it has that.
    pub subnet6: Option<Subnet6>,
    /// The bridge's own address in `subnet6`.
    pub gateway6: Option<Ipv6Addr>,
    /// Whatever else it was made with.
    pub options: NetworkOptions,
}

/// What a network was made with besides its subnets; a JSON object in its column.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct NetworkOptions {
    /// 64 hexadecimal digits; empty for one from before there were ids.
    pub id: String,
    /// Nanoseconds since the epoch.
    pub created_ns: i64,
    /// Its containers reach each other only.
    pub internal: bool,
    /// Its containers do not find each other by names.
    pub is_nameless: bool,
    /// Docker's flag; says nothing here.
    pub attachable: bool,
    /// Bytes; `None`: the default.
    pub mtu: Option<u32>,
    /// Only out of these are addresses leased that nobody asked for.
    pub range4: Option<(Ipv4Addr, u8)>,
    pub range6: Option<(Ipv6Addr, u8)>,
    /// Addresses that are never leased, by names.
    pub reserved: BTreeMap<String, IpAddr>,
    pub labels: BTreeMap<String, String>,
    /// The driver's options as they were given.
    pub driver: BTreeMap<String, String>,
    /// A removal has begun: nobody gets an address any more.
    pub is_leaving: bool,
}

/// What a container has in a network.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Lease {
    /// The network.
    pub network: String,
    /// The container's id.
    pub container: String,
    /// Its IPv4 address, where the network has that.
    pub address4: Option<Ipv4Addr>,
    /// Its IPv6 address, where the network has that.
    pub address6: Option<Ipv6Addr>,
    /// Its hardware address.
    pub mac: Mac,
}

/// What a container wants in a network. [`LeaseRequest::new`] wants whatever is free.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseRequest<'a> {
    /// The network.
    pub network: &'a str,
    /// The container's id.
    pub container: &'a str,
    /// This IPv4 address instead of the lowest free one.
    pub address4: Option<Ipv4Addr>,
    /// This IPv6 address instead of the lowest free one.
    pub address6: Option<Ipv6Addr>,
    /// This hardware address instead of one from the IP address.
    pub mac: Option<Mac>,
}

impl<'a> LeaseRequest<'a> {
    /// The lowest free addresses.
    pub fn new(network: &'a str, container: &'a str) -> Self {
        Self {
            network,
            container,
            address4: None,
            address6: None,
            mac: None,
        }
    }
}

const NETWORK: &str = "name, bridge, subnet4, gateway4, subnet6, gateway6, options";
const LEASE: &str = "network, container, address4, address6, mac";

impl Session {
    /// A network by its name.
    pub fn network(&self, name: &str) -> Result<Option<Network>, DbError> {
        let sql = format!("SELECT {NETWORK} FROM networks WHERE name = ?");
        self.row("look a network up", &sql, [name], read_network)
    }

    /// All networks, by name.
    pub fn networks(&self) -> Result<Vec<Network>, DbError> {
        let sql = format!("SELECT {NETWORK} FROM networks ORDER BY name");
        self.rows("list the networks", &sql, [], read_network)
    }

    /// The leases of a network.
    pub fn leases(&self, network: &str) -> Result<Vec<Lease>, DbError> {
        let sql = format!("SELECT {LEASE} FROM leases WHERE network = ?");
        self.rows("list leases", &sql, [network], read_lease)
    }

    /// The leases of a container.
    pub fn leases_of(&self, container: &str) -> Result<Vec<Lease>, DbError> {
        let sql = format!("SELECT {LEASE} FROM leases WHERE container = ? ORDER BY network");
        self.rows("list leases", &sql, [container], read_lease)
    }
}

impl Transaction<'_> {
    /// Records a network.
    pub fn insert_network(&self, network: &Network) -> Result<(), DbError> {
        if self.network(&network.name)?.is_some() {
            return Err(DbError::Exists {
                what: "network",
                name: network.name.clone(),
            });
        }
        self.execute(
            "record a network",
            "INSERT INTO networks VALUES (?, ?, ?, ?, ?, ?, ?)",
            (
                &network.name,
                &network.bridge,
                network.subnet4.map(|subnet| subnet.to_string()),
                network.gateway4.map(|gateway| gateway.to_string()),
                network.subnet6.map(|subnet| subnet.to_string()),
                network.gateway6.map(|gateway| gateway.to_string()),
                written(&network.options),
            ),
        )?;
        Ok(())
    }

    /// Begins the removal of a network without leases: from now on nobody gets one.
    pub fn retire_network(&self, name: &str) -> Result<Network, DbError> {
        self.check_unused(name)?;
        let network = self.network(name)?;
        let mut network = network.ok_or_else(|| DbError::not_found("network", name))?;
        network.options.is_leaving = true;
        self.execute(
            "begin the removal of a network",
            "UPDATE networks SET options = ? WHERE name = ?",
            (written(&network.options), name),
        )?;
        Ok(network)
    }

    /// Forgets a network without leases.
    pub fn remove_network(&self, name: &str) -> Result<(), DbError> {
        self.check_unused(name)?;
        match self.execute(
            "forget a network",
            "DELETE FROM networks WHERE name = ?",
            [name],
        )? {
            0 => Err(DbError::not_found("network", name)),
            _ => Ok(()),
        }
    }

    fn check_unused(&self, name: &str) -> Result<(), DbError> {
        let user = self.row(
            "look for users of a network",
            "SELECT containers.name FROM leases JOIN containers ON id = container
             WHERE network = ? LIMIT 1",
            [name],
            |row| row.get(0),
        )?;
        if let Some(container) = user {
            return Err(DbError::NetworkInUse {
                network: name.to_owned(),
                container,
            });
        }
        Ok(())
    }

    /// Leases addresses in a network. A container that has a lease there keeps it.
    pub fn lease(&self, request: &LeaseRequest<'_>) -> Result<Lease, DbError> {
        let network = self
            .network(request.network)?
            .filter(|network| !network.options.is_leaving)
            .ok_or_else(|| DbError::not_found("network", request.network))?;
        let leases = self.leases(&network.name)?;
        if let Some(present) = leases
            .iter()
            .find(|lease| lease.container == request.container)
        {
            return Ok(present.clone());
        }
        let address4 = choose4(&network, &leases, request.address4)?;
        let address6 = choose6(&network, &leases, request.address6, address4)?;
        let bits = match (address4, address6) {
            (Some(address), _) => address.to_bits(),
            (None, Some(address)) => address.to_bits() as u32,
            (None, None) => leases.len() as u32,
        };
        let lease = Lease {
            network: network.name,
            container: request.container.to_owned(),
            address4,
            address6,
            mac: request.mac.unwrap_or_else(|| Mac::for_address(bits)),
        };
        self.execute(
            "lease an address",
            "INSERT INTO leases (network, container, address4, address6, mac)
             VALUES (?, ?, ?, ?, ?)",
            (
                &lease.network,
                &lease.container,
                lease.address4.map(|address| address.to_string()),
                lease.address6.map(|address| address.to_string()),
                lease.mac.to_string(),
            ),
        )?;
        Ok(lease)
    }

    /// Gives the addresses of a container in one network back; whether it had any.
    pub fn release_in(&self, network: &str, container: &str) -> Result<bool, DbError> {
        let sql = "DELETE FROM leases WHERE network = ? AND container = ?";
        Ok(self.execute("release an address", sql, (network, container))? > 0)
    }

    /// Gives all addresses of a container back.
    pub fn release(&self, container: &str) -> Result<(), DbError> {
        let sql = "DELETE FROM leases WHERE container = ?";
        self.execute("release addresses", sql, [container])?;
        Ok(())
    }
}

fn choose4(
    network: &Network,
    leases: &[Lease],
    wanted: Option<Ipv4Addr>,
) -> Result<Option<Ipv4Addr>, DbError> {
    let Some(subnet) = network.subnet4 else {
        return no_subnet(network, wanted.map(IpAddr::V4)).map(|()| None);
    };
    if let Some(wanted) = wanted {
        let free = subnet.number(wanted).is_some() && network.gateway4 != Some(wanted);
        let holder = leases.iter().find(|lease| lease.address4 == Some(wanted));
        return check(network, wanted.into(), free, holder).map(|()| Some(wanted));
    }
    let mut taken: HashSet<_> = leases.iter().filter_map(|lease| lease.address4).collect();
    taken.extend(network.gateway4);
    let reserved = network.options.reserved.values();
    taken.extend(reserved.filter_map(|address| match address {
        IpAddr::V4(address) => Some(*address),
        IpAddr::V6(_) => None,
    }));
    let mut numbers = subnet.hosts();
    if let Some((address, bits)) = network.options.range4 {
        let first = address.to_bits().saturating_sub(subnet.address.to_bits());
        let count = 1_u64 << (32 - u32::from(bits.min(32)));
        let end = u32::try_from(u64::from(first) + count).unwrap_or(u32::MAX);
        numbers = numbers.start.max(first)..numbers.end.min(end);
    }
    numbers
        .map(|number| subnet.host(number))
        .find(|address| !taken.contains(address))
        .map(Some)
        .ok_or_else(|| full(network))
}

/// The same host number as in IPv4 where it is free, for the reader's sake; else the lowest.
fn choose6(
    network: &Network,
    leases: &[Lease],
    wanted: Option<Ipv6Addr>,
    address4: Option<Ipv4Addr>,
) -> Result<Option<Ipv6Addr>, DbError> {
    let Some(subnet) = network.subnet6 else {
        return no_subnet(network, wanted.map(IpAddr::V6)).map(|()| None);
    };
    if let Some(wanted) = wanted {
        let free = subnet.has_host(wanted) && network.gateway6 != Some(wanted);
        let holder = leases.iter().find(|lease| lease.address6 == Some(wanted));
        return check(network, wanted.into(), free, holder).map(|()| Some(wanted));
    }
    let mut taken: HashSet<_> = leases.iter().filter_map(|lease| lease.address6).collect();
    taken.extend(network.gateway6);
    let reserved = network.options.reserved.values();
    taken.extend(reserved.filter_map(|address| match address {
        IpAddr::V6(address) => Some(*address),
        IpAddr::V4(_) => None,
    }));
    let mut numbers = subnet.hosts();
    if let Some((address, bits)) = network.options.range6 {
        let first = address.to_bits().saturating_sub(subnet.address.to_bits());
        let count = 1_u128 << (128 - u32::from(bits.min(128))).min(32);
        numbers = numbers.start.max(first)..first.saturating_add(count);
    }
    let same = network
        .subnet4
        .zip(address4)
        .and_then(|(subnet4, address)| {
            let number = u128::from(subnet4.number(address)?);
            numbers.contains(&number).then_some(number)
        });
    same.into_iter()
        .chain(numbers.clone())
        .map(|number| subnet.host(number))
        .find(|address| !taken.contains(address))
        .map(Some)
        .ok_or_else(|| full(network))
}

/// The column of what a network was made with.
fn written(options: &NetworkOptions) -> String {
    // A structure of texts and numbers.
    serde_json::to_string(options).unwrap_or_default()
}

fn full(network: &Network) -> DbError {
    DbError::NetworkFull {
        network: network.name.clone(),
    }
}

fn no_subnet(network: &Network, wanted: Option<IpAddr>) -> Result<(), DbError> {
    match wanted {
        None => Ok(()),
        Some(address) => check(network, address, false, None),
    }
}

fn check(
    network: &Network,
    address: IpAddr,
    free: bool,
    holder: Option<&Lease>,
) -> Result<(), DbError> {
    let reason = match holder {
        Some(lease) => format!("container {} has it", &lease.container),
        None if !free => "it is no host's address of its subnet".to_owned(),
        None => return Ok(()),
    };
    Err(DbError::AddressTaken {
        network: network.name.clone(),
        address,
        reason,
    })
}

/// A column that may be NULL, written as text of its type.
fn optional<T>(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<T>>
where
    T: std::str::FromStr<Err: std::error::Error + Send + Sync + 'static>,
{
    match row.get_ref(column)? {
        ValueRef::Null => Ok(None),
        value => parse(column, value.as_str()?).map(Some),
    }
}

fn read_network(row: &Row<'_>) -> rusqlite::Result<Network> {
    Ok(Network {
        name: row.get(0)?,
        bridge: row.get(1)?,
        subnet4: optional(row, 2)?,
        gateway4: optional(row, 3)?,
        subnet6: optional(row, 4)?,
        gateway6: optional(row, 5)?,
        options: json(row, 6)?,
    })
}

fn read_lease(row: &Row<'_>) -> rusqlite::Result<Lease> {
    Ok(Lease {
        network: row.get(0)?,
        container: row.get(1)?,
        address4: optional(row, 2)?,
        address6: optional(row, 3)?,
        mac: parsed(row, 4)?,
    })
}
