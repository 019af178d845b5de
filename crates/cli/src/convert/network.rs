//! `--network`, `--dns`, `--add-host`, `--mac-address`, and the namespaces to share.

use std::net::IpAddr;

use super::ArgumentError;
use gamut_engine::network::create::AnySubnet;
use gamut_plan::egress::EgressWord;
use gamut_plan::request::{
    Attachment, ExtraHost, HostAddress, IpcNamespace, NetworkMode, Sharing, UserNamespace, is_name,
};

/// `bridge`, `none`, `host`, `container:NAME`, `ns:PATH`, `pasta[:OPTIONS]`, `default`, or a network's name.
fn parse_network(text: &str) -> Result<NetworkMode, ArgumentError> {
    let invalid = || ArgumentError::Network {
        text: text.to_owned(),
    };
    Ok(match text {
        "default" => NetworkMode::Default,
        "none" => NetworkMode::None,
        "host" => NetworkMode::Host,
        "pasta" => NetworkMode::Pasta(Vec::new()),
        other => match other.split_once(':') {
            Some(("container", name)) if is_name(name) => NetworkMode::Container(name.to_owned()),
            Some(("pasta", options)) => {
                NetworkMode::Pasta(options.split(',').map(str::to_owned).collect())
            }
            Some(("ns", path)) if path.starts_with('/') => NetworkMode::Namespace(path.into()),
            None if is_name(other) => NetworkMode::Named(other.to_owned()),
            _ => return Err(invalid()),
        },
    })
}

/// One `--network`: a mode, or a network and what to be there (`name=NET,alias=A,ip=ADDRESS`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NetworkArg {
    Mode(NetworkMode),
    Attachment(Attachment),
}

/// `--network`, in both forms.
pub fn parse_network_arg(text: &str) -> Result<NetworkArg, ArgumentError> {
    if !text.split(',').any(|part| part.starts_with("name=")) {
        return parse_network(text).map(NetworkArg::Mode);
    }
    let invalid = || ArgumentError::Network {
        text: text.to_owned(),
    };
    let mut attachment = Attachment::default();
    for part in text.split(',') {
        let (key, value) = part.split_once('=').ok_or_else(invalid)?;
        match key {
            "name" if is_name(value) => attachment.network = value.to_owned(),
            "alias" => attachment.aliases.push(parse_alias(value)?),
            "ip" => attachment.ipv4 = Some(value.parse().map_err(|_| invalid())?),
            "ip6" => attachment.ipv6 = Some(value.parse().map_err(|_| invalid())?),
            "gw-priority" => attachment.priority = value.parse().map_err(|_| invalid())?,
            "mac-address" => attachment.mac_address = Some(parse_mac(value)?),
            _ => return Err(invalid()),
        }
    }
    Ok(NetworkArg::Attachment(attachment))
}

/// `host`, `private`, `container:NAME` or `ns:PATH`: `--pid`, `--uts`, `--cgroupns`.
pub fn parse_sharing(text: &str) -> Result<Sharing, ArgumentError> {
    match text {
        "host" => Ok(Sharing::Host),
        "private" => Ok(Sharing::Private),
        other => match other.split_once(':') {
            Some(("container", name)) if is_name(name) => Ok(Sharing::Container(name.to_owned())),
            Some(("ns", path)) if path.starts_with('/') => Ok(Sharing::Namespace(path.into())),
            _ => Err(ArgumentError::Sharing {
                text: text.to_owned(),
                allowed: "private, host, container:NAME or ns:/PATH",
            }),
        },
    }
}

/// `none`, `private`, `shareable`, `host`, `container:NAME` or `ns:PATH`.
pub fn parse_ipc(text: &str) -> Result<IpcNamespace, ArgumentError> {
    match text {
        "none" => Ok(IpcNamespace::None),
        "shareable" => Ok(IpcNamespace::Shareable),
        other => match parse_sharing(other) {
            Ok(Sharing::Private) => Ok(IpcNamespace::Private),
            Ok(Sharing::Host) => Ok(IpcNamespace::Host),
            Ok(Sharing::Container(name)) => Ok(IpcNamespace::Container(name)),
            Ok(Sharing::Namespace(path)) => Ok(IpcNamespace::Namespace(path)),
            Err(_) => Err(ArgumentError::Sharing {
                text: text.to_owned(),
                allowed: "none, private, shareable, host, container:NAME or ns:/PATH",
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

/// `--subnet`, `--ip-range`: of either family.
pub fn parse_subnet(text: &str) -> Result<AnySubnet, ArgumentError> {
    let parsed = match text.contains(':') {
        true => text.parse().map(AnySubnet::V6),
        false => text.parse().map(AnySubnet::V4),
    };
    parsed.map_err(|error| ArgumentError::Subnet {
        text: text.to_owned(),
        reason: error.to_string(),
    })
}

/// `--network-alias`.
pub fn parse_alias(text: &str) -> Result<String, ArgumentError> {
    match gamut_engine::network::is_resolvable(text) {
        true => Ok(text.to_owned()),
        false => Err(ArgumentError::Alias {
            text: text.to_owned(),
        }),
    }
}

/// `NAME=ADDRESS`.
pub fn parse_aux_address(text: &str) -> Result<(String, IpAddr), ArgumentError> {
    let invalid = || ArgumentError::AuxAddress {
        text: text.to_owned(),
    };
    let (name, address) = text.split_once('=').ok_or_else(invalid)?;
    let address = address.parse().map_err(|_| invalid())?;
    Ok((name.to_owned(), address))
}

/// A word after `--egress`.
pub fn parse_egress(text: &str) -> Result<EgressWord, ArgumentError> {
    text.parse().map_err(ArgumentError::Egress)
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
    fn networks_with_what_to_be_there() {
        let parsed = parse_network_arg("name=blue,alias=a,alias=b,ip=10.1.0.7");
        let attachment = Attachment {
            network: "blue".to_owned(),
            aliases: vec!["a".to_owned(), "b".to_owned()],
            ipv4: Some([10, 1, 0, 7].into()),
            ..Attachment::default()
        };
        assert_eq!(parsed, Ok(NetworkArg::Attachment(attachment)));
        let plain = parse_network_arg("none");
        assert_eq!(plain, Ok(NetworkArg::Mode(NetworkMode::None)));
        for text in [
            "name=",
            "name=a,colour=red",
            "name=a,ip=x",
            "alias=x,name=a b",
        ] {
            assert!(parse_network_arg(text).is_err(), "{text}");
        }
    }

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
        let path = std::path::PathBuf::from("/proc/7/ns/ipc");
        assert_eq!(
            parse_ipc("ns:/proc/7/ns/ipc"),
            Ok(IpcNamespace::Namespace(path))
        );
        for wrong in ["", "ns:", "ns:x"] {
            assert!(parse_sharing(wrong).is_err(), "{wrong}");
        }
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
