//! What a container was kept from, as far as it was noted: its egress policy's denials, which are events.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::engine::Engine;
use crate::events::{Event, Kind};

/// What it was kept from, and what would allow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Denied {
    /// In words, without a full stop.
    pub what: String,
    /// How often; those that were not told one by one included.
    pub times: u64,
    /// The last time: nanoseconds since the epoch.
    pub last_ns: u64,
    /// The flag of `run` that would allow it.
    pub allow: String,
}

impl Engine {
    /// What a container was kept from between two times, the last first. Empty where nothing can be read.
    #[must_use]
    pub fn denied(&self, id: &str, from_ns: u64, to_ns: u64) -> Vec<Denied> {
        let events = self.events().and_then(|mut reader| reader.read());
        let mut by_what: BTreeMap<String, Denied> = BTreeMap::new();
        for event in events.unwrap_or_default() {
            let is_meant = event.kind == Kind::Container
                && event.action == "egress_denied"
                && event.actor.id == id
                && (from_ns..=to_ns).contains(&event.time_ns);
            if let Some(denied) = is_meant.then(|| egress(&event)) {
                let known = by_what.entry(denied.what.clone()).or_insert(Denied {
                    times: 0,
                    ..denied.clone()
                });
                known.times += denied.times;
                known.last_ns = known.last_ns.max(denied.last_ns);
            }
        }
        let mut all: Vec<Denied> = by_what.into_values().collect();
        all.sort_by_key(|denied| std::cmp::Reverse(denied.last_ns));
        all
    }
}

fn egress(event: &Event) -> Denied {
    let attribute = |name: &str| event.actor.attributes.get(name).map(String::as_str);
    let (host, destination) = (attribute("host"), attribute("destination"));
    let protocol = attribute("protocol").unwrap_or_default();
    let port = attribute("port").map_or_else(String::new, |port| format!(":{port}"));
    let (what, to) = match (host, destination) {
        (Some(host), None) => (format!("the name {host} was asked for"), host.to_owned()),
        (Some(host), Some(destination)) => (
            format!("{protocol} to {host} ({destination}{port})"),
            format!("{host}{port}"),
        ),
        (None, Some(destination)) => {
            let bracketed = match (destination.contains(':'), port.is_empty()) {
                (true, false) => format!("[{destination}]{port}"),
                _ => format!("{destination}{port}"),
            };
            (format!("{protocol} to {bracketed}"), bracketed)
        }
        (None, None) => (protocol.to_owned(), String::new()),
    };
    let suppressed = attribute("suppressed").and_then(|count| count.parse::<u64>().ok());
    Denied {
        what,
        times: 1 + suppressed.unwrap_or(0),
        last_ns: event.time_ns,
        allow: match (protocol, to.is_empty()) {
            (_, true) => "--egress allow".to_owned(),
            ("udp", _) => format!("--egress allow={to}/udp"),
            _ => format!("--egress allow={to}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::events::attributes;

    #[test]
    fn each_denial_has_its_flag() {
        let of = |pairs: &[(&str, &str)]| {
            let mut all = attributes([]);
            all.extend(
                pairs
                    .iter()
                    .map(|(name, value)| ((*name).to_owned(), (*value).to_owned())),
            );
            let denied = egress(&Event::now(Kind::Container, "egress_denied", "x", all));
            (denied.what, denied.times, denied.allow)
        };
        assert_eq!(
            of(&[
                ("host", "a.example"),
                ("protocol", "dns"),
                ("suppressed", "4")
            ]),
            (
                "the name a.example was asked for".into(),
                5,
                "--egress allow=a.example".into()
            )
        );
        assert_eq!(
            of(&[
                ("destination", "192.0.2.1"),
                ("port", "53"),
                ("protocol", "udp")
            ]),
            (
                "udp to 192.0.2.1:53".into(),
                1,
                "--egress allow=192.0.2.1:53/udp".into()
            )
        );
        assert_eq!(
            of(&[
                ("destination", "2001:db8::1"),
                ("port", "80"),
                ("protocol", "tcp")
            ])
            .2,
            "--egress allow=[2001:db8::1]:80"
        );
        assert_eq!(
            of(&[
                ("host", "b.example"),
                ("destination", "192.0.2.1"),
                ("port", "80"),
                ("protocol", "tcp")
            ])
            .2,
            "--egress allow=b.example:80"
        );
    }
}
