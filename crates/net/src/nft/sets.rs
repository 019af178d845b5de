//! The table's sets and maps: what they are called, and what their keys and values are.

use gamut_sys::netlink::{Requests, flag};

use super::uapi::{NEWSET, NFGENMSG_INET, set};

pub(super) const BRIDGES: &str = "bridges";
pub(super) const PAIRS: &str = "pairs";
pub(super) const INTERNAL: &str = "internal";
pub(super) const SUBNETS4: &str = "subnets4";
pub(super) const SUBNETS6: &str = "subnets6";
pub(super) const PORTS4: &str = "ports4";
pub(super) const ANY4: &str = "any4";
pub(super) const PORTS6: &str = "ports6";
pub(super) const ANY6: &str = "any6";
pub(super) const QUESTIONS: &str = "questions";

/// One set or map.
pub(super) struct Set {
    name: &'static str,
    key: Type,
    /// A map's value.
    data: Option<Type>,
    intervals: bool,
}

/// A type in `nft`'s numbering (`enum datatypes` in nftables' `datatype.h`; a concatenation has
/// six bits for each part), which the kernel keeps for those who list the set, and its length.
#[derive(Clone, Copy)]
struct Type {
    number: u32,
    bytes: u32,
}

const IPV4: u32 = 7;
const IPV6: u32 = 8;
const PROTOCOL: u32 = 12;
const SERVICE: u32 = 13;
const IFNAME: u32 = 41;

const fn simple(number: u32, bytes: u32) -> Type {
    Type { number, bytes }
}

const fn pair(one: u32, two: u32, bytes: u32) -> Type {
    let number = one << 6 | two;
    Type { number, bytes }
}

const fn triple(one: u32, two: u32, three: u32, bytes: u32) -> Type {
    let number = one << 12 | two << 6 | three;
    Type { number, bytes }
}

const fn map(name: &'static str, key: Type, data: Type) -> Set {
    Set {
        name,
        key,
        data: Some(data),
        intervals: false,
    }
}

pub(super) const SETS: [Set; 10] = [
    Set {
        name: BRIDGES,
        key: simple(IFNAME, 16),
        data: None,
        intervals: false,
    },
    Set {
        name: PAIRS,
        key: pair(IFNAME, IFNAME, 32),
        data: None,
        intervals: false,
    },
    Set {
        name: INTERNAL,
        key: simple(IFNAME, 16),
        data: None,
        intervals: false,
    },
    Set {
        name: SUBNETS4,
        key: simple(IPV4, 4),
        data: None,
        intervals: true,
    },
    Set {
        name: SUBNETS6,
        key: simple(IPV6, 16),
        data: None,
        intervals: true,
    },
    map(
        PORTS4,
        triple(PROTOCOL, IPV4, SERVICE, 12),
        pair(IPV4, SERVICE, 8),
    ),
    map(ANY4, pair(PROTOCOL, SERVICE, 8), pair(IPV4, SERVICE, 8)),
    map(
        PORTS6,
        triple(PROTOCOL, IPV6, SERVICE, 24),
        pair(IPV6, SERVICE, 20),
    ),
    map(ANY6, pair(PROTOCOL, SERVICE, 8), pair(IPV6, SERVICE, 20)),
    map(
        QUESTIONS,
        triple(PROTOCOL, IPV4, SERVICE, 12),
        pair(IPV4, SERVICE, 8),
    ),
];

/// Adds the request that creates a set, unless it is there.
pub(super) fn add_set(requests: &mut Requests, table: &str, id: u32, one: &Set) {
    let mut flags = 0;
    if one.data.is_some() {
        flags |= set::FLAG_MAP;
    }
    if one.intervals {
        flags |= set::FLAG_INTERVAL;
    }
    requests.add(NEWSET, flag::CREATE, |message| {
        message.raw(&NFGENMSG_INET);
        message.text(set::TABLE, table);
        message.text(set::NAME, one.name);
        message.be32(set::FLAGS, flags);
        message.be32(set::KEY_TYPE, one.key.number);
        message.be32(set::KEY_LEN, one.key.bytes);
        if let Some(data) = one.data {
            message.be32(set::DATA_TYPE, data.number);
            message.be32(set::DATA_LEN, data.bytes);
        }
        message.be32(set::ID, id);
        // Tells `nft` in which order the key's bytes are, without which it shows neither intervals
        // nor names (NFTNL_UDATA_SET_KEYBYTEORDER, 4 bytes: 1 the machine's, 2 the network's).
        match one.key.number {
            IFNAME => message.bytes(set::USERDATA, &[0, 4, 1, 0, 0, 0]),
            IPV4 | IPV6 => message.bytes(set::USERDATA, &[0, 4, 2, 0, 0, 0]),
            _ => {}
        }
    });
}
