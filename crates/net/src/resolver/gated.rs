//! The resolver of a workload that may not reach everything: what its [`Gate`] says of a question, and what
//! the gate is told of an answer before it is given.
//!
//! What is not allowed is answered with NXDOMAIN, not REFUSED: musl waits for another answer after the
//! latter until its time is over, and glibc then gives up without the rest of its search list, in which
//! the name may be that is allowed.

use std::net::IpAddr;

use super::wire::{Query, addresses_in};
use super::{Resolver, TTL_S};
use crate::egress::Gate;

impl Resolver {
    /// Asks this one from now on whether a name may be asked for.
    pub fn set_gate(&mut self, gate: Gate) {
        self.gate = Some(gate);
    }

    pub fn gate(&mut self) -> Option<&mut Gate> {
        self.gate.as_mut()
    }

    /// The answer to a question that may not go out.
    pub(super) fn refusal(&mut self, query: &Query) -> Option<Vec<u8>> {
        let gate = self.gate.as_mut()?;
        let name = query.name();
        if gate.allows(&name) {
            return None;
        }
        gate.deny(&name);
        Some(query.no_such_name())
    }

    /// Whether a network's own name may be answered, and with what: its addresses if it is allowed, else those
    /// that may be reached anyway. Nobody else learns that it was asked for.
    pub(super) fn admit(&mut self, name: &str, addresses: &mut Vec<IpAddr>) -> bool {
        let Some(gate) = &mut self.gate else {
            return true;
        };
        if gate.allows(name) {
            let pinned: Vec<_> = addresses.iter().map(|one| (*one, TTL_S)).collect();
            return gate.pin(name, &pinned).is_ok();
        }
        addresses.retain(|address| gate.covers(*address));
        if addresses.is_empty() {
            gate.deny(name);
        }
        !addresses.is_empty()
    }

    /// Whether an answer can be given: the way to its addresses is open.
    pub(super) fn let_through(&mut self, question: &[u8], answer: &[u8]) -> bool {
        let Some(gate) = &mut self.gate else {
            return true;
        };
        let answered = addresses_in(answer);
        let name = Query::read(question).map(|query| query.name());
        answered.is_empty() || name.is_some_and(|name| gate.pin(&name, &answered).is_ok())
    }
}
