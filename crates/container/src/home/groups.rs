//! The control groups of a home: scopes of the user's own systemd, or none. On version 1 a user is given
//! none; on version 2 processes are moved into a group by who owns all of the way to it, which systemd does.

use gamut_plan::cell::StartError;
use gamut_plan::host::HomeFacts;
use gamut_plan::launch::{Grouping, LaunchPlan};

use crate::cgroup::{Cgroup, CgroupError, Hierarchies, Mode};
use crate::group::{Own, Scope, cgroup_failed, cgroup_path, systemd_failed};
use crate::systemd::{Bus, Systemd, Unit};

/// What the home that this process is in has of the host; `None`: it is in none.
#[must_use]
pub fn facts() -> Option<HomeFacts> {
    let user = super::resident()?.user;
    let unified = Hierarchies::discover().is_ok_and(|found| found.mode == Mode::V2);
    let systemd = unified.then(|| Systemd::open(Bus::User).ok()).flatten();
    let above = systemd.and_then(|mut systemd| systemd.control_group().ok());
    Some(HomeFacts {
        user,
        grouping: match above {
            Some(_) => Grouping::Systemd,
            None => Grouping::None,
        },
        above: above.unwrap_or_default(),
        leads_out: super::is_in_path("pasta") && has_route(),
    })
}

/// Whether this host has a default route (proc_pid_net(5)).
#[must_use]
pub fn has_route() -> bool {
    let read = |file| std::fs::read_to_string(file).unwrap_or_default();
    let (ipv4, ipv6) = (read("/proc/net/route"), read("/proc/net/ipv6_route"));
    let mut of4 = ipv4.lines().map(|line| line.split_whitespace().nth(1));
    // The kernel's own refusals of everything are on the loopback.
    let mut of6 = ipv6.lines().map(|line| {
        let mut fields = line.split_whitespace();
        let (to, bits, device) = (fields.next()?, fields.next()?, fields.next_back()?);
        Some(bits == "00" && to.bytes().all(|b| b == b'0') && device != "lo")
    });
    of4.any(|to| to == Some("00000000")) || of6.any(|leads| leads == Some(true))
}

/// The scope of a plan's group, where it is not made as root makes it.
pub(crate) struct Placed {
    pub(crate) hierarchies: Hierarchies,
    pub(crate) own: Own,
    pub(crate) scope: Option<Scope>,
}

/// Finds the place of a plan's group; `None`: it is made as root makes it.
pub(crate) fn place(plan: &LaunchPlan) -> Result<Option<Placed>, StartError> {
    let scope = match plan.grouping {
        Grouping::Own => return Ok(None),
        Grouping::None => None,
        Grouping::Systemd => {
            let unit = Unit::from_path(None, &plan.id, Bus::User);
            Some(Scope {
                unit: unit.map_err(|e| systemd_failed(&e))?,
                systemd: Systemd::open(Bus::User).map_err(|e| systemd_failed(&e))?,
                properties: Vec::new(),
            })
        }
    };
    let found = Hierarchies::discover().map_err(|e| cgroup_failed(&e))?;
    Ok(Some(Placed {
        hierarchies: found.from_the_top(),
        own: match scope {
            Some(_) => Own::Yes,
            None => Own::No,
        },
        scope,
    }))
}

/// The control group of a workload that runs. `None`: it has none.
///
/// # Errors
/// There is no such group, or no control groups at all.
pub fn group_of(plan: &LaunchPlan) -> Result<Option<Cgroup>, CgroupError> {
    let found = Hierarchies::discover()?;
    let hierarchies = match plan.grouping {
        Grouping::None => return Ok(None),
        Grouping::Systemd => found.from_the_top(),
        Grouping::Own => found,
    };
    Cgroup::open(&hierarchies, &cgroup_path(plan)).map(Some)
}
