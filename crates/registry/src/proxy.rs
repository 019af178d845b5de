//! Which proxy a request goes through: `HTTP_PROXY`, `HTTPS_PROXY`, `NO_PROXY` and their
//! lower-case forms, read as Go's `golang.org/x/net/http/httpproxy` reads them, because that is
//! what a Docker user's settings were written for. Every request is tunnelled through the proxy
//! (`CONNECT`), one in plain HTTP too.

use std::fmt;
use std::net::IpAddr;

use crate::url::{Scheme, Url};

/// The proxy settings of the environment.
#[derive(Clone, Default)]
pub(crate) struct ProxySettings {
    http: Option<String>,
    https: Option<String>,
    except: Vec<Exception>,
}

/// One entry of `NO_PROXY`.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Exception {
    All,
    /// An address block: the network and the length of its prefix.
    Block(IpAddr, u8),
    /// A host, and whether only names below it are meant; of one port, if one is given.
    Host {
        name: String,
        only_below: Below,
        port: Option<u16>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Below {
    Only,
    Too,
}

impl ProxySettings {
    /// Reads the settings through `get`, which is `std::env::var` outside tests.
    pub(crate) fn from_env(get: impl Fn(&str) -> Option<String>) -> ProxySettings {
        let either = |upper: &str, lower: &str| {
            [upper, lower]
                .into_iter()
                .filter_map(&get)
                .find(|value| !value.is_empty())
        };
        ProxySettings {
            http: either("HTTP_PROXY", "http_proxy"),
            https: either("HTTPS_PROXY", "https_proxy"),
            except: either("NO_PROXY", "no_proxy")
                .map(|list| list.split(',').filter_map(exception).collect())
                .unwrap_or_default(),
        }
    }

    /// The proxy for `url`; this machine itself is never asked for through one.
    pub(crate) fn for_url(&self, url: &Url) -> Option<&str> {
        let proxy = match url.scheme {
            Scheme::Http => self.http.as_deref(),
            Scheme::Https => self.https.as_deref(),
        }?;
        let direct = gamut_spec::reference::is_loopback_host(&url.host)
            || self.except.iter().any(|exception| exception.covers(url));
        (!direct).then_some(proxy)
    }
}

/// The proxy without the credentials that may stand in it.
pub(crate) fn without_credentials(proxy: &str) -> &str {
    let rest = proxy.split_once("://").map_or(proxy, |(_, rest)| rest);
    let authority = rest.split('/').next().unwrap_or_default();
    authority.rsplit('@').next().unwrap_or_default()
}

impl fmt::Debug for ProxySettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProxySettings")
            .field("http", &self.http.as_deref().map(without_credentials))
            .field("https", &self.https.as_deref().map(without_credentials))
            .field("except", &self.except)
            .finish()
    }
}

fn exception(entry: &str) -> Option<Exception> {
    let entry = entry.trim().to_ascii_lowercase();
    if entry.is_empty() {
        return None;
    }
    if entry == "*" {
        return Some(Exception::All);
    }
    if let Some((network, length)) = entry.split_once('/') {
        let network: IpAddr = network.parse().ok()?;
        let longest = if network.is_ipv4() { 32 } else { 128 };
        let length: u8 = length.parse().ok().filter(|length| *length <= longest)?;
        return Some(Exception::Block(network, length));
    }
    if let Ok(address) = entry.trim_matches(['[', ']']).parse::<IpAddr>() {
        let length = if address.is_ipv4() { 32 } else { 128 };
        return Some(Exception::Block(address, length));
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => (name, Some(port.parse().ok()?)),
        None => (entry.as_str(), None),
    };
    let name = name.strip_prefix('*').unwrap_or(name);
    let only_below = if name.starts_with('.') {
        Below::Only
    } else {
        Below::Too
    };
    let name = name.trim_start_matches('.').to_owned();
    (!name.is_empty()).then_some(Exception::Host {
        name,
        only_below,
        port,
    })
}

impl Exception {
    fn covers(&self, url: &Url) -> bool {
        match self {
            Exception::All => true,
            Exception::Block(network, length) => url
                .host
                .trim_matches(['[', ']'])
                .parse()
                .is_ok_and(|address| within(address, *network, *length)),
            Exception::Host {
                name,
                only_below,
                port,
            } => {
                let host = url.host.trim_matches(['[', ']']);
                let below = host
                    .strip_suffix(name.as_str())
                    .is_some_and(|front| front.ends_with('.'));
                let same = *only_below == Below::Too && host == name;
                (below || same) && port.is_none_or(|port| port == url.port())
            }
        }
    }
}

/// Whether `address` is in the block. IPv4 addresses are counted in the upper 32 bits, so that one
/// mask serves both families.
fn within(address: IpAddr, network: IpAddr, length: u8) -> bool {
    let bits = |address: IpAddr| match address {
        IpAddr::V4(v4) => u128::from(u32::from(v4)) << 96,
        IpAddr::V6(v6) => u128::from(v6),
    };
    let mask = u128::MAX
        .checked_shl(128 - u32::from(length))
        .unwrap_or_default();
    address.is_ipv4() == network.is_ipv4() && bits(address) & mask == bits(network) & mask
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(no_proxy: &str) -> ProxySettings {
        ProxySettings::from_env(|name| match name {
            "https_proxy" => Some("http://u:secret@proxy:3128".into()),
            "HTTP_PROXY" => Some("http://plain:80/".into()),
            "NO_PROXY" => Some(no_proxy.into()),
            _ => None,
        })
    }

    fn direct(no_proxy: &str, url: &str) -> bool {
        settings(no_proxy)
            .for_url(&Url::parse(url).unwrap())
            .is_none()
    }

    #[test]
    fn picks_by_scheme_and_spares_this_machine() {
        let settings = settings("");
        let proxy = |url: &str| {
            settings
                .for_url(&Url::parse(url).unwrap())
                .map(str::to_owned)
        };
        assert_eq!(
            proxy("https://r.io/").as_deref(),
            Some("http://u:secret@proxy:3128")
        );
        assert_eq!(proxy("http://r.io/").as_deref(), Some("http://plain:80/"));
        for url in [
            "http://localhost:5000/",
            "https://127.0.0.1/",
            "http://[::1]/",
        ] {
            assert_eq!(proxy(url), None, "{url}");
        }
        assert!(
            ProxySettings::from_env(|_| None)
                .for_url(&Url::parse("https://a/").unwrap())
                .is_none()
        );
    }

    #[test]
    fn exceptions_match_as_in_go() {
        for (no_proxy, url) in [
            ("*", "https://r.io/"),
            ("r.io", "https://r.io/"),
            ("r.io", "https://a.r.io/"),
            (".r.io", "https://a.r.io/"),
            ("*.r.io", "https://a.r.io/"),
            (" x , R.io ", "https://r.io/"),
            ("r.io:5000", "https://r.io:5000/"),
            ("10.0.0.0/8", "https://10.1.2.3/"),
            ("10.1.2.3", "https://10.1.2.3:444/"),
            ("fd00::/8", "https://[fd12::1]/"),
            ("0.0.0.0/0", "https://8.8.8.8/"),
        ] {
            assert!(direct(no_proxy, url), "{no_proxy} {url}");
        }
        for (no_proxy, url) in [
            (".r.io", "https://r.io/"),
            ("r.io", "https://xr.io/"),
            ("r.io:5000", "https://r.io/"),
            ("10.0.0.0/8", "https://11.1.2.3/"),
            ("10.0.0.0/8", "https://r.io/"),
            ("0.0.0.0/0", "https://[fd12::1]/"),
            ("10.0.0.0/99", "https://10.0.0.1/"),
            (",,", "https://r.io/"),
        ] {
            assert!(!direct(no_proxy, url), "{no_proxy} {url}");
        }
    }

    #[test]
    fn credentials_are_not_shown() {
        let shown = format!("{:?}", settings("a"));
        assert!(
            !shown.contains("secret") && shown.contains("proxy:3128"),
            "{shown}"
        );
    }
}
