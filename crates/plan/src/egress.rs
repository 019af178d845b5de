//! What a workload may reach: `--egress` as typed data. Nothing here resolves a name or touches the host.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::launch::Protocol;

/// How many things may be allowed.
pub const MOST: usize = 256;
/// RFC 1035 section 2.3.4.
const NAME_BYTES: usize = 253;
const LABEL_BYTES: usize = 63;

/// Only these may be reached; none: nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct EgressPolicy {
    pub allowed: Vec<Allowed>,
}

/// One thing that may be reached.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allowed {
    pub to: To,
    /// `None`: every port, by every protocol.
    pub port: Option<(Protocol, u16)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum To {
    /// A network's address and the length of its prefix.
    Range(IpAddr, u8),
    /// In lower case, without a dot at its end.
    Name(String),
}

/// What is not understood of a word after `--egress`, or of several.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum EgressError {
    #[error("`{0}` is neither `deny`, `allow` nor `allow=HOST[:PORT]`")]
    Word(String),
    #[error("`{0}` is neither a host name, an address nor a network of addresses")]
    To(String),
    #[error("`{0}` has bits set behind its prefix")]
    HostBits(String),
    #[error("`{0}` is no port of 1 to 65535, with `/tcp` or `/udp`")]
    Port(String),
    #[error("`allow` by itself lifts every restriction, which others are given with")]
    Mixed,
    #[error("more than {MOST} egress rules")]
    Many,
}

/// One word as it is given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EgressWord {
    /// Whatever there is: no policy.
    Everything,
    Nothing,
    Allow(Allowed),
}

impl FromStr for EgressWord {
    type Err = EgressError;

    fn from_str(text: &str) -> Result<Self, EgressError> {
        match text.split_once('=') {
            None if text == "deny" => Ok(EgressWord::Nothing),
            None if text == "allow" => Ok(EgressWord::Everything),
            Some(("allow", what)) => Ok(EgressWord::Allow(what.parse()?)),
            _ => Err(EgressError::Word(text.to_owned())),
        }
    }
}

impl EgressPolicy {
    /// What several words mean together; `None`: there is no policy.
    ///
    /// # Errors
    /// [`EgressError::Mixed`], [`EgressError::Many`].
    pub fn of(words: &[EgressWord]) -> Result<Option<EgressPolicy>, EgressError> {
        let lifted = words.contains(&EgressWord::Everything);
        if lifted && words.iter().any(|word| *word != EgressWord::Everything) {
            return Err(EgressError::Mixed);
        }
        if words.is_empty() || lifted {
            return Ok(None);
        }
        if words.len() > MOST {
            return Err(EgressError::Many);
        }
        let mut policy = EgressPolicy::default();
        for word in words {
            if let EgressWord::Allow(one) = word
                && !policy.allowed.contains(one)
            {
                policy.allowed.push(one.clone());
            }
        }
        Ok(Some(policy))
    }

    /// As `--egress` has it.
    #[must_use]
    pub fn words(&self) -> Vec<String> {
        match self.allowed.is_empty() {
            true => vec!["deny".to_owned()],
            false => self
                .allowed
                .iter()
                .map(|one| format!("allow={one}"))
                .collect(),
        }
    }
}

impl FromStr for Allowed {
    type Err = EgressError;

    /// `HOST`, `ADDRESS` or `ADDRESS/BITS`, with `:PORT` and `/tcp` or `/udp` behind; one of IPv6 that a port
    /// follows stands in brackets.
    fn from_str(text: &str) -> Result<Self, EgressError> {
        if let Ok(to) = range(text) {
            return Ok(Allowed { to, port: None });
        }
        if let Some(rest) = text.strip_prefix('[') {
            let unclosed = || EgressError::To(text.to_owned());
            let (inside, after) = rest.split_once(']').ok_or_else(unclosed)?;
            let port = match after.strip_prefix(':') {
                Some(after) => Some(port(after)?),
                None if after.is_empty() => None,
                None => return Err(unclosed()),
            };
            let to = range(inside)?;
            return Ok(Allowed { to, port });
        }
        let (to, port) = match text.split_once(':') {
            Some((to, after)) => (to, Some(port(after)?)),
            None => (text, None),
        };
        let to = match range(to) {
            Err(EgressError::To(_)) => name(to)?,
            other => other?,
        };
        Ok(Allowed { to, port })
    }
}

fn range(text: &str) -> Result<To, EgressError> {
    let invalid = || EgressError::To(text.to_owned());
    let (address, bits) = match text.split_once('/') {
        Some((address, bits)) => (address, Some(bits)),
        None => (text, None),
    };
    let address: IpAddr = address.parse().map_err(|_| invalid())?;
    let most = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    let bits: u8 = match bits {
        Some(bits) => bits.parse().map_err(|_| invalid())?,
        None => most,
    };
    if bits > most {
        return Err(invalid());
    }
    let behind = match address {
        IpAddr::V4(address) => u32::from(address).checked_shl(bits.into()).unwrap_or(0) != 0,
        IpAddr::V6(address) => u128::from(address).checked_shl(bits.into()).unwrap_or(0) != 0,
    };
    match behind {
        true => Err(EgressError::HostBits(text.to_owned())),
        false => Ok(To::Range(address, bits)),
    }
}

fn name(text: &str) -> Result<To, EgressError> {
    let bare = text.strip_suffix('.').unwrap_or(text);
    let is_label = |label: &str| {
        let goes = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
        (1..=LABEL_BYTES).contains(&label.len()) && label.bytes().all(goes)
    };
    // What has digits only at its end is an address that is not one (RFC 1123 section 2.1).
    let last = bare.rsplit('.').next().unwrap_or_default();
    let is_number = last.bytes().all(|byte| byte.is_ascii_digit());
    match bare.len() <= NAME_BYTES && bare.split('.').all(is_label) && !is_number {
        true => Ok(To::Name(bare.to_ascii_lowercase())),
        false => Err(EgressError::To(text.to_owned())),
    }
}

fn port(text: &str) -> Result<(Protocol, u16), EgressError> {
    let invalid = || EgressError::Port(text.to_owned());
    let (number, protocol) = match text.split_once('/') {
        None | Some((_, "tcp")) => (text.trim_end_matches("/tcp"), Protocol::Tcp),
        Some((number, "udp")) => (number, Protocol::Udp),
        Some(_) => return Err(invalid()),
    };
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    let number: u16 = number.parse().map_err(|_| invalid())?;
    match is_number && number != 0 {
        true => Ok((protocol, number)),
        false => Err(invalid()),
    }
}

impl fmt::Display for Allowed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match &self.to {
            To::Name(name) => name.clone(),
            To::Range(address, bits) => {
                let whole = match address {
                    IpAddr::V4(_) => 32,
                    IpAddr::V6(_) => 128,
                };
                match *bits == whole {
                    true => address.to_string(),
                    false => format!("{address}/{bits}"),
                }
            }
        };
        let Some((protocol, port)) = self.port else {
            return to.write_str(&text);
        };
        match text.contains(':') {
            true => write!(to, "[{text}]:{port}")?,
            false => write!(to, "{text}:{port}")?,
        }
        match protocol {
            Protocol::Tcp => Ok(()),
            Protocol::Udp => to.write_str("/udp"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_form_reads_and_is_shown_as_it_was() {
        for text in [
            "deny",
            "allow=registry.example.org:443",
            "allow=example.org",
            "allow=db:53/udp",
            "allow=192.0.2.0/24",
            "allow=192.0.2.0/24:443",
            "allow=192.0.2.7:53/udp",
            "allow=0.0.0.0/0",
            "allow=::/0",
            "allow=2001:db8::/32",
            "allow=2001:db8::1",
            "allow=[2001:db8::1]:443",
            "allow=[2001:db8::/32]:53/udp",
        ] {
            let word: EgressWord = text.parse().expect(text);
            let policy = EgressPolicy::of(&[word]).unwrap().unwrap();
            assert_eq!(policy.words(), [text]);
        }
        let upper: Allowed = "Example.ORG.:80/tcp".parse().unwrap();
        assert_eq!(upper.to_string(), "example.org:80");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for text in [
            "",
            "no",
            "deny=x",
            "allow=",
            "allow=a b",
            "allow=a..b",
            "allow=:80",
            "allow=host:0",
            "allow=host:70000",
            "allow=host:+1",
            "allow=host:80/sctp",
            "allow=host:",
            "allow=192.0.2.1/24",
            "allow=192.0.2.0/33",
            "allow=1.2.3",
            "allow=300.1.1.1",
            "allow=[::1",
            "allow=[::1]80",
            "allow=2001:db8::1/32",
            "allow=http://host",
            "allow=*.example.org",
        ] {
            assert!(text.parse::<EgressWord>().is_err(), "{text}");
        }
    }

    #[test]
    fn words_go_together_or_not() {
        let word = |text: &str| text.parse::<EgressWord>().unwrap();
        let of = |texts: &[&str]| {
            let words: Vec<_> = texts.iter().map(|text| word(text)).collect();
            EgressPolicy::of(&words)
        };
        assert_eq!(of(&[]), Ok(None));
        assert_eq!(of(&["allow"]), Ok(None));
        assert_eq!(of(&["deny"]).unwrap().unwrap().allowed, []);
        let both = of(&["deny", "allow=a", "allow=a", "allow=b"])
            .unwrap()
            .unwrap();
        assert_eq!(both.words(), ["allow=a", "allow=b"]);
        assert_eq!(of(&["allow", "deny"]), Err(EgressError::Mixed));
        assert_eq!(of(&["allow", "allow=a"]), Err(EgressError::Mixed));
    }
}
