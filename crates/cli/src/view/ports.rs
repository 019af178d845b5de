//! The ports of a container in one cell: `0.0.0.0:8000-8002->80-82/tcp, 443/tcp`.

use std::net::IpAddr;

use gamut_plan::request::Transport;

/// One port of a container.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Port {
    pub protocol: Transport,
    /// Where it is published; `None`: only exposed.
    pub host: Option<(IpAddr, u16)>,
    pub container: u16,
}

/// All of them, neighbours joined to ranges.
pub fn cell(ports: &[Port]) -> String {
    let mut ports = ports.to_vec();
    ports.sort_unstable();
    ports.dedup();
    // (first, last): a range as long as both numbers rise together.
    let mut ranges: Vec<(Port, Port)> = Vec::new();
    for port in ports {
        match ranges.last_mut() {
            Some((first, last)) if follows(*first, *last, port) => *last = port,
            _ => ranges.push((port, port)),
        }
    }
    let words: Vec<String> = ranges
        .iter()
        .map(|(first, last)| word(*first, *last))
        .collect();
    words.join(", ")
}

fn follows(first: Port, last: Port, next: Port) -> bool {
    let host_follows = match (last.host, next.host) {
        (None, None) => true,
        (Some((last_ip, last_port)), Some((ip, port))) => {
            last_ip == ip && last_port.checked_add(1) == Some(port)
        }
        _ => false,
    };
    first.protocol == next.protocol
        && last.container.checked_add(1) == Some(next.container)
        && host_follows
}

fn word(first: Port, last: Port) -> String {
    let range = |first: u16, last: u16| match first == last {
        true => first.to_string(),
        false => format!("{first}-{last}"),
    };
    let container = range(first.container, last.container);
    let protocol = first.protocol.name();
    match (first.host, last.host) {
        (Some((ip, first)), Some((_, last))) => {
            let host = range(first, last);
            match ip {
                IpAddr::V4(ip) => format!("{ip}:{host}->{container}/{protocol}"),
                IpAddr::V6(ip) => format!("[{ip}]:{host}->{container}/{protocol}"),
            }
        }
        _ => format!("{container}/{protocol}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn port(host: Option<(&str, u16)>, container: u16) -> Port {
        Port {
            protocol: Transport::Tcp,
            host: host.map(|(ip, port)| (ip.parse().unwrap(), port)),
            container,
        }
    }

    #[test]
    fn neighbours_are_joined() {
        let ports = [
            port(Some(("0.0.0.0", 8001)), 81),
            port(Some(("0.0.0.0", 8000)), 80),
            port(Some(("::", 8000)), 80),
            port(Some(("0.0.0.0", 9000)), 82),
            port(None, 443),
            Port {
                protocol: Transport::Udp,
                ..port(None, 53)
            },
        ];
        assert_eq!(
            cell(&ports),
            "443/tcp, 0.0.0.0:8000-8001->80-81/tcp, 0.0.0.0:9000->82/tcp, [::]:8000->80/tcp, 53/udp"
        );
        assert_eq!(cell(&[]), "");
    }
}
