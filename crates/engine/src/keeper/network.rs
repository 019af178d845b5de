//! The keeper's part of the network: the workload's place on its bridge, its published ports,
//! and the forwarders for what the packet filter cannot lead (`::1`).

use std::net::Ipv6Addr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use gamut_net::endpoint::{self, Way};
use gamut_net::forward::Forwarder;
use gamut_net::link;
use gamut_net::link::Inside;
use gamut_net::ports::{self, PortError, Reserved};
use gamut_net::publish::{self, Binding, HostPort, Publish};
use gamut_net::subnet::{Subnet4, Subnet6};
use gamut_net::{Ensured, Network};
use gamut_plan::cell::{Connect, StartError};
use gamut_plan::launch::{
    Endpoint, NetworkPlan, PastaPlan, PortBinding, Protocol, PublishedPort, Reach,
};
use gamut_plan::wire::Mark;
use gamut_spec::Fault;

use super::egress::{Asks, Egress};
use super::naming::Naming;
use super::pasta::{self, Pasta};

/// What a workload has of the host's network; given back by [`Ports::release`].
#[derive(Debug, Default)]
pub(super) struct Ports {
    held: Vec<Reserved>,
    published: Option<Published>,
    forwarders: Vec<Forwarder>,
    /// Those that pasta leads, and pasta.
    led: Vec<PortBinding>,
    pasta: Option<Pasta>,
}

#[derive(Debug)]
struct Published {
    network: Network,
    id: String,
    endpoint: Endpoint,
}

/// The network as the net room has it.
pub(crate) fn network_of(endpoint: &Endpoint) -> Result<Network, StartError> {
    let failed = |error: &dyn Fault| StartError::Step {
        step: format!("use the network `{}`", endpoint.network),
        reason: error.to_string(),
        hint: error.hint(),
    };
    let ipv4 = Subnet4::new(endpoint.subnet4.0, endpoint.subnet4.1).map_err(|e| failed(&e))?;
    let ipv6 = endpoint
        .subnet6
        .map(|subnet| Subnet6::new(subnet, endpoint.prefix6))
        .transpose()
        .map_err(|e| failed(&e))?;
    Ok(Network {
        table: endpoint.table.clone(),
        bridge: endpoint.bridge.clone(),
        ipv4,
        gateway4: endpoint.gateway4.unwrap_or_else(|| ipv4.gateway()),
        ipv6: ipv6.map(|subnet| {
            let gateway = endpoint.gateway6.unwrap_or_else(|| subnet.gateway());
            (subnet, gateway)
        }),
        reach: match endpoint.reach {
            Reach::Outside => gamut_net::Reach::Outside,
            Reach::Internal => gamut_net::Reach::Internal,
        },
        mtu: endpoint.mtu,
    })
}

fn protocol(protocol: Protocol) -> publish::Protocol {
    match protocol {
        Protocol::Tcp => publish::Protocol::Tcp,
        Protocol::Udp => publish::Protocol::Udp,
    }
}

fn wanted(port: &PublishedPort) -> Publish {
    Publish {
        host_ip: port.host_address,
        host_port: match port.host_ports {
            None => HostPort::Ephemeral,
            Some((first, last)) if first == last => HostPort::Fixed(first),
            Some((first, last)) => HostPort::FirstFree(first..=last),
        },
        container_port: port.container_port,
        protocol: protocol(port.protocol),
    }
}

fn port_failed(error: &PortError) -> StartError {
    StartError::Conflict {
        message: error.to_string(),
        hint: error.hint(),
    }
}

impl Ports {
    /// Binds every host port that the plan publishes, so that nobody else has it.
    pub(super) fn hold(plan: &NetworkPlan) -> Result<Ports, StartError> {
        match plan {
            NetworkPlan::Bridge(bridged) => Ports::hold_these(&bridged.ports),
            NetworkPlan::Pasta(pasta) => Ports::find(&pasta.ports),
            _ => Ok(Ports::default()),
        }
    }

    fn hold_these(published: &[PublishedPort]) -> Result<Ports, StartError> {
        let mut ports = Ports::default();
        for port in published {
            let held = ports::reserve(&wanted(port)).map_err(|e| port_failed(&e))?;
            ports.held.extend(held);
        }
        Ok(ports)
    }

    /// Finds ports that are free, for pasta, which binds them itself: they are let go of again before the
    /// workload is cloned, which would hold them too.
    fn find(published: &[PublishedPort]) -> Result<Ports, StartError> {
        let led = Ports::hold_these(published)?.bindings();
        Ok(Ports {
            led,
            ..Ports::default()
        })
    }

    /// The ports as they came to be.
    pub(super) fn bindings(&self) -> Vec<PortBinding> {
        let list = self.held.iter().map(|held| PortBinding {
            protocol: match held.binding.protocol {
                publish::Protocol::Tcp => Protocol::Tcp,
                publish::Protocol::Udp => Protocol::Udp,
            },
            host: held.binding.host,
            container_port: held.binding.container_port,
        });
        list.chain(self.led.iter().copied()).collect()
    }

    /// Starts pasta, with the ports that were found.
    fn lead_by_pasta(
        &mut self,
        netns: BorrowedFd<'_>,
        file: &Path,
        plan: &PastaPlan,
    ) -> Result<(), StartError> {
        self.pasta = Some(Pasta::start(netns, file, plan, &self.led)?);
        Ok(())
    }

    /// Turns the held sockets into forwarders: what reaches them was not led by the filter.
    pub(super) fn forward(&mut self, plan: &NetworkPlan) -> Result<(), StartError> {
        let NetworkPlan::Bridge(bridged) = plan else {
            return Ok(());
        };
        match bridged.way_out() {
            Some(endpoint) => self.forward_to(endpoint),
            None => Ok(()),
        }
    }

    /// Holds the ports that are wanted, at the numbers that they had if they had any, and leads them to a
    /// place.
    pub(super) fn lead_to(
        &mut self,
        id: &str,
        place: &Endpoint,
        wanted: &[PublishedPort],
        had: &[PortBinding],
    ) -> Result<(), StartError> {
        let as_before: Vec<PublishedPort> = had
            .iter()
            .map(|binding| PublishedPort {
                protocol: binding.protocol,
                host_address: Some(binding.host.ip()),
                host_ports: Some((binding.host.port(), binding.host.port())),
                container_port: binding.container_port,
            })
            .collect();
        *self = match as_before.is_empty() {
            true => Ports::hold_these(wanted)?,
            false => Ports::hold_these(&as_before)?,
        };
        let network = network_of(place)?;
        let ensured = network.ensure().map_err(failed)?;
        self.publish(id, place, &network, ensured, place.address6)
    }

    /// Turns the held sockets into forwarders to a place.
    pub(super) fn forward_to(&mut self, endpoint: &Endpoint) -> Result<(), StartError> {
        for held in std::mem::take(&mut self.held) {
            let target = (endpoint.address4, held.binding.container_port).into();
            let forwarder = Forwarder::new(held, target).map_err(|error| StartError::Step {
                step: "forward the published ports".into(),
                reason: error.to_string(),
                hint: error.hint(),
            })?;
            self.forwarders.push(forwarder);
        }
        Ok(())
    }

    /// Descriptors that are readable when their forwarder has work.
    pub(super) fn fds(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.forwarders.iter().map(AsFd::as_fd)
    }

    pub(super) fn on_ready(&mut self, index: u32) {
        if let Some(forwarder) = self.forwarders.get_mut(index as usize) {
            // What fails for good is tried again at the next visit; there is nobody to tell.
            let _ = forwarder.on_ready();
        }
    }

    /// Leads the ports to a place, if there are any.
    fn publish(
        &mut self,
        id: &str,
        place: &Endpoint,
        network: &Network,
        mut ensured: Ensured<'_>,
        address6: Option<Ipv6Addr>,
    ) -> Result<(), StartError> {
        let bindings = net_bindings(&self.bindings());
        if bindings.is_empty() {
            return Ok(());
        }
        endpoint::publish(&mut ensured, id, &bindings, place.address4, address6).map_err(failed)?;
        self.published = Some(Published {
            network: network.clone(),
            id: id.to_owned(),
            endpoint: Endpoint {
                address6,
                ..place.clone()
            },
        });
        Ok(())
    }

    /// Takes the ports out of the packet filter and closes them.
    pub(super) fn release(&mut self, bindings: &[PortBinding]) {
        if let Some(Published {
            network,
            id,
            endpoint,
        }) = self.published.take()
        {
            let bindings = net_bindings(bindings);
            // What stays is found by its owner's id at the next repair.
            let closing = endpoint::unpublish(
                &network,
                &id,
                &bindings,
                endpoint.address4,
                endpoint.address6,
            );
            // Its end takes the kernel milliseconds, which the end of this process takes anyway.
            std::mem::forget(closing);
        }
        self.forwarders.clear();
        self.held.clear();
        self.pasta = None;
        self.led.clear();
    }
}

fn net_bindings(bindings: &[PortBinding]) -> Vec<Binding> {
    let list = bindings.iter().map(|one| Binding {
        container_port: one.container_port,
        protocol: protocol(one.protocol),
        host: one.host,
    });
    list.collect()
}

/// Connects the workload when its namespace is there.
pub(super) struct Connector<'a> {
    pub(super) id: &'a str,
    /// The workload's run directory.
    pub(super) run: &'a Path,
    pub(super) plan: &'a NetworkPlan,
    pub(super) ports: &'a mut Ports,
    pub(super) naming: &'a mut Naming,
    pub(super) egress: &'a mut Egress,
    pub(super) trace: &'a mut Vec<Mark>,
    pub(super) ahead: Option<Ahead>,
    pub(super) root: Option<OwnedFd>,
}

/// A network namespace that was made while there was time, its loopback up, and the way into it.
#[derive(Debug)]
pub(super) struct Ahead {
    netns: OwnedFd,
    inside: Inside,
}

impl Ahead {
    /// `None`: it is made at the start then, which says what is wrong.
    pub(super) fn make() -> Option<Ahead> {
        let (netns, mut inside) = Inside::create().ok()?;
        inside.loopback_up().ok()?;
        Some(Ahead { netns, inside })
    }
}

impl Connect for Connector<'_> {
    fn namespace(&self) -> Option<BorrowedFd<'_>> {
        self.ahead.as_ref().map(|ahead| ahead.netns.as_fd())
    }

    fn root(&mut self) -> Option<OwnedFd> {
        self.root.take()
    }

    fn mark(&mut self, phase: &str, at_ns: u64) {
        self.trace.push(Mark {
            phase: phase.to_owned(),
            at_ns,
        });
    }

    fn connect(&mut self, netns: BorrowedFd<'_>) -> Result<(), StartError> {
        // The way that is open already, if it leads into this one.
        let ahead = self
            .ahead
            .take()
            .filter(|ahead| same(ahead.netns.as_fd(), netns));
        let is_up = ahead.is_some();
        let mut inside = match ahead {
            Some(ahead) => ahead.inside,
            None => Inside::open(netns).map_err(failed)?,
        };
        let endpoints = match self.plan {
            NetworkPlan::Bridge(bridged) => bridged.endpoints.as_slice(),
            _ => &[],
        };
        if let NetworkPlan::Pasta(plan) = self.plan {
            if !is_up {
                inside.loopback_up().map_err(failed)?;
            }
            let file = self.run.join("netns");
            return self.ports.lead_by_pasta(netns, &file, plan);
        }
        let Some(leads) = self.way_out() else {
            return match is_up {
                true => Ok(()),
                false => inside.loopback_up().map_err(failed),
            };
        };
        if leads.reach == Reach::Outside {
            pasta::lead_out()?;
        }
        for place in endpoints {
            let way = match place.place == leads.place {
                true => Way::Out,
                false => Way::Within,
            };
            let network = network_of(place)?;
            let mut ensured = network.ensure().map_err(failed)?;
            let wanted = place_of(self.id, place, way);
            let attached = endpoint::attach_inside(&mut ensured, netns, &mut inside, &wanted)
                .map_err(failed)?;
            self.naming.register(place)?;
            if way == Way::Out {
                self.ports
                    .publish(self.id, place, &network, ensured, attached.ipv6)?;
            }
        }
        self.guard(endpoints, Asks::Inside)?;
        self.naming.answer_inside(netns)
    }

    fn tap(&mut self) -> Result<Option<OwnedFd>, StartError> {
        let Some(place) = self.way_out() else {
            return Ok(None);
        };
        let network = network_of(place)?;
        let mut ensured = network.ensure().map_err(failed)?;
        let wanted = place_of(self.id, place, Way::Out);
        let tap = endpoint::attach_machine(&mut ensured, &wanted).map_err(failed)?;
        self.guard(std::slice::from_ref(place), Asks::Gateway)?;
        self.naming.register(place)?;
        self.naming.answer_machine(&network, place)?;
        self.ports
            .publish(self.id, place, &network, ensured, wanted.ipv6)?;
        Ok(Some(tap))
    }
}

impl<'a> Connector<'a> {
    /// Puts the links under the plan's policy, if it has one: nothing has been sent yet.
    fn guard(&mut self, places: &[Endpoint], asks: Asks) -> Result<(), StartError> {
        let NetworkPlan::Bridge(bridged) = self.plan else {
            return Ok(());
        };
        let policy = bridged.egress.as_ref();
        let gate = self.egress.guard(self.id, policy, places, asks)?;
        self.naming.set_gate(gate);
        Ok(())
    }

    fn way_out(&self) -> Option<&'a Endpoint> {
        match self.plan {
            NetworkPlan::Bridge(bridged) => bridged.way_out(),
            _ => None,
        }
    }
}

pub(super) fn failed(error: gamut_net::NetworkError) -> StartError {
    StartError::Step {
        step: "connect the container's network".into(),
        reason: error.to_string(),
        hint: error.hint(),
    }
}

pub(super) fn place_of(id: &str, place: &Endpoint, way: Way) -> endpoint::Endpoint {
    endpoint::Endpoint {
        container_interface: link::container_interface(place.place),
        host_interface: link::host_interface(id, place.place),
        way,
        mac: place.mac,
        ipv4: place.address4,
        ipv6: place.address6,
    }
}

/// Whether two descriptors are of one namespace.
fn same(one: BorrowedFd<'_>, other: BorrowedFd<'_>) -> bool {
    match (rustix::fs::fstat(one), rustix::fs::fstat(other)) {
        (Ok(one), Ok(other)) => (one.st_dev, one.st_ino) == (other.st_dev, other.st_ino),
        _ => false,
    }
}
