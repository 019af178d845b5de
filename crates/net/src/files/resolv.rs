//! `/etc/resolv.conf` (resolv.conf(5)): the host's, made fit for another network namespace.

use std::fmt::Write;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

/// The values of `--dns`, `--dns-search`, `--dns-option`. What is empty is taken from the host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DnsOptions {
    pub servers: Vec<IpAddr>,
    /// A single `.` means no search list at all.
    pub search: Vec<String>,
    pub options: Vec<String>,
}

/// What the host has.
#[derive(Debug, Clone, Copy, Default)]
pub struct HostResolver<'a> {
    /// The content of `/etc/resolv.conf`; empty if there is none.
    pub etc: &'a str,
    /// The content of `/run/systemd/resolve/resolv.conf`: the servers behind systemd-resolved's
    /// loopback stub.
    pub systemd: Option<&'a str>,
}

/// Where a container's name servers come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// `--dns`.
    Options,
    /// The host's `/etc/resolv.conf`.
    Host,
    /// The file of systemd-resolved.
    SystemdResolved,
    /// Public servers, because the host names none that a container can reach.
    Public,
}

/// A container's file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ResolvConf {
    pub text: String,
    pub origin: Origin,
}

/// Google's public servers, the fallback that Docker has.
const PUBLIC: [&str; 2] = ["8.8.8.8", "8.8.4.4"];

/// The content of `/etc/resolv.conf` for a container on a bridge. Servers on the host's loopback
/// cannot be reached from there and are left out; so are those with a scope (`fe80::1%eth0`).
/// Containers on the host's network get the host's file instead of this.
pub fn resolv_conf(host: HostResolver<'_>, wanted: &DnsOptions) -> ResolvConf {
    let etc = Parsed::of(host.etc);
    // Without servers the resolver asks 127.0.0.1 (resolv.conf(5)), which is the host's loopback.
    let behind = host.systemd.map(Parsed::of).filter(|_| etc.only_stub());
    let from_systemd = behind.is_some();
    let base = behind.unwrap_or(etc);
    let (servers, origin) = if !wanted.servers.is_empty() {
        (wanted.servers.clone(), Origin::Options)
    } else if !base.reachable.is_empty() {
        let origin = match from_systemd {
            true => Origin::SystemdResolved,
            false => Origin::Host,
        };
        (base.reachable.clone(), origin)
    } else {
        let public = PUBLIC.iter().filter_map(|server| server.parse().ok());
        (public.collect(), Origin::Public)
    };
    let search: Vec<&str> = match wanted.search.is_empty() {
        true => base.search,
        false => wanted.search.iter().map(String::as_str).collect(),
    };
    let options: Vec<&str> = match wanted.options.is_empty() {
        true => base.options,
        false => wanted.options.iter().map(String::as_str).collect(),
    };
    let mut text = String::new();
    // Writing to a String does not fail.
    for server in servers {
        let _ = writeln!(text, "nameserver {server}");
    }
    let search: Vec<&str> = search.into_iter().filter(|&one| one != ".").collect();
    if !search.is_empty() {
        let _ = writeln!(text, "search {}", search.join(" "));
    }
    if !options.is_empty() {
        let _ = writeln!(text, "options {}", options.join(" "));
    }
    ResolvConf { text, origin }
}

/// The content of `/etc/resolv.conf` for a container that asks gamut's own resolver, at `own`: as Docker writes it,
/// with the host's search list and options unless others are wanted.
pub fn resolv_conf_of_names(own: IpAddr, host: HostResolver<'_>, wanted: &DnsOptions) -> String {
    let base = DnsOptions {
        servers: vec![own],
        ..wanted.clone()
    };
    let mut text = resolv_conf(host, &base).text;
    // A name of one word is looked for as it is first.
    if !text.contains("ndots:") {
        match text.contains("\noptions ") {
            true => text.insert_str(text.trim_end().len(), " ndots:0"),
            false => text.push_str("options ndots:0\n"),
        }
    }
    text
}

/// The servers that a resolv.conf names, those on the loopback included: for who asks from the host.
pub fn servers(text: &str) -> Vec<IpAddr> {
    let lines = text.lines().filter_map(|line| {
        let mut words = line.split_whitespace();
        words.next().filter(|word| *word == "nameserver")?;
        words.next()?.parse().ok()
    });
    lines.collect()
}

/// Where nobody names a server.
pub fn public_servers() -> Vec<IpAddr> {
    let parsed = PUBLIC.iter().filter_map(|server| server.parse().ok());
    parsed.collect()
}

/// What a resolv.conf says.
#[derive(Debug)]
struct Parsed<'a> {
    /// Servers that a container can reach.
    reachable: Vec<IpAddr>,
    /// How many servers there are.
    servers: usize,
    /// Whether systemd-resolved's stub is among them.
    stub: bool,
    search: Vec<&'a str>,
    options: Vec<&'a str>,
}

impl<'a> Parsed<'a> {
    fn of(text: &'a str) -> Parsed<'a> {
        let mut parsed = Parsed {
            reachable: Vec::new(),
            servers: 0,
            stub: false,
            search: Vec::new(),
            options: Vec::new(),
        };
        for line in text.lines().filter(|line| !line.starts_with(['#', ';'])) {
            let mut words = line.split_whitespace();
            match words.next() {
                Some("nameserver") => {
                    let Some(server) = words.next() else { continue };
                    parsed.servers += 1;
                    let Ok(address) = server.parse::<IpAddr>() else {
                        continue;
                    };
                    match address.to_canonical().is_loopback() {
                        true => parsed.stub |= server.starts_with("127.0.0.5"),
                        false => parsed.reachable.push(address),
                    }
                }
                // The last of these lines counts (resolv.conf(5)).
                Some("search" | "domain") => parsed.search = words.collect(),
                Some("options") => parsed.options.extend(words),
                _ => {}
            }
        }
        parsed
    }

    /// Whether systemd-resolved's stub (127.0.0.53, 127.0.0.54) is all that a container would get.
    fn only_stub(&self) -> bool {
        self.reachable.is_empty() && (self.stub || self.servers == 0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conf(etc: &str, systemd: Option<&str>) -> ResolvConf {
        resolv_conf(HostResolver { etc, systemd }, &DnsOptions::default())
    }

    #[test]
    fn the_hosts_servers_are_kept_and_loopback_is_left_out() {
        let etc = "# comment\n; another\nnameserver 127.0.0.1\nnameserver 192.0.2.53\n\
            nameserver ::1\nnameserver 2001:db8::53\nnameserver fe80::1%eth0\n\
            domain old\nsearch a.example b.example\noptions ndots:2\noptions edns0\n";
        let conf = conf(etc, Some("nameserver 192.0.2.1\n"));
        assert_eq!(conf.origin, Origin::Host);
        assert_eq!(
            conf.text,
            "nameserver 192.0.2.53\nnameserver 2001:db8::53\n\
             search a.example b.example\noptions ndots:2 edns0\n"
        );
    }

    #[test]
    fn behind_the_stub_stands_systemds_file() {
        let stub = "nameserver 127.0.0.53\noptions edns0 trust-ad\nsearch .\n";
        let behind = conf(stub, Some("nameserver 192.0.2.1\nsearch lan\n"));
        assert_eq!(behind.origin, Origin::SystemdResolved);
        assert_eq!(behind.text, "nameserver 192.0.2.1\nsearch lan\n");
        let without = conf(stub, None);
        assert_eq!(without.origin, Origin::Public);
        assert_eq!(
            without.text,
            "nameserver 8.8.8.8\nnameserver 8.8.4.4\noptions edns0 trust-ad\n"
        );
        let dnsmasq = conf("nameserver 127.0.0.1\n", Some("nameserver 192.0.2.1\n"));
        assert_eq!(dnsmasq.origin, Origin::Public);
        assert_eq!(conf("", None).origin, Origin::Public);
    }

    #[test]
    fn names_are_asked_for_as_they_are() {
        let of = |etc: &str, options: &[&str]| {
            let wanted = DnsOptions {
                servers: vec!["1.1.1.1".parse().unwrap()],
                options: options.iter().map(|one| (*one).to_owned()).collect(),
                ..DnsOptions::default()
            };
            let own = crate::resolver::ADDRESS.into();
            resolv_conf_of_names(own, HostResolver { etc, systemd: None }, &wanted)
        };
        assert_eq!(of("", &[]), "nameserver 127.0.0.11\noptions ndots:0\n");
        assert_eq!(
            of("nameserver 192.0.2.1\nsearch lan\noptions edns0\n", &[]),
            "nameserver 127.0.0.11\nsearch lan\noptions edns0 ndots:0\n"
        );
        assert_eq!(
            of("", &["ndots:2"]),
            "nameserver 127.0.0.11\noptions ndots:2\n"
        );
        assert_eq!(servers("nameserver 127.0.0.53\nnameserver x\n").len(), 1);
    }

    #[test]
    fn options_replace_what_they_name() {
        let wanted = DnsOptions {
            servers: vec!["1.1.1.1".parse().unwrap()],
            search: vec![".".to_owned()],
            options: vec!["ndots:1".to_owned()],
        };
        let etc = "nameserver 192.0.2.53\nsearch a.example\noptions ndots:2\n";
        let conf = resolv_conf(HostResolver { etc, systemd: None }, &wanted);
        assert_eq!(conf.origin, Origin::Options);
        assert_eq!(conf.text, "nameserver 1.1.1.1\noptions ndots:1\n");
    }
}
