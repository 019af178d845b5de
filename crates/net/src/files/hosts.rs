//! `/etc/hosts` (hosts(5)) and the values of `--add-host`.

use std::fmt::Write;
use std::net::IpAddr;
use std::str::FromStr;

use gamut_spec::{Fault, Kind};
use serde::{Deserialize, Serialize};

/// What every container's file begins with, as Docker writes it.
const LOCAL: &str = "127.0.0.1\tlocalhost\n\
    ::1\tlocalhost ip6-localhost ip6-loopback\n\
    fe00::\tip6-localnet\n\
    ff00::\tip6-mcastprefix\n\
    ff02::1\tip6-allnodes\n\
    ff02::2\tip6-allrouters\n";

/// Where an additional name leads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HostTarget {
    Address(IpAddr),
    /// The word `host-gateway`: the host, as the container reaches it.
    HostGateway,
}

/// One value of `--add-host`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AddHost {
    pub name: String,
    pub target: HostTarget,
}

/// Why a value of `--add-host` cannot be meant.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AddHostError {
    #[error("additional host `{0}` is not of the form NAME:ADDRESS")]
    Syntax(String),
    #[error("additional host `{text}`: `{address}` is not an IP address")]
    Address { text: String, address: String },
}

impl Fault for AddHostError {
    fn kind(&self) -> Kind {
        Kind::Invalid
    }

    fn hint(&self) -> Option<String> {
        Some("write `--add-host db:10.0.0.7` or `--add-host host:host-gateway`".to_owned())
    }
}

impl FromStr for AddHost {
    type Err = AddHostError;

    /// Reads `NAME:ADDRESS` or `NAME=ADDRESS`; an IPv6 address may stand in brackets.
    fn from_str(text: &str) -> Result<AddHost, AddHostError> {
        let syntax = || AddHostError::Syntax(text.to_owned());
        let at = text.find([':', '=']).ok_or_else(syntax)?;
        let (name, address) = (&text[..at], &text[at + 1..]);
        let plain = |c: char| !c.is_whitespace() && !c.is_control() && c != '#';
        if name.is_empty() || !name.chars().all(plain) {
            return Err(syntax());
        }
        let bare = address
            .strip_prefix('[')
            .and_then(|inside| inside.strip_suffix(']'))
            .unwrap_or(address);
        let target = match bare {
            "host-gateway" => HostTarget::HostGateway,
            bare => HostTarget::Address(bare.parse().map_err(|_| AddHostError::Address {
                text: text.to_owned(),
                address: address.to_owned(),
            })?),
        };
        Ok(AddHost {
            name: name.to_owned(),
            target,
        })
    }
}

/// The content of `/etc/hosts`: the local names, the additional ones, then the container's own
/// name for each of its addresses. `host-gateway` stands for `gateways`, the bridge's addresses
/// ([`crate::Network::gateways`]). A name with a domain is followed by its first part.
pub fn hosts(
    hostname: &str,
    addresses: &[IpAddr],
    additional: &[AddHost],
    gateways: &[IpAddr],
) -> String {
    let mut text = LOCAL.to_owned();
    let mut line = |address: &IpAddr, name: &str| {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{address}\t{name}");
    };
    for AddHost { name, target } in additional {
        match target {
            HostTarget::Address(address) => line(address, name),
            HostTarget::HostGateway => gateways.iter().for_each(|address| line(address, name)),
        }
    }
    let own = match hostname.split_once('.') {
        Some((short, _)) if !short.is_empty() => format!("{hostname} {short}"),
        _ => hostname.to_owned(),
    };
    for address in addresses.iter().filter(|_| !hostname.is_empty()) {
        line(address, &own);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_their_order() {
        let additional = ["db:10.0.0.7", "six=[fd00::7]", "h:host-gateway", "v6:::1"]
            .map(|text| text.parse().unwrap());
        let text = hosts(
            "web.example.org",
            &["10.89.0.2".parse().unwrap(), "fd00::2".parse().unwrap()],
            &additional,
            &["10.89.0.1".parse().unwrap(), "fd00::1".parse().unwrap()],
        );
        let lines: Vec<_> = text.lines().skip(6).collect();
        assert_eq!(
            lines,
            [
                "10.0.0.7\tdb",
                "fd00::7\tsix",
                "10.89.0.1\th",
                "fd00::1\th",
                "::1\tv6",
                "10.89.0.2\tweb.example.org web",
                "fd00::2\tweb.example.org web",
            ]
        );
        assert!(text.starts_with("127.0.0.1\tlocalhost\n"));
        assert_eq!(super::super::hostname("web"), "web\n");
    }

    #[test]
    fn a_line_cannot_be_smuggled_in() {
        for text in [
            "a\n1.1.1.1 b:1.1.1.1",
            "a b:1.1.1.1",
            ":1.1.1.1",
            "a",
            "a:",
            "a:b",
            "#:::1",
        ] {
            assert!(text.parse::<AddHost>().is_err(), "{text}");
        }
    }
}
