//! Address arithmetic: subnets, their gateways and hosts, the hardware address that follows from
//! an IPv4 address, and the choice of subnets that the host does not use yet.
//!
//! All pure, except [`Subnet6::random`] (which draws a number) and [`used`] (which reads the
//! host's addresses and routes by rtnetlink).

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use gamut_spec::{Fault, Kind};
use serde::{Deserialize, Serialize};

use crate::error::NetworkError;
use crate::link;

/// Routes as wide as this are ways out, not networks: the default route, and the halves of the
/// Internet by which a VPN overrides it.
const WIDEST_NETWORK: u8 = 3;

/// An address with the length of its network prefix: `10.89.0.1/16`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Prefix {
    pub address: IpAddr,
    /// Bits, at most 32 or 128.
    pub bits: u8,
}

impl Prefix {
    /// Whether the two networks share an address.
    pub fn overlaps(&self, other: &Prefix) -> bool {
        let bits = u32::from(self.bits.min(other.bits));
        match (self.address, other.address) {
            (IpAddr::V4(one), IpAddr::V4(two)) => {
                let differ = one.to_bits() ^ two.to_bits();
                differ.checked_shr(32 - bits.min(32)).unwrap_or(0) == 0
            }
            (IpAddr::V6(one), IpAddr::V6(two)) => {
                let differ = one.to_bits() ^ two.to_bits();
                differ.checked_shr(128 - bits.min(128)).unwrap_or(0) == 0
            }
            _ => false,
        }
    }
}

/// Why a text is no subnet, or none could be chosen.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SubnetError {
    #[error("`{0}` is not a subnet")]
    Syntax(String),
    #[error("subnet `{0}` has bits set behind its prefix")]
    HostBits(String),
    #[error("subnet `{0}` leaves no room for a gateway and a container")]
    TooSmall(String),
    #[error("every candidate subnet overlaps with an address or a route of the host")]
    NoneFree,
}

impl Fault for SubnetError {
    fn kind(&self) -> Kind {
        match self {
            SubnetError::NoneFree => Kind::HostLacks,
            _ => Kind::Invalid,
        }
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            SubnetError::NoneFree => "choose a subnet of your own".to_owned(),
            _ => "write a network such as `10.89.0.0/16` or `fd12:3456:789a::/64`".to_owned(),
        })
    }
}

/// An IPv4 network of at most 30 prefix bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet4 {
    network: Ipv4Addr,
    bits: u8,
}

impl Subnet4 {
    /// The network of `bits` prefix bits (1–30) at `network`, whose other bits are 0.
    pub fn new(network: Ipv4Addr, bits: u8) -> Result<Subnet4, SubnetError> {
        let text = || format!("{network}/{bits}");
        if bits == 0 || bits > 32 {
            return Err(SubnetError::Syntax(text()));
        }
        if bits > 30 {
            return Err(SubnetError::TooSmall(text()));
        }
        if network.to_bits() & (u32::MAX >> bits) != 0 {
            return Err(SubnetError::HostBits(text()));
        }
        Ok(Subnet4 { network, bits })
    }

    /// Its lowest address.
    pub fn network(&self) -> Ipv4Addr {
        self.network
    }

    /// The length of its prefix, 1–30.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// The network as a [`Prefix`].
    pub fn prefix(&self) -> Prefix {
        Prefix {
            address: self.network.into(),
            bits: self.bits,
        }
    }

    /// Its first usable address, which the bridge takes unless it was told otherwise.
    pub fn gateway(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | 1)
    }

    /// Its highest address.
    pub fn broadcast(&self) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.network.to_bits() | (u32::MAX >> self.bits))
    }

    /// Whether `address` is one of its addresses.
    pub fn contains(&self, address: Ipv4Addr) -> bool {
        (address.to_bits() ^ self.network.to_bits()) & !(u32::MAX >> self.bits) == 0
    }

    /// Whether a container can have `address`: neither network, gateway nor broadcast address.
    pub fn is_host(&self, address: Ipv4Addr) -> bool {
        self.contains(address)
            && address != self.network
            && address != self.gateway()
            && address != self.broadcast()
    }

    /// The first address after `last` (from the beginning once the end is reached) that `taken`
    /// does not hold. An address that was given back is thus used again as late as possible, so
    /// that neighbours' caches of the former owner have run out.
    pub fn next_free(
        &self,
        last: Option<Ipv4Addr>,
        taken: &BTreeSet<Ipv4Addr>,
    ) -> Option<Ipv4Addr> {
        let first = self.gateway().to_bits() + 1;
        let end = self.broadcast().to_bits();
        let start = match last {
            Some(last) if self.is_host(last) => last.to_bits() + 1,
            _ => first,
        };
        (start..end)
            .chain(first..start)
            .map(Ipv4Addr::from_bits)
            .find(|address| !taken.contains(address))
    }
}

/// An IPv6 network of at most 126 prefix bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Subnet6 {
    network: Ipv6Addr,
    bits: u8,
}

impl Subnet6 {
    /// The addresses that never leave a link (RFC 4291 § 2.5.6).
    pub(crate) const LINK_LOCAL: Subnet6 = Subnet6 {
        network: Ipv6Addr::new(0xfe80, 0, 0, 0, 0, 0, 0, 0),
        bits: 64,
    };

    /// The network of `bits` prefix bits (1–126) at `network`, whose other bits are 0.
    pub fn new(network: Ipv6Addr, bits: u8) -> Result<Subnet6, SubnetError> {
        let text = || format!("{network}/{bits}");
        match bits {
            0 | 129.. => return Err(SubnetError::Syntax(text())),
            127 | 128 => return Err(SubnetError::TooSmall(text())),
            1..=126 => {}
        }
        match network.to_bits() & (u128::MAX >> bits) {
            0 => Ok(Subnet6 { network, bits }),
            _ => Err(SubnetError::HostBits(text())),
        }
    }

    /// The unique local network of this global id (40 bits) and subnet number (RFC 4193 § 3.1).
    pub fn unique_local(global_id: [u8; 5], subnet: u16) -> Subnet6 {
        let mut octets = [0; 16];
        octets[0] = 0xfd;
        octets[1..6].copy_from_slice(&global_id);
        octets[6..8].copy_from_slice(&subnet.to_be_bytes());
        Subnet6 {
            network: octets.into(),
            bits: 64,
        }
    }

    /// A unique local network of a random global id; keep it, so that it stays the same.
    pub fn random() -> rustix::io::Result<Subnet6> {
        let mut id = [0; 5];
        let drawn = rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
        // getrandom(2) never gives fewer than 256 bytes in part.
        debug_assert_eq!(drawn, id.len());
        Ok(Subnet6::unique_local(id, 0))
    }

    /// Its lowest address.
    pub fn network(&self) -> Ipv6Addr {
        self.network
    }

    /// The length of its prefix.
    pub fn bits(&self) -> u8 {
        self.bits
    }

    /// Its highest address.
    pub fn last(&self) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.network.to_bits() | (u128::MAX >> self.bits))
    }

    /// The network as a [`Prefix`].
    pub fn prefix(&self) -> Prefix {
        Prefix {
            address: self.network.into(),
            bits: self.bits,
        }
    }

    /// Its first usable address, which the bridge takes unless it was told otherwise.
    pub fn gateway(&self) -> Ipv6Addr {
        self.host(1)
    }

    /// Whether `address` is one of its addresses.
    pub fn contains(&self, address: Ipv6Addr) -> bool {
        (address.to_bits() ^ self.network.to_bits()) & !(u128::MAX >> self.bits) == 0
    }

    /// The address that goes with `address` of `subnet`: the same number within the network, so
    /// that one allocation serves both families (`10.89.0.2` and `fd…::2`).
    pub fn beside(&self, subnet: &Subnet4, address: Ipv4Addr) -> Ipv6Addr {
        self.host(address.to_bits() & (u32::MAX >> subnet.bits))
    }

    fn host(&self, number: u32) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.network.to_bits() | u128::from(number))
    }
}

impl fmt::Display for Subnet4 {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.network, self.bits)
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.network, self.bits)
    }
}

fn split(text: &str) -> Option<(&str, u8)> {
    let (network, bits) = text.split_once('/')?;
    Some((network, bits.parse().ok()?))
}

impl FromStr for Subnet4 {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Subnet4, SubnetError> {
        let parsed = split(text).and_then(|(network, bits)| Some((network.parse().ok()?, bits)));
        let (network, bits) = parsed.ok_or_else(|| SubnetError::Syntax(text.to_owned()))?;
        Subnet4::new(network, bits)
    }
}

impl FromStr for Subnet6 {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Subnet6, SubnetError> {
        let parsed = split(text).and_then(|(network, bits)| Some((network.parse().ok()?, bits)));
        let (network, bits) = parsed.ok_or_else(|| SubnetError::Syntax(text.to_owned()))?;
        Subnet6::new(network, bits)
    }
}

impl TryFrom<String> for Subnet4 {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Subnet4, SubnetError> {
        text.parse()
    }
}

impl TryFrom<String> for Subnet6 {
    type Error = SubnetError;

    fn try_from(text: String) -> Result<Subnet6, SubnetError> {
        text.parse()
    }
}

impl From<Subnet4> for String {
    fn from(subnet: Subnet4) -> String {
        subnet.to_string()
    }
}

impl From<Subnet6> for String {
    fn from(subnet: Subnet6) -> String {
        subnet.to_string()
    }
}

/// The networks to try in turn for a bridge that somebody makes: Docker's default pools.
pub fn pools() -> impl Iterator<Item = Subnet4> {
    candidates().skip(1)
}

/// The networks to try in turn for the default bridge: 10.89.0.0/16, then those of Docker's default pools
/// (172.17.0.0/16–172.31.0.0/16, 192.168.0.0/20 in steps), then 10.90–10.254 in /24s.
pub fn candidates() -> impl Iterator<Item = Subnet4> {
    let at = |a, b, c, bits| Subnet4 {
        network: Ipv4Addr::new(a, b, c, 0),
        bits,
    };
    std::iter::once(at(10, 89, 0, 16))
        .chain((17..=31).map(move |b| at(172, b, 0, 16)))
        .chain((0..=240).step_by(16).map(move |c| at(192, 168, c, 20)))
        .chain((90..=254).map(move |b| at(10, b, 0, 24)))
}

/// The first of `candidates` that no network in `used` overlaps with.
pub fn choose(
    candidates: impl IntoIterator<Item = Subnet4>,
    used: &[Prefix],
) -> Result<Subnet4, SubnetError> {
    candidates
        .into_iter()
        .find(|candidate| !used.iter().any(|one| one.overlaps(&candidate.prefix())))
        .ok_or(SubnetError::NoneFree)
}

/// The networks that the calling thread's network namespace has addresses in or routes to, ways
/// out (prefixes of up to 3 bits) and link-local and multicast networks left aside.
pub fn used() -> Result<Vec<Prefix>, NetworkError> {
    let mut all = link::addresses_and_routes()?;
    all.retain(|one| one.bits > WIDEST_NETWORK);
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

/// The hardware address that goes with an IPv4 address: `02:42` and its four bytes, as Docker
/// makes them. Locally administered (IEEE 802, bit 1 of the first byte), and as unique in the
/// bridge as the address is.
pub fn mac_of(address: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = address.octets();
    [0x02, 0x42, a, b, c, d]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(text: &str) -> Subnet4 {
        text.parse().unwrap()
    }

    #[test]
    fn the_parts_of_a_subnet() {
        let subnet = subnet("10.89.0.0/16");
        assert_eq!(subnet.gateway(), Ipv4Addr::new(10, 89, 0, 1));
        assert_eq!(subnet.broadcast(), Ipv4Addr::new(10, 89, 255, 255));
        assert!(subnet.contains(Ipv4Addr::new(10, 89, 7, 7)));
        assert!(!subnet.contains(Ipv4Addr::new(10, 90, 0, 0)));
        assert!(!subnet.is_host(subnet.gateway()));
        assert!(!subnet.is_host(subnet.network()));
        let six: Subnet6 = "fd00:1:2::/64".parse().unwrap();
        let beside = six.beside(&subnet, Ipv4Addr::new(10, 89, 1, 2));
        assert_eq!(beside, "fd00:1:2::102".parse::<Ipv6Addr>().unwrap());
        assert!(six.contains(beside));
        assert_eq!(six.gateway().to_string(), "fd00:1:2::1");
        assert_eq!(mac_of(Ipv4Addr::new(10, 89, 0, 2)), [2, 0x42, 10, 89, 0, 2]);
    }

    #[test]
    fn what_is_no_subnet_is_refused() {
        for text in [
            "",
            "10.0.0.0",
            "10.0.0.0/0",
            "10.0.0.0/33",
            "10.0.0.1/24",
            "10.0.0.0/31",
        ] {
            assert!(text.parse::<Subnet4>().is_err(), "{text}");
        }
        for text in [
            "fd00::/127",
            "fd00::1/64",
            "fd00::",
            "10.0.0.0/64",
            "fd00::/0",
        ] {
            assert!(text.parse::<Subnet6>().is_err(), "{text}");
        }
    }

    #[test]
    fn addresses_go_round_before_they_come_again() {
        let subnet = subnet("10.0.0.0/29");
        let mut taken = BTreeSet::new();
        let mut last = None;
        let mut given = Vec::new();
        while let Some(next) = subnet.next_free(last, &taken) {
            taken.insert(next);
            given.push(next.octets()[3]);
            last = Some(next);
        }
        assert_eq!(given, [2, 3, 4, 5, 6]);
        taken.remove(&Ipv4Addr::new(10, 0, 0, 3));
        let next = subnet.next_free(Some(Ipv4Addr::new(10, 0, 0, 4)), &taken);
        assert_eq!(next, Some(Ipv4Addr::new(10, 0, 0, 3)));
        let elsewhere = subnet.next_free(Some(Ipv4Addr::new(9, 9, 9, 9)), &BTreeSet::new());
        assert_eq!(elsewhere, Some(Ipv4Addr::new(10, 0, 0, 2)));
    }

    #[test]
    fn a_subnet_in_use_is_not_chosen() {
        let prefix = |text: &str, bits| Prefix {
            address: text.parse().unwrap(),
            bits,
        };
        assert_eq!(choose(candidates(), &[]).unwrap(), subnet("10.89.0.0/16"));
        let ten = [
            prefix("10.0.0.0", 8),
            prefix("172.17.0.1", 32),
            prefix("fd00::", 8),
        ];
        assert_eq!(choose(candidates(), &ten).unwrap(), subnet("172.18.0.0/16"));
        let all = [prefix("0.0.0.0", 1), prefix("128.0.0.0", 1)];
        assert_eq!(choose(candidates(), &all), Err(SubnetError::NoneFree));
        assert!(prefix("::", 0).overlaps(&prefix("fd00::", 64)));
        assert!(!prefix("fd00::", 64).overlaps(&prefix("fd00:0:0:1::", 64)));
        assert!(prefix("10.0.0.1", 32).overlaps(&prefix("10.0.0.1", 32)));
    }
}
