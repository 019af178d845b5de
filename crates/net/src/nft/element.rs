//! Elements of the table's sets: networks and published ports, as bytes and back.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use gamut_sys::netlink::{Attribute, Message, Requests};

use super::sets::{
    ANY4, ANY6, BRIDGES, INTERNAL, PAIRS, PORTS4, PORTS6, QUESTIONS, SUBNETS4, SUBNETS6,
};
use super::uapi::{LIST_ELEM, NEWSETELEM, NFGENMSG_INET, element};
use crate::network::{Network, Reach};
use crate::publish::Protocol;
use crate::subnet::Subnet6;

/// How many elements one request carries: an attribute's length has 16 bits, an element with a
/// comment of 64 bytes takes up to 150.
const ELEMENTS_PER_REQUEST: usize = 256;
const DNS_PORT: u16 = 53;
/// The longest comment that `nft` reads back.
const COMMENT_BYTES: usize = 127;

/// One way into a container: what arrives at `host` goes to `target`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Redirect {
    pub protocol: Protocol,
    /// The unspecified address stands for every local address of its family.
    pub host: SocketAddr,
    /// The container's address, of the same family, and port.
    pub target: SocketAddr,
}

/// One published port as the table has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Published {
    pub redirect: Redirect,
    /// The container's id (the element's comment); empty if somebody else added the element.
    pub owner: String,
}

/// An element's key, value and comment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Element {
    pub(super) set: &'static str,
    pub(super) key: Vec<u8>,
    pub(super) data: Vec<u8>,
    pub(super) comment: String,
    pub(super) interval_end: bool,
}

impl Element {
    fn plain(set: &'static str, key: Vec<u8>) -> Element {
        Element {
            set,
            key,
            data: Vec::new(),
            comment: String::new(),
            interval_end: false,
        }
    }

    fn interval_end(set: &'static str, key: Vec<u8>) -> Element {
        Element {
            interval_end: true,
            ..Element::plain(set, key)
        }
    }

    /// The element of a published port.
    pub(super) fn published(redirect: &Redirect, owner: &str) -> Element {
        // Each part of a concatenation takes whole words of 4 bytes.
        let mut key = vec![redirect.protocol.number(), 0, 0, 0];
        let any = redirect.host.ip().is_unspecified();
        if !any {
            push_ip(&mut key, redirect.host.ip());
        }
        push_port(&mut key, redirect.host.port());
        let mut data = Vec::new();
        push_ip(&mut data, redirect.target.ip());
        push_port(&mut data, redirect.target.port());
        let set = match (redirect.host.ip(), any) {
            (IpAddr::V4(_), false) => PORTS4,
            (IpAddr::V4(_), true) => ANY4,
            (IpAddr::V6(_), false) => PORTS6,
            (IpAddr::V6(_), true) => ANY6,
        };
        let end = owner.floor_char_boundary(COMMENT_BYTES);
        Element {
            set,
            key,
            data,
            comment: owner[..end].to_owned(),
            interval_end: false,
        }
    }

    /// The element that leads what `source` asks of the host to a port of it.
    pub(super) fn question(protocol: Protocol, source: Ipv4Addr, target: SocketAddr) -> Element {
        let mut key = vec![protocol.number(), 0, 0, 0];
        push_ip(&mut key, source.into());
        push_port(&mut key, DNS_PORT);
        let mut data = Vec::new();
        push_ip(&mut data, target.ip());
        push_port(&mut data, target.port());
        Element {
            data,
            ..Element::plain(QUESTIONS, key)
        }
    }

    /// The published port that this element of `set` stands for.
    pub(super) fn read(set: &'static str, attribute: &Attribute<'_>) -> Option<Published> {
        let parts = attribute.nested();
        let value = |kind| Some(parts.find(kind)?.nested().find(element::VALUE)?.payload);
        let (key, data) = (value(element::KEY)?, value(element::DATA)?);
        let protocol = Protocol::from_number(*key.first()?)?;
        let (ip, port) = match set {
            PORTS4 => (read_ip4(key, 4)?, read_port(key, 8)?),
            ANY4 => (Ipv4Addr::UNSPECIFIED.into(), read_port(key, 4)?),
            PORTS6 => (read_ip6(key, 4)?, read_port(key, 20)?),
            ANY6 => (Ipv6Addr::UNSPECIFIED.into(), read_port(key, 4)?),
            _ => return None,
        };
        let target = match ip {
            IpAddr::V4(_) => (read_ip4(data, 0)?, read_port(data, 4)?),
            IpAddr::V6(_) => (read_ip6(data, 0)?, read_port(data, 16)?),
        };
        let comment = parts.find(element::USERDATA);
        Some(Published {
            redirect: Redirect {
                protocol,
                host: (ip, port).into(),
                target: target.into(),
            },
            owner: comment
                .and_then(|comment| read_comment(comment.payload))
                .unwrap_or_default(),
        })
    }

    fn write(&self, message: &mut Message<'_>) {
        if self.interval_end {
            message.be32(element::FLAGS, element::FLAG_INTERVAL_END);
        }
        message.nest(element::KEY, |message| {
            message.bytes(element::VALUE, &self.key);
        });
        if !self.data.is_empty() {
            message.nest(element::DATA, |message| {
                message.bytes(element::VALUE, &self.data);
            });
        }
        if !self.comment.is_empty() {
            // At most 127 bytes and the NUL.
            let mut data = vec![element::USERDATA_COMMENT, self.comment.len() as u8 + 1];
            data.extend_from_slice(self.comment.as_bytes());
            data.push(0);
            message.bytes(element::USERDATA, &data);
        }
    }

    /// The same element without what only an addition needs.
    pub(super) fn key_only(&self) -> Element {
        Element::plain(self.set, self.key.clone())
    }
}

/// The elements that make the table serve a bridge network.
pub(super) fn of_network(network: &Network, ipv6: Option<Subnet6>) -> Vec<Element> {
    let Network { bridge, ipv4, .. } = network;
    let name = name_bytes(bridge);
    let after4 = u32::from(ipv4.broadcast()).wrapping_add(1);
    let mut elements = vec![
        Element::plain(SUBNETS4, ipv4.network().octets().to_vec()),
        Element::interval_end(SUBNETS4, after4.to_be_bytes().to_vec()),
    ];
    if let Some(ipv6) = ipv6 {
        let after6 = ipv6.last().to_bits().wrapping_add(1);
        elements.extend([
            Element::plain(SUBNETS6, ipv6.network().octets().to_vec()),
            Element::interval_end(SUBNETS6, after6.to_be_bytes().to_vec()),
        ]);
    }
    elements.push(Element::plain(BRIDGES, name.to_vec()));
    if network.reach == Reach::Internal {
        elements.push(Element::plain(INTERNAL, name.to_vec()));
    }
    elements.push(pair(bridge));
    elements
}

/// The element whose presence says that the table serves this bridge.
pub(super) fn pair(bridge: &str) -> Element {
    let name = name_bytes(bridge);
    Element::plain(PAIRS, [name, name].concat())
}

/// Adds requests of this kind ([`NEWSETELEM`] or its likes) about `elements`.
pub(super) fn add_elements(
    requests: &mut Requests,
    kind: u16,
    flags: u16,
    table: &str,
    elements: &[Element],
) {
    debug_assert!(kind >= NEWSETELEM);
    for run in elements.chunk_by(|one, two| one.set == two.set) {
        for part in run.chunks(ELEMENTS_PER_REQUEST) {
            requests.add(kind, flags, |message| {
                message.raw(&NFGENMSG_INET);
                message.text(element::LIST_TABLE, table);
                message.text(element::LIST_SET, part[0].set);
                message.nest(element::LIST_ELEMENTS, |message| {
                    for one in part {
                        message.nest(LIST_ELEM, |message| one.write(message));
                    }
                });
            });
        }
    }
}

fn name_bytes(name: &str) -> [u8; 16] {
    let mut bytes = [0; 16];
    let length = name.len().min(15);
    bytes[..length].copy_from_slice(&name.as_bytes()[..length]);
    bytes
}

fn push_ip(to: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => to.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => to.extend_from_slice(&ip.octets()),
    }
}

fn push_port(to: &mut Vec<u8>, port: u16) {
    to.extend_from_slice(&port.to_be_bytes());
    to.extend_from_slice(&[0, 0]);
}

fn read_ip4(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 4] = bytes.get(at..at + 4)?.try_into().ok()?;
    Some(bytes.into())
}

fn read_ip6(bytes: &[u8], at: usize) -> Option<IpAddr> {
    let bytes: [u8; 16] = bytes.get(at..at + 16)?.try_into().ok()?;
    Some(bytes.into())
}

fn read_port(bytes: &[u8], at: usize) -> Option<u16> {
    let bytes: [u8; 2] = bytes.get(at..at + 2)?.try_into().ok()?;
    Some(u16::from_be_bytes(bytes))
}

fn read_comment(mut data: &[u8]) -> Option<String> {
    loop {
        let [kind, length, rest @ ..] = data else {
            return None;
        };
        let value = rest.get(..usize::from(*length))?;
        if *kind == element::USERDATA_COMMENT {
            let text = value.strip_suffix(&[0]).unwrap_or(value);
            return Some(String::from_utf8_lossy(text).into_owned());
        }
        data = &rest[usize::from(*length)..];
    }
}

#[cfg(test)]
mod tests {
    use gamut_sys::netlink::{Attributes, Messages};

    use super::*;

    /// The bytes of one message about `element`, as the kernel would give them back.
    fn read_back(element: &Element) -> Option<Published> {
        let mut requests = Requests::new();
        requests.add(NEWSETELEM, 0, |message| {
            message.nest(LIST_ELEM, |message| element.write(message));
        });
        let bytes = requests.bytes().to_vec();
        let message = Messages::new(&bytes).next().unwrap().unwrap();
        let attribute = Attributes::new(message.payload).find(LIST_ELEM).unwrap();
        Element::read(element.set, &attribute)
    }

    #[test]
    fn a_published_port_reads_back() {
        for (host, target, set) in [
            ("127.0.0.1:8080", "10.89.0.2:80", PORTS4),
            ("0.0.0.0:8080", "10.89.0.2:80", ANY4),
            ("[2001:db8::1]:8080", "[fd00::2]:80", PORTS6),
            ("[::]:65535", "[fd00::2]:1", ANY6),
        ] {
            let redirect = Redirect {
                protocol: Protocol::Udp,
                host: host.parse().unwrap(),
                target: target.parse().unwrap(),
            };
            let owner = "f".repeat(64);
            let element = Element::published(&redirect, &owner);
            assert_eq!(element.set, set);
            assert_eq!(read_back(&element), Some(Published { redirect, owner }));
        }
    }

    #[test]
    fn foreign_user_data_is_no_owner() {
        assert_eq!(read_comment(&[]), None);
        assert_eq!(read_comment(&[7, 200, 1]), None);
        assert_eq!(
            read_comment(&[7, 1, 9, 0, 3, b'a', b'b', 0]).as_deref(),
            Some("ab")
        );
        assert_eq!(read_comment(&[0, 0]).as_deref(), Some(""));
    }
}
