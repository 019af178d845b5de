//! The keeper's part of a policy of what its workload may reach: the links are guarded before the first
//! instruction, and what is denied is told as an event, not more often than the log can bear.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};

use gamut_net::egress::{self, Denials, Denied, Gate, Guarded};
use gamut_net::link;
use gamut_net::subnet::Prefix;
use gamut_net::{NetworkError, publish};
use gamut_plan::cell::StartError;
use gamut_plan::egress::{Allowed, EgressPolicy, To};
use gamut_plan::launch::{Endpoint, NetworkPlan, Protocol};
use gamut_spec::Fault;

use super::events::{Workload, now_ns};
use super::telling::tell_of;

const SECOND_NS: u64 = 1_000_000_000;
/// The same thing is told once in so long.
const AGAIN_NS: u64 = 10 * SECOND_NS;
/// How many are told at once; then one more each second.
const BURST: u64 = 50;
const DNS_PORT: u16 = 53;

/// Who asks, of a workload, for names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
    /// It asks within its own network namespace.
    Inside,
    /// Its questions cross the link, to the bridge's address.
    Gateway,
}

/// The policy of one workload, if it has one; taken back when it is dropped.
#[derive(Debug, Default)]
pub(super) struct Egress {
    guard: Option<Guard>,
    told: Told,
}

#[derive(Debug)]
struct Guard {
    table: String,
    links: Vec<String>,
    denials: Denials,
}

/// What has been told, and how much may be yet.
#[derive(Debug, Default)]
struct Told {
    at_ns: BTreeMap<What, u64>,
    /// When the last of the burst would have been told at one a second.
    spent_until_ns: u64,
    unsaid: u64,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum What {
    Packet(Denied),
    Name(String),
}

impl Told {
    /// Whether it is told now, and how many were not since the last that was.
    fn admits(&mut self, what: &What, now_ns: u64) -> Option<u64> {
        self.at_ns.retain(|_, at| *at + AGAIN_NS > now_ns);
        if self.at_ns.contains_key(what) {
            return None;
        }
        let spent_until_ns = self.spent_until_ns.max(now_ns) + SECOND_NS;
        if spent_until_ns > now_ns + BURST * SECOND_NS {
            self.unsaid += 1;
            return None;
        }
        self.spent_until_ns = spent_until_ns;
        self.at_ns.insert(what.clone(), now_ns);
        Some(std::mem::take(&mut self.unsaid))
    }
}

impl Egress {
    /// Guards the links at these places, if there is a policy; what the resolver needs to know of it.
    pub(super) fn guard(
        &mut self,
        id: &str,
        policy: Option<&EgressPolicy>,
        places: &[Endpoint],
        asks: Asks,
    ) -> Result<Option<Gate>, StartError> {
        let (Some(policy), Some(first)) = (policy, places.first()) else {
            return Ok(None);
        };
        let table = egress::table_of(&first.table, id);
        let allowed: Vec<_> = policy.allowed.iter().map(allowed).collect();
        let mut passed = allowed.clone();
        if asks == Asks::Gateway {
            for place in places {
                passed.extend(questions(place));
            }
        }
        let guarded: Vec<_> = places.iter().map(|place| guarded(id, place)).collect();
        // Where to begin to look: containers rarely begin at the same.
        let digits = id.get(..4).unwrap_or_default();
        let seed = u16::from_str_radix(digits, 16).unwrap_or_default();
        let denials = Denials::open(seed).map_err(failed)?;
        egress::guard(&table, &guarded, &passed, &denials).map_err(failed)?;
        self.guard = Some(Guard {
            table: table.clone(),
            links: guarded.into_iter().map(|one| one.interface).collect(),
            denials,
        });
        let own: Vec<IpAddr> = places.iter().flat_map(Endpoint::addresses).collect();
        Gate::open(&table, &allowed, &own).map(Some).map_err(failed)
    }

    /// Readable when something was denied.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.guard.as_ref().map(|guard| guard.denials.as_fd())
    }

    /// The links first: others may be in the same network namespace still, and are cut off then.
    pub(super) fn release(&mut self) {
        if let Some(guard) = self.guard.take() {
            clear(&guard.table, guard.links);
        }
    }
}

impl Drop for Egress {
    fn drop(&mut self) {
        self.release();
    }
}

/// Takes a policy off the host, and the links that were under it. What stays is found at the next repair.
fn clear(table: &str, links: impl IntoIterator<Item = String>) {
    let gone = links.into_iter().map(|link| link::delete_link(&link));
    // Each is tried, whatever becomes of the one before.
    if gone.filter(Result::is_err).count() == 0 {
        let _ = egress::forget(table);
    }
}

/// Takes what a dead keeper left of its workload's policy off the host.
pub(crate) fn clear_after(id: &str, network: &NetworkPlan) {
    if let NetworkPlan::Bridge(bridged) = network
        && bridged.egress.is_some()
        && let Some(first) = bridged.endpoints.first()
    {
        let places = bridged.endpoints.iter();
        let links = places.map(|place| link::host_interface(id, place.place));
        clear(&egress::table_of(&first.table, id), links);
    }
}

impl Workload {
    /// Tells what was denied: packets as the filter shows them, and names that were asked for.
    pub(super) fn tell_denials(&mut self) {
        let guard = self.egress.guard.as_mut();
        let packets = guard.map_or_else(Vec::new, |guard| guard.denials.read());
        let mut gate = self.naming.resolver().and_then(|resolver| resolver.gate());
        let names = gate
            .as_mut()
            .map_or_else(Vec::new, |gate| gate.take_denied());
        let packets = packets.into_iter().map(|denied| {
            let name = denied.destination.and_then(|address| {
                let name = gate.as_ref()?.name_of(address)?;
                Some(name.to_owned())
            });
            (What::Packet(denied), name)
        });
        let names = names
            .into_iter()
            .map(|name| (What::Name(name.clone()), Some(name)));
        let all: Vec<_> = packets.chain(names).collect();
        for (what, name) in all {
            if let Some(unsaid) = self.egress.told.admits(&what, now_ns()) {
                self.tell_denial(&what, name.as_deref(), unsaid);
            }
        }
    }

    fn tell_denial(&self, what: &What, host: Option<&str>, unsaid: u64) {
        let mut more: Vec<(&str, String)> = Vec::new();
        match what {
            What::Packet(denied) => {
                let destination = denied.destination.map(|address| address.to_string());
                more.extend(destination.map(|text| ("destination", text)));
                more.extend(denied.port.map(|port| ("port", port.to_string())));
                more.push(("protocol", denied.protocol.to_string()));
            }
            What::Name(_) => more.push(("protocol", "dns".to_owned())),
        }
        more.extend(host.map(|name| ("host", name.to_owned())));
        if unsaid > 0 {
            more.push(("suppressed", unsaid.to_string()));
        }
        let more = more.iter().map(|(name, value)| (*name, value.as_str()));
        tell_of(&self.dirs, &self.plan, "egress_denied", more);
    }
}

fn guarded(id: &str, place: &Endpoint) -> Guarded {
    Guarded {
        interface: link::host_interface(id, place.place),
        ipv4: place.address4,
        ipv6: place.address6,
        subnet6: place.subnet6.map(|subnet| Prefix {
            address: subnet.into(),
            bits: place.prefix6,
        }),
    }
}

fn allowed(one: &Allowed) -> egress::Allowed {
    egress::Allowed {
        to: match &one.to {
            To::Range(address, bits) => egress::To::Range(Prefix {
                address: *address,
                bits: *bits,
            }),
            To::Name(name) => egress::To::Name(name.clone()),
        },
        port: one.port.map(|(protocol, port)| match protocol {
            Protocol::Tcp => (publish::Protocol::Tcp, port),
            Protocol::Udp => (publish::Protocol::Udp, port),
        }),
    }
}

/// A machine's questions, which the host's filter leads to its keeper.
fn questions(place: &Endpoint) -> Vec<egress::Allowed> {
    let protocols = [publish::Protocol::Udp, publish::Protocol::Tcp];
    let to = place.gateway4.into_iter().flat_map(|gateway| {
        protocols.map(|protocol| egress::Allowed {
            to: egress::To::Range(Prefix {
                address: gateway.into(),
                bits: 32,
            }),
            port: Some((protocol, DNS_PORT)),
        })
    });
    to.collect()
}

fn failed(error: NetworkError) -> StartError {
    StartError::Step {
        step: "put the egress policy in place".into(),
        reason: error.to_string(),
        hint: error.hint(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_is_told_of_in_part() {
        let mut told = Told::default();
        let name = |number: u64| What::Name(format!("host{number}"));
        let admitted = (0..1000).filter(|number| told.admits(&name(*number), SECOND_NS).is_some());
        assert_eq!(admitted.count() as u64, BURST);
        // The same again, and then something else later.
        assert_eq!(told.admits(&name(0), 5 * SECOND_NS), None);
        assert_eq!(told.admits(&name(1000), 5 * SECOND_NS), Some(950));
        assert_eq!(told.admits(&name(1000), 20 * SECOND_NS), Some(0));
    }
}
