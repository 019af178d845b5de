//! Rules as the kernel's register machine has them (`linux/netfilter/nf_tables.h`): each
//! expression loads a register, compares one, looks one up, or gives the verdict.

use gamut_sys::netlink::{Message, Requests, flag};

use super::uapi::{LIST_ELEM, NEWRULE, NFGENMSG_INET, rule};

/// A register. The four of 16 bytes, and by its number each of the sixteen of 4 bytes that they
/// consist of (`NFT_REG_1`, `NFT_REG32_01`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Register(u32);

impl Register {
    /// The verdict.
    const VERDICT: Register = Register(0);
    /// The first 16 bytes, which are also the words 0–3.
    pub(super) const FIRST: Register = Register(1);
    /// The second 16 bytes, which are also the words 4–7.
    pub(super) const SECOND: Register = Register(2);

    /// The 4 bytes at `word` (0–15).
    pub(super) const fn word(word: u32) -> Register {
        Register(8 + word)
    }
}

/// Which header of the packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Header {
    Link = 0,
    Network = 1,
    Transport = 2,
}

/// What is known of a packet besides its bytes (`enum nft_meta_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meta {
    /// What the frame carries (`ETH_P_*`), in network order.
    FrameProtocol = 1,
    InputName = 6,
    OutputName = 7,
    Family = 15,
    Protocol = 16,
}

/// What is known of a packet's connection (`enum nft_ct_keys`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Connection {
    State = 0,
    Status = 2,
}

/// Equal or not (`enum nft_cmp_ops`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal = 0,
    Unequal = 1,
}

/// What a lookup does with its set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Find {
    /// Go on if the key is in the set.
    Member,
    /// Go on if it is not.
    Stranger,
    /// Go on if it is in the map, with the value in the first register.
    Value,
}

/// Where a rule ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Accept,
    Drop,
    Return,
    Jump(&'static str),
}

/// One step of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expression {
    Meta(Meta, Register),
    /// `length` bytes at `offset` of the header.
    Payload(Header, u32, u32, Register),
    Connection(Connection, Register),
    /// The kind of the destination address (`RTN_*`), by the routing table.
    DestinationKind(Register),
    /// The first register's first word AND the mask.
    Mask(u32),
    /// The first register against these bytes.
    Compare(Compare, &'static [u8]),
    /// The same with what is known at run time only.
    CompareWord(Compare, [u8; 4]),
    /// These bytes into a register.
    Load([u8; 4], Register),
    /// The first register as the key in this set.
    Lookup(&'static str, Find),
    /// Destination NAT of this family to the address in the first register and the port in the
    /// other.
    Dnat(u32, Register),
    Masquerade,
    Verdict(Verdict),
    /// The first register's 16 bytes AND the mask.
    MaskLong([u8; 16]),
    /// The first register's 16 bytes against these.
    CompareLong([u8; 16]),
    /// The first register becomes a member of this set, for so many milliseconds.
    Remember(&'static str, Remember, u64),
    /// Go on so often in a second, and so often at once, only.
    Limit(u64, u32),
    /// Shows the packet's first bytes to who listens to this group (`nfnetlink_log`).
    Log(u16),
}

/// What becomes of one that is a member already (`enum nft_dynset_ops`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Remember {
    /// It stays as it is.
    Add = 0,
    /// Its time begins anew.
    Update = 1,
}

/// How much of a packet is shown: the longest headers that are read.
const SHOWN_BYTES: u32 = 128;

impl Expression {
    fn name(&self) -> &'static str {
        match self {
            Expression::Meta(..) => "meta",
            Expression::Payload(..) => "payload",
            Expression::Connection(..) => "ct",
            Expression::DestinationKind(..) => "fib",
            Expression::Mask(..) | Expression::MaskLong(..) => "bitwise",
            Expression::Compare(..) | Expression::CompareWord(..) | Expression::CompareLong(..) => {
                "cmp"
            }
            Expression::Remember(..) => "dynset",
            Expression::Limit(..) => "limit",
            Expression::Log(..) => "log",
            Expression::Lookup(..) => "lookup",
            Expression::Dnat(..) => "nat",
            Expression::Masquerade => "masq",
            Expression::Load(..) | Expression::Verdict(..) => "immediate",
        }
    }

    /// Writes the attributes of the expression's kind (`NFTA_META_*`, `NFTA_CMP_*` …).
    fn write(&self, to: &mut Message<'_>) {
        let first = Register::FIRST.0;
        match *self {
            Expression::Meta(key, register) => {
                to.be32(2, key as u32);
                to.be32(1, register.0);
            }
            Expression::Payload(header, offset, length, register) => {
                to.be32(1, register.0);
                to.be32(2, header as u32);
                to.be32(3, offset);
                to.be32(4, length);
            }
            Expression::Connection(key, register) => {
                to.be32(2, key as u32);
                to.be32(1, register.0);
            }
            Expression::DestinationKind(register) => {
                to.be32(3, 1 << 1); // NFTA_FIB_F_DADDR
                to.be32(2, 3); // NFT_FIB_RESULT_ADDRTYPE
                to.be32(1, register.0);
            }
            Expression::Mask(mask) => {
                to.be32(1, first);
                to.be32(2, first);
                to.be32(3, 4);
                to.nest(4, |to| to.u32(1, mask));
                to.nest(5, |to| to.u32(1, 0));
            }
            Expression::Compare(compare, value) => {
                to.be32(1, first);
                to.be32(2, compare as u32);
                to.nest(3, |to| to.bytes(1, value));
            }
            Expression::CompareWord(compare, value) => {
                to.be32(1, first);
                to.be32(2, compare as u32);
                to.nest(3, |to| to.bytes(1, &value));
            }
            Expression::MaskLong(mask) => {
                to.be32(1, first);
                to.be32(2, first);
                to.be32(3, 16);
                to.nest(4, |to| to.bytes(1, &mask));
                to.nest(5, |to| to.bytes(1, &[0; 16]));
            }
            Expression::CompareLong(value) => {
                to.be32(1, first);
                to.be32(2, Compare::Equal as u32);
                to.nest(3, |to| to.bytes(1, &value));
            }
            Expression::Remember(set, how, timeout_ms) => {
                to.text(1, set);
                to.be32(3, how as u32);
                to.be32(4, first);
                to.bytes(6, &timeout_ms.to_be_bytes());
            }
            Expression::Limit(per_second, burst) => {
                to.bytes(1, &per_second.to_be_bytes());
                to.bytes(2, &1_u64.to_be_bytes());
                to.be32(3, burst);
            }
            Expression::Log(group) => {
                to.be16(1, group);
                to.be32(3, SHOWN_BYTES);
                to.be16(4, 1);
            }
            Expression::Load(value, register) => {
                to.be32(1, register.0);
                // NFTA_DATA_VALUE
                to.nest(2, |to| to.bytes(1, &value));
            }
            Expression::Lookup(set, find) => {
                to.text(1, set);
                to.be32(2, first);
                match find {
                    Find::Member => {}
                    Find::Stranger => to.be32(5, 1), // NFT_LOOKUP_F_INV
                    Find::Value => to.be32(3, first),
                }
            }
            Expression::Dnat(family, port) => {
                to.be32(1, 1); // NFT_NAT_DNAT
                to.be32(2, family);
                to.be32(3, first);
                to.be32(5, port.0);
            }
            Expression::Masquerade => {}
            Expression::Verdict(verdict) => {
                to.be32(1, Register::VERDICT.0);
                // NFTA_DATA_VERDICT
                to.nest(2, |to| to.nest(2, |to| verdict.write(to)));
            }
        }
    }
}

impl Verdict {
    /// `NFTA_VERDICT_CODE`: a verdict of netfilter (0, 1) or of nf_tables (`enum nft_verdicts`).
    fn write(self, to: &mut Message<'_>) {
        let code: i32 = match self {
            Verdict::Drop => 0,
            Verdict::Accept => 1,
            Verdict::Jump(_) => -3,
            Verdict::Return => -5,
        };
        to.be32(1, code.cast_unsigned());
        if let Verdict::Jump(chain) = self {
            to.text(2, chain);
        }
    }
}

/// Adds the request that puts a rule at the end of a chain.
pub(super) fn add_rule(requests: &mut Requests, table: &str, chain: &str, steps: &[Expression]) {
    add_rule_of(NFGENMSG_INET, requests, table, chain, steps);
}

/// The same in a table of another family.
pub(super) fn add_rule_of(
    family: [u8; 4],
    requests: &mut Requests,
    table: &str,
    chain: &str,
    steps: &[Expression],
) {
    requests.add(NEWRULE, flag::CREATE | flag::APPEND, |message| {
        message.raw(&family);
        message.text(rule::TABLE, table);
        message.text(rule::CHAIN, chain);
        message.nest(rule::EXPRESSIONS, |message| {
            for step in steps {
                message.nest(LIST_ELEM, |message| {
                    message.text(1, step.name());
                    message.nest(2, |message| step.write(message));
                });
            }
        });
    });
}
