//! What a resolver may answer a workload that may not reach everything. A name that is allowed opens the
//! way to the addresses that it has been answered with, before it is answered; any other is not asked for
//! anywhere: a question is a way out, too.

use std::collections::BTreeMap;
use std::net::IpAddr;

use super::{Allowed, To, is_within};
use crate::error::NetworkError;
use crate::nft::{Filter, Pin};
use crate::publish::Protocol;
use crate::subnet::Prefix;

/// An address stays reachable at least and at most for so long, whatever the answer says: programs keep
/// what they have looked up for longer than they should.
const LEAST_S: u32 = 60;
const MOST_S: u32 = 24 * 60 * 60;
/// Of one answer.
const ADDRESSES: usize = 64;
/// How many addresses' names are known for reports.
const KNOWN: usize = 1024;
/// How many denials wait to be told.
const DENIED: usize = 64;

/// The names that are allowed, and the filter that is told of their addresses.
#[derive(Debug)]
pub struct Gate {
    filter: Filter,
    names: Vec<(String, Option<(Protocol, u16)>)>,
    ranges: Vec<Prefix>,
    known: BTreeMap<IpAddr, String>,
    denied: Vec<String>,
}

impl Gate {
    /// For the workload that has this table and, besides what it may reach, these addresses itself.
    pub fn open(table: &str, allowed: &[Allowed], own: &[IpAddr]) -> Result<Gate, NetworkError> {
        let mut names = Vec::new();
        let mut ranges: Vec<Prefix> = own.iter().map(|address| whole(*address)).collect();
        for one in allowed {
            match &one.to {
                To::Name(name) => names.push((name.clone(), one.port)),
                To::Range(range) => ranges.push(*range),
            }
        }
        Ok(Gate {
            filter: Filter::open(table)?,
            names,
            ranges,
            known: BTreeMap::new(),
            denied: Vec::new(),
        })
    }

    pub(crate) fn allows(&self, name: &str) -> bool {
        self.names.iter().any(|(allowed, _)| allowed == name)
    }

    /// Whether an address may be reached, whatever it is called.
    pub(crate) fn covers(&self, address: IpAddr) -> bool {
        self.ranges.iter().any(|range| is_within(address, range))
    }

    /// Opens the way to what a name that is allowed was answered with, and for how many seconds.
    pub(crate) fn pin(
        &mut self,
        name: &str,
        answered: &[(IpAddr, u32)],
    ) -> Result<(), NetworkError> {
        let mut pins = Vec::new();
        for (address, ttl_s) in answered.iter().take(ADDRESSES) {
            let ports = self.names.iter().filter(|(allowed, _)| allowed == name);
            pins.extend(ports.map(|(_, port)| Pin {
                address: *address,
                port: *port,
                timeout_s: (*ttl_s).clamp(LEAST_S, MOST_S),
            }));
            if self.known.len() < KNOWN {
                self.known.insert(*address, name.to_owned());
            }
        }
        self.filter.pin(&pins)
    }

    pub(crate) fn deny(&mut self, name: &str) {
        if self.denied.len() < DENIED {
            self.denied.push(name.to_owned());
        }
    }

    /// The names that were asked for and denied since the last time.
    pub fn take_denied(&mut self) -> Vec<String> {
        std::mem::take(&mut self.denied)
    }

    /// The name that an address was last the answer to.
    pub fn name_of(&self, address: IpAddr) -> Option<&str> {
        self.known.get(&address).map(String::as_str)
    }
}

fn whole(address: IpAddr) -> Prefix {
    let bits = match address {
        IpAddr::V4(_) => 32,
        IpAddr::V6(_) => 128,
    };
    Prefix { address, bits }
}
