//! Subnets and hardware addresses, as the tables of networks have them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// The text is no subnet.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a subnet of the form ADDRESS/PREFIX-LENGTH with all host bits zero")]
pub struct SubnetError(String);

/// An IPv4 subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet4 {
    /// Its first address.
    pub address: Ipv4Addr,
    /// Bits of the network part, at most 32.
    pub prefix_length: u8,
}

/// An IPv6 subnet.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Subnet6 {
    /// Its first address.
    pub address: Ipv6Addr,
    /// Bits of the network part, at most 128.
    pub prefix_length: u8,
}

impl Subnet4 {
    /// The lowest and highest number that stand for a host: neither the network's own address nor
    /// its broadcast address. Empty for /31 and /32.
    pub(super) fn hosts(self) -> std::ops::Range<u32> {
        let bits = 32 - u32::from(self.prefix_length);
        1..u32::try_from((1_u64 << bits) - 1)
            .unwrap_or(u32::MAX)
            .max(1)
    }

    /// The host of a number.
    pub(super) fn host(self, number: u32) -> Ipv4Addr {
        Ipv4Addr::from_bits(self.address.to_bits().wrapping_add(number))
    }

    /// The number of a host.
    pub(super) fn number(self, host: Ipv4Addr) -> Option<u32> {
        let number = host.to_bits().checked_sub(self.address.to_bits())?;
        self.hosts().contains(&number).then_some(number)
    }
}

impl Subnet6 {
    /// Numbers of hosts. The first address is the routers' anycast address (RFC 4291 section
    /// 2.6.1); more than 2^32 are never counted.
    pub(super) fn hosts(self) -> std::ops::Range<u128> {
        let bits = (128 - u32::from(self.prefix_length)).min(32);
        1..(1 << bits)
    }

    /// The host of a number.
    pub(super) fn host(self, number: u128) -> Ipv6Addr {
        Ipv6Addr::from_bits(self.address.to_bits().wrapping_add(number))
    }

    /// Whether an address can be a host's.
    pub(super) fn has_host(self, host: Ipv6Addr) -> bool {
        let bits = 128 - u32::from(self.prefix_length);
        let offset = host.to_bits().wrapping_sub(self.address.to_bits());
        offset != 0 && offset.checked_shr(bits).unwrap_or(0) == 0
    }
}

impl fmt::Display for Subnet4 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

impl fmt::Display for Subnet6 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.address, self.prefix_length)
    }
}

impl FromStr for Subnet4 {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        parse(text, 32)
            .filter(|&(address, length)| {
                let address: Ipv4Addr = address;
                u64::from(address.to_bits()).trailing_zeros() >= 32 - u32::from(length)
            })
            .map(|(address, prefix_length)| Self {
                address,
                prefix_length,
            })
            .ok_or_else(|| SubnetError(text.to_owned()))
    }
}

impl FromStr for Subnet6 {
    type Err = SubnetError;

    fn from_str(text: &str) -> Result<Self, SubnetError> {
        parse(text, 128)
            .filter(|&(address, length)| {
                let address: Ipv6Addr = address;
                address.to_bits().trailing_zeros() >= 128 - u32::from(length)
            })
            .map(|(address, prefix_length)| Self {
                address,
                prefix_length,
            })
            .ok_or_else(|| SubnetError(text.to_owned()))
    }
}

fn parse<A: FromStr>(text: &str, longest: u8) -> Option<(A, u8)> {
    let (address, length) = text.split_once('/')?;
    let length = length.parse().ok().filter(|&length| length <= longest)?;
    Some((address.parse().ok()?, length))
}

/// A hardware address of six bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Mac(pub [u8; 6]);

/// The text is no hardware address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a hardware address of the form 02:42:ac:11:00:02")]
pub struct MacError(String);

impl Mac {
    /// Docker's way: locally administered, and from the address, so that a new holder of an
    /// address is not taken for the old one's wrong entry in a neighbour's cache.
    pub(super) fn for_address(bits: u32) -> Self {
        let [a, b, c, d] = bits.to_be_bytes();
        Self([0x02, 0x42, a, b, c, d])
    }
}

impl fmt::Display for Mac {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, e, g] = self.0;
        write!(f, "{a:02x}:{b:02x}:{c:02x}:{d:02x}:{e:02x}:{g:02x}")
    }
}

impl FromStr for Mac {
    type Err = MacError;

    fn from_str(text: &str) -> Result<Self, MacError> {
        let bytes: Option<Vec<u8>> = text
            .split(':')
            .map(|part| match part.len() {
                2 => u8::from_str_radix(part, 16).ok(),
                _ => None,
            })
            .collect();
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .map(Self)
            .ok_or_else(|| MacError(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subnets_are_read_and_written() {
        for text in ["10.88.0.0/16", "0.0.0.0/0", "192.0.2.4/32"] {
            let subnet: Subnet4 = text.parse().expect(text);
            assert_eq!(subnet.to_string(), text);
        }
        for text in ["10.88.0.1/16", "10.88.0.0", "10.88.0.0/33", "10.88/16", ""] {
            assert!(text.parse::<Subnet4>().is_err(), "{text}");
        }
        for text in ["fd00:1::/64", "::/0", "fd00::1/128"] {
            let subnet: Subnet6 = text.parse().expect(text);
            assert_eq!(subnet.to_string(), text);
        }
        assert!("fd00::1/64".parse::<Subnet6>().is_err());
    }

    #[test]
    fn hosts_are_neither_network_nor_broadcast() {
        let subnet: Subnet4 = "192.0.2.0/30".parse().expect("a subnet");
        assert_eq!(subnet.hosts(), 1..3);
        assert_eq!(subnet.host(1), Ipv4Addr::new(192, 0, 2, 1));
        assert_eq!(subnet.number(Ipv4Addr::new(192, 0, 2, 2)), Some(2));
        assert_eq!(subnet.number(Ipv4Addr::new(192, 0, 2, 3)), None);
        assert_eq!(subnet.number(Ipv4Addr::new(192, 0, 1, 255)), None);
        for text in ["192.0.2.4/32", "192.0.2.4/31"] {
            let subnet: Subnet4 = text.parse().expect("a subnet");
            assert!(subnet.hosts().is_empty(), "{text}");
        }
        let subnet: Subnet6 = "fd00::/64".parse().expect("a subnet");
        assert!(subnet.has_host("fd00::5".parse().expect("an address")));
        assert!(!subnet.has_host("fd00::".parse().expect("an address")));
        assert!(!subnet.has_host("fd01::5".parse().expect("an address")));
    }

    #[test]
    fn hardware_addresses_are_read_and_written() {
        let mac = Mac::for_address(Ipv4Addr::new(10, 88, 0, 2).to_bits());
        assert_eq!(mac.to_string(), "02:42:0a:58:00:02");
        assert_eq!(mac.to_string().parse(), Ok(mac));
        for text in [
            "02:42:0a:58:00",
            "02:42:0a:58:00:02:03",
            "2:42:0a:58:0:02",
            "zz:42:0a:58:00:02",
        ] {
            assert!(text.parse::<Mac>().is_err(), "{text}");
        }
    }
}
