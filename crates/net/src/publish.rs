//! Published ports as text: the value of `-p`, and the columns of `ps` and `port`.
//!
//! [`Publish`] is a wish (a host port may be left open), [`Binding`] is what came of it; between
//! the two stands [`ports::reserve`](crate::ports::reserve). The syntax is Docker's:
//! `[[HOST_IP:]HOST_PORT[-END]:]CONTAINER_PORT[-END][/PROTOCOL]`.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::str::FromStr;

use gamut_spec::{Fault, Kind};
use serde::{Deserialize, Serialize};

/// A transport protocol whose ports can be published.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Protocol {
    Tcp,
    Udp,
}

impl Protocol {
    /// The number in the IP header (IANA protocol numbers).
    pub fn number(self) -> u8 {
        match self {
            Protocol::Tcp => 6,
            Protocol::Udp => 17,
        }
    }

    /// The protocol of that number.
    pub fn from_number(number: u8) -> Option<Protocol> {
        match number {
            6 => Some(Protocol::Tcp),
            17 => Some(Protocol::Udp),
            _ => None,
        }
    }
}

impl fmt::Display for Protocol {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Protocol::Tcp => "tcp",
            Protocol::Udp => "udp",
        })
    }
}

impl FromStr for Protocol {
    type Err = PublishError;

    fn from_str(text: &str) -> Result<Protocol, PublishError> {
        match text.to_ascii_lowercase().as_str() {
            "tcp" => Ok(Protocol::Tcp),
            "udp" => Ok(Protocol::Udp),
            "sctp" => Err(PublishError::Sctp),
            _ => Err(PublishError::Protocol(text.to_owned())),
        }
    }
}

/// Which port of the host is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostPort {
    /// Any free one.
    Ephemeral,
    /// This one.
    Fixed(u16),
    /// The first free one of these: `-p 8000-8010:80`.
    FirstFree(RangeInclusive<u16>),
}

/// One container port that is to be reachable through the host.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Publish {
    /// The host's address; `None` is every address, IPv4 and IPv6.
    pub host_ip: Option<IpAddr>,
    pub host_port: HostPort,
    pub container_port: u16,
    pub protocol: Protocol,
}

impl Publish {
    /// A container port behind any free host port, as `-P` does for each exposed port.
    pub fn ephemeral(container_port: u16, protocol: Protocol) -> Publish {
        Publish {
            host_ip: None,
            host_port: HostPort::Ephemeral,
            container_port,
            protocol,
        }
    }

    /// Reads one value of `-p`; a range becomes one item per port.
    pub fn parse(text: &str) -> Result<Vec<Publish>, PublishError> {
        let (address, protocol) = split_protocol(text)?;
        let (host_ip, host, container) = split_address(text, address)?;
        let container = parse_range(text, container)?;
        let host = match host {
            "" => None,
            range => Some(parse_range(text, range)?),
        };
        let publish = |host_port, container_port| Publish {
            host_ip,
            host_port,
            container_port,
            protocol,
        };
        let Some(host) = host else {
            return Ok(container
                .map(|port| publish(HostPort::Ephemeral, port))
                .collect());
        };
        if host.len() != container.len() {
            if container.len() != 1 {
                return Err(PublishError::RangeLengths(text.to_owned()));
            }
            let port = *container.start();
            return Ok(vec![publish(HostPort::FirstFree(host), port)]);
        }
        let pairs = host.zip(container);
        Ok(pairs
            .map(|(host, container)| match host {
                0 => publish(HostPort::Ephemeral, container),
                port => publish(HostPort::Fixed(port), container),
            })
            .collect())
    }
}

/// Reads `80`, `80/udp` or `8000-8010/tcp`: the value of `--expose` and an image's exposed ports.
pub fn parse_exposed(text: &str) -> Result<Vec<(u16, Protocol)>, PublishError> {
    let (range, protocol) = split_protocol(text)?;
    let ports = parse_range(text, range)?;
    Ok(ports.map(|port| (port, protocol)).collect())
}

fn split_protocol(text: &str) -> Result<(&str, Protocol), PublishError> {
    match text.rsplit_once('/') {
        None => Ok((text, Protocol::Tcp)),
        Some((rest, protocol)) => Ok((rest, protocol.parse()?)),
    }
}

/// Splits `[[ip:]host:]container`.
fn split_address<'t>(
    text: &str,
    address: &'t str,
) -> Result<(Option<IpAddr>, &'t str, &'t str), PublishError> {
    let Some((rest, container)) = address.rsplit_once(':') else {
        return Ok((None, "", address));
    };
    let Some((ip, host)) = rest.rsplit_once(':') else {
        return Ok((None, rest, container));
    };
    let bad_ip = || PublishError::Address {
        text: text.to_owned(),
        address: ip.to_owned(),
    };
    let ip = match ip.strip_prefix('[') {
        Some(inside) => {
            let inside = inside.strip_suffix(']').ok_or_else(bad_ip)?;
            Some(IpAddr::V6(
                inside.parse::<Ipv6Addr>().map_err(|_| bad_ip())?,
            ))
        }
        None if ip.is_empty() => None,
        None if ip.contains(':') => return Err(PublishError::Brackets(text.to_owned())),
        None => Some(ip.parse().map_err(|_| bad_ip())?),
    };
    Ok((ip, host, container))
}

fn parse_range(text: &str, range: &str) -> Result<RangeInclusive<u16>, PublishError> {
    let bad_port = |port: &str| PublishError::Port {
        text: text.to_owned(),
        port: port.to_owned(),
    };
    let parse = |port: &str| match port.bytes().all(|byte| byte.is_ascii_digit()) {
        true => port.parse::<u16>().map_err(|_| bad_port(port)),
        false => Err(bad_port(port)),
    };
    let (start, end) = match range.split_once('-') {
        Some((start, end)) => (parse(start)?, parse(end)?),
        None => (parse(range)?, parse(range)?),
    };
    match start <= end {
        true => Ok(start..=end),
        false => Err(PublishError::RangeOrder {
            text: text.to_owned(),
            range: range.to_owned(),
        }),
    }
}

/// Why the value of `-p` cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    #[error("published port `{text}`: `{port}` is not a port (0-65535)")]
    Port { text: String, port: String },
    #[error("published port `{text}`: `{address}` is not an IP address")]
    Address { text: String, address: String },
    #[error("published port `{0}`: an IPv6 address stands in brackets")]
    Brackets(String),
    #[error("published port `{text}`: the range `{range}` ends before it begins")]
    RangeOrder { text: String, range: String },
    #[error("published port `{0}`: the ranges of host and container differ in length")]
    RangeLengths(String),
    #[error("`{0}` is not a protocol whose ports can be published")]
    Protocol(String),
    #[error("the protocol sctp cannot be published")]
    Sctp,
}

impl Fault for PublishError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some(match self {
            PublishError::Brackets(_) => "write `-p [::1]:8080:80`".to_owned(),
            PublishError::RangeLengths(_) => "write ranges of equal length, as in \
                 `-p 8000-8002:80-82`, or one container port to get the first free host port of a \
                 range, as in `-p 8000-8002:80`"
                .to_owned(),
            PublishError::Protocol(_) => "use `tcp` or `udp`".to_owned(),
            PublishError::Sctp => "use `--network host` for a workload that speaks SCTP".to_owned(),
            _ => "the form is `[[HOST_IP:]HOST_PORT:]CONTAINER_PORT[/tcp|udp]`".to_owned(),
        })
    }
}

/// One published port as it stands: what the packet filter, `ps` and `port` show.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Binding {
    pub container_port: u16,
    pub protocol: Protocol,
    /// The host's side; the unspecified address means every address of its family.
    pub host: SocketAddr,
}

impl fmt::Display for Binding {
    /// `0.0.0.0:8080->80/tcp`.
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            to,
            "{}->{}/{}",
            self.host, self.container_port, self.protocol
        )
    }
}

/// The ports column of `ps`: published bindings, and ports that are exposed only (`80/tcp`).
/// Neighbouring ports that keep their number are drawn together, as Docker's client does
/// (`DisplayablePorts` in docker/cli).
pub fn ports_column(bindings: &[Binding], exposed: &[(u16, Protocol)]) -> String {
    let mut ports: Vec<(u16, Option<SocketAddr>, Protocol)> = bindings
        .iter()
        .map(|one| (one.container_port, Some(one.host), one.protocol))
        .collect();
    ports.extend(exposed.iter().filter_map(|&(port, protocol)| {
        let published = bindings
            .iter()
            .any(|one| (one.container_port, one.protocol) == (port, protocol));
        (!published).then_some((port, None, protocol))
    }));
    ports.sort_by_key(|&(port, host, protocol)| (port, host, protocol));
    let mut finished = Vec::new();
    let mut open: Vec<Group> = Vec::new();
    let mut renumbered = Vec::new();
    for (port, host, protocol) in ports {
        if let Some(host) = host.filter(|host| host.port() != port) {
            renumbered.push(format!("{host}->{port}/{protocol}"));
            continue;
        }
        let key = (host.map(|host| host.ip()), protocol);
        match open.iter_mut().find(|group| group.key == key) {
            None => open.push(Group {
                key,
                ports: (port, port),
            }),
            Some(group) if group.ports.1 == port => {}
            Some(group) if Some(port) == group.ports.1.checked_add(1) => group.ports.1 = port,
            Some(group) => {
                finished.push(group.to_string());
                group.ports = (port, port);
            }
        }
    }
    finished.extend(open.iter().map(Group::to_string));
    finished.extend(renumbered);
    finished.join(", ")
}

/// Neighbouring ports of one address and protocol.
struct Group {
    key: (Option<IpAddr>, Protocol),
    ports: (u16, u16),
}

impl fmt::Display for Group {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = self.ports;
        let range = match first == last {
            true => first.to_string(),
            false => format!("{first}-{last}"),
        };
        match self.key.0 {
            Some(IpAddr::V4(ip)) => write!(to, "{ip}:{range}->")?,
            Some(IpAddr::V6(ip)) => write!(to, "[{ip}]:{range}->")?,
            None => {}
        }
        write!(to, "{range}/{}", self.key.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Publish {
        let mut all = Publish::parse(text).unwrap();
        assert_eq!(all.len(), 1, "{text}");
        all.remove(0)
    }

    #[test]
    fn each_form_of_a_single_port() {
        let v4 = |text: &str| Some(text.parse::<IpAddr>().unwrap());
        for (text, host_ip, host_port, container_port) in [
            ("80", None, HostPort::Ephemeral, 80),
            ("8080:80", None, HostPort::Fixed(8080), 80),
            (":80", None, HostPort::Ephemeral, 80),
            ("0:80", None, HostPort::Ephemeral, 80),
            (
                "127.0.0.1:8080:80",
                v4("127.0.0.1"),
                HostPort::Fixed(8080),
                80,
            ),
            ("127.0.0.1::80", v4("127.0.0.1"), HostPort::Ephemeral, 80),
            ("[::1]:8080:80", v4("::1"), HostPort::Fixed(8080), 80),
            ("[::]::80", v4("::"), HostPort::Ephemeral, 80),
            ("::80", None, HostPort::Ephemeral, 80),
            ("8000-8010:80", None, HostPort::FirstFree(8000..=8010), 80),
        ] {
            let publish = one(text);
            assert_eq!(publish.host_ip, host_ip, "{text}");
            assert_eq!(publish.host_port, host_port, "{text}");
            assert_eq!(publish.container_port, container_port, "{text}");
            assert_eq!(publish.protocol, Protocol::Tcp, "{text}");
        }
        assert_eq!(one("53:53/udp").protocol, Protocol::Udp);
        assert_eq!(one("53:53/UDP").protocol, Protocol::Udp);
    }

    #[test]
    fn ranges_pair_up() {
        let all = Publish::parse("127.0.0.1:8000-8002:80-82/udp").unwrap();
        let pairs: Vec<_> = all
            .iter()
            .map(|one| (one.host_port.clone(), one.container_port))
            .collect();
        assert_eq!(
            pairs,
            [
                (HostPort::Fixed(8000), 80),
                (HostPort::Fixed(8001), 81),
                (HostPort::Fixed(8002), 82)
            ]
        );
        let open = Publish::parse("3000-3001").unwrap();
        assert!(open.iter().all(|one| one.host_port == HostPort::Ephemeral));
        assert_eq!(Publish::parse("0-65535:0-65535").unwrap().len(), 65536);
    }

    #[test]
    fn what_cannot_be_meant_is_refused_by_name() {
        for text in [
            "",
            ":",
            "a",
            "80:",
            "80:a",
            "a:80",
            "70000",
            "-1",
            "80-",
            "82-80",
            "1-3:1-2",
            "1.2.3:80:80",
            "[::1:80:80",
            "[1.2.3.4]:80:80",
            "::1:80:80",
            "80/",
            "80/icmp",
            "+80",
            "80/sctp",
            "[fe80::1%eth0]:80:80",
            "80:80:80:80",
            " 80",
        ] {
            let error = Publish::parse(text).expect_err(text);
            assert!(error.hint().is_some());
        }
        assert_eq!(Publish::parse("80/sctp"), Err(PublishError::Sctp));
        assert!(matches!(
            Publish::parse("::1:80:80"),
            Err(PublishError::Brackets(_))
        ));
        assert_eq!(parse_exposed("8000-8001/udp").unwrap().len(), 2);
        assert!(parse_exposed("1:2").is_err());
    }

    fn binding(host: &str, container_port: u16) -> Binding {
        Binding {
            container_port,
            protocol: Protocol::Tcp,
            host: host.parse().unwrap(),
        }
    }

    #[test]
    fn the_ports_column_is_dockers() {
        let twice = [binding("0.0.0.0:8080", 80), binding("[::]:8080", 80)];
        assert_eq!(
            ports_column(&twice, &[(80, Protocol::Tcp), (443, Protocol::Tcp)]),
            "443/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
        let range: Vec<_> = (8000..8003)
            .flat_map(|port| ["0.0.0.0", "[::]"].map(|ip| binding(&format!("{ip}:{port}"), port)))
            .collect();
        assert_eq!(
            ports_column(&range, &[]),
            "0.0.0.0:8000-8002->8000-8002/tcp, [::]:8000-8002->8000-8002/tcp"
        );
        let gap = [binding("127.0.0.1:1", 1), binding("127.0.0.1:3", 3)];
        assert_eq!(
            ports_column(&gap, &[]),
            "127.0.0.1:1->1/tcp, 127.0.0.1:3->3/tcp"
        );
        assert_eq!(
            ports_column(&[], &[(80, Protocol::Tcp), (81, Protocol::Tcp)]),
            "80-81/tcp"
        );
        assert_eq!(ports_column(&[], &[]), "");
    }
}
