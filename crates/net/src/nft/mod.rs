//! The packet filter: one table of the family `inet`, spoken of in netlink
//! (`linux/netfilter/nf_tables.h`). No other table is touched.
//!
//! The file `ruleset.rs` says what the table holds and why. Everything here may be repeated and may run in
//! several processes at once: the table is made and changed in transactions, and where a change
//! depends on what was read, the kernel is asked to refuse if anything happened in between.

mod egress;
mod element;
mod expression;
mod foreign;
mod questions;
mod ruleset;
mod sets;
mod uapi;

use std::net::{Ipv4Addr, SocketAddr};

use gamut_sys::netlink::{Error, Malformed, Protocol as Netlink, Refusal, Requests, Socket, flag};
use rustix::io::Errno;

use crate::conntrack;
use crate::error::NetworkError;
use crate::network::Network;
use crate::publish::Protocol;
use crate::subnet::Subnet6;
use element::{Element, add_elements};
use ruleset::LAYOUT;
use sets::{ANY4, ANY6, PORTS4, PORTS6};
use uapi::{
    DELSETELEM, DELTABLE, GETCHAIN, GETGEN, GETSETELEM, GETTABLE, NEWGEN, NEWSETELEM,
    NFGENMSG_BYTES, NFGENMSG_INET, NFNL_SUBSYS_NFTABLES, chain, generation, table as table_of,
};

pub use egress::Guarded;
pub(crate) use egress::{Filter, Pin};
pub use element::{Published, Redirect};
pub use foreign::{DroppingChain, dropping_chains};
pub(crate) use questions::lead_questions;

/// The kernel's answer when the rules changed since the given generation (`ERESTART`, which
/// errno(3) does not list).
const RESTART: Errno = Errno::from_raw_os_error(85);
/// How often a change is begun again because somebody else was quicker.
const ATTEMPTS: usize = 200;

/// A table and the socket through which it is spoken of.
#[derive(Debug)]
pub struct Table<'t> {
    name: &'t str,
    socket: Socket,
}

impl<'t> Table<'t> {
    /// Opens the way to the table of this name in the calling thread's network namespace; the table
    /// need not exist.
    pub fn open(name: &'t str) -> Result<Table<'t>, NetworkError> {
        let socket =
            crate::home::socket(Netlink::Netfilter).map_err(|source| NetworkError::Table {
                table: name.to_owned(),
                source,
            })?;
        Ok(Table { name, socket })
    }

    /// Whether there is such a table.
    pub fn exists(&mut self) -> Result<bool, NetworkError> {
        let name = self.name;
        let mut requests = Requests::new();
        requests.add(GETTABLE, 0, |message| {
            message.raw(&NFGENMSG_INET);
            message.text(table_of::NAME, name);
        });
        self.all_there(&mut requests)
    }

    /// Removes the table with all that is in it; none is fine.
    pub fn delete(&mut self) -> Result<(), NetworkError> {
        let name = self.name;
        let run = self.transact(None, |requests| {
            requests.add(DELTABLE, 0, |message| {
                message.raw(&NFGENMSG_INET);
                message.text(table_of::NAME, name);
            });
        });
        match run.map_err(|source| self.failed(source))? {
            Some(refusal) if refusal.errno != Errno::NOENT => Err(self.failed(refusal.into())),
            _ => Ok(()),
        }
    }

    /// Whether the table's rules are there and serve the bridge: one question, two answers.
    pub(crate) fn serves(&mut self, bridge: &str) -> Result<bool, NetworkError> {
        let mut requests = Requests::new();
        self.add_layout_question(&mut requests);
        let pair = [element::pair(bridge)];
        add_elements(&mut requests, GETSETELEM, 0, self.name, &pair);
        self.all_there(&mut requests)
    }

    /// Makes the table with all its rules, unless it is there, and makes it serve the bridge
    /// network, in one transaction.
    pub(crate) fn serve(
        &mut self,
        network: &Network,
        ipv6: Option<Subnet6>,
    ) -> Result<(), NetworkError> {
        let name = self.name;
        let elements = element::of_network(network, ipv6);
        for _ in 0..ATTEMPTS {
            let generation = self.generation().map_err(|source| self.failed(source))?;
            let mut question = Requests::new();
            self.add_layout_question(&mut question);
            let built = self.all_there(&mut question)?;
            let run = self.transact(Some(generation), |requests| {
                if !built {
                    ruleset::add_layout(requests, name);
                }
                add_elements(requests, NEWSETELEM, flag::CREATE, name, &elements);
            });
            match run.map_err(|source| self.failed(source))? {
                None => return Ok(()),
                Some(refusal) if refusal.errno == RESTART => {}
                Some(refusal) => return Err(self.failed(refusal.into())),
            }
        }
        Err(NetworkError::Contended(name.to_owned()))
    }

    /// Makes the table serve the bridge network no more; what is not there is fine. Intervals are told
    /// apart by their ends, so each element goes by itself.
    pub(crate) fn forget(&mut self, network: &Network) -> Result<(), NetworkError> {
        let name = self.name;
        let ipv6 = network.ipv6.map(|(subnet, _)| subnet);
        let elements = element::of_network(network, ipv6);
        for run in elements.chunk_by(|one, two| one.set == two.set) {
            let done = self.transact(None, |requests| {
                add_elements(requests, DELSETELEM, 0, name, run);
            });
            match done.map_err(|source| self.failed(source))? {
                Some(refusal) if refusal.errno != Errno::NOENT => {
                    return Err(self.failed(refusal.into()));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// Adds published ports, all or none. An element that stands in the way belongs to a container
    /// that is gone (whoever publishes holds the port, see [`crate::ports::reserve`]) and is
    /// replaced.
    pub fn publish(&mut self, owner: &str, redirects: &[Redirect]) -> Result<(), NetworkError> {
        let elements = sorted(redirects, owner);
        if elements.is_empty() {
            return Ok(());
        }
        let name = self.name;
        let run = self.transact(None, |requests| {
            let flags = flag::CREATE | flag::EXCL;
            add_elements(requests, NEWSETELEM, flags, name, &elements);
        });
        match run.map_err(|source| self.publishing_failed(source))? {
            None => return Ok(()),
            Some(refusal) if matches!(refusal.errno, Errno::EXIST | Errno::BUSY) => {}
            Some(refusal) => return Err(self.publishing_failed(refusal.into())),
        }
        self.edit(&elements, |published| {
            let there = Element::published(&published.redirect, "");
            elements
                .iter()
                .any(|one| (one.set, &one.key) == (there.set, &there.key))
        })
    }

    /// Leads what `source` asks for names, of any address of the host, to these (UDP and TCP).
    pub(crate) fn lead_machine(
        &mut self,
        source: Ipv4Addr,
        targets: [SocketAddr; 2],
    ) -> Result<(), NetworkError> {
        self.forget_machine(source)?;
        let elements = questions(source, targets);
        let name = self.name;
        let run = self.transact(None, |requests| {
            add_elements(requests, NEWSETELEM, flag::CREATE, name, &elements);
        });
        match run.map_err(|source| self.failed(source))? {
            Some(refusal) => Err(self.failed(refusal.into())),
            None => Ok(()),
        }
    }

    /// Takes back what [`Self::lead_machine`] did; what is not there is fine.
    pub(crate) fn forget_machine(&mut self, source: Ipv4Addr) -> Result<(), NetworkError> {
        let nowhere = SocketAddr::from(([0; 4], 0));
        let elements = questions(source, [nowhere; 2]).map(|element| element.key_only());
        let name = self.name;
        let run = self.transact(None, |requests| {
            add_elements(requests, DELSETELEM, 0, name, &elements);
        });
        match run.map_err(|source| self.failed(source))? {
            Some(refusal) if refusal.errno != Errno::NOENT => Err(self.failed(refusal.into())),
            _ => Ok(()),
        }
    }

    /// Forgets UDP exchanges that somebody began with these addresses of the host.
    pub(crate) fn forget_udp(&mut self, hosts: &[SocketAddr]) -> Result<(), NetworkError> {
        conntrack::forget_udp(&mut self.socket, hosts)
    }

    /// Removes the owner's published ports among `redirects`; those that are not there are fine.
    pub fn unpublish(&mut self, owner: &str, redirects: &[Redirect]) -> Result<(), NetworkError> {
        let elements: Vec<_> = sorted(redirects, owner)
            .iter()
            .map(Element::key_only)
            .collect();
        if elements.is_empty() {
            return Ok(());
        }
        let name = self.name;
        let run = self.transact(None, |requests| {
            add_elements(requests, DELSETELEM, 0, name, &elements);
        });
        match run.map_err(|source| self.publishing_failed(source))? {
            None => return Ok(()),
            Some(refusal) if refusal.errno == Errno::NOENT => {}
            Some(refusal) => return Err(self.publishing_failed(refusal.into())),
        }
        // Something is missing: its owner's remains are found by reading.
        self.edit(&[], |published| {
            published.owner == owner && redirects.contains(&published.redirect)
        })
    }

    /// Removes every published port whose owner is one of these: repair after a keeper's death.
    /// A port that somebody else has published in the meantime stays.
    pub fn remove_owned_by(&mut self, owners: &[&str]) -> Result<(), NetworkError> {
        self.edit(&[], |published| owners.contains(&published.owner.as_str()))
    }

    /// Every published port. None if there is no table.
    pub fn list_elements(&mut self) -> Result<Vec<Published>, NetworkError> {
        let mut all = Vec::new();
        for set in [PORTS4, ANY4, PORTS6, ANY6] {
            match self.list_set(set) {
                Ok(some) => all.extend(some),
                Err(error) if error.errno() == Some(Errno::NOENT) => return Ok(Vec::new()),
                Err(source) => return Err(self.failed(source)),
            }
        }
        Ok(all)
    }

    /// Removes what `stale` picks among the published ports and adds `new`, in one transaction
    /// that the kernel refuses if anything changed since the ports were read.
    fn edit(
        &mut self,
        new: &[Element],
        stale: impl Fn(&Published) -> bool,
    ) -> Result<(), NetworkError> {
        let name = self.name;
        for _ in 0..ATTEMPTS {
            let generation = self.generation().map_err(|source| self.failed(source))?;
            let there = self.list_elements()?;
            let old: Vec<_> = there
                .iter()
                .filter(|published| stale(published))
                .map(|published| Element::published(&published.redirect, "").key_only())
                .collect();
            if old.is_empty() && new.is_empty() {
                return Ok(());
            }
            let run = self.transact(Some(generation), |requests| {
                add_elements(requests, DELSETELEM, 0, name, &old);
                add_elements(requests, NEWSETELEM, flag::CREATE | flag::EXCL, name, new);
            });
            match run.map_err(|source| self.publishing_failed(source))? {
                None => return Ok(()),
                Some(refusal) if refusal.errno == RESTART => {}
                Some(refusal) => return Err(self.publishing_failed(refusal.into())),
            }
        }
        Err(NetworkError::Contended(name.to_owned()))
    }

    fn list_set(&mut self, set: &'static str) -> Result<Vec<Published>, Error> {
        let name = self.name;
        let mut all = Vec::new();
        self.socket.dump(
            |requests| {
                requests.add(GETSETELEM, flag::DUMP, |message| {
                    message.raw(&NFGENMSG_INET);
                    message.text(uapi::element::LIST_TABLE, name);
                    message.text(uapi::element::LIST_SET, set);
                });
            },
            |reply| {
                let Some(reply) = reply else {
                    all.clear();
                    return Ok(());
                };
                let attributes = reply.attributes(NFGENMSG_BYTES);
                let elements = attributes.find(uapi::element::LIST_ELEMENTS);
                let elements = elements.map(|list| list.nested()).into_iter().flatten();
                all.extend(elements.filter_map(|one| Element::read(set, &one)));
                Ok(())
            },
        )?;
        Ok(all)
    }

    /// The number that grows with each change to any table.
    fn generation(&mut self) -> Result<u32, Error> {
        let mut requests = Requests::new();
        requests.add(GETGEN, 0, |message| message.raw(&[0; NFGENMSG_BYTES]));
        let mut number = None;
        let refusals = self.socket.query(&mut requests, |_, reply| {
            if reply.kind == NEWGEN {
                let id = reply.attributes(NFGENMSG_BYTES).find(generation::ID);
                number = id.and_then(|id| id.be32());
            }
            Ok(())
        })?;
        match refusals.into_iter().next() {
            Some(refusal) => Err(refusal.into()),
            None => number.ok_or(Error::Malformed(Malformed::Content)),
        }
    }

    /// Runs a transaction. Gives why the kernel refused it.
    fn transact(
        &mut self,
        generation: Option<u32>,
        build: impl FnOnce(&mut Requests),
    ) -> Result<Option<Refusal>, Error> {
        let mut requests = Requests::new();
        requests.begin(NFNL_SUBSYS_NFTABLES, generation);
        build(&mut requests);
        requests.commit(NFNL_SUBSYS_NFTABLES);
        Ok(self.socket.run(&mut requests)?.into_iter().next())
    }

    fn add_layout_question(&self, requests: &mut Requests) {
        requests.add(GETCHAIN, 0, |message| {
            message.raw(&NFGENMSG_INET);
            message.text(chain::TABLE, self.name);
            message.text(chain::NAME, LAYOUT);
        });
    }

    /// Whether everything asked for exists.
    fn all_there(&mut self, requests: &mut Requests) -> Result<bool, NetworkError> {
        let refusals = self.socket.query(requests, |_, _| Ok(()));
        let refusals = refusals.map_err(|source| self.failed(source))?;
        let there = refusals.is_empty();
        match refusals.into_iter().find(|one| one.errno != Errno::NOENT) {
            Some(refusal) => Err(self.failed(refusal.into())),
            None => Ok(there),
        }
    }

    fn failed(&self, source: Error) -> NetworkError {
        NetworkError::Table {
            table: self.name.to_owned(),
            source,
        }
    }

    fn publishing_failed(&self, source: Error) -> NetworkError {
        NetworkError::Publish {
            table: self.name.to_owned(),
            source,
        }
    }
}

fn questions(source: Ipv4Addr, [udp, tcp]: [SocketAddr; 2]) -> [Element; 2] {
    [
        Element::question(Protocol::Tcp, source, tcp),
        Element::question(Protocol::Udp, source, udp),
    ]
}

/// The elements of `redirects`, set by set, each key once.
fn sorted(redirects: &[Redirect], owner: &str) -> Vec<Element> {
    let mut elements: Vec<_> = redirects
        .iter()
        .map(|redirect| Element::published(redirect, owner))
        .collect();
    elements.sort_by(|one, two| (one.set, &one.key).cmp(&(two.set, &two.key)));
    elements.dedup_by(|one, two| (one.set, &one.key) == (two.set, &two.key));
    elements
}
