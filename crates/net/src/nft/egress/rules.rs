//! The rules of a workload's table, as data: what may leave its links, and what is remembered of what comes in.

use std::net::{IpAddr, Ipv6Addr};

use super::super::expression::Expression::{
    Compare, CompareLong, CompareWord, Limit, Log, Lookup, Mask, MaskLong, Meta, Payload, Remember,
    Verdict as End,
};
use super::super::expression::{
    Compare as Is, Expression, Find, Header, Meta as Of, Register, Remember as How, Verdict,
};
use super::Guarded;
use crate::publish::Protocol;
use crate::subnet::Prefix;

/// The chain of what neighbours say to each other.
pub(super) const NEIGHBOURS: &str = "neighbours";
pub(super) const SECOND_MS: u64 = 1000;
const CLOSING_MS: u64 = 20 * SECOND_MS;
const OPENING_MS: u64 = 60 * SECOND_MS;
const DATAGRAM_MS: u64 = 180 * SECOND_MS;
const ECHO_MS: u64 = 30 * SECOND_MS;
const CONNECTED_MS: u64 = 24 * 60 * 60 * SECOND_MS;
/// How many denials are shown in a second, and at once.
const DENIALS_PER_SECOND: u64 = 20;
const DENIALS_BURST: u32 = 40;

const TCP: u8 = 6;
const UDP: u8 = 17;
const ICMP: u8 = 1;
const ICMP6: u8 = 58;
const FRAGMENT: u8 = 44;
const IP: &[u8] = &[0x08, 0x00];
const IP6: &[u8] = &[0x86, 0xdd];
const ARP: &[u8] = &[0x08, 0x06];
const L4PROTO: Expression = Meta(Of::Protocol, Register::FIRST);
const IS_SET: Expression = Compare(Is::Unequal, &[0; 4]);
/// A frame's type as it is on the wire: a tag counts, which `meta protocol` looks behind.
const FRAME_TYPE: Expression = Payload(Header::Link, 12, 2, Register::FIRST);
const MESSAGE_TYPE: Expression = Payload(Header::Transport, 0, 1, Register::FIRST);

/// One of the two families, and how its packets and sets look.
pub(super) struct Family {
    pub(super) frame: &'static [u8],
    pub(super) source: u32,
    pub(super) destination: u32,
    pub(super) address_bytes: u32,
    /// `nft`'s number of the type.
    pub(super) address_type: u32,
    pub(super) back: &'static str,
    pub(super) hosts: &'static str,
    pub(super) ports: &'static str,
    pub(super) heard: &'static str,
    pub(super) allowed: &'static str,
    pub(super) icmp: &'static [u8],
    pub(super) echo: &'static [u8],
    pub(super) echo_reply: &'static [u8],
    /// That something could not be delivered.
    pub(super) unreachable: &'static [u8],
    /// Where a packet says that it is a later part of one, and by which bits.
    pub(super) fragment: (u32, [u8; 2]),
}

pub(super) const V4: Family = Family {
    frame: IP,
    source: 12,
    destination: 16,
    address_bytes: 4,
    address_type: 7,
    back: "back4",
    hosts: "hosts4",
    ports: "ports4",
    heard: "heard4",
    allowed: "allowed4",
    icmp: &[ICMP],
    echo: &[8],
    echo_reply: &[0],
    unreachable: &[3],
    fragment: (6, [0x1f, 0xff]),
};

pub(super) const V6: Family = Family {
    frame: IP6,
    source: 8,
    destination: 24,
    address_bytes: 16,
    address_type: 8,
    back: "back6",
    hosts: "hosts6",
    ports: "ports6",
    heard: "heard6",
    allowed: "allowed6",
    icmp: &[ICMP6],
    echo: &[128],
    echo_reply: &[129],
    unreachable: &[1],
    // Of the header that comes first, if there is one.
    fragment: (42, [0xff, 0xf8]),
};

impl Family {
    pub(super) fn of(address: IpAddr) -> &'static Family {
        match address {
            IpAddr::V4(_) => &V4,
            IpAddr::V6(_) => &V6,
        }
    }

    /// The word of a register after the address.
    fn word(&self, after: u32) -> Register {
        Register::word(self.address_bytes / 4 + after)
    }

    /// Address, protocol and two fields of the transport header, as a key.
    fn key(&self, address: u32, one: u32, other: u32) -> [Expression; 4] {
        [
            Payload(
                Header::Network,
                address,
                self.address_bytes,
                Register::FIRST,
            ),
            Meta(Of::Protocol, self.word(0)),
            Payload(Header::Transport, one, 2, self.word(1)),
            Payload(Header::Transport, other, 2, self.word(2)),
        ]
    }
}

/// Looking for a router, looking for a neighbour, and the latter's answer (RFC 4861); not being a router.
pub(super) fn neighbours() -> Vec<Vec<Expression>> {
    let kinds: [&'static [u8]; 3] = [&[133], &[135], &[136]];
    let rule = |kind| vec![MESSAGE_TYPE, Compare(Is::Equal, kind), End(Verdict::Accept)];
    kinds.map(rule).into()
}

const fn low_byte(mask: u8) -> Expression {
    Mask(u32::from_ne_bytes([mask, 0, 0, 0]))
}

/// What may be reached, but for ranges.
pub(super) fn allowed(family: &Family) -> Vec<Vec<Expression>> {
    let member = |set| [Lookup(set, Find::Member), End(Verdict::Accept)];
    let is_back = member(family.back);
    let reply = [
        L4PROTO,
        Compare(Is::Equal, family.icmp),
        MESSAGE_TYPE,
        Compare(Is::Equal, family.echo_reply),
    ];
    let address = Payload(
        Header::Network,
        family.destination,
        family.address_bytes,
        Register::FIRST,
    );
    let to = family.key(family.destination, 2, 0);
    let is_heard = [&[address][..], &member(family.heard)].concat();
    let unreachable = [
        L4PROTO,
        Compare(Is::Equal, family.icmp),
        MESSAGE_TYPE,
        Compare(Is::Equal, family.unreachable),
    ];
    vec![
        [&to[..], &is_back].concat(),
        [&reply[..], &family.key(family.destination, 4, 4), &is_back].concat(),
        [&[address][..], &member(family.hosts)].concat(),
        [&to[..3], &member(family.ports)].concat(),
        [&unreachable[..], &is_heard].concat(),
        [&later_part(family)[..], &is_heard].concat(),
    ]
}

/// Whether a packet is a part of a datagram, and not its first, which is the only one with ports.
fn later_part(family: &Family) -> Vec<Expression> {
    let (at, [high, low]) = family.fragment;
    let mut steps = Vec::new();
    if family.address_bytes == 16 {
        steps.push(Payload(Header::Network, 6, 1, Register::FIRST));
        steps.push(Compare(Is::Equal, &[FRAGMENT]));
    }
    steps.extend([
        Payload(Header::Network, at, 2, Register::FIRST),
        Mask(u32::from_ne_bytes([high, low, 0, 0])),
        IS_SET,
    ]);
    steps
}

/// Whether a register, that an address is loaded to, is within a range.
fn within(range: Prefix, at: u32) -> Vec<Expression> {
    match range.address {
        IpAddr::V4(address) => {
            let mask = u32::MAX
                .checked_shl(32 - u32::from(range.bits))
                .unwrap_or(0);
            let network = (u32::from(address) & mask).to_be_bytes();
            vec![
                Payload(Header::Network, at, 4, Register::FIRST),
                Mask(u32::from_ne_bytes(mask.to_be_bytes())),
                CompareWord(Is::Equal, network),
            ]
        }
        IpAddr::V6(address) => {
            let mask = u128::MAX
                .checked_shl(128 - u32::from(range.bits))
                .unwrap_or(0);
            let network = (u128::from(address) & mask).to_be_bytes();
            vec![
                Payload(Header::Network, at, 16, Register::FIRST),
                MaskLong(mask.to_be_bytes()),
                CompareLong(network),
            ]
        }
    }
}

pub(super) fn to_range(range: Prefix, port: Option<(Protocol, u16)>) -> Vec<Expression> {
    let mut steps = within(range, Family::of(range.address).destination);
    if let Some((protocol, port)) = port {
        let [high, low] = port.to_be_bytes();
        steps.extend([
            L4PROTO,
            CompareWord(Is::Equal, [protocol.number(), 0, 0, 0]),
            Payload(Header::Transport, 2, 2, Register::FIRST),
            CompareWord(Is::Equal, [high, low, 0, 0]),
        ]);
    }
    steps.push(End(Verdict::Accept));
    steps
}

/// What a link sends.
pub(super) fn outgoing(link: &Guarded, group: u16) -> Vec<Vec<Expression>> {
    let is = |frame| [FRAME_TYPE, Compare(Is::Equal, frame)];
    let own4 = CompareWord(Is::Equal, link.ipv4.octets());
    let mut rules = vec![
        [
            &is(ARP)[..],
            &[Payload(Header::Network, 14, 4, Register::FIRST), own4],
            &[End(Verdict::Accept)],
        ]
        .concat(),
        [
            &is(IP)[..],
            &[
                Payload(Header::Network, V4.source, 4, Register::FIRST),
                own4,
            ],
            &[End(Verdict::Jump(V4.allowed))],
        ]
        .concat(),
    ];
    if let Some(own6) = link.ipv6 {
        let source = Payload(Header::Network, V6.source, 16, Register::FIRST);
        let steps = [source, CompareLong(own6.octets())];
        rules.push([&is(IP6)[..], &steps, &[End(Verdict::Jump(V6.allowed))]].concat());
    }
    // The kernel's own, of every link: nobody has asked for it.
    let is_icmp6 = [L4PROTO, Compare(Is::Equal, V6.icmp)];
    for kind in [&[131][..], &[132], &[143]] {
        let of_kind = [MESSAGE_TYPE, Compare(Is::Equal, kind)];
        rules.push([&is(IP6)[..], &is_icmp6, &of_kind, &[End(Verdict::Drop)]].concat());
    }
    // A router would pass on what goes farther than the link.
    let near = [0xff02, 0xfe80].map(|first| Prefix {
        address: Ipv6Addr::new(first, 0, 0, 0, 0, 0, 0, 0).into(),
        bits: 16,
    });
    for range in near.into_iter().chain(link.subnet6) {
        let hops = [
            Payload(Header::Network, 7, 1, Register::FIRST),
            Compare(Is::Equal, &[255]),
        ];
        let near = within(range, V6.destination);
        let end = [End(Verdict::Jump(NEIGHBOURS))];
        rules.push([&is(IP6)[..], &is_icmp6, &hops, &near, &end].concat());
    }
    rules.push(vec![Limit(DENIALS_PER_SECOND, DENIALS_BURST), Log(group)]);
    rules
}

/// What a link gets: who sent it may be answered.
pub(super) fn incoming(family: &'static Family) -> Vec<Vec<Expression>> {
    const FIN: u8 = 0x01;
    const SYN: u8 = 0x02;
    const RST: u8 = 0x04;
    const PSH: u8 = 0x08;
    let of = |protocol: &'static [u8]| {
        let frame = Meta(Of::FrameProtocol, Register::FIRST);
        let is = |bytes| Compare(Is::Equal, bytes);
        [frame, is(family.frame), L4PROTO, is(protocol)]
    };
    let remember = |one, other, how, timeout_ms| {
        let [a, b, c, d] = family.key(family.source, one, other);
        let end = End(Verdict::Accept);
        [a, b, c, d, Remember(family.back, how, timeout_ms), end]
    };
    let flags = |mask| {
        let flags = Payload(Header::Transport, 13, 1, Register::FIRST);
        [flags, low_byte(mask), IS_SET]
    };
    let is_of_family = [
        Meta(Of::FrameProtocol, Register::FIRST),
        Compare(Is::Equal, family.frame),
    ];
    let hear = [
        Payload(
            Header::Network,
            family.source,
            family.address_bytes,
            Register::FIRST,
        ),
        Remember(family.heard, How::Update, DATAGRAM_MS),
    ];
    let mut rules = vec![[is_of_family, hear].concat()];
    for (mask, timeout_ms) in [
        (FIN | RST, CLOSING_MS),
        (SYN, OPENING_MS),
        (PSH, CONNECTED_MS),
    ] {
        let end = remember(0, 2, How::Update, timeout_ms);
        rules.push([&of(&[TCP])[..], &flags(mask), &end].concat());
    }
    // A bare acknowledgement may be the last of a connection that is closed.
    rules.push([&of(&[TCP])[..], &remember(0, 2, How::Add, OPENING_MS)].concat());
    rules.push([&of(&[UDP])[..], &remember(0, 2, How::Update, DATAGRAM_MS)].concat());
    let is_echo = [MESSAGE_TYPE, Compare(Is::Equal, family.echo)];
    let end = remember(4, 4, How::Update, ECHO_MS);
    rules.push([&of(family.icmp)[..], &is_echo, &end].concat());
    rules
}
