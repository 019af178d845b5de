//! Just enough of a URL (RFC 3986) for registries, token servers and redirects: `http` and
//! `https`, an authority without credentials, a path with its query.

use std::fmt;

/// The two schemes that are spoken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Scheme {
    Http,
    Https,
}

impl Scheme {
    fn as_str(self) -> &'static str {
        match self {
            Scheme::Http => "http",
            Scheme::Https => "https",
        }
    }

    fn default_port(self) -> u16 {
        match self {
            Scheme::Http => 80,
            Scheme::Https => 443,
        }
    }
}

/// An absolute URL. `Display` leaves the query out: a content network's signature is in it.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    /// Lower-case; an IPv6 address with its brackets.
    pub(crate) host: String,
    port: Option<u16>,
    /// Begins with `/`.
    path_and_query: String,
}

impl Url {
    /// `authority` is `host` or `host:port`, and has been checked by the reference's grammar.
    pub(crate) fn of(scheme: Scheme, authority: &str, path_and_query: &str) -> Option<Url> {
        Url::parse(&format!(
            "{}://{authority}{path_and_query}",
            scheme.as_str()
        ))
    }

    /// Reads an absolute URL; a fragment is dropped. `None`: it is not one that can be asked.
    pub(crate) fn parse(text: &str) -> Option<Url> {
        if !text.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        let (scheme, rest) = text.split_once("://")?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let rest = rest.split('#').next()?;
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, tail) = rest.split_at(end);
        let (host, port) = split_port(authority)?;
        let path_and_query = match tail.as_bytes().first() {
            Some(b'/') => tail.to_owned(),
            _ => format!("/{tail}"),
        };
        Some(Url {
            scheme,
            host: host.to_ascii_lowercase(),
            port,
            path_and_query,
        })
    }

    /// What `Location: location` means in an answer from here.
    pub(crate) fn join(&self, location: &str) -> Option<Url> {
        if !location.bytes().all(|b| b.is_ascii_graphic()) {
            return None;
        }
        if location.starts_with("//") {
            return Url::parse(&format!("{}:{location}", self.scheme.as_str()));
        }
        let head = location.find(['/', '?', '#']).unwrap_or(location.len());
        if location[..head].contains(':') {
            return Url::parse(location);
        }
        let location = location.split('#').next()?;
        let path = self.path_and_query.split('?').next()?;
        let path_and_query = match location.as_bytes().first() {
            None => self.path_and_query.clone(),
            Some(b'/') => location.to_owned(),
            Some(b'?') => format!("{path}{location}"),
            Some(_) => {
                let directory = path.rfind('/').map_or("/", |slash| &path[..=slash]);
                format!("{directory}{location}")
            }
        };
        Some(Url {
            path_and_query,
            ..self.clone()
        })
    }

    /// The same URL with `name=value` appended to its query.
    pub(crate) fn with_query(mut self, name: &str, value: &str) -> Url {
        let mark = if self.path_and_query.contains('?') {
            '&'
        } else {
            '?'
        };
        self.path_and_query.push(mark);
        self.path_and_query.push_str(name);
        self.path_and_query.push('=');
        self.path_and_query.push_str(&percent_encode(value));
        self
    }

    pub(crate) fn port(&self) -> u16 {
        self.port.unwrap_or(self.scheme.default_port())
    }

    /// Scheme, host and port are the same: what one may be told, the other may.
    pub(crate) fn same_origin(&self, other: &Url) -> bool {
        self.scheme == other.scheme && self.host == other.host && self.port() == other.port()
    }

    /// `host` or `host:port`.
    pub(crate) fn authority(&self) -> String {
        match self.port {
            Some(port) => format!("{}:{port}", self.host),
            None => self.host.clone(),
        }
    }

    /// All of it, the query included.
    pub(crate) fn request_target(&self) -> String {
        format!(
            "{}://{}{}",
            self.scheme.as_str(),
            self.authority(),
            self.path_and_query
        )
    }
}

impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.path_and_query.split('?').next().unwrap_or_default();
        write!(f, "{}://{}{path}", self.scheme.as_str(), self.authority())
    }
}

impl fmt::Debug for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

/// `host[:port]`; credentials in front of an `@` are refused.
fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    let (host, port) = if authority.starts_with('[') {
        let end = authority.find(']')? + 1;
        let (host, rest) = authority.split_at(end);
        host[1..end - 1].parse::<std::net::Ipv6Addr>().ok()?;
        match rest.strip_prefix(':') {
            Some(port) => (host, Some(port)),
            None if rest.is_empty() => (host, None),
            None => return None,
        }
    } else {
        let (host, port) = match authority.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (authority, None),
        };
        let fits = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_');
        if host.is_empty() || !host.bytes().all(fits) {
            return None;
        }
        (host, port)
    };
    match port {
        None | Some("") => Some((host, None)),
        Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => {
            Some((host, Some(port.parse().ok().filter(|port| *port != 0)?)))
        }
        Some(_) => None,
    }
}

/// Percent-encodes all but RFC 3986's unreserved characters.
pub(crate) fn percent_encode(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    #[test]
    fn reads_and_refuses() {
        let parsed = url("HTTPS://Host.IO:5000/v2/?a=b#frag");
        assert_eq!(parsed.request_target(), "https://host.io:5000/v2/?a=b");
        assert_eq!(parsed.to_string(), "https://host.io:5000/v2/");
        assert_eq!(url("http://[::1]:80").request_target(), "http://[::1]:80/");
        assert_eq!(url("http://h?x").request_target(), "http://h/?x");
        for text in [
            "",
            "ftp://h/",
            "http://",
            "http:///x",
            "http://u:p@h/",
            "http://u@h/",
            "http://h:0/",
            "http://h:99999/",
            "http://h:+1/",
            "http://h /",
            "http://h/\r\nX: y",
            "http://[::1",
            "http://[zz]/",
            "//h/x",
            "/x",
            "http://h\\x/",
        ] {
            assert!(Url::parse(text).is_none(), "{text}");
        }
    }

    #[test]
    fn joins_locations() {
        let base = url("https://r.io:8443/v2/a/blobs/x?y=z");
        for (location, target) in [
            ("https://cdn.io/b?s=1", "https://cdn.io/b?s=1"),
            ("//cdn.io/b", "https://cdn.io/b"),
            ("/b/c?d", "https://r.io:8443/b/c?d"),
            ("b", "https://r.io:8443/v2/a/blobs/b"),
            ("?q", "https://r.io:8443/v2/a/blobs/x?q"),
            ("/b?u=http://x/", "https://r.io:8443/b?u=http://x/"),
        ] {
            assert_eq!(base.join(location).unwrap().request_target(), target);
        }
        assert!(base.join("javascript:alert(1)").is_none());
        assert!(base.join("/a b").is_none());
    }

    #[test]
    fn tells_origins_apart() {
        let base = url("https://r.io/");
        assert!(base.same_origin(&url("https://R.io:443/x")));
        for other in [
            "http://r.io/",
            "https://r.io:444/",
            "https://cdn.r.io/",
            "https://r.io.evil/",
        ] {
            assert!(!base.same_origin(&url(other)), "{other}");
        }
    }

    #[test]
    fn appends_queries() {
        let asked = url("https://a.io/token?x=1").with_query("scope", "repository:a/b:pull");
        assert_eq!(
            asked.request_target(),
            "https://a.io/token?x=1&scope=repository%3Aa%2Fb%3Apull"
        );
    }
}
