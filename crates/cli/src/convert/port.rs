//! `-p` and `--expose`: `[ADDRESS:][HOSTPORT:]PORT[/PROTOCOL]`, each port a number or a range.

use std::net::IpAddr;

use super::ArgumentError;
use super::error::PortProblem;
use gamut_plan::request::{Expose, PortRange, Publish, Transport};

/// What one `-p` publishes, a range spread out. A type of its own because clap reads a `Vec` as
/// "many values".
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishList(pub Vec<Publish>);

/// `80`, `8080:80`, `127.0.0.1:8080:80/udp`, `[::1]::80`, `8000-8002:80-82`, `8000-8010:80`.
pub fn parse_publish(text: &str) -> Result<PublishList, ArgumentError> {
    let failure = |problem| ArgumentError::Port {
        text: text.to_owned(),
        problem,
    };
    let (address, protocol) = split_protocol(text).map_err(failure)?;
    let (host_ip, host, container) = split_address(address).map_err(failure)?;
    let container = port_range(container).map_err(failure)?;
    let host = match host {
        "" => None,
        host => Some(port_range(host).map_err(failure)?),
    };
    let host_ip = match host_ip {
        "" => None,
        host_ip => Some(
            host_ip
                .parse::<IpAddr>()
                .map_err(|_| failure(PortProblem::HostAddress))?,
        ),
    };
    let wide = container.first != container.last;
    if let Some(host) = host
        && wide
        && host.last - host.first != container.last - container.first
    {
        return Err(failure(PortProblem::Lengths));
    }
    let publish = |container_port: u16| Publish {
        host_ip,
        host_ports: host.map(|host| match wide {
            true => {
                let port = host.first + (container_port - container.first);
                PortRange {
                    first: port,
                    last: port,
                }
            }
            false => host,
        }),
        container_port,
        protocol,
    };
    Ok(PublishList(
        (container.first..=container.last).map(publish).collect(),
    ))
}

/// `80`, `53/udp`, `8000-8010/tcp`.
pub fn parse_expose(text: &str) -> Result<Expose, ArgumentError> {
    let failure = |problem| ArgumentError::Port {
        text: text.to_owned(),
        problem,
    };
    let (ports, protocol) = split_protocol(text).map_err(failure)?;
    let ports = port_range(ports).map_err(failure)?;
    Ok(Expose { ports, protocol })
}

fn split_protocol(text: &str) -> Result<(&str, Transport), PortProblem> {
    let (rest, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "tcp" => Transport::Tcp,
        "udp" => Transport::Udp,
        "sctp" => Transport::Sctp,
        _ => return Err(PortProblem::Protocol),
    };
    Ok((rest, protocol))
}

/// (host address, host ports, container ports); the first two may be empty.
fn split_address(text: &str) -> Result<(&str, &str, &str), PortProblem> {
    let (rest, container) = text.rsplit_once(':').unwrap_or(("", text));
    if container.is_empty() {
        return Err(PortProblem::NoContainerPort);
    }
    if let Some(bracketed) = rest.strip_prefix('[') {
        let (address, host) = bracketed.split_once("]:").ok_or(PortProblem::HostAddress)?;
        return Ok((address, host, container));
    }
    match rest.split_once(':') {
        None => Ok(("", rest, container)),
        // A second colon left of the first is a bare IPv6 address, which cannot be told from ports.
        Some((_, host)) if host.contains(':') => Err(PortProblem::HostAddress),
        Some(("", _)) => Err(PortProblem::HostAddress),
        Some((address, host)) => Ok((address, host, container)),
    }
}

fn port_range(text: &str) -> Result<PortRange, PortProblem> {
    let port = |text: &str| match text.parse::<u16>() {
        Ok(port) if port > 0 && !text.starts_with('+') => Ok(port),
        _ => Err(PortProblem::Number),
    };
    let (first, last) = text.split_once('-').unwrap_or((text, text));
    let (first, last) = (port(first)?, port(last)?);
    if first > last {
        return Err(PortProblem::Range);
    }
    Ok(PortRange { first, last })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(text: &str) -> Publish {
        let list = parse_publish(text).unwrap().0;
        assert_eq!(list.len(), 1, "{text}");
        list[0].clone()
    }

    fn range(first: u16, last: u16) -> Option<PortRange> {
        Some(PortRange { first, last })
    }

    #[test]
    fn single_ports() {
        assert_eq!(one("80").host_ports, None);
        assert_eq!(one("8080:80").host_ports, range(8080, 8080));
        assert_eq!(one("8080:80").container_port, 80);
        assert_eq!(one("53:53/udp").protocol, Transport::Udp);
        assert_eq!(one("8000-8010:80").host_ports, range(8000, 8010));
        let local = one("127.0.0.1:8080:80");
        assert_eq!(local.host_ip, Some("127.0.0.1".parse().unwrap()));
        let six = one("[::1]::80");
        assert_eq!(six.host_ip, Some("::1".parse().unwrap()));
        assert_eq!(six.host_ports, None);
    }

    #[test]
    fn ranges_are_spread_out() {
        let list = parse_publish("8000-8002:80-82/tcp").unwrap().0;
        let pairs: Vec<_> = list
            .iter()
            .map(|publish| (publish.host_ports, publish.container_port))
            .collect();
        assert_eq!(
            pairs,
            [
                (range(8000, 8000), 80),
                (range(8001, 8001), 81),
                (range(8002, 8002), 82)
            ]
        );
        assert_eq!(parse_publish("80-82").unwrap().0.len(), 3);
        assert_eq!(parse_publish("1-65535:1-65535").unwrap().0.len(), 65535);
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "0",
            "65536",
            "80:",
            ":",
            "a",
            "80/x",
            "80-70",
            "1-3:80-81",
            "::1:80:80",
            "x:1:2",
            "[::1:80",
            "[::1]80:80",
            "+80",
            ":80:80",
            "80//tcp",
            "1.2.3:80:80",
        ] {
            assert!(parse_publish(text).is_err(), "{text}");
        }
    }

    #[test]
    fn exposed_ports() {
        let expose = parse_expose("8000-8010/udp").unwrap();
        assert_eq!((expose.ports.first, expose.ports.last), (8000, 8010));
        assert_eq!(expose.protocol, Transport::Udp);
        assert!(parse_expose("1:2").is_err());
    }
}
