//! `--network`, `--dns`, `--add-host`, `--mac-address`, and the namespaces to share.

use std::net::IpAddr;

use super::ArgumentError;
use gamut_plan::request::{
    ExtraHost, HostAddress, IpcNamespace, NetworkMode, Sharing, UserNamespace, is_name,
};

/// `bridge`, `none`, `host`, `container:NAME`, `default`, or a network's name.
pub fn parse_network(text: &str) -> Result<NetworkMode, ArgumentError> {
    let invalid = || ArgumentError::Network {
        text: text.to_owned(),
    };
    Ok(match text {
        "default" => NetworkMode::Default,
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        other => match other.split_once(':') {
            Some(("container", name)) if is_name(name) => NetworkMode::Container(name.to_owned()),
            None if is_name(other) => NetworkMode::Named(other.to_owned()),
            _ => return Err(invalid()),
        },
    })
}

/// `host`, `private` or `container:NAME`: `--pid`, `--uts`, `--cgroupns`.
pub fn parse_sharing(text: &str) -> Result<Sharing, ArgumentError> {
    match text {
        "host" => Ok(Sharing::Host),
        "private" => Ok(Sharing::Private),
        other => match other.split_once(':') {
            Some(("container", name)) if is_name(name) => Ok(Sharing::Container(name.to_owned())),
            _ => Err(ArgumentError::Sharing {
                text: text.to_owned(),
                allowed: "private, host or container:NAME",
            }),
        },
    }
}

/// `none`, `private`, `shareable`, `host` or `container:NAME`.
pub fn parse_ipc(text: &str) -> Result<IpcNamespace, ArgumentError> {
    match text {
        "none" => Ok(IpcNamespace::None),
        "shareable" => Ok(IpcNamespace::Shareable),
        other => match parse_sharing(other) {
            Ok(Sharing::Private) => Ok(IpcNamespace::Private),
            Ok(Sharing::Host) => Ok(IpcNamespace::Host),
            Ok(Sharing::Container(name)) => Ok(IpcNamespace::Container(name)),
            Err(_) => Err(ArgumentError::Sharing {
                text: text.to_owned(),
                allowed: "none, private, shareable, host or container:NAME",
            }),
        },
    }
}

/// `host`, `auto` or `private`.
pub fn parse_user_namespace(text: &str) -> Result<UserNamespace, ArgumentError> {
    match text {
        "host" => Ok(UserNamespace::Host),
        "auto" => Ok(UserNamespace::Auto),
        "private" => Ok(UserNamespace::Private),
        _ => Err(ArgumentError::Sharing {
            text: text.to_owned(),
            allowed: "host, auto or private",
        }),
    }
}

/// `--dns`.
pub fn parse_dns_server(text: &str) -> Result<IpAddr, ArgumentError> {
    text.parse().map_err(|_| ArgumentError::Address {
        text: text.to_owned(),
    })
}

/// `NAME:ADDRESS` or `NAME=ADDRESS`; the address may stand in brackets, or be `host-gateway`.
pub fn parse_extra_host(text: &str) -> Result<ExtraHost, ArgumentError> {
    let invalid = || ArgumentError::ExtraHost {
        text: text.to_owned(),
    };
    let (name, address) = text.split_once(['=', ':']).ok_or_else(invalid)?;
    let plain = |c: char| c.is_ascii_graphic() && c != '#';
    if name.is_empty() || !name.chars().all(plain) {
        return Err(invalid());
    }
    let address = match address {
        "host-gateway" => HostAddress::HostGateway,
        address => {
            let bare = address
                .strip_prefix('[')
                .and_then(|rest| rest.strip_suffix(']'))
                .unwrap_or(address);
            HostAddress::Ip(bare.parse().map_err(|_| invalid())?)
        }
    };
    Ok(ExtraHost {
        name: name.to_owned(),
        address,
    })
}

/// Six hexadecimal bytes with `:` or `-` between; not multicast, not zero.
pub fn parse_mac(text: &str) -> Result<[u8; 6], ArgumentError> {
    let invalid = || ArgumentError::Mac {
        text: text.to_owned(),
    };
    let separator = if text.contains('-') { '-' } else { ':' };
    let mut mac = [0; 6];
    let mut parts = text.split(separator);
    for byte in &mut mac {
        let part = parts
            .next()
            .filter(|part| part.len() == 2)
            .ok_or_else(invalid)?;
        *byte = u8::from_str_radix(part, 16).map_err(|_| invalid())?;
    }
    if parts.next().is_some() || mac[0] & 1 != 0 || mac == [0; 6] || text.contains('+') {
        return Err(invalid());
    }
    Ok(mac)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn networks() {
        assert_eq!(parse_network("none"), Ok(NetworkMode::None));
        assert_eq!(
            parse_network("container:web"),
            Ok(NetworkMode::Container("web".to_owned()))
        );
        assert_eq!(
            parse_network("bridge"),
            Ok(NetworkMode::Named("bridge".to_owned()))
        );
        for text in ["", "container:", "container", "a b", "x:y", "../x"] {
            let parsed = parse_network(text);
            let harmless = parsed == Ok(NetworkMode::Named(text.to_owned())) && text == "container";
            assert!(parsed.is_err() || harmless, "{text}");
        }
    }

    #[test]
    fn namespaces() {
        assert_eq!(parse_sharing("host"), Ok(Sharing::Host));
        assert_eq!(parse_ipc("shareable"), Ok(IpcNamespace::Shareable));
        assert_eq!(parse_user_namespace("auto"), Ok(UserNamespace::Auto));
        assert!(parse_sharing("").is_err());
        assert!(parse_ipc("container:").is_err());
        assert!(parse_user_namespace("keep-id").is_err());
    }

    #[test]
    fn hosts() {
        for (text, name, address) in [
            ("db:10.0.0.5", "db", "10.0.0.5"),
            ("db=10.0.0.5", "db", "10.0.0.5"),
            ("db:::1", "db", "::1"),
            ("db=[fd00::1]", "db", "fd00::1"),
        ] {
            let host = parse_extra_host(text).unwrap();
            assert_eq!(host.name, name);
            assert_eq!(host.address, HostAddress::Ip(address.parse().unwrap()));
        }
        let gateway = parse_extra_host("h:host-gateway").unwrap();
        assert_eq!(gateway.address, HostAddress::HostGateway);
        for text in [
            "",
            "db",
            "db:",
            ":1.2.3.4",
            "a b:1.2.3.4",
            "a\n:1.2.3.4",
            "#a:1.2.3.4",
        ] {
            assert!(parse_extra_host(text).is_err(), "{text}");
        }
    }

    #[test]
    fn mac_addresses() {
        assert_eq!(
            parse_mac("02:42:ac:11:00:02"),
            Ok([2, 0x42, 0xac, 0x11, 0, 2])
        );
        assert_eq!(
            parse_mac("02-42-AC-11-00-02"),
            Ok([2, 0x42, 0xac, 0x11, 0, 2])
        );
        for text in [
            "",
            "02:42",
            "01:42:ac:11:00:02",
            "00:00:00:00:00:00",
            "02:42:ac:11:00:02:03",
            "2:42:ac:11:00:02",
            "+2:42:ac:11:00:02",
        ] {
            assert!(parse_mac(text).is_err(), "{text}");
        }
    }
}
