//! The table inside a container's network namespace that leads questions to its resolver:
//!
//! ```text
//! table inet gamut-names {
//!     chain output { type nat hook output priority -100
//!         ip daddr 127.0.0.11 udp dport 53 dnat ip to 127.0.0.11:PORT
//!         ip daddr 127.0.0.11 tcp dport 53 dnat ip to 127.0.0.11:PORT
//!     }
//! }
//! ```

use std::net::Ipv4Addr;

use gamut_sys::netlink::{Requests, flag};

use super::Table;
use super::expression::Expression::{Compare, CompareWord, Dnat, Load, Meta, Payload};
use super::expression::{Compare as Is, Header, Meta as Of, Register, add_rule};
use super::ruleset::{NFPROTO_IPV4, OUTPUT, add_chain, add_table, hook};
use crate::error::NetworkError;

const NAME: &str = "gamut-names";
const UDP: &[u8] = &[17];
const TCP: &[u8] = &[6];
const DNS_PORT: &[u8] = &53_u16.to_be_bytes();

/// Leads what is sent to port 53 of `address` to other ports of it, those for UDP and TCP, in the calling
/// thread's network namespace.
pub(crate) fn lead_questions(address: Ipv4Addr, ports: [u16; 2]) -> Result<(), NetworkError> {
    let mut table = Table::open(NAME)?;
    let rules = [(UDP, ports[0]), (TCP, ports[1])].map(|(protocol, port)| {
        let [high, low] = port.to_be_bytes();
        [
            Meta(Of::Family, Register::FIRST),
            Compare(Is::Equal, &[NFPROTO_IPV4 as u8]),
            Meta(Of::Protocol, Register::FIRST),
            Compare(Is::Equal, protocol),
            Payload(Header::Transport, 2, 2, Register::FIRST),
            Compare(Is::Equal, DNS_PORT),
            Payload(Header::Network, 16, 4, Register::FIRST),
            CompareWord(Is::Equal, address.octets()),
            Load([high, low, 0, 0], Register::word(1)),
            Load(address.octets(), Register::FIRST),
            Dnat(NFPROTO_IPV4, Register::word(1)),
        ]
    });
    let run = table.transact(None, |requests: &mut Requests| {
        add_table(requests, NAME, flag::CREATE);
        add_chain(requests, NAME, "output", hook("nat", OUTPUT, -100).as_ref());
        for steps in &rules {
            add_rule(requests, NAME, "output", steps);
        }
    });
    match run.map_err(|source| table.failed(source))? {
        Some(refusal) => Err(table.failed(refusal.into())),
        None => Ok(()),
    }
}
