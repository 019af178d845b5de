//! The table as a whole: its chains and rules; [`super::sets`] has its sets. They never change while gamut runs; networks
//! and published ports are elements of the sets.
//!
//! As the program `nft` would show it:
//!
//! ```text
//! table inet gamut0 {
//!     set bridges { type ifname }
//!     set pairs { type ifname . ifname }                     # each bridge with itself
//!     set internal { type ifname }                           # those without a way out
//!     set subnets4 { type ipv4_addr; flags interval }
//!     set subnets6 { type ipv6_addr; flags interval }
//!     map ports4 { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service }
//!     map any4 { type inet_proto . inet_service : ipv4_addr . inet_service }
//!     map ports6, map any6                                   # the same for IPv6
//!     map questions { type inet_proto . ipv4_addr . inet_service : ipv4_addr . inet_service }
//!
//!     chain publish {
//!         dnat ip to meta l4proto . ip saddr . th dport map @questions # of machines, to their keepers
//!         dnat ip to meta l4proto . ip daddr . th dport map @ports4
//!         dnat ip to meta l4proto . th dport map @any4
//!         dnat ip6 to meta l4proto . ip6 daddr . th dport map @ports6
//!         dnat ip6 to meta l4proto . th dport map @any6
//!     }
//!     chain guard { type filter hook prerouting priority raw
//!         iifname @bridges ip daddr 127.0.0.0/8 drop
//!         iifname @bridges ip saddr 127.0.0.0/8 drop
//!     }
//!     chain prerouting { type nat hook prerouting priority dstnat
//!         ip daddr 127.0.0.0/8 return
//!         fib daddr type local jump publish
//!     }
//!     chain output { type nat hook output priority -100
//!         ip6 daddr ::1 return
//!         fib daddr type local jump publish
//!     }
//!     chain postrouting { type nat hook postrouting priority srcnat
//!         ip saddr @subnets4 oifname != @bridges masquerade
//!         ip6 saddr @subnets6 oifname != @bridges masquerade
//!         oifname @bridges ct status dnat ip saddr @subnets4 masquerade
//!         oifname @bridges ct status dnat ip6 saddr @subnets6 masquerade
//!         oifname @bridges ip saddr 127.0.0.0/8 masquerade
//!     }
//!     chain forward { type filter hook forward priority filter
//!         iifname . oifname @pairs accept
//!         iifname @internal drop
//!         oifname @internal drop
//!         oifname @bridges ct state established,related accept
//!         oifname @bridges ct status dnat accept
//!         oifname @bridges drop
//!     }
//! }
//! ```
//!
//! Why 127.0.0.0/8 is shut twice: `route_localnet` on the bridge would let a container reach the
//! host's loopback, which `guard` prevents; and a neighbour on any link could send to 127.0.0.1
//! and be led into a container whose port is published for the loopback only, because destination
//! NAT comes before the kernel refuses such packets. So only `output` serves 127.0.0.0/8. ::1 is
//! left alone: the kernel cannot lead it off the loopback (see [`crate::forward`]).
//!
//! `accept` ends this table's chain only: another table that drops what is forwarded (Docker's,
//! firewalld's) still does.

use gamut_sys::netlink::{Requests, flag};

use super::expression::Expression::{
    Compare, Connection, DestinationKind, Dnat, Lookup, Mask, Masquerade, Meta, Payload,
    Verdict as End,
};
use super::expression::{
    Compare as Is, Connection as Ct, Expression, Find, Header, Meta as Of, Register, Verdict,
    add_rule,
};
use super::sets::{
    ANY4, ANY6, BRIDGES, INTERNAL, PAIRS, PORTS4, PORTS6, QUESTIONS, SETS, SUBNETS4, SUBNETS6,
    add_set,
};
use super::uapi::{DELRULE, NEWCHAIN, NEWTABLE, NFGENMSG_INET, chain, rule, table as table_of};

/// An empty chain that stands for this file's version: where it exists, the rules are these.
/// A change of the rules needs another name here; what stands is then rebuilt in one transaction,
/// published ports and all.
pub(super) const LAYOUT: &str = "layout-2";

/// Where a base chain hangs: its type, hook (`enum nf_inet_hooks`) and priority.
pub(super) struct Hook {
    of: &'static str,
    number: u32,
    priority: i32,
}

pub(super) const fn hook(of: &'static str, number: u32, priority: i32) -> Option<Hook> {
    Some(Hook {
        of,
        number,
        priority,
    })
}

const PREROUTING: u32 = 0;
const FORWARD: u32 = 2;
pub(super) const OUTPUT: u32 = 3;
const POSTROUTING: u32 = 4;

/// A chain comes after those it jumps to.
const CHAINS: [(&str, Option<Hook>); 6] = [
    ("publish", None),
    ("guard", hook("filter", PREROUTING, -300)),
    ("prerouting", hook("nat", PREROUTING, -100)),
    ("output", hook("nat", OUTPUT, -100)),
    ("postrouting", hook("nat", POSTROUTING, 100)),
    ("forward", hook("filter", FORWARD, 0)),
];

pub(super) const NFPROTO_IPV4: u32 = 2;
const NFPROTO_IPV6: u32 = 10;
/// `RTN_LOCAL` of rtnetlink(7), in the machine's order.
const LOCAL: [u8; 4] = 2_u32.to_ne_bytes();
/// `NF_CT_STATE_BIT(IP_CT_ESTABLISHED) | NF_CT_STATE_BIT(IP_CT_RELATED)`.
const ESTABLISHED_RELATED: u32 = 0x6;
/// `IPS_DST_NAT`.
const STATUS_DNAT: u32 = 0x20;
const ZERO: [u8; 4] = [0; 4];
const LOOPBACK6: [u8; 16] = 1_u128.to_be_bytes();

const FAMILY: Expression = Meta(Of::Family, Register::FIRST);
const IS_IPV4: Expression = Compare(Is::Equal, &[NFPROTO_IPV4 as u8]);
const IS_IPV6: Expression = Compare(Is::Equal, &[NFPROTO_IPV6 as u8]);
const L4PROTO: Expression = Meta(Of::Protocol, Register::FIRST);
const IPV4_SOURCE: Expression = Payload(Header::Network, 12, 4, Register::FIRST);
const IPV4_SOURCE_FIRST_BYTE: Expression = Payload(Header::Network, 12, 1, Register::FIRST);
const IPV4_DESTINATION_FIRST_BYTE: Expression = Payload(Header::Network, 16, 1, Register::FIRST);
const IPV6_SOURCE: Expression = Payload(Header::Network, 8, 16, Register::FIRST);
const IPV6_DESTINATION: Expression = Payload(Header::Network, 24, 16, Register::FIRST);
const IS_127: Expression = Compare(Is::Equal, &[127]);
const OIFNAME: Expression = Meta(Of::OutputName, Register::FIRST);
const IIFNAME: Expression = Meta(Of::InputName, Register::FIRST);
const IS_BRIDGE: Expression = Lookup(BRIDGES, Find::Member);
const IS_INTERNAL: Expression = Lookup(INTERNAL, Find::Member);
const IS_SET: Expression = Compare(Is::Unequal, &ZERO);

const fn destination_port(register: Register) -> Expression {
    Payload(Header::Transport, 2, 2, register)
}

/// The rules in order: chain and steps.
const RULES: [(&str, &[Expression]); 22] = [
    (
        "publish",
        &[
            FAMILY,
            IS_IPV4,
            L4PROTO,
            Payload(Header::Network, 12, 4, Register::word(1)),
            destination_port(Register::word(2)),
            Lookup(QUESTIONS, Find::Value),
            Dnat(NFPROTO_IPV4, Register::word(1)),
        ],
    ),
    (
        "publish",
        &[
            FAMILY,
            IS_IPV4,
            L4PROTO,
            Payload(Header::Network, 16, 4, Register::word(1)),
            destination_port(Register::word(2)),
            Lookup(PORTS4, Find::Value),
            Dnat(NFPROTO_IPV4, Register::word(1)),
        ],
    ),
    (
        "publish",
        &[
            FAMILY,
            IS_IPV4,
            L4PROTO,
            destination_port(Register::word(1)),
            Lookup(ANY4, Find::Value),
            Dnat(NFPROTO_IPV4, Register::word(1)),
        ],
    ),
    (
        "publish",
        &[
            FAMILY,
            IS_IPV6,
            L4PROTO,
            Payload(Header::Network, 24, 16, Register::word(1)),
            destination_port(Register::word(5)),
            Lookup(PORTS6, Find::Value),
            Dnat(NFPROTO_IPV6, Register::SECOND),
        ],
    ),
    (
        "publish",
        &[
            FAMILY,
            IS_IPV6,
            L4PROTO,
            destination_port(Register::word(1)),
            Lookup(ANY6, Find::Value),
            Dnat(NFPROTO_IPV6, Register::SECOND),
        ],
    ),
    (
        "guard",
        &[
            IIFNAME,
            IS_BRIDGE,
            FAMILY,
            IS_IPV4,
            IPV4_DESTINATION_FIRST_BYTE,
            IS_127,
            End(Verdict::Drop),
        ],
    ),
    (
        "guard",
        &[
            IIFNAME,
            IS_BRIDGE,
            FAMILY,
            IS_IPV4,
            IPV4_SOURCE_FIRST_BYTE,
            IS_127,
            End(Verdict::Drop),
        ],
    ),
    (
        "prerouting",
        &[
            FAMILY,
            IS_IPV4,
            IPV4_DESTINATION_FIRST_BYTE,
            IS_127,
            End(Verdict::Return),
        ],
    ),
    (
        "prerouting",
        &[
            DestinationKind(Register::FIRST),
            Compare(Is::Equal, &LOCAL),
            End(Verdict::Jump("publish")),
        ],
    ),
    (
        "output",
        &[
            FAMILY,
            IS_IPV6,
            IPV6_DESTINATION,
            Compare(Is::Equal, &LOOPBACK6),
            End(Verdict::Return),
        ],
    ),
    (
        "output",
        &[
            DestinationKind(Register::FIRST),
            Compare(Is::Equal, &LOCAL),
            End(Verdict::Jump("publish")),
        ],
    ),
    (
        "postrouting",
        &[
            FAMILY,
            IS_IPV4,
            IPV4_SOURCE,
            Lookup(SUBNETS4, Find::Member),
            OIFNAME,
            Lookup(BRIDGES, Find::Stranger),
            Masquerade,
        ],
    ),
    (
        "postrouting",
        &[
            FAMILY,
            IS_IPV6,
            IPV6_SOURCE,
            Lookup(SUBNETS6, Find::Member),
            OIFNAME,
            Lookup(BRIDGES, Find::Stranger),
            Masquerade,
        ],
    ),
    (
        "postrouting",
        &[
            OIFNAME,
            IS_BRIDGE,
            Connection(Ct::Status, Register::FIRST),
            Mask(STATUS_DNAT),
            IS_SET,
            FAMILY,
            IS_IPV4,
            IPV4_SOURCE,
            Lookup(SUBNETS4, Find::Member),
            Masquerade,
        ],
    ),
    (
        "postrouting",
        &[
            OIFNAME,
            IS_BRIDGE,
            Connection(Ct::Status, Register::FIRST),
            Mask(STATUS_DNAT),
            IS_SET,
            FAMILY,
            IS_IPV6,
            IPV6_SOURCE,
            Lookup(SUBNETS6, Find::Member),
            Masquerade,
        ],
    ),
    (
        "postrouting",
        &[
            OIFNAME,
            IS_BRIDGE,
            FAMILY,
            IS_IPV4,
            IPV4_SOURCE_FIRST_BYTE,
            IS_127,
            Masquerade,
        ],
    ),
    (
        "forward",
        &[
            IIFNAME,
            Meta(Of::OutputName, Register::SECOND),
            Lookup(PAIRS, Find::Member),
            End(Verdict::Accept),
        ],
    ),
    ("forward", &[IIFNAME, IS_INTERNAL, End(Verdict::Drop)]),
    ("forward", &[OIFNAME, IS_INTERNAL, End(Verdict::Drop)]),
    (
        "forward",
        &[
            OIFNAME,
            IS_BRIDGE,
            Connection(Ct::State, Register::FIRST),
            Mask(ESTABLISHED_RELATED),
            IS_SET,
            End(Verdict::Accept),
        ],
    ),
    (
        "forward",
        &[
            OIFNAME,
            IS_BRIDGE,
            Connection(Ct::Status, Register::FIRST),
            Mask(STATUS_DNAT),
            IS_SET,
            End(Verdict::Accept),
        ],
    ),
    ("forward", &[OIFNAME, IS_BRIDGE, End(Verdict::Drop)]),
];

/// Adds the requests that create what is missing of the table and replace all of its rules.
/// Elements of sets stay.
pub(super) fn add_layout(requests: &mut Requests, table: &str) {
    add_table(requests, table, flag::CREATE);
    requests.add(DELRULE, 0, |message| {
        message.raw(&NFGENMSG_INET);
        message.text(rule::TABLE, table);
    });
    for (position, one) in (1..).zip(&SETS) {
        add_set(requests, table, position, one);
    }
    for (name, hook) in &CHAINS {
        add_chain(requests, table, name, hook.as_ref());
    }
    for (chain, steps) in RULES {
        add_rule(requests, table, chain, steps);
    }
    add_chain(requests, table, LAYOUT, None);
}

/// Adds the request that creates a table.
pub(super) fn add_table(requests: &mut Requests, table: &str, flags: u16) {
    requests.add(NEWTABLE, flags, |message| {
        message.raw(&NFGENMSG_INET);
        message.text(table_of::NAME, table);
        message.be32(table_of::FLAGS, 0);
    });
}

/// Adds the request that creates a chain, unless it is there.
pub(super) fn add_chain(requests: &mut Requests, table: &str, name: &str, hook: Option<&Hook>) {
    requests.add(NEWCHAIN, flag::CREATE, |message| {
        message.raw(&NFGENMSG_INET);
        message.text(chain::TABLE, table);
        message.text(chain::NAME, name);
        let Some(hook) = hook else { return };
        message.text(chain::TYPE, hook.of);
        message.be32(chain::POLICY, 1); // NF_ACCEPT
        message.nest(chain::HOOK, |message| {
            message.be32(chain::HOOK_NUMBER, hook.number);
            message.be32(chain::HOOK_PRIORITY, hook.priority.cast_unsigned());
        });
    });
}
