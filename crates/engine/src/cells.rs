//! The one place that maps a level to what carries it out.

use gamut_container::Container;
use gamut_plan::cell::{Cell, CellFds, Connect, StartError};
use gamut_plan::host::{HostFacts, Missing, Weight};
use gamut_plan::{LaunchPlan, Level};
use gamut_vmm::cell::Microvm;

use crate::machine::Processes;

type Machine = Microvm<Processes>;

/// Starts a plan at its level.
///
/// # Errors
/// [`StartError`] of the level, or that it is not built.
pub fn start(
    plan: &LaunchPlan,
    fds: CellFds,
    connect: &mut dyn Connect,
) -> Result<Box<dyn Cell>, StartError> {
    match plan.level {
        Level::Container => Ok(Box::new(Container::start(plan, fds, connect)?)),
        Level::Microvm => Ok(Box::new(Machine::start(plan, fds, connect)?)),
        level => Err(StartError::Request {
            message: format!("the isolation level `{level}` is not built yet"),
            hint: Some("use `--isolation container`".into()),
        }),
    }
}

/// What this host lacks for a level; empty: ready.
#[must_use]
pub fn probe(level: Level, host: &HostFacts) -> Vec<Missing> {
    match level {
        Level::Container => Container::probe(host),
        Level::Microvm if host.home.is_some() => vec![Missing {
            what: "root, which a machine's devices and jail take".into(),
            remedy: "use `--isolation container`, or run gamut as root".into(),
            weight: Weight::Fatal,
        }],
        Level::Microvm => Machine::probe(host),
        level => vec![Missing {
            what: format!("the `{level}` level, which this version of gamut has not got yet"),
            remedy: "use `--isolation container`".into(),
            weight: Weight::Fatal,
        }],
    }
}

/// Why workloads cannot be run at a level here, with the remedy; `None`: they can.
#[must_use]
pub fn lack(level: Level, host: &HostFacts) -> Option<String> {
    let missing = probe(level, host);
    let fatal = missing.iter().find(|lack| lack.weight == Weight::Fatal)?;
    Some(format!("this host lacks {}; {}", fatal.what, fatal.remedy))
}
