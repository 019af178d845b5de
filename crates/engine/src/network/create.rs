//! `network create`: what was asked for, checked, becomes a row and then a bridge.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

pub use gamut_net::Reach;
use gamut_net::link;
use gamut_net::subnet::{self, Prefix, Subnet4, Subnet6};
use gamut_store::db::{self, DbError, NetworkOptions};

use super::{NetworksError, of_subnet4, of_subnet6, on_host};
use crate::engine::Engine;
use crate::error::EngineError;
use crate::{names, record};

/// Docker's names of what is always there, and may not be made.
pub(super) const PREDEFINED: [&str; 4] = ["bridge", "host", "none", "default"];

/// What a link's names are about.
const OPTION_NAME: &str = "com.docker.network.bridge.name";
const OPTIONS_MTU: [&str; 2] = ["com.docker.network.driver.mtu", "mtu"];

/// A network as it is asked for.
#[derive(Debug, Clone, Default)]
pub struct NetworkRequest {
    pub name: String,
    /// Empty: `bridge`.
    pub driver: String,
    /// At most one of each family.
    pub subnets: Vec<AnySubnet>,
    pub gateways: Vec<IpAddr>,
    /// Subnets of the subnets, for leases.
    pub ranges: Vec<AnySubnet>,
    /// Addresses that are left alone, by names.
    pub reserved: BTreeMap<String, IpAddr>,
    pub families: Families,
    pub reach: Reach,
    pub names: Naming,
    /// Docker's flag for swarms; it is shown, and says nothing.
    pub attachable: bool,
    pub labels: BTreeMap<String, String>,
    /// The driver's options.
    pub options: BTreeMap<String, String>,
}

/// Which addresses containers get.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Families {
    /// IPv4, and IPv6 if a subnet is given.
    #[default]
    AsGiven,
    Both,
}

/// Whether containers find each other by their names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Naming {
    #[default]
    Names,
    None,
}

/// A subnet of either family.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AnySubnet {
    V4(Subnet4),
    V6(Subnet6),
}

impl AnySubnet {
    fn prefix(&self) -> Prefix {
        match self {
            Self::V4(subnet) => subnet.prefix(),
            Self::V6(subnet) => subnet.prefix(),
        }
    }

    fn text(&self) -> String {
        match self {
            Self::V4(subnet) => subnet.to_string(),
            Self::V6(subnet) => subnet.to_string(),
        }
    }
}

impl Engine {
    /// Makes a network: its row first, then its bridge. Gives its id.
    ///
    /// # Errors
    /// Whatever is wrong with the request, or already there; nothing is left behind.
    pub fn create_network(&mut self, request: &NetworkRequest) -> Result<String, EngineError> {
        let NetworkRequest { name, .. } = request;
        if PREDEFINED.contains(&name.as_str()) {
            return Err(NetworksError::Predefined(name.clone()).into());
        }
        if !names::is_container_name(name) {
            return Err(NetworksError::Name(name.clone()).into());
        }
        if !matches!(request.driver.as_str(), "" | "bridge") {
            return Err(NetworksError::Driver(request.driver.clone()).into());
        }
        let there = self.store.db().networks()?;
        if there.iter().any(|network| network.name == *name) {
            return Err(NetworksError::Exists(name.clone()).into());
        }
        let row = self.draw_network(request, &there)?;
        let written = self.store.db_mut().write(|transaction| {
            // Another command may have taken the subnet since it was chosen.
            let taken = transaction.networks()?;
            match taken.iter().find_map(|other| overlap(&row, other)) {
                Some(error) => Ok(Some(error)),
                None => transaction.insert_network(&row).map(|()| None),
            }
        });
        match written {
            Ok(None) => {}
            Ok(Some(error)) => return Err(error.into()),
            Err(DbError::Exists { name, .. }) => return Err(NetworksError::Exists(name).into()),
            Err(error) => return Err(error.into()),
        }
        let table = self.instance().bridge;
        let Some(network) = on_host(&row, &table) else {
            return Err(EngineError::NoNetwork(name.clone()));
        };
        let made = network.ensure().map(drop);
        if let Err(error) = made {
            let _ = network.remove();
            self.store
                .db_mut()
                .write(|transaction| transaction.remove_network(name))?;
            return Err(error.into());
        }
        self.tell_of_network(&row, "create", None);
        // Somebody may have removed it before its bridge was there to be taken away.
        let now = self.store.db().network(name)?;
        let is_there =
            |now: &db::Network| now.options.id == row.options.id && !now.options.is_leaving;
        if !now.as_ref().is_some_and(is_there) {
            self.off_host(&row)?;
        }
        Ok(row.options.id)
    }

    fn draw_network(
        &self,
        request: &NetworkRequest,
        there: &[db::Network],
    ) -> Result<db::Network, EngineError> {
        let id = names::container_id();
        let driver = DriverOptions::of(&request.options)?;
        let bridge = match &driver.bridge {
            Some(name) => {
                let taken = there.iter().any(|network| network.bridge == *name)
                    || link::list_links(name)?.iter().any(|l| l.name == *name);
                if taken {
                    return Err(NetworksError::Interface(name.clone()).into());
                }
                name.clone()
            }
            None => format!("gm-{}", id.get(..12).unwrap_or(&id)),
        };
        let used = self.used_subnets()?;
        for asked in &request.subnets {
            if let Some(other) = used.iter().find(|one| one.overlaps(&asked.prefix())) {
                return Err(NetworksError::Overlap {
                    subnet: asked.text(),
                    other: format!("{}/{} of this host", other.address, other.bits),
                }
                .into());
            }
        }
        let (asked4, asked6) = families(&request.subnets)?;
        let subnet4 = match asked4 {
            Some(subnet) => subnet,
            None => subnet::choose(subnet::pools(), &used)?,
        };
        let subnet6 = match (asked6, request.families) {
            (Some(subnet), _) => Some(subnet),
            (None, Families::Both) => Some(random_subnet6()?),
            (None, Families::AsGiven) => None,
        };
        let (gateway4, gateway6) = gateways(request, subnet4, subnet6)?;
        let (range4, range6) = ranges(request, subnet4, subnet6)?;
        for (what, address) in &request.reserved {
            let is_inside = match address {
                IpAddr::V4(address) => subnet4.contains(*address),
                IpAddr::V6(address) => subnet6.is_some_and(|subnet| subnet.contains(*address)),
            };
            if !is_inside {
                return Err(outside("reserved address", format!("{what}={address}")).into());
            }
        }
        Ok(db::Network {
            name: request.name.clone(),
            bridge,
            subnet4: Some(of_subnet4(subnet4)),
            gateway4: Some(gateway4),
            subnet6: subnet6.map(of_subnet6),
            gateway6,
            options: NetworkOptions {
                id,
                created_ns: i64::try_from(record::now_ns()).unwrap_or(i64::MAX),
                internal: request.reach == Reach::Internal,
                is_nameless: request.names == Naming::None,
                attachable: request.attachable,
                mtu: driver.mtu,
                range4,
                range6,
                reserved: request.reserved.clone(),
                labels: request.labels.clone(),
                driver: request.options.clone(),
                is_leaving: false,
            },
        })
    }
}

fn random_subnet6() -> Result<Subnet6, EngineError> {
    Subnet6::random().map_err(|errno| EngineError::HostPath {
        path: "a random number".into(),
        source: errno.into(),
    })
}

/// What the driver is told.
#[derive(Debug, Default)]
struct DriverOptions {
    bridge: Option<String>,
    mtu: Option<u32>,
}

impl DriverOptions {
    fn of(given: &BTreeMap<String, String>) -> Result<Self, NetworksError> {
        let mut options = Self::default();
        for (key, value) in given {
            let wrong = |reason| NetworksError::OptionValue {
                key: key.clone(),
                value: value.clone(),
                reason,
            };
            if key == OPTION_NAME {
                if !is_interface_name(value) {
                    return Err(wrong(
                        "an interface's name has 1 to 15 letters, digits and `_.-`",
                    ));
                }
                options.bridge = Some(value.clone());
            } else if OPTIONS_MTU.contains(&key.as_str()) {
                let mtu = value.parse().ok().filter(|mtu| (68..=65_535).contains(mtu));
                options.mtu = Some(mtu.ok_or_else(|| wrong("it is a number from 68 to 65535"))?);
            } else {
                return Err(NetworksError::Option(key.clone()));
            }
        }
        Ok(options)
    }
}

/// `dev_valid_name` of the kernel's `net/core/dev.c`, without what no shell likes.
fn is_interface_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    (1..=15).contains(&name.len()) && name.chars().all(plain) && !matches!(name, "." | "..")
}

/// At most one subnet of each family.
fn families(given: &[AnySubnet]) -> Result<(Option<Subnet4>, Option<Subnet6>), NetworksError> {
    let (mut ipv4, mut ipv6) = (None, None);
    for subnet in given {
        let (family, before) = match subnet {
            AnySubnet::V4(subnet) => ("IPv4", ipv4.replace(*subnet).map(drop)),
            AnySubnet::V6(subnet) => ("IPv6", ipv6.replace(*subnet).map(drop)),
        };
        if before.is_some() {
            return Err(NetworksError::SeveralSubnets(family));
        }
    }
    Ok((ipv4, ipv6))
}

fn outside(what: &'static str, value: String) -> NetworksError {
    NetworksError::Outside { what, value }
}

fn gateways(
    request: &NetworkRequest,
    subnet4: Subnet4,
    subnet6: Option<Subnet6>,
) -> Result<(Ipv4Addr, Option<Ipv6Addr>), NetworksError> {
    let mut gateway4 = subnet4.gateway();
    let mut gateway6 = subnet6.map(|subnet| subnet.gateway());
    for gateway in &request.gateways {
        let refused = |subnet: &dyn std::fmt::Display| NetworksError::Gateway {
            address: *gateway,
            subnet: subnet.to_string(),
        };
        match (*gateway, subnet6) {
            (IpAddr::V4(address), _) if subnet4.contains(address) => {
                if [subnet4.network(), subnet4.broadcast()].contains(&address) {
                    return Err(refused(&subnet4));
                }
                gateway4 = address;
            }
            (IpAddr::V6(address), Some(subnet)) if subnet.contains(address) => {
                if address == subnet.network() {
                    return Err(refused(&subnet));
                }
                gateway6 = Some(address);
            }
            _ => return Err(outside("gateway", gateway.to_string())),
        }
    }
    Ok((gateway4, gateway6))
}

type Ranges = (Option<(Ipv4Addr, u8)>, Option<(Ipv6Addr, u8)>);

fn ranges(
    request: &NetworkRequest,
    subnet4: Subnet4,
    subnet6: Option<Subnet6>,
) -> Result<Ranges, NetworksError> {
    let (mut range4, mut range6) = (None, None);
    for range in &request.ranges {
        match (range, subnet6) {
            (AnySubnet::V4(range), _)
                if subnet4.contains(range.network()) && range.bits() >= subnet4.bits() =>
            {
                range4 = Some((range.network(), range.bits()));
            }
            (AnySubnet::V6(range), Some(subnet))
                if subnet.contains(range.network()) && range.bits() >= subnet.bits() =>
            {
                range6 = Some((range.network(), range.bits()));
            }
            _ => return Err(outside("range", range.text())),
        }
    }
    Ok((range4, range6))
}

/// What two networks cannot both have.
fn overlap(new: &db::Network, other: &db::Network) -> Option<NetworksError> {
    let prefixes = |network: &db::Network| {
        let ipv4 = network.subnet4.map(|subnet| Prefix {
            address: subnet.address.into(),
            bits: subnet.prefix_length,
        });
        let ipv6 = network.subnet6.map(|subnet| Prefix {
            address: subnet.address.into(),
            bits: subnet.prefix_length,
        });
        [ipv4, ipv6].into_iter().flatten()
    };
    if new.bridge == other.bridge {
        return Some(NetworksError::Interface(new.bridge.clone()));
    }
    let clash = prefixes(new).find(|one| prefixes(other).any(|two| one.overlaps(&two)))?;
    Some(NetworksError::Overlap {
        subnet: format!("{}/{}", clash.address, clash.bits),
        other: format!("the network {}", other.name),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_of_the_driver_are_known_or_refused() {
        let of = |key: &str, value: &str| {
            DriverOptions::of(&BTreeMap::from([(key.to_owned(), value.to_owned())]))
        };
        assert_eq!(of("mtu", "1400").unwrap().mtu, Some(1400));
        assert_eq!(
            of(OPTION_NAME, "br0").unwrap().bridge.as_deref(),
            Some("br0")
        );
        for (key, value) in [
            ("mtu", "0"),
            ("mtu", "much"),
            (OPTION_NAME, "a/b"),
            (OPTION_NAME, "sixteen-letters-"),
            ("colour", "red"),
        ] {
            assert!(of(key, value).is_err(), "{key}={value}");
        }
    }

    #[test]
    fn gateways_and_ranges_lie_inside() {
        let subnet4: Subnet4 = "10.1.0.0/16".parse().unwrap();
        let asked = |gateway: &str, range: &str| NetworkRequest {
            gateways: vec![gateway.parse().unwrap()],
            ranges: vec![AnySubnet::V4(range.parse().unwrap())],
            ..NetworkRequest::default()
        };
        let good = asked("10.1.9.9", "10.1.4.0/24");
        let (gateway4, _) = gateways(&good, subnet4, None).unwrap();
        assert_eq!(gateway4, Ipv4Addr::new(10, 1, 9, 9));
        let (range4, _) = ranges(&good, subnet4, None).unwrap();
        assert_eq!(range4, Some((Ipv4Addr::new(10, 1, 4, 0), 24)));
        let bad = asked("10.2.0.1", "10.2.0.0/24");
        assert!(gateways(&bad, subnet4, None).is_err());
        assert!(ranges(&bad, subnet4, None).is_err());
        assert!(gateways(&asked("10.1.255.255", "10.1.0.0/24"), subnet4, None).is_err());
    }
}
