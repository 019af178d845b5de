//! The keeper's part of names: what its workload is called on its networks, for as long as it lives, and the
//! resolver that answers its questions.

use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use gamut_net::egress::Gate;
use gamut_net::names::{Called, Names};
use gamut_net::resolver::{self, HostFile, Resolver, Sockets, Upstream, Zone};
use gamut_net::{Network, NetworkError};
use gamut_plan::cell::StartError;
use gamut_plan::launch::{Endpoint, NetworkPlan, Reach};
use gamut_spec::Fault;

/// What a workload has of its networks' names; taken back when it is dropped.
#[derive(Debug)]
pub(super) struct Naming {
    id: String,
    run_root: PathBuf,
    /// Who is asked for other names; none: the host's servers.
    dns_servers: Vec<IpAddr>,
    places: Vec<Endpoint>,
    /// Questions may leave by a network without names.
    asks_out: bool,
    /// What the resolver is to know, once it is there.
    gate: Option<Gate>,
    resolver: Option<Resolver>,
    /// The table that leads a machine's questions here.
    leads: Option<String>,
}

impl Naming {
    pub(super) fn new(id: &str, run_root: &Path, network: &NetworkPlan) -> Naming {
        Naming {
            id: id.to_owned(),
            run_root: run_root.to_owned(),
            dns_servers: match network {
                NetworkPlan::Bridge(bridged) => bridged.dns_servers.clone(),
                _ => Vec::new(),
            },
            places: Vec::new(),
            asks_out: match network {
                NetworkPlan::Bridge(bridged) => {
                    let mut places = bridged.endpoints.iter();
                    places.any(|place| place.names.is_empty() && leads_out(place))
                }
                _ => false,
            },
            gate: None,
            resolver: None,
            leads: None,
        }
    }

    /// The workload may not reach everything: it has a resolver then on every network.
    pub(super) fn set_gate(&mut self, gate: Option<Gate>) {
        self.gate = gate;
    }

    fn has_questions(&self) -> bool {
        !self.places.is_empty() || self.gate.is_some()
    }

    /// Makes the workload known on a network, if that has names.
    pub(super) fn register(&mut self, place: &Endpoint) -> Result<(), StartError> {
        if place.names.is_empty() {
            return Ok(());
        }
        // Before it is done: what fails half-way is taken back as well.
        self.places.push(place.clone());
        let written = register(&self.run_root, &self.id, place);
        written.map_err(|error| StartError::Step {
            step: format!("make its names known on the network `{}`", place.network),
            reason: error.to_string(),
            hint: None,
        })
    }

    /// Answers the questions of a workload in `netns`, if it is on a network with names.
    pub(super) fn answer_inside(&mut self, netns: BorrowedFd<'_>) -> Result<(), StartError> {
        let (zones, upstream) = (self.zones(), self.upstream());
        if let Some(resolver) = &mut self.resolver {
            resolver.set_zones(zones, upstream);
            return Ok(());
        }
        if !self.has_questions() {
            return Ok(());
        }
        let made = Sockets::inside(netns).and_then(|sockets| self.answer_at(sockets));
        made.map_err(failed)
    }

    /// Answers the questions of a machine at `place`.
    pub(super) fn answer_machine(
        &mut self,
        network: &Network,
        place: &Endpoint,
    ) -> Result<(), StartError> {
        if !self.has_questions() {
            return Ok(());
        }
        self.leads = Some(network.table.clone());
        let sockets = Sockets::on_host(network, place.address4);
        let made = sockets.and_then(|sockets| self.answer_at(sockets));
        made.map_err(failed)
    }

    fn answer_at(&mut self, sockets: Sockets) -> Result<(), NetworkError> {
        let mut resolver = Resolver::new(sockets, self.zones(), self.upstream())?;
        if let Some(gate) = self.gate.take() {
            resolver.set_gate(gate);
        }
        self.resolver = Some(resolver);
        Ok(())
    }

    /// The workload is called otherwise from now on.
    pub(super) fn call(&mut self, name: &str) -> Result<(), StartError> {
        for mut place in std::mem::take(&mut self.places) {
            forget(&self.run_root, &self.id, &place);
            place.call(name);
            self.register(&place)?;
        }
        Ok(())
    }

    /// The workload has left a network. The resolver stays, for what is called otherwise.
    pub(super) fn leave(&mut self, network_id: &str) {
        let (left, stay) = std::mem::take(&mut self.places)
            .into_iter()
            .partition(|place| place.network_id == network_id);
        self.places = stay;
        let left: Vec<Endpoint> = left;
        for place in left {
            forget(&self.run_root, &self.id, &place);
        }
        let (zones, upstream) = (self.zones(), self.upstream());
        if let Some(resolver) = &mut self.resolver {
            resolver.set_zones(zones, upstream);
        }
    }

    fn zones(&self) -> Vec<Zone> {
        let zones = self.places.iter().map(|place| Zone {
            network: place.network.clone(),
            names: Names::new(&self.run_root, &place.network_id),
        });
        zones.collect()
    }

    /// Questions leave by the host: those of a workload without a way out do not.
    fn upstream(&self) -> Upstream {
        match self.asks_out || self.places.iter().any(leads_out) {
            false => Upstream::Nobody,
            true if self.dns_servers.is_empty() => Upstream::Host(HostFile::default()),
            true => Upstream::Given(self.dns_servers.clone()),
        }
    }

    pub(super) fn resolver(&mut self) -> Option<&mut Resolver> {
        self.resolver.as_mut()
    }

    /// Readable when the resolver has work.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        self.resolver.as_ref().map(AsFd::as_fd)
    }

    /// Nobody finds the workload any more.
    pub(super) fn release(&mut self) {
        self.resolver = None;
        for place in std::mem::take(&mut self.places) {
            if let Some(table) = &self.leads {
                // What stays leads nowhere, and is replaced by the address's next owner.
                let _ = resolver::forget_machine(table, place.address4);
            }
            forget(&self.run_root, &self.id, &place);
        }
    }
}

impl Drop for Naming {
    fn drop(&mut self) {
        self.release();
    }
}

fn leads_out(place: &Endpoint) -> bool {
    place.reach == Reach::Outside
}

fn addresses(place: &Endpoint) -> Vec<IpAddr> {
    place.addresses().collect()
}

fn register(run_root: &Path, id: &str, place: &Endpoint) -> std::io::Result<()> {
    Names::new(run_root, &place.network_id).register(Called {
        container_id: id,
        names: &place.names,
        addresses: &addresses(place),
    })
}

/// Takes a container's names on one network back; none are fine.
pub(crate) fn forget(run_root: &Path, id: &str, place: &Endpoint) {
    Names::new(run_root, &place.network_id).forget(Called {
        container_id: id,
        names: &place.names,
        addresses: &addresses(place),
    });
}

fn failed(error: NetworkError) -> StartError {
    StartError::Step {
        step: "make the resolver of its networks' names".into(),
        reason: error.to_string(),
        hint: error.hint(),
    }
}
