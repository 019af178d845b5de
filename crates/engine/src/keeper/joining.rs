//! A workload that runs joins a network, or leaves one. The plan is written first: what is cut half-way
//! comes about at the next start.

use std::os::fd::AsFd;

use gamut_net::endpoint::{self, Way};
use gamut_net::link::{self, Inside};
use gamut_plan::MAIN;
use gamut_plan::cell::StartError;
use gamut_plan::launch::{Bridged, Endpoint, LaunchPlan, NetworkPlan, Reach};
use gamut_plan::places::{PlaceError, with_addresses, without_addresses};
use gamut_spec::Fault;
use rustix::fs::{Mode, OFlags};

use super::events::{Keeper, Workload};
use super::network::{failed, network_of, place_of};
use crate::record;

impl Keeper {
    pub(super) fn join(
        &mut self,
        endpoint: Endpoint,
        resolv_conf: Option<String>,
    ) -> Result<(), StartError> {
        let Some(workload) = &mut self.workload else {
            return Ok(());
        };
        let done = workload.join(endpoint, resolv_conf);
        self.watch_network();
        done
    }

    pub(super) fn call(&mut self, name: &str) -> Result<(), StartError> {
        match &mut self.workload {
            Some(workload) => workload.call(name),
            None => Ok(()),
        }
    }

    pub(super) fn leave(&mut self, network_id: &str) -> Result<(), StartError> {
        let Some(workload) = &mut self.workload else {
            return Ok(());
        };
        let done = workload.leave(network_id);
        self.watch_network();
        done
    }
}

impl Workload {
    fn join(&mut self, endpoint: Endpoint, resolv_conf: Option<String>) -> Result<(), StartError> {
        let before = self.read()?;
        if let NetworkPlan::Bridge(bridged) = &before.network
            && bridged.egress.is_some()
        {
            return Err(StartError::Conflict {
                message: "a container with an egress policy joins no network while it runs".into(),
                hint: Some("stop it first: its policy holds there from the next start on".into()),
            });
        }
        let mut plan = before.clone();
        let place = plan
            .join(endpoint, resolv_conf.clone())
            .map_err(impossible)?;
        self.write(&plan)?;
        if let Err(error) = self.enter(&plan, &place) {
            let interface = link::host_interface(&before.id, place.place);
            let _ = link::delete_link(&interface);
            self.naming.leave(&place.network_id);
            self.write(&before)?;
            return Err(error);
        }
        let hostname = plan.spec.hostname().clone().unwrap_or_default();
        self.edit("hosts", |text| with_addresses(text, &place, &hostname));
        if let Some(resolv_conf) = resolv_conf {
            self.edit("resolv.conf", |_| resolv_conf);
        }
        self.take_network(&plan);
        self.move_ports(way_out(&before), way_out(&plan))
    }

    /// Calls the workload by another name from now on; the plan has it already.
    fn call(&mut self, name: &str) -> Result<(), StartError> {
        let plan = self.read()?;
        self.plan.name = name.to_owned();
        self.take_network(&plan);
        self.naming.call(name)
    }

    /// What the plan on disk says of the network; of the rest this one's knows more (namespaces that
    /// were joined), or others have written there since.
    fn take_network(&mut self, plan: &LaunchPlan) {
        self.plan.network = plan.network.clone();
        self.plan.files = plan.files.clone();
    }

    /// Makes the place there.
    fn enter(&mut self, plan: &LaunchPlan, place: &Endpoint) -> Result<(), StartError> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let path = format!("/proc/{}/ns/net", self.cell.pid(MAIN));
        let netns = rustix::fs::open(path, flags, Mode::empty());
        let netns = netns.map_err(|errno| StartError::Step {
            step: "open the container's network".into(),
            reason: errno.to_string(),
            hint: None,
        })?;
        let leads = way_out(plan).is_some_and(|way| way.place == place.place);
        let way = match leads {
            true => Way::Out,
            false => Way::Within,
        };
        let network = network_of(place)?;
        let mut ensured = network.ensure().map_err(failed)?;
        let mut inside = Inside::open(netns.as_fd()).map_err(failed)?;
        let wanted = place_of(&plan.id, place, way);
        endpoint::attach_inside(&mut ensured, netns.as_fd(), &mut inside, &wanted)
            .map_err(failed)?;
        self.naming.register(place)?;
        self.naming.answer_inside(netns.as_fd())
    }

    fn leave(&mut self, network_id: &str) -> Result<(), StartError> {
        let before = self.read()?;
        let mut plan = before.clone();
        let place = plan.leave(network_id).map_err(impossible)?;
        self.write(&plan)?;
        self.naming.leave(network_id);
        self.edit("hosts", |text| without_addresses(text, &place));
        let interface = link::host_interface(&plan.id, place.place);
        link::delete_link(&interface).map_err(failed)?;
        let was = way_out(&before);
        let now = way_out(&plan).cloned();
        self.take_network(&plan);
        if was.map(|way| way.place) != now.as_ref().map(|way| way.place)
            && let Some(now) = &now
        {
            self.lead_out(now)?;
        }
        self.move_ports(was, now.as_ref())
    }

    /// Leads the default routes through a place.
    fn lead_out(&self, place: &Endpoint) -> Result<(), StartError> {
        if place.reach == Reach::Internal {
            return Ok(());
        }
        let path = format!("/proc/{}/ns/net", self.cell.pid(MAIN));
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        // One that ends just now needs no routes.
        let Ok(netns) = rustix::fs::open(path, flags, Mode::empty()) else {
            return Ok(());
        };
        let network = network_of(place)?;
        let interface = link::container_interface(place.place);
        let gateway6 = network.ipv6.map(|(_, gateway)| gateway);
        let gateway6 = gateway6.filter(|_| place.address6.is_some());
        let mut inside = Inside::open(netns.as_fd()).map_err(failed)?;
        inside
            .lead_out(&interface, network.gateway4, gateway6)
            .map_err(failed)
    }

    /// The published ports lead to another place from now on; to none, they are nobody's any more.
    fn move_ports(
        &mut self,
        was: Option<&Endpoint>,
        now: Option<&Endpoint>,
    ) -> Result<(), StartError> {
        if was.map(|way| way.place) == now.map(|way| way.place) {
            return Ok(());
        }
        let NetworkPlan::Bridge(bridged) = &self.plan.network else {
            return Ok(());
        };
        let bindings = std::mem::take(&mut self.status.ports);
        self.ports.release(&bindings);
        let moved = match now {
            Some(place) => {
                let wanted = &bridged.ports;
                let moved = self.ports.lead_to(&self.plan.id, place, wanted, &bindings);
                self.status.ports = self.ports.bindings();
                moved.and_then(|()| self.ports.forward_to(place))
            }
            None => Ok(()),
        };
        let _ = record::write_status(&self.dirs, &self.status);
        moved
    }

    fn read(&self) -> Result<LaunchPlan, StartError> {
        record::read_plan(&self.dirs).map_err(|error| StartError::Step {
            step: "read the plan".into(),
            reason: error.to_string(),
            hint: error.hint(),
        })
    }

    fn write(&self, plan: &LaunchPlan) -> Result<(), StartError> {
        record::write_plan(&self.dirs, plan, |_| {}).map_err(|error| StartError::Step {
            step: "write the plan down".into(),
            reason: error.to_string(),
            hint: error.hint(),
        })
    }

    /// Edits one of the files that the workload has: in place, because it is a mount of its own there.
    fn edit(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let path = self.dirs.run().join(name);
        if let Ok(text) = std::fs::read_to_string(&path) {
            // The workload may have made it immutable; its network is there all the same.
            let _ = std::fs::write(&path, change(&text));
        }
    }
}

fn way_out(plan: &LaunchPlan) -> Option<&Endpoint> {
    match &plan.network {
        NetworkPlan::Bridge(bridged) => Bridged::way_out(bridged),
        _ => None,
    }
}

fn impossible(error: PlaceError) -> StartError {
    StartError::Conflict {
        message: format!("the container's networks stay: {error}"),
        hint: None,
    }
}
