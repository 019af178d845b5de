//! The table of one workload that may not reach everything: what its links on the host receive from it
//! ([`Filter`]). It is of the family `netdev`: its chains hang on the host's ends themselves, before the
//! bridge, where nothing that the workload does in its own namespace reaches, and see every frame, to the
//! host and to neighbours as well.
//!
//! As the program `nft` would show it:
//!
//! ```text
//! table netdev gamut0-egress-ID {
//!     set back4 { type ipv4_addr . inet_proto . inet_service . inet_service; flags dynamic,timeout }
//!     set heard4 { type ipv4_addr; flags dynamic,timeout }
//!     set hosts4 { type ipv4_addr; flags timeout }                               # names' addresses
//!     set ports4 { type ipv4_addr . inet_proto . inet_service; flags timeout }   # the same with a port
//!     set back6, set heard6, set hosts6, set ports6                                          # the same for IPv6
//!
//!     chain allowed4 {
//!         ip daddr . meta l4proto . th dport . th sport @back4 accept
//!         icmp type echo-reply ip daddr . meta l4proto . icmp id . icmp id @back4 accept
//!         ip daddr @hosts4 accept
//!         ip daddr . meta l4proto . th dport @ports4 accept
//!         icmp type destination-unreachable ip daddr @heard4 accept
//!         ip frag-off & 0x1fff != 0 ip daddr @heard4 accept                      # the rest of a datagram
//!         ip daddr 192.0.2.0/24 tcp dport 443 accept                             # one for each range
//!     }
//!     chain allowed6                                                             # the same for IPv6
//!     chain neighbours { icmpv6 type { nd-router-solicit, nd-neighbor-solicit, nd-neighbor-advert } accept }
//!     chain out0 { type filter hook ingress device "ve…" priority 0; policy drop
//!         ether type arp arp saddr ip OWN accept
//!         ether type ip ip saddr OWN jump allowed4
//!         ether type ip6 ip6 saddr OWN jump allowed6
//!         ether type ip6 icmpv6 type { mld-listener-report, … } drop
//!         ether type ip6 ip6 hoplimit 255 ip6 daddr { ff02::/16, fe80::/16, SUBNET } jump neighbours
//!         limit rate 20/second burst 40 packets log group N
//!     }
//!     chain in0 { type filter hook egress device "ve…" priority 0
//!         update @heard4 { ip saddr timeout 3m }
//!         update @back4 { ip saddr . meta l4proto . th sport . th dport timeout … }
//!     }
//! }
//! ```
//!
//! Why no connection tracking: at a link the kernel has not looked a packet up yet, and frames that stay on the
//! bridge it never does. So what comes in is remembered, and what answers it may leave. How long is
//! a matter of what came: a connection that ends is forgotten soon, one that has carried data is kept for a day.

mod rules;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use gamut_sys::netlink::{Error, Protocol as Netlink, Refusal, Requests, Socket, flag};
use rustix::io::Errno;

use super::expression::{Expression, add_rule_of};
use super::uapi::{
    DELSETELEM, DELTABLE, GETTABLE, LIST_ELEM, NEWCHAIN, NEWSET, NEWSETELEM, NEWTABLE,
    NFGENMSG_BYTES, NFGENMSG_NETDEV, NFNL_SUBSYS_NFTABLES, chain, element, set, table as table_of,
};
use crate::error::NetworkError;
use crate::publish::Protocol;
use crate::subnet::Prefix;
use rules::{
    Family, NEIGHBOURS, SECOND_MS, V4, V6, allowed, incoming, neighbours, outgoing, to_range,
};

/// How much is remembered at once, of peers and of names' addresses.
const PEERS: u32 = 1 << 18;
const PINS: u32 = 1 << 14;

/// A link that is guarded: the host's end, and whose packets come from it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Guarded {
    pub interface: String,
    pub ipv4: Ipv4Addr,
    pub ipv6: Option<Ipv6Addr>,
    /// The network that the latter is in.
    pub subnet6: Option<Prefix>,
}

/// An address that may be reached for a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Pin {
    pub(crate) address: IpAddr,
    /// `None`: at every port, by every protocol.
    pub(crate) port: Option<(Protocol, u16)>,
    pub(crate) timeout_s: u32,
}

/// The table of one workload, and the socket through which it is spoken of.
#[derive(Debug)]
pub(crate) struct Filter {
    table: String,
    socket: Socket,
}

impl Filter {
    /// Opens the way to the table of this name in the calling thread's network namespace.
    pub(crate) fn open(table: &str) -> Result<Filter, NetworkError> {
        let socket =
            crate::home::socket(Netlink::Netfilter).map_err(|source| NetworkError::Egress {
                table: table.to_owned(),
                source,
            })?;
        Ok(Filter {
            table: table.to_owned(),
            socket,
        })
    }

    /// Makes the table anew, in one transaction: from then on only what is allowed leaves the links. What is
    /// denied is shown to who listens to `group`.
    pub(crate) fn make(
        &mut self,
        links: &[Guarded],
        ranges: &[(Prefix, Option<(Protocol, u16)>)],
        group: u16,
    ) -> Result<(), NetworkError> {
        let mut requests = Requests::new();
        requests.begin(NFNL_SUBSYS_NFTABLES, None);
        // One that is left of a keeper that was killed has to be there to be removed.
        self.add_table(&mut requests, NEWTABLE, flag::CREATE);
        self.add_table(&mut requests, DELTABLE, 0);
        self.add_table(&mut requests, NEWTABLE, flag::CREATE | flag::EXCL);
        for (first, family) in [(1, &V4), (5, &V6)] {
            self.add_sets(&mut requests, first, family);
            self.add_chain(&mut requests, family.allowed, None);
        }
        self.add_chain(&mut requests, NEIGHBOURS, None);
        for family in [&V4, &V6] {
            for steps in allowed(family) {
                self.add_rule(&mut requests, family.allowed, &steps);
            }
        }
        for (range, port) in ranges {
            let family = Family::of(range.address);
            self.add_rule(&mut requests, family.allowed, &to_range(*range, *port));
        }
        for steps in neighbours() {
            self.add_rule(&mut requests, NEIGHBOURS, &steps);
        }
        for (number, link) in links.iter().enumerate() {
            let (out, within) = (format!("out{number}"), format!("in{number}"));
            self.add_chain(&mut requests, &out, Some((&link.interface, INGRESS, DROP)));
            self.add_chain(
                &mut requests,
                &within,
                Some((&link.interface, EGRESS, ACCEPT)),
            );
            for steps in outgoing(link, group) {
                self.add_rule(&mut requests, &out, &steps);
            }
            for steps in [&V4, &V6].into_iter().flat_map(incoming) {
                self.add_rule(&mut requests, &within, &steps);
            }
        }
        requests.commit(NFNL_SUBSYS_NFTABLES);
        match self.run(&mut requests)? {
            Some(refusal) => Err(self.failed(refusal.into())),
            None => Ok(()),
        }
    }

    /// Lets addresses be reached from now on, for as long as each says.
    pub(crate) fn pin(&mut self, pins: &[Pin]) -> Result<(), NetworkError> {
        for pin in pins {
            // Older kernels do not prolong what is there: it is replaced, in one transaction.
            for kinds in [&[DELSETELEM, NEWSETELEM][..], &[NEWSETELEM]] {
                let mut requests = Requests::new();
                requests.begin(NFNL_SUBSYS_NFTABLES, None);
                for kind in kinds {
                    self.add_pin(&mut requests, *kind, pin);
                }
                requests.commit(NFNL_SUBSYS_NFTABLES);
                match self.run(&mut requests)? {
                    None => break,
                    Some(refusal) if refusal.errno == Errno::NOENT && kinds.len() == 2 => {}
                    Some(refusal) => return Err(self.failed(refusal.into())),
                }
            }
        }
        Ok(())
    }

    /// Removes the table; none is fine.
    pub(crate) fn delete(&mut self) -> Result<(), NetworkError> {
        let mut requests = Requests::new();
        requests.begin(NFNL_SUBSYS_NFTABLES, None);
        self.add_table(&mut requests, DELTABLE, 0);
        requests.commit(NFNL_SUBSYS_NFTABLES);
        match self.run(&mut requests)? {
            Some(refusal) if refusal.errno != Errno::NOENT => Err(self.failed(refusal.into())),
            _ => Ok(()),
        }
    }

    /// The names of all tables of the family.
    pub(crate) fn tables() -> Result<Vec<String>, NetworkError> {
        let mut socket = crate::home::socket(Netlink::Netfilter).map_err(NetworkError::Netlink)?;
        let mut names = Vec::new();
        let listed = socket.dump(
            |requests| {
                requests.add(GETTABLE, flag::DUMP, |message| {
                    message.raw(&NFGENMSG_NETDEV)
                });
            },
            |reply| {
                match reply {
                    Some(reply) => {
                        let name = reply.attributes(NFGENMSG_BYTES).find(table_of::NAME);
                        names.extend(name.and_then(|name| Some(name.text()?.to_owned())));
                    }
                    None => names.clear(),
                }
                Ok(())
            },
        );
        listed.map_err(|source| NetworkError::List {
            object: "the packet filter's tables",
            source,
        })?;
        Ok(names)
    }

    fn run(&mut self, requests: &mut Requests) -> Result<Option<Refusal>, NetworkError> {
        let refusals = self
            .socket
            .run(requests)
            .map_err(|source| self.failed(source))?;
        Ok(refusals.into_iter().next())
    }

    fn failed(&self, source: Error) -> NetworkError {
        NetworkError::Egress {
            table: self.table.clone(),
            source,
        }
    }

    fn add_table(&self, requests: &mut Requests, kind: u16, flags: u16) {
        requests.add(kind, flags, |message| {
            message.raw(&NFGENMSG_NETDEV);
            message.text(table_of::NAME, &self.table);
        });
    }

    /// The sets of a family, numbered from `first` on.
    fn add_sets(&self, requests: &mut Requests, first: u32, family: &Family) {
        const PROTOCOL: u32 = 12;
        const SERVICE: u32 = 13;
        let (address, bytes) = (family.address_type, family.address_bytes);
        let ports = address << 12 | PROTOCOL << 6 | SERVICE;
        let dynamic = set::FLAG_TIMEOUT | set::FLAG_EVAL;
        let sets = [
            (
                family.back,
                ports << 6 | SERVICE,
                bytes + 12,
                dynamic,
                PEERS,
            ),
            (family.heard, address, bytes, dynamic, PEERS),
            (family.hosts, address, bytes, set::FLAG_TIMEOUT, PINS),
            (family.ports, ports, bytes + 8, set::FLAG_TIMEOUT, PINS),
        ];
        for (id, (name, kind, bytes, flags, size)) in (first..).zip(sets) {
            requests.add(NEWSET, flag::CREATE, |message| {
                message.raw(&NFGENMSG_NETDEV);
                message.text(set::TABLE, &self.table);
                message.text(set::NAME, name);
                message.be32(set::FLAGS, flags);
                message.be32(set::KEY_TYPE, kind);
                message.be32(set::KEY_LEN, bytes);
                message.nest(set::DESCRIPTION, |message| {
                    message.be32(set::DESCRIPTION_SIZE, size);
                });
                message.be32(set::ID, id);
            });
        }
    }

    /// A chain; with a link's name, its hook there, and what happens at its end.
    fn add_chain(&self, requests: &mut Requests, name: &str, hook: Option<(&str, u32, u32)>) {
        requests.add(NEWCHAIN, flag::CREATE, |message| {
            message.raw(&NFGENMSG_NETDEV);
            message.text(chain::TABLE, &self.table);
            message.text(chain::NAME, name);
            let Some((device, number, policy)) = hook else {
                return;
            };
            message.text(chain::TYPE, "filter");
            message.be32(chain::POLICY, policy);
            message.nest(chain::HOOK, |message| {
                message.be32(chain::HOOK_NUMBER, number);
                message.be32(chain::HOOK_PRIORITY, 0);
                message.text(chain::HOOK_DEVICE, device);
            });
        });
    }

    fn add_rule(&self, requests: &mut Requests, chain: &str, steps: &[Expression]) {
        add_rule_of(NFGENMSG_NETDEV, requests, &self.table, chain, steps);
    }

    fn add_pin(&self, requests: &mut Requests, kind: u16, pin: &Pin) {
        let family = Family::of(pin.address);
        let mut key = octets(pin.address);
        if let Some((protocol, port)) = pin.port {
            let [high, low] = port.to_be_bytes();
            key.extend_from_slice(&[protocol.number(), 0, 0, 0, high, low, 0, 0]);
        }
        let timeout_ms = u64::from(pin.timeout_s) * SECOND_MS;
        requests.add(kind, flag::CREATE, |message| {
            message.raw(&NFGENMSG_NETDEV);
            message.text(element::LIST_TABLE, &self.table);
            let set = match pin.port {
                Some(_) => family.ports,
                None => family.hosts,
            };
            message.text(element::LIST_SET, set);
            message.nest(element::LIST_ELEMENTS, |message| {
                message.nest(LIST_ELEM, |message| {
                    message.nest(element::KEY, |message| message.bytes(element::VALUE, &key));
                    if kind == NEWSETELEM {
                        message.bytes(element::TIMEOUT, &timeout_ms.to_be_bytes());
                    }
                });
            });
        });
    }
}

/// `NF_NETDEV_INGRESS` and `NF_NETDEV_EGRESS`.
const INGRESS: u32 = 0;
const EGRESS: u32 = 1;
const DROP: u32 = 0;
const ACCEPT: u32 = 1;

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}
