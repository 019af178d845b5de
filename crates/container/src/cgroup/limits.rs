//! OCI resource limits onto a group: which controllers they need, and carrying them out.

use std::collections::BTreeSet;

use oci_spec::runtime::{LinuxNetwork, LinuxResources};

use super::controller::{Controller, ControllerSet};
use super::dir::Dir;
use super::discover::{Hierarchies, Version};
use super::error::{CgroupError, Warning};
use super::group::Cgroup;
use super::write::{Write, carry_out};
use super::{block, cpu, cpuset, devices, hugetlb, memory, pids, unified};

/// What a group is to have when it is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    pub(super) controllers: ControllerSet,
    /// A group on version 2 even where it limits nothing.
    pub(super) unified: bool,
}

impl Needs {
    /// What the usual limits and `stats` want. On v1 each costs about 50 µs per workload, so
    /// others are left out until a limit asks for them; on v2 they are one group anyway, so that
    /// block statistics are there too.
    pub fn standard() -> Self {
        Self {
            controllers: ControllerSet::of(&[
                Controller::Memory,
                Controller::Cpu,
                Controller::Cpuacct,
                Controller::Pids,
                Controller::Devices,
            ]),
            unified: false,
        }
    }

    /// Whatever there is.
    pub fn everything() -> Self {
        Self {
            controllers: ControllerSet::of(&Controller::ALL),
            unified: false,
        }
    }

    /// [`Self::standard`] and what `limits` ask for.
    pub fn of(limits: &LinuxResources) -> Self {
        let mut set = Self::standard().controllers;
        let mut need = |controller, asked: bool| {
            if asked {
                set.insert(controller);
            }
        };
        need(
            Controller::Cpuset,
            limits.cpu().as_ref().is_some_and(cpuset::asks),
        );
        need(
            Controller::Block,
            limits.block_io().as_ref().is_some_and(block::asks),
        );
        need(
            Controller::Hugetlb,
            limits
                .hugepage_limits()
                .as_ref()
                .is_some_and(|limits| !limits.is_empty()),
        );
        need(
            Controller::Rdma,
            limits.rdma().as_ref().is_some_and(|rdma| !rdma.is_empty()),
        );
        if let Some(network) = limits.network() {
            need(Controller::NetCls, network.class_id().is_some());
            need(Controller::NetPrio, has_priorities(network));
        }
        if let Some(map) = limits.unified() {
            set = set.union(unified::controllers(map));
        }
        Self {
            controllers: set,
            unified: false,
        }
    }

    /// The hierarchies that a group for this is made in, by their places in
    /// [`Hierarchies::mounted`].
    pub fn places(&self, on: &Hierarchies) -> BTreeSet<usize> {
        let controllers = self.controllers.iter();
        let needed = controllers.filter_map(|one| on.index_of(one));
        let version2 = on.mounted.iter().position(|one| one.version == Version::V2);
        needed.chain(version2.filter(|_| self.unified)).collect()
    }

    /// The same, and a group on version 2.
    #[must_use]
    pub fn and_unified(self) -> Self {
        Self {
            unified: true,
            ..self
        }
    }

    /// The same and one more.
    #[must_use]
    pub fn with(mut self, controller: Controller) -> Self {
        self.controllers.insert(controller);
        self
    }

    /// The controllers to make groups for.
    pub fn controllers(self) -> ControllerSet {
        self.controllers
    }

    /// On v2, `io` costs no group of its own.
    pub(super) fn on(self, version: Version) -> ControllerSet {
        match version {
            Version::V1 => self.controllers,
            Version::V2 => self.with(Controller::Block).controllers,
        }
    }
}

fn has_priorities(network: &LinuxNetwork) -> bool {
    let priorities = network.priorities().as_ref();
    priorities.is_some_and(|priorities| !priorities.is_empty())
}

impl Cgroup {
    /// Sets limits, on a new group or a running workload; what `limits` leaves out stays as it
    /// is. Numbers mean what the OCI runtime specification says (those of cgroup v1: `swap` is
    /// memory and swap together, shares are 2 to 262144), whatever the version.
    ///
    /// The result lists what this host cannot give. Device rules are never among that, except in
    /// a user namespace that may not restrict devices (and has none of its own).
    ///
    /// # Errors
    /// A value that cannot be meant or that the kernel refuses. Limits set before it stay.
    pub fn apply(&self, limits: &LinuxResources) -> Result<Vec<Warning>, CgroupError> {
        let mut warnings = Vec::new();
        let told = &mut warnings;
        if let Some(limits) = limits.memory().as_ref().filter(|it| memory::asks(it))
            && let Some((version, dir)) = self.at(Controller::Memory, "memory limit", told)?
        {
            let writes = memory::writes(dir, version, limits, told)?;
            carry_out(dir, &writes, told)?;
        }
        if let Some(limits) = limits.cpu().as_ref().filter(|it| cpu::asks(it))
            && let Some((version, dir)) = self.at(Controller::Cpu, "CPU limit", told)?
        {
            let writes = cpu::writes(dir, version, limits, told)?;
            carry_out(dir, &writes, told)?;
        }
        if let Some(limits) = limits.cpu().as_ref().filter(|it| cpuset::asks(it))
            && let Some((version, dir)) = self.at(Controller::Cpuset, "CPU list", told)?
        {
            let writes = cpuset::writes(dir, version, limits)?;
            carry_out(dir, &writes, told)?;
        }
        if let Some(limits) = limits.pids()
            && let Some((_, dir)) = self.at(Controller::Pids, "pids limit", told)?
        {
            carry_out(dir, &pids::writes(limits), told)?;
        }
        if let Some(limits) = limits.block_io().as_ref().filter(|it| block::asks(it))
            && let Some((version, dir)) = self.at(Controller::Block, "block I/O limit", told)?
        {
            let writes = block::writes(version, limits, told);
            carry_out(dir, &writes, told)?;
        }
        if let Some(limits) = limits
            .hugepage_limits()
            .as_ref()
            .filter(|it| !it.is_empty())
            && let Some((version, dir)) = self.at(Controller::Hugetlb, "huge page limit", told)?
        {
            hugetlb::apply(dir, version, limits, told)?;
        }
        if let Some(rules) = limits.devices() {
            devices::apply(self, rules, told)?;
        }
        self.apply_rare(limits, told)?;
        Ok(warnings)
    }

    /// Network marks of v1, RDMA, and v2 files by name.
    fn apply_rare(
        &self,
        limits: &LinuxResources,
        told: &mut Vec<Warning>,
    ) -> Result<(), CgroupError> {
        if let Some(network) = limits.network() {
            if let Some(class) = network.class_id()
                && let Some((_, dir)) = self.at(Controller::NetCls, "network class", told)?
            {
                let write = Write::new("network class", "net_cls.classid", class);
                carry_out(dir, &[write], told)?;
            }
            if has_priorities(network)
                && let Some((_, dir)) = self.at(Controller::NetPrio, "network priority", told)?
            {
                for priority in network.priorities().iter().flatten() {
                    let value = format!("{} {}", priority.name(), priority.priority());
                    let write = Write::new("network priority", "net_prio.ifpriomap", value);
                    carry_out(dir, &[write], told)?;
                }
            }
        }
        if let Some(rdma) = limits.rdma().as_ref().filter(|rdma| !rdma.is_empty())
            && let Some((_, dir)) = self.at(Controller::Rdma, "RDMA limit", told)?
        {
            for (device, limit) in rdma {
                let mut value = device.clone();
                let handles = limit
                    .hca_handles()
                    .map(|count| format!(" hca_handle={count}"));
                let objects = limit
                    .hca_objects()
                    .map(|count| format!(" hca_object={count}"));
                value.extend(handles.into_iter().chain(objects));
                carry_out(dir, &[Write::new("RDMA limit", "rdma.max", value)], told)?;
            }
        }
        match limits.unified() {
            Some(map) if !map.is_empty() => unified::apply(self, map),
            _ => Ok(()),
        }
    }

    /// The group for a limit; without its controller, a warning.
    fn at(
        &self,
        controller: Controller,
        limit: &str,
        told: &mut Vec<Warning>,
    ) -> Result<Option<(Version, &Dir)>, CgroupError> {
        let found = self.ensure(controller)?;
        if found.is_none() {
            told.push(Warning::NoController {
                limit: limit.to_owned(),
                controller,
            });
        }
        Ok(found)
    }
}
